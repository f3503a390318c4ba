/* SPDX-License-Identifier: ISC */
/* Connections over socket pairs with the smallest buffers the kernel gives: most of what is sent meets EAGAIN. */
#include "protocol/conn.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <cmocka.h>

struct side {
    struct conn conn;
    unsigned writable_calls;
    unsigned readable_calls;
};

static struct loop *loop;
static struct side side;
static int peer_fd;
static uint32_t sent_seed, read_seed; /* both ends draw the same bytes */
static size_t peer_left;              /* the peer has read all when this is 0 */
static struct loop_io peer_io;
static struct loop_timer patience;

static uint8_t next_byte(uint32_t *seed)
{
    *seed = *seed * 1664525 + 1013904223;
    return (uint8_t)(*seed >> 24);
}

static void on_patience(struct loop_timer *t)
{
    (void)t;
    loop_stop(loop);
}

static void run_for(usec_t us)
{
    loop_timer_set(loop, &patience, us);
    loop_run(loop);
    loop_timer_stop(loop, &patience);
}

static void on_event(struct loop_io *io, unsigned events)
{
    struct side *s = container_of(io, struct side, conn.io);

    if ((events & LOOP_WRITE) != 0) {
        s->writable_calls++;
        conn_on_writable(&s->conn, loop);
    }
    if ((events & LOOP_READ) != 0) {
        s->readable_calls++;
        loop_stop(loop);
    }
}

/* The peer reads a little, and checks it. */
static void on_peer_readable(struct loop_io *io, unsigned events)
{
    uint8_t bytes[3001];
    ssize_t n = recv(loop_io_fd(io), bytes, sizeof(bytes), MSG_DONTWAIT);

    (void)events;
    assert_true(n > 0);
    assert_true((size_t)n <= peer_left);
    for (ssize_t i = 0; i < n; i++) {
        if (bytes[i] != next_byte(&read_seed)) {
            fail_msg("byte %zu from the end is another one", peer_left - (size_t)i);
        }
    }
    peer_left -= (size_t)n;
    if (peer_left == 0) {
        loop_stop(loop);
    }
}

static void draw(uint8_t *bytes, size_t len)
{
    for (size_t i = 0; i < len; i++) {
        bytes[i] = next_byte(&sent_seed);
    }
    peer_left += len;
}

static void peer_reads_all(void)
{
    loop_io_want(loop, &peer_io, LOOP_READ);
    run_for(5 * USEC_PER_SEC);
    loop_io_want(loop, &peer_io, LOOP_NONE);
    assert_int_equal(peer_left, 0);
    run_for(0); /* the last writable event may still be on its way */
}

static int set_up(void **state)
{
    static const int tiny = 1;
    int fds[2];

    (void)state;
    loop = loop_new();
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, fds), 0);
    assert_int_equal(setsockopt(fds[0], SOL_SOCKET, SO_SNDBUF, &tiny, sizeof(tiny)), 0);
    side = (struct side){.writable_calls = 0};
    conn_init(&side.conn, fds[0], on_event);
    peer_fd = fds[1];
    sent_seed = read_seed = 1;
    peer_left = 0;
    loop_io_init(&peer_io, peer_fd, on_peer_readable);
    loop_timer_init(&patience, on_patience);
    return 0;
}

static void peer_goes(void)
{
    if (peer_fd >= 0) {
        loop_io_stop(loop, &peer_io);
        (void)close(peer_fd);
        peer_fd = -1;
    }
}

static int tear_down(void **state)
{
    (void)state;
    peer_goes();
    conn_done(&side.conn, loop);
    conn_done(&side.conn, loop);
    loop = loop_free(loop);
    return 0;
}

static void fill_socket(void)
{
    static uint8_t bytes[256 * 1024];

    draw(bytes, sizeof(bytes));
    assert_true(conn_send(&side.conn, loop, bytes, sizeof(bytes)));
    assert_true(conn_queued(&side.conn) > 0);
}

static void test_small_send_leaves_at_once(void **state)
{
    uint8_t got[8];

    (void)state;
    assert_true(conn_is_open(&side.conn));
    assert_true(conn_send(&side.conn, loop, "hello", 5));
    assert_int_equal(conn_queued(&side.conn), 0);
    assert_int_equal(loop_io_wanted(&side.conn.io), LOOP_NONE); /* no watcher for it */
    assert_int_equal(recv(peer_fd, got, sizeof(got), MSG_DONTWAIT), 5);
    assert_memory_equal(got, "hello", 5);
}

