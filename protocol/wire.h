/* SPDX-License-Identifier: ISC */
/* Reading and building the bodies of protocol messages. The only place, with frame.h, that knows byte orders.
 * The reader's error sticks: get all fields in order, ask once at the end. What it returns is borrowed from its input. */
#ifndef PGPOOLD_PROTOCOL_WIRE_H
#define PGPOOLD_PROTOCOL_WIRE_H

#include "daemon/util/buf.h"
#include "daemon/util/macros.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct wire_reader {
    /* private */
    const uint8_t *pos;
    const uint8_t *end;
    bool failed;
};

/* PG15 protocol, "Message Formats": all integers are in network byte order. */
static inline uint16_t wire_load_u16(const uint8_t *p)
{
    return (uint16_t)(p[0] << 8 | p[1]);
}

static inline uint32_t wire_load_u32(const uint8_t *p)
{
    return (uint32_t)p[0] << 24 | (uint32_t)p[1] << 16 | (uint32_t)p[2] << 8 | p[3];
}

static inline void wire_store_u32(uint8_t *p, uint32_t v)
{
    p[0] = (uint8_t)(v >> 24);
    p[1] = (uint8_t)(v >> 16);
    p[2] = (uint8_t)(v >> 8);
    p[3] = (uint8_t)v;
}

static inline void wire_reader_init(struct wire_reader *r, const void *data, size_t len)
{
    r->pos = data;
    r->end = r->pos + len;
    r->failed = false;
}

uint8_t wire_get_u8(struct wire_reader *r);
uint16_t wire_get_u16(struct wire_reader *r);
uint32_t wire_get_u32(struct wire_reader *r);
/* A string with its NUL; "" after a failure. */
const char *wire_get_cstr(struct wire_reader *r);
/* @len bytes; NULL after a failure. */
const uint8_t *wire_get_bytes(struct wire_reader *r, size_t len);

static inline size_t wire_left(const struct wire_reader *r)
{
    return (size_t)(r->end - r->pos);
}

static inline bool wire_ok(const struct wire_reader *r)
{
    return !r->failed;
}

/* All read, nothing failed, nothing left over. */
static inline bool wire_at_end(const struct wire_reader *r)
{
    return !r->failed && r->pos == r->end;
}

/* Building: wire_begin() returns where the message starts, wire_end() fills its length in. Failures stick in the buf. */
size_t wire_begin(struct buf *b, uint8_t type);
void wire_end(struct buf *b, size_t start);
void wire_put_u8(struct buf *b, uint8_t v);
void wire_put_u16(struct buf *b, uint16_t v);
void wire_put_u32(struct buf *b, uint32_t v);
void wire_put_cstr(struct buf *b, const char *s);
void wire_put_bytes(struct buf *b, const void *data, size_t len);

#endif
