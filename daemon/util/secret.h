/* SPDX-License-Identifier: ISC */
/* Bytes that must not be logged, must be wiped when done with and are compared in constant time. Owned by whoever
 * embeds it. They lie on pages that no core dump contains. */
#ifndef PGPOOLD_UTIL_SECRET_H
#define PGPOOLD_UTIL_SECRET_H

#include "daemon/util/macros.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct secret {
    /* private, but data and len may be read; data is NUL-terminated for the sake of text */
    char *data;
    size_t len;
};

/* Replaces the content. false: out of memory, the old content is gone. */
MUSTCHECK bool secret_set(struct secret *s, const void *data, size_t len);
/* Wipes and frees. May run twice. */
void secret_done(struct secret *s);

static inline bool secret_is_set(const struct secret *s)
{
    return s->data != NULL;
}

/* A zeroed struct with secrets in it, on such pages. NULL: out of memory. */
MUSTCHECK void *secret_alloc(size_t size);
/* Wipes and frees; @size: as it was asked for. Takes NULL, returns NULL. */
void *secret_free(void *at, size_t size);
/* The same for an allocator that is not told the size again. */
MUSTCHECK void *secret_alloc_sized(size_t size);
void secret_free_sized(void *at);
size_t secret_size(const void *at);
/* Is @at from there? Cheap where it is not. */
bool secret_owns(const void *at);

/* Constant time for equal lengths. */
bool secret_equals(const struct secret *s, const void *data, size_t len);
bool secret_bytes_equal(const void *a, const void *b, size_t len);

/* @len random bytes from the kernel, through a buffer so that a login costs no syscall of its own. */
void secret_random(void *ret, size_t len);

#endif