static void test_pieces_leave_as_one(void **state)
{
    char text[] = "abcdef";
    struct iovec iov[4] = {{text, 1}, {text, 0}, {text + 1, 2}, {text + 3, 3}};
    uint8_t got[8];

    (void)state;
    assert_true(conn_sendv(&side.conn, loop, iov, 4));
    assert_int_equal(recv(peer_fd, got, sizeof(got), MSG_DONTWAIT), 6);
    assert_memory_equal(got, "abcdef", 6);
    assert_true(conn_sendv(&side.conn, loop, iov + 1, 1)); /* nothing: nothing happens */
    assert_true(conn_sendv(&side.conn, loop, iov, 0));
    assert_int_equal(recv(peer_fd, got, sizeof(got), MSG_DONTWAIT), -1);
}

static void test_order_over_a_full_socket(void **state)
{
    static uint8_t bytes[9000];

    (void)state;
    for (unsigned i = 0; i < 300; i++) {
        size_t len = 1 + (i * 7919) % sizeof(bytes);
        size_t cut = len / 3;
        struct iovec iov[3] = {{bytes, cut}, {bytes + cut, cut}, {bytes + 2 * cut, len - 2 * cut}};

        draw(bytes, len);
        assert_true(conn_sendv(&side.conn, loop, iov, 3));
        memset(bytes, 0, len); /* what did not go was copied */
        if (i % 50 == 49) {
            loop_io_want(loop, &peer_io, LOOP_READ);
            run_for(200); /* a part goes in between */
            loop_io_want(loop, &peer_io, LOOP_NONE);
        }
    }
    assert_true(conn_queued(&side.conn) > 0);
    assert_int_equal(loop_io_wanted(&side.conn.io), LOOP_WRITE);
    peer_reads_all();
    assert_true(side.writable_calls > 1);
    assert_int_equal(conn_queued(&side.conn), 0);
    assert_int_equal(loop_io_wanted(&side.conn.io), LOOP_NONE);
    assert_null(side.conn.out); /* an idle connection owns no memory */
}

static void test_reading_and_writing_are_wanted_apart(void **state)
{
    (void)state;
    conn_want_read(&side.conn, loop, true);
    conn_want_read(&side.conn, loop, true);
    assert_int_equal(loop_io_wanted(&side.conn.io), LOOP_READ);
    fill_socket();
    assert_int_equal(loop_io_wanted(&side.conn.io), LOOP_READ | LOOP_WRITE);
    conn_want_read(&side.conn, loop, false);
    assert_int_equal(loop_io_wanted(&side.conn.io), LOOP_WRITE);
    conn_want_read(&side.conn, loop, true);
    peer_reads_all();
    assert_int_equal(loop_io_wanted(&side.conn.io), LOOP_READ);
}

static void test_back_pressure(void **state)
{
    (void)state;
    assert_int_equal(send(peer_fd, "x", 1, 0), 1);
    conn_want_read(&side.conn, loop, true);
    conn_want_read(&side.conn, loop, false);
    run_for(1000);
    assert_int_equal(side.readable_calls, 0);
    conn_want_read(&side.conn, loop, true);
    run_for(1 * USEC_PER_SEC);
    assert_int_equal(side.readable_calls, 1);
}

static void test_read(void **state)
{
    uint8_t got[4];

    (void)state;
    assert_int_equal(conn_read(&side.conn, loop, got, sizeof(got)), CONN_AGAIN);
    assert_int_equal(send(peer_fd, "abcdef", 6, 0), 6);
    assert_int_equal(conn_read(&side.conn, loop, got, sizeof(got)), 4);
    assert_memory_equal(got, "abcd", 4);
    assert_int_equal(conn_read(&side.conn, loop, got, sizeof(got)), 2);
    assert_int_equal(conn_read(&side.conn, loop, got, sizeof(got)), CONN_AGAIN);
    assert_false(conn_has_pending(&side.conn));
    assert_int_equal(send(peer_fd, "x", 1, 0), 1);
    peer_goes();
    assert_int_equal(conn_read(&side.conn, loop, got, sizeof(got)),
                     1); /* what was sent before the end comes first */
    assert_int_equal(conn_read(&side.conn, loop, got, sizeof(got)), CONN_EOF);
    assert_int_equal(conn_read(&side.conn, loop, got, sizeof(got)), CONN_EOF);
}

/* How many bytes, and one descriptor, which is closed: its number; -1: none. */
static int read_fd(size_t expected)
{
    union {
        struct cmsghdr head;
        char room[CMSG_SPACE(sizeof(int))];
    } control;
    char data[64];
    struct iovec iov = {.iov_base = data, .iov_len = sizeof(data)};
    struct msghdr msg = {.msg_iov = &iov,
                         .msg_iovlen = 1,
                         .msg_control = control.room,
                         .msg_controllen = sizeof(control.room)};
    int fd = -1;

    assert_int_equal(recvmsg(peer_fd, &msg, MSG_DONTWAIT | MSG_CMSG_CLOEXEC), expected);
    if (CMSG_FIRSTHDR(&msg) != NULL) {
        memcpy(&fd, CMSG_DATA(CMSG_FIRSTHDR(&msg)), sizeof(int));
    }
    return fd;
}

