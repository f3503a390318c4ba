/* SPDX-License-Identifier: ISC */
#include "daemon/util/buf.h"

#include "daemon/util/fatal.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define BUF_FIRST_BYTES 256

void buf_done(struct buf *b)
{
    free(b->data);
    *b = BUF_INIT(b->max);
}

void buf_done_secret(struct buf *b)
{
    if (b->data != NULL) {
        explicit_bzero(b->data, b->cap);
    }
    buf_done(b);
}

uint8_t *buf_reserve(struct buf *b, size_t len)
{
    size_t cap = b->cap;
    uint8_t *data;

    if (b->failed || len > b->max || b->len > b->max - len) {
        b->failed = true;
        return NULL;
    }
    if (len <= b->cap - b->len) {
        return b->data + b->len;
    }
    cap = MAX(cap * 2, (size_t)BUF_FIRST_BYTES);
    cap = MAX(cap, b->len + len);
    cap = MIN(cap, b->max);
    data = realloc(b->data, cap);
    if (data == NULL) {
        b->failed = true;
        return NULL;
    }
    b->data = data;
    b->cap = cap;
    return b->data + b->len;
}

void buf_commit(struct buf *b, size_t len)
{
    fatal_unless(len <= b->cap - b->len);
    b->len += len;
}

bool buf_append(struct buf *b, const void *data, size_t len)
{
    uint8_t *room;

    if (len == 0) {
        return buf_ok(b);
    }
    room = buf_reserve(b, len);
    if (room == NULL) {
        return false;
    }
    memcpy(room, data, len);
    b->len += len;
    return true;
}

bool buf_append_u8(struct buf *b, uint8_t v)
{
    return buf_append(b, &v, 1);
}

bool buf_append_str(struct buf *b, const char *s)
{
    return buf_append(b, s, strlen(s));
}

bool buf_append_vfmt(struct buf *b, const char *fmt, va_list args)
{
    va_list again;
    int n;
    uint8_t *room;

    va_copy(again, args);
    n = vsnprintf(NULL, 0, fmt, again);
    va_end(again);
    if (n < 0) {
        b->failed = true;
        return false;
    }
    if (n == 0) {
        return buf_ok(b);
    }
    room = buf_reserve(b, (size_t)n + 1);
    if (room == NULL) {
        return false;
    }
    (void)vsnprintf((char *)room, (size_t)n + 1, fmt, args); /* measured above */
    b->len += (size_t)n;
    return true;
}

bool buf_append_fmt(struct buf *b, const char *fmt, ...)
{
    va_list args;
    bool ok;

    va_start(args, fmt);
    ok = buf_append_vfmt(b, fmt, args);
    va_end(args);
    return ok;
}

void buf_consume(struct buf *b, size_t len)
{
    fatal_unless(len <= b->len);
    b->len -= len;
    if (b->len > 0) {
        memmove(b->data, b->data + len, b->len);
    }
}

const char *buf_cstr(struct buf *b)
{
    uint8_t *room;

    if (b->cap > b->len) {
        b->data[b->len] = '\0';
        return (const char *)b->data;
    }
    room = buf_reserve(b, 1);
    if (room == NULL) {
        return "";
    }
    *room = '\0';
    return (const char *)b->data;
}
