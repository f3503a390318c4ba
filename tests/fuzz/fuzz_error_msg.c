/* SPDX-License-Identifier: ISC */
/* Any bytes as the body of an ErrorResponse. What is taken comes back the same when it is built and read again. */
#include "daemon/util/fatal.h"
#include "protocol/error_msg.h"
#include "protocol/wire.h"

#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check_same(const struct pg_error *a, const struct pg_error *b)
{
    fatal_unless(strcmp(a->severity, b->severity) == 0 && strcmp(a->sqlstate, b->sqlstate) == 0);
    fatal_unless(strcmp(a->message, b->message) == 0 && strcmp(a->detail, b->detail) == 0);
    fatal_unless(strcmp(a->hint, b->hint) == 0);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct buf b = BUF_INIT(8 * ERROR_TEXT_MAX_BYTES);
    struct pg_error e;
    struct pg_error again;

    if (!error_msg_parse(data, size, &e)) {
        return 0;
    }
    fatal_unless(size > 0 && data[size - 1] == '\0');
    error_msg_put(&b, 'N', &e);
    fatal_unless(buf_ok(&b) && b.data[0] == 'N' && wire_load_u32(b.data + 1) == b.len - 1);
    fatal_unless(error_msg_parse(b.data + 5, b.len - 5, &again));
    check_same(&e, &again);
    fatal_unless(!error_msg_parse(b.data + 5, b.len - 6, &again));
    buf_done(&b);
    return 0;
}