static void test_descriptors(void **state)
{
    unsigned n = 0;
    int ends[2];
    char c = 0;
    int fd;

    (void)state;
    assert_int_equal(pipe2(ends, O_CLOEXEC), 0);
    while (conn_send_fd(&side.conn, loop, "0123456789", 10, ends[1]) == CONN_FD_SENT) {
        n++;
        assert_true(n < 1000000);
    }
    assert_true(n > 1);
    assert_int_equal(conn_queued(&side.conn), 0); /* what finds no room is not half sent */
    for (unsigned i = 0; i < n; i++) {
        fd = read_fd(10); /* one with each: the kernel does not glue them together */
        assert_true(fd >= 0);
        if (i == 0) {
            assert_int_equal(write(fd, "x", 1), 1);
        }
        assert_int_equal(close(fd), 0);
    }
    assert_int_equal(read(ends[0], &c, 1), 1);
    assert_int_equal(c, 'x');
    peer_goes();
    assert_int_equal(conn_send_fd(&side.conn, loop, "0123456789", 10, ends[1]), CONN_FD_SENT);
    assert_true(side.conn.broken);
    (void)close(ends[0]);
    (void)close(ends[1]);
}

static void test_reset_is_an_error(void **state)
{
    uint8_t got[4];

    (void)state;
    assert_true(conn_send(&side.conn, loop, "unread", 6));
    peer_goes();
    assert_int_equal(conn_read(&side.conn, loop, got, sizeof(got)), -ECONNRESET);
}

static void test_peer_gone_shows_when_reading_only(void **state)
{
    uint8_t got[4];

    (void)state;
    peer_goes();
    for (unsigned i = 0; i < 10; i++) {
        assert_true(conn_send(&side.conn, loop, "hello", 5));
        assert_int_equal(conn_queued(&side.conn), 0);
    }
    assert_int_equal(conn_read(&side.conn, loop, got, sizeof(got)), CONN_EOF);
}

static void test_peer_gone_with_bytes_in_the_queue(void **state)
{
    uint64_t turns;

    (void)state;
    fill_socket();
    peer_goes();
    turns = loop_turns(loop);
    run_for(20000);
    assert_true(side.writable_calls <= 2); /* and the loop does not spin */
    assert_true(loop_turns(loop) - turns < 20);
    assert_int_equal(loop_io_wanted(&side.conn.io), LOOP_NONE);
    assert_true(conn_send(&side.conn, loop, "hello", 5));
}

static void test_ceiling_of_the_queue(void **state)
{
    static uint8_t block[1 << 20];
    size_t queued;

    (void)state;
    fill_socket();
    for (queued = conn_queued(&side.conn); queued + sizeof(block) <= CONN_QUEUE_MAX_BYTES;
         queued += sizeof(block)) {
        assert_true(conn_send(&side.conn, loop, block, sizeof(block)));
    }
    assert_true(conn_send(&side.conn, loop, block, CONN_QUEUE_MAX_BYTES - queued));
    assert_int_equal(conn_queued(&side.conn), CONN_QUEUE_MAX_BYTES);
    assert_false(conn_send(&side.conn, loop, block, 1));
}

static void test_done(void **state)
{
    int fd = conn_fd(&side.conn);

    (void)state;
    fill_socket();
    conn_want_read(&side.conn, loop, true);
    conn_done(&side.conn, loop);
    assert_false(conn_is_open(&side.conn));
    assert_int_equal(conn_queued(&side.conn), 0);
    assert_int_equal(fcntl(fd, F_GETFD), -1);
    run_for(1000);
    assert_int_equal(side.writable_calls + side.readable_calls, 0);
}

#define CONN_TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

/* --- without copying --- */

#define SPLICED_BYTES ((size_t)100 * 1000)

struct source {
    struct conn conn;
    struct conn_pipe pipe;
    int writer;
};

static void source_open(struct source *s)
{
    static uint8_t bytes[SPLICED_BYTES];
    int fds[2];

    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, fds), 0);
    conn_init(&s->conn, fds[0], on_event);
    s->writer = fds[1];
    conn_pipe_open(&s->pipe);
    conn_begin_bulk(&s->conn);
    draw(bytes, sizeof(bytes));
    assert_int_equal(send(s->writer, bytes, sizeof(bytes), 0), sizeof(bytes));
    assert_int_equal(conn_waiting(&s->conn), SPLICED_BYTES);
}

