/* SPDX-License-Identifier: ISC */
/* The listening side's rules, against OpenSSL's own client: certificates of both ends, resumed
 * sessions, settings and their words. The stream itself: test_tls.c. */
#include "daemon/util/clock.h"
#include "protocol/tls.h"

#include "tests/unit/tls_pair.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>

static void expect_alice(const struct tls_settings *s)
{
    struct pair p;
    char *name;

    pair_open(&p, s);
    pair_use_client_cert(&p);
    assert_int_equal(shake(&p), TLS_DONE);
    name = tls_peer_common_name(p.server);
    assert_string_equal(name, "alice");
    free(name);
    pair_close(&p);
}

/* A certificate that the CA has not signed. */
static void expect_stranger_out(const struct tls_settings *s)
{
    struct pair p;

    pair_open(&p, s);
    SSL_use_certificate_file(p.client, certs->server_cert, SSL_FILETYPE_PEM);
    SSL_use_PrivateKey_file(p.client, certs->server_key, SSL_FILETYPE_PEM);
    assert_int_equal(shake(&p), TLS_ERROR);
    assert_non_null(strstr(tls_error(p.server), "certificate verify failed: unable to get"));
    pair_close(&p);
}

static void test_client_certificates(void **state)
{
    struct tls_settings s = settings();
    char buf[16];
    size_t n;
    struct pair p;

    (void)state;
    /* without a CA nobody is asked for one */
    pair_open(&p, &s);
    pair_use_client_cert(&p);
    assert_int_equal(shake(&p), TLS_DONE);
    assert_null(tls_peer_common_name(p.server));
    pair_close(&p);

    /* below verify-ca: who has one may show it, nobody must */
    s.ca_file = certs->ca_cert;
    pair_open(&p, &s);
    assert_int_equal(shake(&p), TLS_DONE);
    assert_null(tls_peer_common_name(p.server));
    pair_close(&p);
    expect_alice(&s);
    s.ca_file =
        certs->client_cert; /* not who signed the next one: no stranger gets in as somebody */
    expect_stranger_out(&s);
    s.ca_file = certs->ca_cert;

    s.sslmode = TLS_VERIFY_CA;
    pair_open(&p, &s);
    assert_int_equal(shake(&p), TLS_ERROR);
    assert_non_null(strstr(tls_error(p.server), "peer did not return a certificate"));
    assert_int_equal(tls_read(p.server, buf, sizeof(buf), &n), TLS_ERROR);
    pair_close(&p);

    s.sslmode = TLS_VERIFY_FULL;
    expect_alice(&s);

    s.ca_file = certs->client_cert; /* not who signed it */
    expect_stranger_out(&s);
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

    pair_open_with(&p, ctx, TLS_AFTER_SSLREQUEST);
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
        tls_context_free(ctx);
        tls_context_free(other);
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

        pair_open_with(&p, ctx, TLS_AFTER_SSLREQUEST);
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
    tls_context_free(ctx);
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
    p.ctx = tls_context_free(p.ctx);
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
        tls_context_free(ctx);
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
    assert_string_equal(tls_sslmode_name(TLS_DISABLE), "disable");
    assert_string_equal(tls_sslmode_name(TLS_VERIFY_FULL), "verify-full");
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
        cmocka_unit_test(test_client_certificates),
        cmocka_unit_test(test_end_point),
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
    failed = cmocka_run_group_tests_name("tls_context", tests, NULL, NULL);
    certs = certs_free(certs);
    return failed;
}
