/* SPDX-License-Identifier: ISC */
/* The TLS door against OpenSSL's own client over a socketpair; certificates are made on the
 * spot. */
#include "daemon/util/clock.h"
#include "protocol/tls.h"

#include "tests/unit/certs.h"

#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>
#include <errno.h>
#include <fcntl.h>
#include <openssl/err.h>
#include <openssl/ssl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

static struct certs *certs;

/* One connection, both ends in this process. */
struct pair {
    int fds[2];
    struct tls_context *ctx;
    struct tls *server;
    SSL_CTX *client_ctx;
    SSL *client;
};

static struct tls_settings settings(void)
{
    struct tls_settings s = {
        .sslmode = TLS_REQUIRE, .key_file = certs->server_key, .cert_file = certs->server_cert};

    return s;
}

static struct tls_context *context(const struct tls_settings *s)
{
    struct tls_error err = {""};
    struct tls_context *ctx = tls_context_new(s, &err);

    if (ctx == NULL) {
        fail_msg("%s", err.text);
    }
    return ctx;
}

static void pair_open_with(struct pair *p, struct tls_context *ctx, enum tls_accept_kind kind)
{
    memset(p, 0, sizeof(*p));
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, p->fds), 0);
    p->ctx = ctx;
    p->server = tls_accept_new(ctx, p->fds[0], kind, NULL, 0);
    assert_non_null(p->server);
    p->client_ctx = SSL_CTX_new(TLS_client_method());
    p->client = SSL_new(p->client_ctx);
    SSL_set_fd(p->client, p->fds[1]);
    SSL_set_connect_state(p->client);
}

static void pair_open(struct pair *p, const struct tls_settings *s)
{
    pair_open_with(p, context(s), TLS_AFTER_SSLREQUEST);
}

static void pair_close(struct pair *p)
{
    SSL_free(p->client);
    SSL_CTX_free(p->client_ctx);
    p->server = tls_free(p->server);
    p->ctx = tls_context_unref(p->ctx);
    for (unsigned i = 0; i < 2; i++) {
        if (p->fds[i] >= 0) {
            close(p->fds[i]);
        }
    }
}

static void pair_use_client_cert(struct pair *p)
{
    assert_int_equal(SSL_use_certificate_file(p->client, certs->client_cert, SSL_FILETYPE_PEM), 1);
    assert_int_equal(SSL_use_PrivateKey_file(p->client, certs->client_key, SSL_FILETYPE_PEM), 1);
}

/* Runs both sides until the server has a verdict. */
static enum tls_result shake(struct pair *p)
{
    enum tls_result result = TLS_WANT_READ;

    for (unsigned i = 0; i < 50 && (result == TLS_WANT_READ || result == TLS_WANT_WRITE); i++) {
        ERR_clear_error();
        (void)SSL_do_handshake(p->client);
        result = tls_handshake(p->server);
    }
    ERR_clear_error();
    (void)SSL_do_handshake(p->client);
    return result;
}

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
        assert_int_equal(tls_peek(p.server, buf, 1, &n), TLS_DONE);
        assert_int_equal(n, 1);
        assert_true(tls_pending(p.server));
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
        assert_false(tls_peer_has_certificate(p.server));
        assert_null(tls_peer_common_name(p.server));
        assert_null(tls_peer_dn(p.server));
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
        enum tls_result result;
        struct pair p;

        pair_open_with(&p, context(&s), cases[i].kind);
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
    }
}

