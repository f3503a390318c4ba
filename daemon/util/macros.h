/* SPDX-License-Identifier: ISC */
/* The handful of macros that every file may use. Nothing here has state. */
#ifndef PGPOOLD_UTIL_MACROS_H
#define PGPOOLD_UTIL_MACROS_H

#include <stddef.h>

/* The result says whether the call worked: ignoring it needs "(void)" and a reason. */
#define MUSTCHECK __attribute__((warn_unused_result))
#define PRINTF_LIKE(fmt, args) __attribute__((format(printf, fmt, args)))
#define UNUSED __attribute__((unused))
#define NORETURN __attribute__((noreturn))

#define LIKELY(x) __builtin_expect(!!(x), 1)
#define UNLIKELY(x) __builtin_expect(!!(x), 0)

#define ARRAY_LEN(a) (sizeof(a) / sizeof((a)[0]))
#define BIT(n) (1U << (n))

/* The object of @type whose member @member lies at @ptr. */
#define container_of(ptr, type, member) ((type *)(void *)((char *)(ptr)-offsetof(type, member)))

/* Moves ownership out of a pointer variable: yields its value and leaves NULL behind. */
#define take_ptr(p)                     \
    ({                                  \
        __typeof__(p) take_ptr_p = (p); \
        (p) = NULL;                     \
        take_ptr_p;                     \
    })

#define MIN(a, b)                      \
    ({                                 \
        __typeof__(a) min_a = (a);     \
        __typeof__(b) min_b = (b);     \
        min_a < min_b ? min_a : min_b; \
    })
#define MAX(a, b)                      \
    ({                                 \
        __typeof__(a) max_a = (a);     \
        __typeof__(b) max_b = (b);     \
        max_a > max_b ? max_a : max_b; \
    })

#endif