static void source_close(struct source *s)
{
    conn_pipe_close(&s->pipe);
    conn_pipe_close(&s->pipe);
    conn_done(&s->conn, loop);
    (void)close(s->writer);
}

/* The socket takes little of it; the order is kept, also with what is sent behind. */
static void test_spliced(void **state)
{
    struct source s;
    uint8_t seen[SPLICED_BYTES];
    uint8_t behind[1000];
    size_t moved = 0;

    (void)state;
    source_open(&s);
    assert_int_equal(conn_peek(&s.conn, seen, sizeof(seen)), SPLICED_BYTES);
    while (moved < SPLICED_BYTES) {
        size_t now;

        assert_true(conn_can_splice(&s.conn, &side.conn, &s.pipe));
        now = conn_splice(&s.conn, &side.conn, loop, &s.pipe, SPLICED_BYTES - moved);
        moved += now;
        assert_int_equal(conn_waiting(&s.conn), SPLICED_BYTES - moved);
        if (moved == SPLICED_BYTES) {
            break;
        }
        assert_true(now == 0 || conn_queued(&side.conn) > 0);
        assert_int_equal(conn_splice(&s.conn, &side.conn, loop, &s.pipe, 1), 0);
        loop_io_want(loop, &peer_io, LOOP_READ);
        while (conn_queued(&side.conn) > 0) {
            run_for(USEC_PER_SEC / 100);
        }
    }
    draw(behind, sizeof(behind));
    assert_true(conn_send(&side.conn, loop, behind, sizeof(behind)));
    peer_reads_all();
    source_close(&s);
}

static void test_spliced_to_one_who_is_gone(void **state)
{
    struct source s;

    (void)state;
    source_open(&s);
    peer_goes();
    assert_true(conn_splice(&s.conn, &side.conn, loop, &s.pipe, SPLICED_BYTES) > 0);
    assert_true(side.conn.broken);
    assert_int_equal(conn_queued(&side.conn), 0);
    assert_false(conn_can_splice(&s.conn, &side.conn, &s.pipe));
    source_close(&s);
}

static void test_nothing_is_spliced_without_a_pipe(void **state)
{
    struct source s;

    (void)state;
    source_open(&s);
    conn_pipe_close(&s.pipe);
    assert_false(conn_can_splice(&s.conn, &side.conn, &s.pipe));
    assert_int_equal(conn_splice(&s.conn, &side.conn, loop, &s.pipe, SPLICED_BYTES), 0);
    peer_left = 0;
    source_close(&s);
}

/* --- this machine itself --- */

static const struct {
    const char *text;
    bool is_loopback;
} addresses[] = {
    {"127.0.0.1", true}, {"127.255.0.9", true}, {"::1", true},      {"128.0.0.1", false},
    {"0.0.0.0", false},  {"::", false},         {"fe80::1", false}, {"10.0.0.127", false},
};

static void test_loopback(void **state)
{
    const struct sockaddr_un local = {.sun_family = AF_UNIX};

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(addresses); i++) {
        struct sockaddr_in v4 = {.sin_family = AF_INET};
        struct sockaddr_in6 v6 = {.sin6_family = AF_INET6};
        bool is_v4 = inet_pton(AF_INET, addresses[i].text, &v4.sin_addr) == 1;
        bool found;

        assert_true(is_v4 || inet_pton(AF_INET6, addresses[i].text, &v6.sin6_addr) == 1);
        found = conn_is_loopback(is_v4 ? (const void *)&v4 : (const void *)&v6);
        if (found != addresses[i].is_loopback) {
            fail_msg("%s", addresses[i].text);
        }
    }
    assert_false(conn_is_loopback((const void *)&local));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        CONN_TEST(test_small_send_leaves_at_once),
        CONN_TEST(test_pieces_leave_as_one),
        CONN_TEST(test_order_over_a_full_socket),
        CONN_TEST(test_reading_and_writing_are_wanted_apart),
        CONN_TEST(test_back_pressure),
        CONN_TEST(test_read),
        CONN_TEST(test_descriptors),
        CONN_TEST(test_reset_is_an_error),
        CONN_TEST(test_peer_gone_shows_when_reading_only),
        CONN_TEST(test_peer_gone_with_bytes_in_the_queue),
        CONN_TEST(test_ceiling_of_the_queue),
        CONN_TEST(test_done),
        CONN_TEST(test_spliced),
        CONN_TEST(test_spliced_to_one_who_is_gone),
        CONN_TEST(test_nothing_is_spliced_without_a_pipe),
        cmocka_unit_test(test_loopback),
    };

    (void)signal(SIGPIPE, SIG_IGN); /* as the daemon does: splice() has no MSG_NOSIGNAL */
    return cmocka_run_group_tests(tests, NULL, NULL);
}