static void test_client_certificates(void **state)
{
    struct tls_settings s = settings();
    char buf[16];
    char *name;
    size_t n;
    struct pair p;

    (void)state;
    /* not asked for below verify-ca: the client has one, but is not asked */
    s.ca_file = certs->ca_cert;
    pair_open(&p, &s);
    pair_use_client_cert(&p);
    assert_int_equal(shake(&p), TLS_DONE);
    assert_false(tls_peer_has_certificate(p.server));
    pair_close(&p);

    s.sslmode = TLS_VERIFY_CA;
    pair_open(&p, &s);
    assert_int_equal(shake(&p), TLS_ERROR);
    assert_non_null(strstr(tls_error(p.server), "peer did not return a certificate"));
    assert_int_equal(tls_read(p.server, buf, sizeof(buf), &n), TLS_ERROR);
    pair_close(&p);

    s.sslmode = TLS_VERIFY_FULL;
    pair_open(&p, &s);
    pair_use_client_cert(&p);
    assert_int_equal(shake(&p), TLS_DONE);
    assert_true(tls_peer_has_certificate(p.server));
    name = tls_peer_common_name(p.server);
    assert_string_equal(name, "alice");
    free(name);
    name = tls_peer_dn(p.server);
    assert_string_equal(name, "CN=alice,O=Test\\, Inc");
    free(name);
    pair_close(&p);

    s.ca_file = certs->client_cert; /* not who signed it */
    pair_open(&p, &s);
    SSL_use_certificate_file(p.client, certs->server_cert, SSL_FILETYPE_PEM);
    SSL_use_PrivateKey_file(p.client, certs->server_key, SSL_FILETYPE_PEM);
    assert_int_equal(shake(&p), TLS_ERROR);
    assert_non_null(strstr(tls_error(p.server), "certificate verify failed: unable to get"));
    pair_close(&p);
}

