/* SPDX-License-Identifier: ISC */
/* A growing byte buffer with a ceiling, the only kind this daemon has. Appending past the ceiling, or running out of
 * memory, is an error that sticks: append freely, ask buf_ok() once at the end. An empty one owns no memory. */
#ifndef PGPOOLD_UTIL_BUF_H
#define PGPOOLD_UTIL_BUF_H

#include "daemon/util/macros.h"

#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct buf {
    /* private, but data and len may be read */
    uint8_t *data;
    size_t len;
    size_t cap;
    size_t max; /* ceiling of len, bytes */
    bool failed;
};

#define BUF_INIT(max_bytes) ((struct buf){.max = (max_bytes)})

static inline void buf_init(struct buf *b, size_t max_bytes)
{
    *b = BUF_INIT(max_bytes);
}

/* Frees the memory and forgets a failure; the ceiling stays. May run twice. */
void buf_done(struct buf *b);
/* As buf_done, with the bytes wiped first. */
void buf_done_secret(struct buf *b);

/* Forgets the content, keeps the memory. */
static inline void buf_clear(struct buf *b)
{
    b->len = 0;
    b->failed = false;
}

/* All appends return whether they worked; after a failure every later one fails too. The content is then incomplete. */
bool buf_append(struct buf *b, const void *data, size_t len);
bool buf_append_u8(struct buf *b, uint8_t v);
bool buf_append_str(struct buf *b, const char *s); /* without its NUL */
bool buf_append_fmt(struct buf *b, const char *fmt, ...) PRINTF_LIKE(2, 3);
bool buf_append_vfmt(struct buf *b, const char *fmt, va_list args) PRINTF_LIKE(2, 0);

/* Makes room for @len more bytes without changing len; the room starts at data + len. NULL: no. */
MUSTCHECK uint8_t *buf_reserve(struct buf *b, size_t len);
/* After bytes were put into reserved room. */
void buf_commit(struct buf *b, size_t len);

/* Drops @len bytes from the front. */
void buf_consume(struct buf *b, size_t len);

static inline bool buf_ok(const struct buf *b)
{
    return !b->failed;
}

/* Leaves the first @len bytes; those behind are forgotten. */
static inline void buf_truncate(struct buf *b, size_t len)
{
    if (len < b->len) {
        b->len = len;
    }
}

/* The content as a C string (a NUL is put behind it, not counted). "" when empty or out of memory. */
const char *buf_cstr(struct buf *b);

#endif
