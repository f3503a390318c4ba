/* SPDX-License-Identifier: ISC */
#include "protocol/wire.h"

#include "daemon/util/fatal.h"
#include "daemon/util/num.h"

#include <string.h>

const uint8_t *wire_get_bytes(struct wire_reader *r, size_t len)
{
    const uint8_t *p = r->pos;

    if (r->failed || len > wire_left(r)) {
        r->failed = true;
        return NULL;
    }
    r->pos += len;
    return p;
}

uint8_t wire_get_u8(struct wire_reader *r)
{
    const uint8_t *p = wire_get_bytes(r, 1);

    return p != NULL ? *p : 0;
}

uint16_t wire_get_u16(struct wire_reader *r)
{
    const uint8_t *p = wire_get_bytes(r, 2);

    return p != NULL ? wire_load_u16(p) : 0;
}

uint32_t wire_get_u32(struct wire_reader *r)
{
    const uint8_t *p = wire_get_bytes(r, 4);

    return p != NULL ? wire_load_u32(p) : 0;
}

const char *wire_get_cstr(struct wire_reader *r)
{
    const uint8_t *nul = r->failed ? NULL : memchr(r->pos, 0, wire_left(r));
    const char *s = (const char *)r->pos;

    if (nul == NULL) {
        r->failed = true;
        return "";
    }
    r->pos = nul + 1;
    return s;
}

size_t wire_begin(struct buf *b, uint8_t type)
{
    size_t start = b->len;

    (void)buf_append_u8(b, type); /* failures stick */
    wire_put_u32(b, 0);
    return start;
}

void wire_end(struct buf *b, size_t start)
{
    if (buf_ok(b)) {
        wire_store_u32(b->data + start + 1, num_u32(b->len - start - 1));
    }
}

void wire_put_u8(struct buf *b, uint8_t v)
{
    (void)buf_append_u8(b, v);
}

void wire_put_u16(struct buf *b, uint16_t v)
{
    uint8_t bytes[2] = {(uint8_t)(v >> 8), (uint8_t)v};

    (void)buf_append(b, bytes, sizeof(bytes));
}

void wire_put_u32(struct buf *b, uint32_t v)
{
    uint8_t bytes[4];

    wire_store_u32(bytes, v);
    (void)buf_append(b, bytes, sizeof(bytes));
}

void wire_put_cstr(struct buf *b, const char *s)
{
    (void)buf_append(b, s, strlen(s) + 1);
}

void wire_put_bytes(struct buf *b, const void *data, size_t len)
{
    (void)buf_append(b, data, len);
}
