/* SPDX-License-Identifier: ISC */
/* Every message type of either direction: its name and the least and most its length field may say. A type that does not
 * exist in a direction has most = 0, so no length fits it. PG15 protocol, "Message Formats". */
#ifndef PGPOOLD_PROTOCOL_MSG_TABLE_H
#define PGPOOLD_PROTOCOL_MSG_TABLE_H

#include <stdint.h>

/* A message that is looked into as a whole is gathered, up to this many bytes. */
#define MSG_GATHER_MAX_BYTES ((uint32_t)16 << 20)
/* PostgreSQL refuses anything longer (PQ_LARGE_MESSAGE_LIMIT is MaxAllocSize - 1). */
#define MSG_LARGE_MAX_BYTES ((uint32_t)0x3ffffffe)
/* Streamed types are bounded by the length field alone. */
#define MSG_STREAM_MAX_BYTES ((uint32_t)0x7fffffff)

struct msg_info {
    const char *name;
    uint32_t least; /* of the length field, which counts its own four bytes */
    uint32_t most;
};

extern const struct msg_info msg_from_client[256];
extern const struct msg_info msg_from_server[256];

#endif
