/* SPDX-License-Identifier: ISC */
/* Any bytes as a stream of messages in either direction, taken apart message by message. */
#include "daemon/util/fatal.h"
#include "protocol/frame.h"

#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check_header(const struct msg_info *table, const uint8_t *p, size_t left)
{
    uint8_t *header = malloc(FRAME_HEADER_BYTES); /* exact: ASan sees a byte too many */
    struct frame f = {.type = 0};
    enum frame_verdict verdict;

    fatal_unless(header != NULL);
    memcpy(header, p, FRAME_HEADER_BYTES);
    verdict = frame_peek(table, header, FRAME_HEADER_BYTES, &f);
    fatal_unless(verdict != FRAME_PARTIAL && verdict == frame_peek(table, p, left, &f));
    for (size_t len = 0; len < FRAME_HEADER_BYTES; len++) {
        fatal_unless(frame_peek(table, header, len, &f) == FRAME_PARTIAL);
    }
    if (verdict == FRAME_OK) {
        fatal_unless(f.type == p[0] && f.total >= FRAME_HEADER_BYTES && table[f.type].name != NULL);
        fatal_unless(f.total == wire_load_u32(p + 1) + 1);
    }
    free(header);
}

static void take_apart(const struct msg_info *table, const uint8_t *data, size_t size)
{
    size_t at = 0;
    struct frame f;

    while (size - at >= FRAME_HEADER_BYTES) {
        check_header(table, data + at, size - at);
        if (frame_peek(table, data + at, size - at, &f) != FRAME_OK || f.total > size - at) {
            return;
        }
        at += f.total;
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    take_apart(msg_from_client, data, size);
    take_apart(msg_from_server, data, size);
    return 0;
}
