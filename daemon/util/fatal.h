/* SPDX-License-Identifier: ISC */
/* The channel for bugs of our own: say where, then abort. Never for what a peer or the kernel did. */
#ifndef PGPOOLD_UTIL_FATAL_H
#define PGPOOLD_UTIL_FATAL_H

#include "daemon/util/macros.h"

/* Prints "file:line: message" to stderr with one write and aborts. */
NORETURN void fatal_bug(const char *file, int line, const char *what);

/* Prints a message and exits with status 1: start-up cannot go on (out of memory and the like). */
NORETURN void fatal_exit(const char *fmt, ...) PRINTF_LIKE(1, 2);

/* Compiled in for release builds too. */
#define fatal_unless(x)                        \
    do {                                       \
        if (UNLIKELY(!(x))) {                  \
            fatal_bug(__FILE__, __LINE__, #x); \
        }                                      \
    } while (0)

/* After a switch that names every value of an enum. */
#define unreachable() fatal_bug(__FILE__, __LINE__, "unreachable")

#endif
