/* SPDX-License-Identifier: ISC */
/* Keys say whose they are, in both lengths and for every number of a peer. */
#include "protocol/cancel_key.h"

#include <setjmp.h>
#include <stdarg.h>
#include <string.h>

#include <cmocka.h>

static const size_t lengths[] = {CANCEL_KEY_SHORT_BYTES, CANCEL_KEY_LONG_BYTES};

static void every_peer_is_found(void **state)
{
    (void)state;
    for (unsigned peer_id = 0; peer_id <= 16383; peer_id++) {
        for (size_t i = 0; i < ARRAY_LEN(lengths); i++) {
            uint8_t secret[CANCEL_KEY_LONG_BYTES];
            struct cancel_key key;
            uint32_t pid = cancel_key_pid(peer_id, CANCEL_KEY_SLOT_MAX - peer_id);

            memset(secret, peer_id % 2 == 0 ? 0xff : 0, sizeof(secret));
            cancel_key_mark(peer_id, secret);
            assert_true(pid > 0 && pid <= INT32_MAX);
            assert_int_equal(cancel_key_slot(pid), CANCEL_KEY_SLOT_MAX - peer_id);
            assert_true(cancel_key_read(pid, secret, lengths[i], &key));
            assert_int_equal(key.len, lengths[i]);
            assert_int_equal(key.hops, 0);
            assert_memory_equal(key.secret, secret, lengths[i]);
            if (peer_id > 0) {
                assert_int_equal(cancel_key_peer(&key), peer_id);
                assert_int_equal(secret[0] & 0x1f, peer_id % 2 == 0 ? 0x1f : 0);
            } else {
                assert_int_equal(secret[0], 0xff); /* without a number all bits are random */
            }
        }
    }
}

static void hops_are_counted(void **state)
{
    static const uint8_t secret[CANCEL_KEY_LONG_BYTES] = {0x21, 2, 3, 4};

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(lengths); i++) {
        struct cancel_key key;

        assert_true(cancel_key_read(5, secret, lengths[i], &key));
        for (unsigned hop = 1; hop <= CANCEL_KEY_HOPS_MAX; hop++) {
            size_t len = cancel_key_pass_on(&key);
            struct cancel_key at_peer;

            assert_int_equal(len, lengths[i] + 1);
            assert_true(cancel_key_read(key.pid, key.secret, len, &at_peer));
            assert_int_equal(at_peer.hops, hop);
            assert_int_equal(at_peer.len, lengths[i]);
            assert_memory_equal(at_peer.secret, secret, lengths[i]);
            key = at_peer;
        }
    }
}

static void other_lengths_are_refused(void **state)
{
    uint8_t secret[64] = {0};
    struct cancel_key key;

    (void)state;
    for (size_t len = 0; len <= sizeof(secret); len++) {
        bool ok = len == 4 || len == 5 || len == 32 || len == 33;

        assert_int_equal(cancel_key_read(1, secret, len, &key), ok);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_peer_is_found),
        cmocka_unit_test(hops_are_counted),
        cmocka_unit_test(other_lengths_are_refused),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