static void test_end_point(void **state)
{
    struct tls_settings s = settings();
    uint8_t own[TLS_END_POINT_MAX_BYTES];
    uint8_t expected[EVP_MAX_MD_SIZE];
    unsigned expected_len;
    size_t len = 0;
    X509 *cert;
    struct pair p;

    (void)state;
    s.sslmode = TLS_VERIFY_CA;
    s.ca_file = certs->ca_cert;
    pair_open(&p, &s);
    pair_use_client_cert(&p);
    assert_int_equal(shake(&p), TLS_DONE);
    cert = SSL_get1_peer_certificate(p.client);
    X509_digest(cert, EVP_sha256(), expected, &expected_len);
    X509_free(cert);
    assert_true(tls_end_point(p.server, TLS_OWN_CERTIFICATE, own, &len));
    assert_int_equal(len, expected_len);
    assert_memory_equal(own, expected, len);
    X509_digest(SSL_get_certificate(p.client), EVP_sha512(), expected,
                &expected_len); /* signed with SHA-512 */
    assert_true(tls_end_point(p.server, TLS_PEER_CERTIFICATE, own, &len));
    assert_int_equal(len, expected_len);
    assert_memory_equal(own, expected, len);
    pair_close(&p);
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

static SSL_SESSION *kept_session;

static int keep_session(SSL *ssl, SSL_SESSION *session)
{
    (void)ssl;
    SSL_SESSION_free(kept_session);
    kept_session = session;
    return 1;
}

/* One connection with the session kept before, if any; was it resumed? */
static bool connect_again(struct tls_context *ctx)
{
    char buf[8];
    struct pair p;
    bool reused;

    pair_open_with(&p, tls_context_ref(ctx), TLS_AFTER_SSLREQUEST);
    SSL_CTX_set_session_cache_mode(p.client_ctx,
                                   SSL_SESS_CACHE_CLIENT | SSL_SESS_CACHE_NO_INTERNAL_STORE);
    SSL_CTX_sess_set_new_cb(p.client_ctx, keep_session);
    if (kept_session != NULL) {
        SSL_set_session(p.client, kept_session);
    }
    assert_int_equal(shake(&p), TLS_DONE);
    (void)SSL_read(p.client, buf, sizeof(buf)); /* the ticket */
    reused = SSL_session_reused(p.client);
    SSL_shutdown(p.client); /* else OpenSSL does not trust the session any more */
    pair_close(&p);
    return reused;
}

static void forget_session(void)
{
    SSL_SESSION_free(kept_session);
    kept_session = NULL;
}

static void test_ticket_keys_rotate(void **state)
{
    static const usec_t hour_us = 3600 * USEC_PER_SEC;
    static const char *const protocols[] = {"tlsv1.2", "tlsv1.3"};

    (void)state;
    for (unsigned i = 0; i < ARRAY_LEN(protocols); i++) {
        struct tls_settings s = settings();
        struct tls_context *ctx;
        struct tls_context *other;
        SSL_SESSION *first;

        s.protocols = protocols[i];
        ctx = context(&s);
        other = context(&s);
        clock_fake(hour_us);
        assert_false(connect_again(ctx));
        first = SSL_SESSION_dup(kept_session); /* the client does not use one twice */
        assert_true(connect_again(ctx));
        clock_fake(2 * hour_us); /* another key seals, this one still opens */
        forget_session();
        kept_session = SSL_SESSION_dup(first);
        assert_true(connect_again(ctx));
        clock_fake(3 * hour_us);
        forget_session();
        kept_session = SSL_SESSION_dup(first);
        assert_false(connect_again(ctx));   /* a full handshake, no error */
        assert_false(connect_again(other)); /* as after a RELOAD */
        forget_session();
        SSL_SESSION_free(first);
        tls_context_unref(ctx);
        tls_context_unref(other);
    }
}

static void test_sessions_are_resumed(void **state)
{
    struct tls_settings s = settings();
    struct tls_context *ctx;
    char buf[8];
    struct pair p;

    (void)state;
    s.sslmode = TLS_VERIFY_CA;
    s.ca_file = certs->ca_cert;
    ctx = context(&s);
    for (unsigned round = 0; round < 2; round++) {
        char *name;

        pair_open_with(&p, tls_context_ref(ctx), TLS_AFTER_SSLREQUEST);
        pair_use_client_cert(&p);
        SSL_CTX_set_session_cache_mode(p.client_ctx,
                                       SSL_SESS_CACHE_CLIENT | SSL_SESS_CACHE_NO_INTERNAL_STORE);
        SSL_CTX_sess_set_new_cb(p.client_ctx, keep_session);
        if (kept_session != NULL) {
            SSL_set_session(p.client, kept_session);
        }
        assert_int_equal(shake(&p), TLS_DONE);
        (void)SSL_read(p.client, buf, sizeof(buf)); /* the ticket */
        assert_int_equal(SSL_session_reused(p.client), round);
        name = tls_peer_common_name(p.server); /* a resumed one is as well known */
        assert_string_equal(name, "alice");
        free(name);
        SSL_shutdown(p.client); /* else OpenSSL does not trust the session any more */
        pair_close(&p);
    }
    SSL_SESSION_free(kept_session);
    kept_session = NULL;
    tls_context_unref(ctx);
}

/* A RELOAD drops the context while connections live, some in mid-handshake. */
static void test_context_goes_before_its_connections(void **state)
{
    struct tls_settings s = settings();
    struct pair p;
    char buf[8];
    size_t n;

    (void)state;
    pair_open(&p, &s);
    p.ctx = tls_context_unref(p.ctx);
    assert_int_equal(shake(&p), TLS_DONE);
    SSL_write(p.client, "ok", 2);
    assert_int_equal(tls_read(p.server, buf, sizeof(buf), &n), TLS_DONE);
    pair_close(&p);
}

/* NOLINTNEXTLINE(readability-function-size): one flat table of cases and a short loop */
static void test_bad_settings(void **state)
{
    static const struct {
        const char *name;
        struct tls_settings s; /* "KEY", "CERT" and so on stand for files */
        const char *error;     /* NULL: fine */
    } cases[] = {
        {"fine", {.key_file = "KEY", .cert_file = "CERT"}, NULL},
        {"no key", {.cert_file = "CERT"}, "no key file is set"},
        {"no certificate", {.key_file = "KEY"}, "no certificate file is set"},
        {"missing certificate",
         {.key_file = "KEY", .cert_file = "/nonexistent.crt"},
         "certificate file \"/nonexistent.crt\": No such file or directory"},
        {"missing key",
         {.key_file = "/nonexistent.key", .cert_file = "CERT"},
         "key file \"/nonexistent.key\": No such file or directory"},
        {"no PEM",
         {.key_file = "KEY", .cert_file = "/etc/passwd"},
         "certificate file \"/etc/passwd\": no start line"},
        {"other key", {.key_file = "OTHERKEY", .cert_file = "CERT"}, "key values mismatch"},
        {"encrypted key", {.key_file = "ENCRYPTED", .cert_file = "CERT"}, "key file \""},
        {"verification without CA",
         {.sslmode = TLS_VERIFY_CA, .key_file = "KEY", .cert_file = "CERT"},
         "no CA file"},
        {"missing CA",
         {.key_file = "KEY", .cert_file = "CERT", .ca_file = "/nonexistent.ca"},
         "CA file \"/nonexistent.ca\": No such file"},
        {"bad protocols",
         {.key_file = "KEY", .cert_file = "CERT", .protocols = "sslv3"},
         "protocols \"sslv3\": allowed"},
        {"bad ciphers",
         {.key_file = "KEY", .cert_file = "CERT", .ciphers = "nonsense"},
         "ciphers \"nonsense\": no cipher"},
        {"bad suites",
         {.key_file = "KEY", .cert_file = "CERT", .tls13_ciphers = "nonsense"},
         "TLS 1.3 ciphers \"nonsense\""},
        {"bad dhe",
         {.key_file = "KEY", .cert_file = "CERT", .dheparams = "x"},
         "dheparams \"x\": allowed"},
        {"bad curve",
         {.key_file = "KEY", .cert_file = "CERT", .ecdhcurve = "x"},
         "ecdhcurve \"x\""},
        {"all words",
         {.key_file = "KEY",
          .cert_file = "CERT",
          .protocols = "all",
          .ciphers = "compat",
          .dheparams = "legacy",
          .ecdhcurve = "none"},
         NULL},
        {"more words",
         {.key_file = "KEY",
          .cert_file = "CERT",
          .protocols = "legacy",
          .ciphers = "all",
          .dheparams = "none",
          .ecdhcurve = "prime256v1"},
         NULL},
    };
    const struct {
        const char *word;
        const char *path;
    } files[] = {{"KEY", certs->server_key},
                 {"CERT", certs->server_cert},
                 {"OTHERKEY", certs->client_key},
                 {"ENCRYPTED", certs->encrypted_key}};

    (void)state;
    for (unsigned i = 0; i < ARRAY_LEN(cases); i++) {
        struct tls_settings s = cases[i].s;
        struct tls_error err = {""};
        struct tls_context *ctx;

        for (unsigned f = 0; f < ARRAY_LEN(files); f++) {
            if (s.key_file != NULL && strcmp(s.key_file, files[f].word) == 0) {
                s.key_file = files[f].path;
            }
            if (s.cert_file != NULL && strcmp(s.cert_file, files[f].word) == 0) {
                s.cert_file = files[f].path;
            }
        }
        ctx = tls_context_new(&s, &err);
        if ((ctx != NULL) != (cases[i].error == NULL) ||
            (cases[i].error != NULL && strstr(err.text, cases[i].error) == NULL)) {
            fail_msg("%s: \"%s\"", cases[i].name, err.text);
        }
        tls_context_unref(ctx);
    }
}

static void test_words(void **state)
{
    static const struct {
        const char *text;
        unsigned set; /* 0: refused */
    } cases[] = {
        {NULL, TLS_1_2 | TLS_1_3},
        {"", TLS_1_2 | TLS_1_3},
        {"secure", TLS_1_2 | TLS_1_3},
        {"default", TLS_1_2 | TLS_1_3},
        {"all", 15},
        {"legacy", 15},
        {"tlsv1", 15},
        {"tlsv1.2", TLS_1_2},
        {"TLSv1.3", TLS_1_3},
        {"tlsv1.0,tlsv1.1, tlsv1.2", 7},
        {"tlsv1.2:tlsv1.3", TLS_1_2 | TLS_1_3},
        {"all,!tlsv1.0", 14},
        {"!tlsv1.0,!tlsv1.1", 12},
        {"tlsv1.2,!tlsv1.2", 0},
        {"sslv3", 0},
        {"tlsv1.22", 0},
        {"tlsv1.2;", 0},
        {"!", 0},
        {",", 0},
    };
    enum tls_sslmode mode;

    (void)state;
    for (unsigned i = 0; i < ARRAY_LEN(cases); i++) {
        unsigned set = 0;

        if (tls_protocols_parse(cases[i].text, &set) != (cases[i].set != 0) ||
            set != cases[i].set) {
            fail_msg("\"%s\": %u", cases[i].text, set);
        }
    }
    assert_string_equal(tls_protocols_min(14), "TLSv1.1");
    assert_string_equal(tls_protocols_max(15), "TLSv1.3");
    assert_string_equal(tls_protocols_min(15), "TLSv1");
    assert_string_equal(tls_protocols_max(3), "TLSv1.1");
    for (unsigned i = 0; i < TLS_SSLMODES; i++) {
        assert_true(tls_sslmode_parse(tls_sslmode_name((enum tls_sslmode)i), &mode));
        assert_int_equal(mode, i);
    }
    assert_false(tls_sslmode_parse("Require", &mode));
    assert_false(tls_sslmode_parse("", &mode));
}

/* The defaults of contexts that are not ours change, and change back; ours do not. */
static void test_libpq_ciphers(void **state)
{
    struct tls_settings s = settings();
    struct tls_error err = {""};
    char before[128];
    char info[128];
    struct pair p;

    (void)state;
    s.protocols = "tlsv1.2";
    pair_open(&p, &s);
    assert_int_equal(shake(&p), TLS_DONE);
    tls_info(p.server, before, sizeof(before));
    pair_close(&p);
    assert_true(
        tls_set_libpq_ciphers("ECDHE-RSA-AES128-GCM-SHA256", "TLS_AES_128_GCM_SHA256", &err));
    pair_open(&p, &s); /* the client's context is one that is not ours */
    assert_int_equal(shake(&p), TLS_DONE);
    assert_string_equal(tls_info(p.server, info, sizeof(info)),
                        "TLSv1.2/ECDHE-RSA-AES128-GCM-SHA256/ECDH=X25519");
    pair_close(&p);
    s.protocols = NULL;
    pair_open(&p, &s);
    assert_int_equal(shake(&p), TLS_DONE);
    assert_string_equal(tls_info(p.server, info, sizeof(info)),
                        "TLSv1.3/TLS_AES_128_GCM_SHA256/ECDH=X25519");
    pair_close(&p);
    assert_false(tls_set_libpq_ciphers("nonsense", NULL, &err));
    assert_non_null(strstr(err.text, "nonsense"));
    assert_false(tls_set_libpq_ciphers("HIGH\n[x]", NULL, &err));
    assert_false(tls_set_libpq_ciphers(NULL, "$x", &err));
    assert_true(tls_set_libpq_ciphers("default", "", &err));
    s.protocols = "tlsv1.2";
    pair_open(&p, &s);
    assert_int_equal(shake(&p), TLS_DONE);
    assert_string_equal(tls_info(p.server, info, sizeof(info)), before);
    pair_close(&p);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_handshake_and_echo),
        cmocka_unit_test(test_bulk_both_ways),
        cmocka_unit_test(test_partial_record_is_not_pending),
        cmocka_unit_test(test_early_bytes_are_served_first),
        cmocka_unit_test(test_alpn),
        cmocka_unit_test(test_client_certificates),
        cmocka_unit_test(test_end_point),
        cmocka_unit_test(test_ends_of_the_stream),
        cmocka_unit_test(test_hostile_bytes),
        cmocka_unit_test(test_ticket_keys_rotate),
        cmocka_unit_test(test_sessions_are_resumed),
        cmocka_unit_test(test_context_goes_before_its_connections),
        cmocka_unit_test(test_bad_settings),
        cmocka_unit_test(test_words),
        cmocka_unit_test(test_libpq_ciphers),
    };
    int failed;

    signal(SIGPIPE, SIG_IGN);
    certs = certs_new();
    failed = cmocka_run_group_tests_name("tls", tests, NULL, NULL);
    certs = certs_free(certs);
    return failed;
}
