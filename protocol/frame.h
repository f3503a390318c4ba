/* SPDX-License-Identifier: ISC */
/* From a stream of bytes to messages: one byte of type, four of length (which counts itself), the body.
 * PG15 protocol, "Message Formats". The first packet of a client has no type: see startup.h. */
#ifndef PGPOOLD_PROTOCOL_FRAME_H
#define PGPOOLD_PROTOCOL_FRAME_H

#include "protocol/msg_table.h"
#include "protocol/wire.h"

#define FRAME_HEADER_BYTES 5

enum frame_verdict {
    FRAME_OK,      /* the header is whole and legal; the body may still be on its way */
    FRAME_PARTIAL, /* fewer than FRAME_HEADER_BYTES */
    FRAME_BAD,     /* a type or length that cannot be in this direction */
};

struct frame {
    uint8_t type;
    uint32_t total; /* header and body, bytes; at least FRAME_HEADER_BYTES */
};

/* Looks at the header at @p. @table: the direction's, from msg_table.h. */
static inline enum frame_verdict frame_peek(const struct msg_info *table, const uint8_t *p,
                                            size_t len, struct frame *ret)
{
    uint32_t length;

    if (len < FRAME_HEADER_BYTES) {
        return FRAME_PARTIAL;
    }
    length = wire_load_u32(p + 1);
    /* The first comparison is for types that do not exist: their bounds are 0 and 0. */
    if (length < FRAME_HEADER_BYTES - 1 || length < table[p[0]].least ||
        length > table[p[0]].most) {
        return FRAME_BAD;
    }
    ret->type = p[0];
    ret->total = length + 1;
    return FRAME_OK;
}

#endif
