/* SPDX-License-Identifier: ISC */
/* What is collected leaves in order, in as few pieces as may be, whatever mix of runs and copies it is. */
#include "protocol/outvec.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

static struct loop *loop;
static struct conn conn;
static int peer_fd;
static struct outvec v;

static void on_event(struct loop_io *io, unsigned events)
{
    (void)io;
    (void)events;
}

static int set_up(void **state)
{
    static const int room = 1 << 20;
    int fds[2];

    (void)state;
    loop = loop_new();
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, fds), 0);
    assert_int_equal(setsockopt(fds[0], SOL_SOCKET, SO_SNDBUF, &room, sizeof(room)), 0);
    conn_init(&conn, fds[0], on_event);
    peer_fd = fds[1];
    outvec_init(&v, &conn, loop);
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    conn_done(&conn, loop);
    (void)close(peer_fd);
    loop = loop_free(loop);
    return 0;
}

static void expect_bytes(const void *expected, size_t len)
{
    uint8_t *got = malloc(len + 1);
    size_t n = 0;

    assert_non_null(got);
    for (;;) {
        ssize_t more = recv(peer_fd, got + n, len + 1 - n, MSG_DONTWAIT);

        if (more <= 0) {
            break;
        }
        n += (size_t)more;
    }
    assert_int_equal(n, len);
    assert_memory_equal(got, expected, len);
    free(got);
}

static void test_nothing(void **state)
{
    (void)state;
    assert_true(outvec_is_empty(&v));
    outvec_add(&v, "x", 0);
    outvec_copy(&v, "x", 0);
    assert_true(outvec_is_empty(&v));
    assert_true(outvec_flush(&v));
    expect_bytes("", 0);
    assert_int_equal(v.sent_bytes, 0);
}

static void test_runs_and_copies_in_order(void **state)
{
    static const char text[] = "0123456789";
    char piece[4] = "abc";

    (void)state;
    outvec_add(&v, text, 3);
    outvec_copy(&v, piece, 3);
    memcpy(piece, "xyz", 3); /* it was copied */
    outvec_copy(&v, piece, 3);
    outvec_add(&v, text + 3, 2);
    expect_bytes("", 0); /* nothing leaves before the flush */
    assert_true(outvec_flush(&v));
    assert_true(outvec_is_empty(&v));
    expect_bytes("012abcxyz34", 11);
    assert_int_equal(v.sent_bytes, 11);
    assert_true(outvec_flush(&v));
    expect_bytes("", 0);
}

static void test_adjacent_runs_are_one(void **state)
{
    static const char text[] = "0123456789";

    (void)state;
    outvec_add(&v, text, 2);
    outvec_add(&v, text + 2, 3);
    assert_int_equal(v.n, 1);
    outvec_add(&v, text + 6, 1); /* not adjacent */
    assert_int_equal(v.n, 2);
    outvec_copy(&v, "a", 1);
    outvec_copy(&v, "b", 1);
    assert_int_equal(v.n, 3);
    assert_true(outvec_flush(&v));
    expect_bytes("012346ab", 8);
}

static void test_more_runs_than_fit(void **state)
{
    static const char text[] = "0123456789";
    char expected[1000];

    (void)state;
    for (size_t i = 0; i < sizeof(expected); i++) {
        expected[i] = text[i * 2 % 10];
        outvec_add(&v, text + i * 2 % 10, 1);
    }
    assert_true(outvec_flush(&v));
    expect_bytes(expected, sizeof(expected));
    assert_int_equal(v.sent_bytes, sizeof(expected));
}

/* Runs fill the vector, then comes a copy; copies fill the arena; one copy is larger than the arena. */
static void test_every_way_of_being_full(void **state)
{
    static uint8_t large[3 * OUTVEC_ARENA_BYTES];
    static uint8_t expected[OUTVEC_RUNS * 2 + 20 * OUTVEC_ARENA_BYTES];
    size_t at = 0;

    (void)state;
    for (size_t i = 0; i < sizeof(large); i++) {
        large[i] = (uint8_t)(i * 31 >> 3);
    }
    for (size_t i = 0; i < OUTVEC_RUNS; i++) {
        outvec_add(&v, large + 2 * i, 1);
        expected[at++] = large[2 * i];
    }
    outvec_copy(&v, "!", 1);
    expected[at++] = '!';
    for (size_t len = OUTVEC_ARENA_BYTES - 1; len <= OUTVEC_ARENA_BYTES + 1; len++) {
        outvec_copy(&v, large, len);
        memcpy(expected + at, large, len);
        at += len;
        outvec_copy(&v, "?", 1);
        expected[at++] = '?';
    }
    outvec_copy(&v, large, sizeof(large));
    memcpy(expected + at, large, sizeof(large));
    at += sizeof(large);
    assert_true(outvec_flush(&v));
    expect_bytes(expected, at);
    assert_int_equal(v.sent_bytes, at);
}

static void test_random_mix(void **state)
{
    static uint8_t source[4096];
    static uint8_t expected[200000];
    uint32_t random = 7;
    size_t at = 0;

    (void)state;
    for (size_t i = 0; i < sizeof(source); i++) {
        source[i] = (uint8_t)(i * 131 >> 2);
    }
    for (unsigned i = 0; i < 1000; i++) {
        size_t from;
        size_t len;

        random = random * 1664525 + 1013904223;
        from = (random >> 8) % 2000;
        len = (random >> 20) % 190;
        if (random >> 31 == 0) {
            outvec_add(&v, source + from, len);
        } else {
            outvec_copy(&v, source + from, len);
        }
        memcpy(expected + at, source + from, len);
        at += len;
    }
    assert_true(outvec_flush(&v));
    expect_bytes(expected, at);
}

static void test_a_failure_sticks(void **state)
{
    static uint8_t block[1 << 20];

    (void)state;
    for (unsigned i = 0; i < 100 && !v.failed;
         i++) { /* nobody reads: beyond the ceiling of the queue */
        outvec_add(&v, block, sizeof(block));
        (void)outvec_flush(&v);
    }
    assert_true(v.failed);
    outvec_copy(&v, "x", 1);
    for (unsigned i = 0; i < 2 * OUTVEC_RUNS; i++) {
        outvec_add(&v, block + 2 * (i % 2), 1);
    }
    assert_false(outvec_flush(&v));
    assert_false(outvec_flush(&v));
}

#define OUTVEC_TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        OUTVEC_TEST(test_nothing),
        OUTVEC_TEST(test_runs_and_copies_in_order),
        OUTVEC_TEST(test_adjacent_runs_are_one),
        OUTVEC_TEST(test_more_runs_than_fit),
        OUTVEC_TEST(test_every_way_of_being_full),
        OUTVEC_TEST(test_random_mix),
        OUTVEC_TEST(test_a_failure_sticks),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
