/* SPDX-License-Identifier: ISC */
/* Any bytes as the first packet of a connection. What is taken lies within the packet and can be answered. */
#include "daemon/util/fatal.h"
#include "protocol/cancel_key.h"
#include "protocol/startup.h"
#include "protocol/wire.h"

#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check_message(const struct startup *s, const uint8_t *data)
{
    struct buf b = BUF_INIT(2 * STARTUP_MAX_BYTES);
    const char *end = (const char *)data + s->total;
    unsigned n_pq = 0;

    fatal_unless(s->n_params <= STARTUP_MAX_PARAMS);
    for (unsigned i = 0; i < s->n_params; i++) {
        const struct startup_param *p = &s->params[i];

        fatal_unless(*p->name != '\0' && p->name > (const char *)data &&
                     p->value + strlen(p->value) < end - 1);
        fatal_unless(startup_find(s, p->name) != NULL);
        n_pq += strncmp(p->name, "_pq_.", 5) == 0;
    }
    fatal_unless(n_pq == s->n_unknown_pq);
    startup_put_negotiate(&b, s, PROTOCOL_3_0);
    fatal_unless(buf_ok(&b) && wire_load_u32(b.data + 1) == b.len - 1);
    buf_done(&b);
}

static void check_key(const struct startup *s)
{
    struct cancel_key key;
    struct cancel_key passed_on;
    struct cancel_key at_peer;
    size_t len;

    if (!cancel_key_read(s->cancel_pid, s->cancel_key, s->cancel_key_len, &key)) {
        return;
    }
    fatal_unless(cancel_key_peer(&key) <= 16383);
    passed_on = key;
    len = cancel_key_pass_on(&passed_on);
    fatal_unless(len <= sizeof(passed_on.secret));
    fatal_unless(cancel_key_read(passed_on.pid, passed_on.secret, len, &at_peer));
    fatal_unless(at_peer.hops == (uint8_t)(key.hops + 1));
    fatal_unless(cancel_key_peer(&at_peer) == cancel_key_peer(&key));
}

static void check(const uint8_t *data, size_t size)
{
    static struct startup s;
    static struct startup of_cut;
    enum startup_verdict verdict = startup_parse(data, size, &s);

    if (verdict == STARTUP_PARTIAL) {
        fatal_unless(size < STARTUP_MAX_BYTES);
    }
    if (verdict != STARTUP_OK) {
        return;
    }
    fatal_unless(s.total >= STARTUP_HEADER_BYTES && s.total <= size &&
                 s.total <= STARTUP_MAX_BYTES);
    fatal_unless(startup_parse(data, s.total - 1, &of_cut) == STARTUP_PARTIAL);
    fatal_unless(startup_parse(data, s.total, &of_cut) == STARTUP_OK);
    if (s.kind == STARTUP_MESSAGE) {
        check_message(&s, data);
    } else if (s.kind == STARTUP_CANCEL_REQUEST) {
        fatal_unless(s.cancel_key_len >= 4 && s.cancel_key_len <= CANCEL_KEY_MAX_BYTES);
        fatal_unless(s.cancel_key + s.cancel_key_len == data + s.total);
        check_key(&s);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    check(data, size);
    if (size >= 4) { /* once more with a length that is right */
        uint8_t *copy = malloc(size);

        fatal_unless(copy != NULL);
        memcpy(copy, data, size);
        wire_store_u32(copy, (uint32_t)size);
        check(copy, size);
        free(copy);
    }
    return 0;
}
