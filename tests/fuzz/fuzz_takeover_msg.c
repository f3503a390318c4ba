/* SPDX-License-Identifier: ISC */
/* Records of an online restart: the first byte is the type, the rest the body. What is accepted is written again as it
 * was. */
#include "protocol/takeover_msg.h"

#include "daemon/util/fatal.h"

#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static struct takeover_msg m;
    struct buf b = BUF_INIT(TAKEOVER_RECORD_MAX_BYTES + 8);

    if (size == 0 || !takeover_parse(data[0], data + 1, size - 1, &m)) {
        return 0;
    }
    takeover_put(&b, &m);
    fatal_unless(buf_ok(&b) && b.len == size + 4 && b.data[0] == data[0]);
    fatal_unless(size == 1 || memcmp(b.data + 5, data + 1, size - 1) == 0);
    buf_done(&b);
    return 0;
}
