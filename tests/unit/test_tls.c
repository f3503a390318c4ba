/* SPDX-License-Identifier: ISC */
/* The TLS door as a stream, against OpenSSL's own client: handshake, reads, writes, ends, and
 * what is no TLS. Settings and certificates: test_tls_context.c. */
#include "protocol/tls.h"

#include "tests/unit/tls_pair.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>

static void test_handshake_and_echo(void **state)
{
    static const struct {
        const char *name;
        const char *protocols;
        const char *info;
    } cases[] = {
        {"default", NULL, "TLSv1.3/TLS_AES_256_GCM_SHA384/ECDH=X25519"},
        {"1.3", "tlsv1.3", "TLSv1.3/TLS_AES_256_GCM_SHA384/ECDH=X25519"},
        {"1.2", "tlsv1.2", "TLSv1.2/ECDHE-RSA-AES256-GCM-SHA384/ECDH=X25519"},
    };

    (void)state;
    for (unsigned i = 0; i < ARRAY_LEN(cases); i++) {
        struct tls_settings s = settings();
        struct pair p;
        char info[128];
        char buf[64];
        size_t n;

        s.protocols = cases[i].protocols;
        pair_open(&p, &s);
        assert_int_equal(shake(&p), TLS_DONE);
        assert_string_equal(tls_info(p.server, info, sizeof(info)), cases[i].info);
        assert_int_equal(tls_read(p.server, buf, sizeof(buf), &n), TLS_WANT_READ);
        assert_int_equal(SSL_write(p.client, "hello", 5), 5);
        assert_int_equal(tls_read(p.server, buf, 2, &n), TLS_DONE);
        assert_int_equal(n, 2);
        assert_true(tls_pending(p.server));
        assert_int_equal(tls_read(p.server, buf + 2, sizeof(buf) - 2, &n), TLS_DONE);
        assert_int_equal(n, 3);
        assert_memory_equal(buf, "hello", 5);
        assert_false(tls_pending(p.server));
        assert_int_equal(tls_write(p.server, "world!", 6, &n), TLS_DONE);
        assert_int_equal(n, 6);
        assert_int_equal(SSL_read(p.client, buf, sizeof(buf)), 6);
        assert_memory_equal(buf, "world!", 6);
        assert_null(tls_peer_common_name(p.server));
        pair_close(&p);
    }
}

/* Far more than the socket takes: partial writes, moved buffers, several records in one read. */
static void test_bulk_both_ways(void **state)
{
    enum { TOTAL = 3000000 };
    struct tls_settings s = settings();
    uint8_t *out = malloc(TOTAL);
    uint8_t *in = malloc(TOTAL);
    size_t sent = 0;
    size_t got = 0;
    size_t n;
    struct pair p;

    (void)state;
    for (size_t i = 0; i < TOTAL; i++) {
        out[i] = (uint8_t)(i * 7 + i / 251);
    }
    pair_open(&p, &s);
    assert_int_equal(shake(&p), TLS_DONE);
    while (got < TOTAL) {
        uint8_t *moved = malloc(TOTAL - sent + 1); /* a retry may come from another address */
        enum tls_result result = TLS_DONE;
        int part;

        memcpy(moved, out + sent, TOTAL - sent);
        if (sent < TOTAL) {
            result = tls_write(p.server, moved, TOTAL - sent, &n);
            sent += n;
        }
        free(moved);
        assert_true(result == TLS_DONE || result == TLS_WANT_WRITE);
        while ((part = SSL_read(p.client, in + got, (int)(TOTAL - got))) > 0) {
            got += (size_t)part;
        }
    }
    assert_memory_equal(in, out, TOTAL);
    sent = 0;
    got = 0;
    SSL_set_mode(p.client, SSL_MODE_ENABLE_PARTIAL_WRITE | SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER);
    while (got < TOTAL) {
        int part;

        while (sent < TOTAL && (part = SSL_write(p.client, out + sent, (int)(TOTAL - sent))) > 0) {
            sent += (size_t)part;
        }
        do {
            enum tls_result result =
                tls_read(p.server, in + got, MIN(TOTAL - got, (size_t)100000), &n);

            assert_true(result == TLS_DONE || result == TLS_WANT_READ);
            got += n;
        } while (tls_pending(p.server));
    }
    assert_memory_equal(in, out, TOTAL);
    pair_close(&p);
    free(out);
    free(in);
}

/* Bytes of half a record are buffered: the loop must sleep, not spin. */
static void test_partial_record_is_not_pending(void **state)
{
    struct tls_settings s = settings();
    uint8_t record[1000];
    char buf[64];
    int between[2];
    ssize_t len;
    size_t n;
    struct pair p;

    (void)state;
    pair_open(&p, &s);
    assert_int_equal(shake(&p), TLS_DONE);
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, between), 0);
    SSL_set_fd(p.client, between[0]);
    assert_int_equal(SSL_write(p.client, "split", 5), 5);
    len = read(between[1], record, sizeof(record));
    assert_true(len > 10);
    assert_int_equal(write(p.fds[1], record, 10), 10);
    assert_int_equal(tls_read(p.server, buf, sizeof(buf), &n), TLS_WANT_READ);
    assert_false(tls_pending(p.server));
    assert_int_equal(write(p.fds[1], record + 10, (size_t)len - 10), len - 10);
    assert_int_equal(tls_read(p.server, buf, sizeof(buf), &n), TLS_DONE);
    assert_int_equal(n, 5);
    pair_close(&p);
    close(between[0]);
    close(between[1]);
}

static void test_early_bytes_are_served_first(void **state)
{
    struct tls_settings s = settings();
    uint8_t hello[2000];
    ssize_t len;
    struct pair p;

    (void)state;
    for (size_t keep = 0; keep < 3; keep++) { /* how many bytes stay in the socket */
        pair_open(&p, &s);
        (void)SSL_do_handshake(p.client);
        len = recv(p.fds[0], hello, sizeof(hello), MSG_PEEK);
        assert_true(len > 100);
        len -= (ssize_t)keep * 50;
        assert_int_equal(read(p.fds[0], hello, (size_t)len), len);
        p.server = tls_free(p.server);
        p.server = tls_accept_new(p.ctx, p.fds[0], TLS_AFTER_SSLREQUEST, hello, (size_t)len);
        assert_true(tls_pending(p.server));
        assert_int_equal(shake(&p), TLS_DONE);
        assert_false(tls_pending(p.server));
        pair_close(&p);
    }
}

static void test_alpn(void **state)
{
    static const struct {
        const char *name;
        const char *offer;
        enum tls_accept_kind kind;
        enum tls_result result;
    } cases[] = {
        {"none, after SSLRequest", "", TLS_AFTER_SSLREQUEST, TLS_DONE},
        {"right, after SSLRequest", "\x0apostgresql", TLS_AFTER_SSLREQUEST, TLS_DONE},
        {"second of two", "\x02h2\x0apostgresql", TLS_AFTER_SSLREQUEST, TLS_DONE},
        {"wrong, after SSLRequest", "\x02h2", TLS_AFTER_SSLREQUEST, TLS_ERROR},
        {"a longer name", "\x0bpostgresql2", TLS_AFTER_SSLREQUEST, TLS_ERROR},
        {"none, direct", "", TLS_DIRECT, TLS_ERROR},
        {"right, direct", "\x0apostgresql", TLS_DIRECT, TLS_DONE},
    };

    (void)state;
    for (unsigned i = 0; i < ARRAY_LEN(cases); i++) {
        struct tls_settings s = settings();
        struct tls_context *ctx = context(&s);
        enum tls_result result;
        struct pair p;

        pair_open_with(&p, ctx, cases[i].kind);
        if (cases[i].offer[0] != '\0') {
            SSL_set_alpn_protos(p.client, (const unsigned char *)cases[i].offer,
                                (unsigned)strlen(cases[i].offer));
        }
        result = shake(&p);
        if (result != cases[i].result) {
            fail_msg("%s: %d (%s)", cases[i].name, result, tls_error(p.server));
        }
        assert_int_equal(tls_error(p.server)[0] != '\0', result == TLS_ERROR);
        pair_close(&p);
        tls_context_free(ctx);
    }
}

static void test_ends_of_the_stream(void **state)
{
    struct tls_settings s = settings();
    char buf[64];
    size_t n;
    struct pair p;

    (void)state;
    pair_open(&p, &s); /* a peer that goes away in the handshake */
    close(p.fds[1]);
    p.fds[1] = -1;
    assert_int_equal(tls_handshake(p.server), TLS_CLOSED);
    assert_int_equal(tls_handshake(p.server), TLS_CLOSED);
    pair_close(&p);

    pair_open(&p, &s); /* close_notify behind data */
    assert_int_equal(shake(&p), TLS_DONE);
    SSL_write(p.client, "bye", 3);
    SSL_shutdown(p.client);
    assert_int_equal(tls_read(p.server, buf, sizeof(buf), &n), TLS_DONE);
    assert_int_equal(n, 3);
    assert_int_equal(tls_read(p.server, buf, sizeof(buf), &n), TLS_CLOSED);
    assert_int_equal(n, 0);
    assert_int_equal(tls_read(p.server, buf, sizeof(buf), &n), TLS_CLOSED);
    pair_close(&p);

    pair_open(&p, &s); /* no close_notify */
    assert_int_equal(shake(&p), TLS_DONE);
    assert_int_equal(SSL_read(p.client, buf, sizeof(buf)),
                     -1); /* the ticket; unread, it would make it a reset */
    close(p.fds[1]);
    p.fds[1] = -1;
    assert_int_equal(tls_read(p.server, buf, sizeof(buf), &n), TLS_CLOSED);
    tls_shutdown(p.server);
    pair_close(&p);

    pair_open(&p, &s); /* writing to nobody: an error, no signal */
    assert_int_equal(shake(&p), TLS_DONE);
    close(p.fds[1]);
    p.fds[1] = -1;
    assert_int_equal(tls_write(p.server, "x", 1, &n), TLS_ERROR);
    assert_string_equal(tls_error(p.server), strerror(EPIPE));
    pair_close(&p);

    pair_open(&p, &s); /* our goodbye */
    assert_int_equal(shake(&p), TLS_DONE);
    tls_shutdown(p.server);
    assert_int_equal(SSL_read(p.client, buf, sizeof(buf)), 0);
    assert_int_equal(SSL_get_error(p.client, 0), SSL_ERROR_ZERO_RETURN);
    pair_close(&p);
}

/* Whatever comes instead of TLS ends in an error with a text; every flipped byte of a record as
 * well. */
static void test_hostile_bytes(void **state)
{
    static const char *const openers[] = {"GET / HTTP/1.0\r\n\r\n", "\x16\x03\x01\xff\xff\x01",
                                          "\x80\x2e\x01\x03\x01", "\x15\x03\x03\x00\x02\x02\x28",
                                          "\x17\x03\x03\x40\x01xxxx"};
    struct tls_settings s = settings();
    uint8_t record[1000];
    char buf[64];
    ssize_t len = 1;
    size_t n;
    struct pair p;

    (void)state;
    for (unsigned i = 0; i < ARRAY_LEN(openers); i++) {
        pair_open(&p, &s);
        assert_true(write(p.fds[1], openers[i], strlen(openers[i])) > 0);
        shutdown(p.fds[1], SHUT_WR);
        switch (tls_handshake(p.server)) {
        case TLS_ERROR:
            assert_string_not_equal(tls_error(p.server), "");
            break;
        case TLS_CLOSED:
            break;
        default:
            fail_msg("opener %u was accepted", i);
        }
        pair_close(&p);
    }
    for (ssize_t at = 0; at < len; at++) {
        int between[2];

        pair_open(&p, &s);
        assert_int_equal(shake(&p), TLS_DONE);
        assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, between), 0);
        SSL_set_fd(p.client, between[0]);
        assert_int_equal(SSL_write(p.client, "payload", 7), 7);
        len = read(between[1], record, sizeof(record));
        record[at] ^= 0x41;
        assert_int_equal(write(p.fds[1], record, (size_t)len), len);
        shutdown(p.fds[1], SHUT_WR);
        if (tls_read(p.server, buf, sizeof(buf), &n) == TLS_DONE) {
            fail_msg("byte %zd changed, still accepted", at);
        }
        pair_close(&p);
        close(between[0]);
        close(between[1]);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_handshake_and_echo),
        cmocka_unit_test(test_bulk_both_ways),
        cmocka_unit_test(test_partial_record_is_not_pending),
        cmocka_unit_test(test_early_bytes_are_served_first),
        cmocka_unit_test(test_alpn),
        cmocka_unit_test(test_ends_of_the_stream),
        cmocka_unit_test(test_hostile_bytes),
    };
    int failed;

    signal(SIGPIPE, SIG_IGN);
    certs = certs_new();
    failed = cmocka_run_group_tests_name("tls", tests, NULL, NULL);
    certs = certs_free(certs);
    return failed;
}
