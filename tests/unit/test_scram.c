/* SPDX-License-Identifier: ISC */
#include "daemon/util/buf.h"
#include "daemon/util/secret.h"
#include "protocol/scram.h"
#include "protocol/scram_cache.h"
#include "protocol/scram_client.h"
#include "protocol/scram_internal.h"
#include "protocol/scram_server.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

/* A login of psql 15 on PostgreSQL 15, password "pencil", as it went over the wire. */
#define T_SECRET                                                                                      \
    "SCRAM-SHA-256$4096:sYjVJrIrcJ+5uQtGuRd1Gg==$pw2PPkohLYlE+TrgUd/fuqExXY18bJWJThRuQ6ZR+0o=:IkNN9+" \
    "How5NNovWsaQ+DEJFrnKEcu+7djW/F3wCa2eY="
#define T_CLIENT_NONCE "v+OZXWBiD1QtJKjTOVkmuYw7"
#define T_SERVER_NONCE "1nQ0BPrabTqDdee4Ldg8vtOb"
#define T_NONCE T_CLIENT_NONCE T_SERVER_NONCE
#define T_CLIENT_FIRST "n,,n=,r=" T_CLIENT_NONCE
#define T_SALT "sYjVJrIrcJ+5uQtGuRd1Gg=="
#define T_SERVER_FIRST "r=" T_NONCE ",s=" T_SALT ",i=4096"
#define T_PROOF "UteiddGNQsDG9LwcLtsRrGfhTFe/OkazmPXNds+g3bM="
#define T_CLIENT_FINAL "c=biws,r=" T_NONCE ",p=" T_PROOF
#define T_SERVER_FINAL "v=IDiH/umBuw/Vmasb1KXhbm2BEbCtSOrbQ/bPsqgZLkM="

static const uint8_t process_key[SCRAM_KEY_BYTES] = "a key of this test, 32 bytes ...";
static const uint8_t certificate[32] = "the digest of a certificate ....";

struct fixed_nonce {
    uint8_t bytes[SCRAM_NONCE_BYTES];
};

static struct fixed_nonce nonce_of(const char *text)
{
    struct fixed_nonce n;
    size_t len;

    assert_true(scram_base64_decode(text, strlen(text), n.bytes, sizeof(n.bytes), &len));
    assert_int_equal(len, SCRAM_NONCE_BYTES);
    return n;
}

static struct scram_keys keys_of(const char *secret)
{
    struct scram_keys keys;

    assert_true(scram_secret_parse(secret, &keys));
    return keys;
}

static struct scram_keys derive(const char *password, const struct scram_keys *like)
{
    struct scram_keys keys;

    assert_int_equal(
        scram_keys_derive(password, strlen(password), like->salt, like->salt_len, like->iterations, &keys), SCRAM_OK);
    return keys;
}

enum offer { OFFER_PLAIN, OFFER_PLUS };

static struct scram_server *server_with(const struct scram_keys *keys, enum scram_mechanism mechanism, enum offer offer)
{
    struct fixed_nonce n = nonce_of(T_SERVER_NONCE);
    struct scram_server_params p = {
        .keys = keys,
        .mechanism = mechanism,
        .nonce = n.bytes,
        .binding = offer == OFFER_PLUS ? certificate : NULL,
        .binding_len = sizeof(certificate),
    };
    struct scram_server *s = scram_server_new(&p);

    assert_non_null(s);
    return s;
}

static struct scram_client *client_with(enum scram_client_binding binding)
{
    struct fixed_nonce n = nonce_of(T_CLIENT_NONCE);
    struct scram_client_params p = {
        .nonce = n.bytes,
        .binding = binding,
        .binding_data = certificate,
        .binding_len = sizeof(certificate),
    };
    struct scram_client *c = scram_client_new(&p);

    assert_non_null(c);
    return c;
}

static void assert_text(struct buf *b, const char *expected)
{
    assert_string_equal(buf_cstr(b), expected);
    buf_clear(b);
}

/* ---- known answers ---- */

static void server_repeats_postgres(void **state)
{
    struct scram_keys keys = keys_of(T_SECRET);
    struct scram_server *s = server_with(&keys, SCRAM_MECH_SHA_256, OFFER_PLAIN);
    struct buf out = BUF_INIT(SCRAM_MESSAGE_MAX);

    (void)state;
    assert_false(scram_server_keys(s, &keys));
    assert_int_equal(scram_server_first(s, T_CLIENT_FIRST, strlen(T_CLIENT_FIRST), &out), SCRAM_OK);
    assert_text(&out, T_SERVER_FIRST);
    assert_false(scram_server_keys(s, &keys));
    assert_int_equal(scram_server_final(s, T_CLIENT_FINAL, strlen(T_CLIENT_FINAL), &out), SCRAM_OK);
    assert_text(&out, T_SERVER_FINAL);
    assert_true(scram_server_keys(s, &keys));
    assert_true(keys.has_client_key);
    assert_int_equal(scram_server_final(s, T_CLIENT_FINAL, strlen(T_CLIENT_FINAL), &out), SCRAM_E_MALFORMED);
    scram_server_free(s);
    buf_done(&out);
}

static void client_repeats_libpq(void **state)
{
    struct scram_keys secret = keys_of(T_SECRET);
    struct scram_keys keys = derive("pencil", &secret);
    struct scram_client *c = client_with(SCRAM_CLIENT_UNABLE);
    struct buf out = BUF_INIT(SCRAM_MESSAGE_MAX);
    size_t salt_len;

    (void)state;
    assert_string_equal(scram_client_mechanism(c), "SCRAM-SHA-256");
    assert_int_equal(scram_client_first(c, &out), SCRAM_OK);
    assert_text(&out, T_CLIENT_FIRST);
    assert_int_equal(scram_client_challenge(c, T_SERVER_FIRST, strlen(T_SERVER_FIRST)), SCRAM_OK);
    assert_int_equal(scram_client_iterations(c), 4096);
    assert_memory_equal(scram_client_salt(c, &salt_len), secret.salt, 16);
    assert_int_equal(salt_len, 16);
    assert_int_equal(scram_client_final(c, &keys, &out), SCRAM_OK);
    assert_text(&out, T_CLIENT_FINAL);
    assert_false(scram_client_is_verified(c));
    assert_int_equal(scram_client_verify(c, T_SERVER_FINAL, strlen(T_SERVER_FINAL)), SCRAM_OK);
    assert_true(scram_client_is_verified(c));
    scram_client_free(c);
    buf_done(&out);
}

/* RFC 7677 section 3; its nonces are no base64, so the keys and primitives are put to it by hand. */
static void rfc_7677(void **state)
{
    static const char auth[] = "n=user,r=rOprNGfwEbeRWgbNEkqO,r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,"
                               "s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096,"
                               "c=biws,r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0";
    uint8_t salt[SCRAM_SALT_MAX];
    size_t salt_len;
    struct scram_keys keys;
    uint8_t value[SCRAM_KEY_BYTES];
    char text[64];

    (void)state;
    assert_true(scram_base64_decode("W22ZaJ0SNY7soEsUEjb6gQ==", 24, salt, sizeof(salt), &salt_len));
    assert_int_equal(scram_keys_derive("pencil", 6, salt, salt_len, 4096, &keys), SCRAM_OK);
    assert_true(scram_hmac(keys.stored_key, auth, strlen(auth), value));
    for (size_t i = 0; i < sizeof(value); i++) {
        value[i] ^= keys.client_key[i];
    }
    scram_base64_encode(value, sizeof(value), text);
    assert_string_equal(text, "dHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVQ=");
    assert_true(scram_hmac(keys.server_key, auth, strlen(auth), value));
    scram_base64_encode(value, sizeof(value), text);
    assert_string_equal(text, "6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4=");
}

/* What PostgreSQL 15 stored for these passwords. */
static void secrets_of_postgres(void **state)
{
    static const struct {
        const char *name;
        const char *password;
        const char *secret;
    } cases[] = {
        {"plain", "pencil", T_SECRET},
        {"composed", "caf\xc3\xa9",
         "SCRAM-SHA-256$4096:cZsvvWYKji2xf7ozpVVRIA==$YM3JwfjerqUXTCWtqng5eqX8E0sS8gCluA9mQaj0l2o=:"
         "MaFrnSgRXuhgVmOxb555Hf47uJtr6xERsct55t/n3v4="},
        {"decomposed", "cafe\xcc\x81",
         "SCRAM-SHA-256$4096:3/ce21I2jvBxjAX+rjvEZw==$YxrBQO8Ep8EV+c+Njk5spxXe37FD7uzDmg6mcHc/Ub8=:"
         "cGQMhGeWujyCdB2qhf5BQhWk63/2MGjGhIZnlNAHwls="},
        {"mapped", "I\xc2\xadX \xc2\xaa\xe2\x85\xa8",
         "SCRAM-SHA-256$4096:CO9eA0nRYZI6bEYqMCyJOw==$2xDXbEwYHKS51XZOxgOxO/mUECR7EpE/r1s+RswpZXQ=:"
         "ufXHZEInt9bxAVLAFa8VYNdOH9hvSY8uteXVkOa+DJI="},
        {"refused by the bidi rule, raw", "\xd8\xa7\x31",
         "SCRAM-SHA-256$4096:E9vt/iAsAp7b5m5eqOFV0w==$sjhnM7nORFt+yodBQ4kzPnWl/KR/OrYqTR2lrHEupR4=:"
         "osRuAvDiqxvrhEEI4yg7Ax9UBVxfKdS1LEWli0H+O7M="},
        {"prohibited, raw", "x\xcd\x80",
         "SCRAM-SHA-256$4096:LMu1+x+tx6rggEgzC9kK7Q==$iPAPqMr9d+O+ufThBgaJSdNPA5iVAFZ6NFjFdrotC94=:"
         "N97DkFReRz0fCQdLJanTMrmxQqEfWtN06r3C6Lv48PA="},
        {"punctuation", "a b,c=d$e:f",
         "SCRAM-SHA-256$4096:EfQCwG/GDVP7lfmM4S09yA==$5wvDgtA4QLpcDKNMeTk1bpq/WJkTR8rVzdm6W3TBfnk=:4/"
         "uHbM6PBP1+h+6uvtWiiiNeTW0nXbVK5Wr5QFEuacE="},
    };

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct scram_keys parsed = keys_of(cases[i].secret);
        struct scram_keys derived = derive(cases[i].password, &parsed);
        char text[SCRAM_SECRET_TEXT_MAX];

        scram_secret_format(&derived, text, sizeof(text));
        if (strcmp(text, cases[i].secret) != 0) {
            fail_msg("%s: %s", cases[i].name, text);
        }
    }
}

/* ---- secrets ---- */

#define KEY "pw2PPkohLYlE+TrgUd/fuqExXY18bJWJThRuQ6ZR+0o="

static void malformed_secrets(void **state)
{
    static const struct {
        const char *name;
        const char *text;
        bool ok;
    } cases[] = {
        {"shortest", "SCRAM-SHA-256$1:AA==$" KEY ":" KEY, true},
        {"most iterations", "SCRAM-SHA-256$2147483647:AAAA$" KEY ":" KEY, true},
        {"too many iterations", "SCRAM-SHA-256$2147483648:AAAA$" KEY ":" KEY, false},
        {"wrapping iterations", "SCRAM-SHA-256$4294967297:AAAA$" KEY ":" KEY, false},
        {"endless iterations", "SCRAM-SHA-256$99999999999999999999999:AAAA$" KEY ":" KEY, false},
        {"no iteration", "SCRAM-SHA-256$0:AAAA$" KEY ":" KEY, false},
        {"iterations empty", "SCRAM-SHA-256$:AAAA$" KEY ":" KEY, false},
        {"iterations signed", "SCRAM-SHA-256$+1:AAAA$" KEY ":" KEY, false},
        {"iterations with a blank", "SCRAM-SHA-256$ 1:AAAA$" KEY ":" KEY, false},
        {"salt empty", "SCRAM-SHA-256$1:$" KEY ":" KEY, false},
        {"salt of 63 bytes",
         "SCRAM-SHA-256$1:AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA$" KEY
         ":" KEY,
         true},
        {"salt of 64 bytes",
         "SCRAM-SHA-256$1:AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA==$" KEY
         ":" KEY,
         true},
        {"salt of 65 bytes",
         "SCRAM-SHA-256$1:AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=$" KEY
         ":" KEY,
         false},
        {"salt no base64", "SCRAM-SHA-256$1:AA!A$" KEY ":" KEY, false},
        {"salt with bits left over", "SCRAM-SHA-256$1:AB==$" KEY ":" KEY, false},
        {"stored key short", "SCRAM-SHA-256$1:AAAA$AAAA:" KEY, false},
        {"server key short", "SCRAM-SHA-256$1:AAAA$" KEY ":AAAA", false},
        {"server key empty", "SCRAM-SHA-256$1:AAAA$" KEY ":", false},
        {"a key too many", "SCRAM-SHA-256$1:AAAA$" KEY ":" KEY ":" KEY, false},
        {"trailing blank", "SCRAM-SHA-256$1:AAAA$" KEY ":" KEY " ", false},
        {"other mechanism", "SCRAM-SHA-512$1:AAAA$" KEY ":" KEY, false},
        {"lower case", "scram-sha-256$1:AAAA$" KEY ":" KEY, false},
        {"md5", "md58bbf3f45673bf67d02e4214911f3417f", false},
        {"empty", "", false},
    };
    struct scram_keys keys;
    char cut[sizeof(T_SECRET)];

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        if (scram_secret_parse(cases[i].text, &keys) != cases[i].ok) {
            fail_msg("%s", cases[i].name);
        }
    }
    for (size_t i = 0; i < strlen(T_SECRET); i++) {
        memcpy(cut, T_SECRET, i);
        cut[i] = '\0';
        assert_false(scram_secret_parse(cut, &keys));
    }
    assert_true(scram_secret_is("SCRAM-SHA-256$rubbish"));
    assert_false(scram_secret_is("SCRAM-SHA-256"));
}

static void base64(void **state)
{
    static const struct {
        const char *text;
        size_t len; /* of the bytes; 0: refused */
    } cases[] = {
        {"AA==", 1}, {"AAA=", 2}, {"AAAA", 3}, {"////", 3}, {"++++AA==", 4}, {"", 0},     {"A", 0},        {"AA", 0},
        {"AAA", 0},  {"A===", 0}, {"====", 0}, {"=AAA", 0}, {"AA=A", 0},     {"AB==", 0}, {"AAB=", 0},     {"AA-_", 0},
        {"AA A", 0}, {"AAA\n", 0}, {"AAAAA===", 0}, {"AA==AAAA", 0}, {"AAAAAAAAAAAA", 0},
    };
    uint8_t bytes[8];
    uint8_t back[8];
    char text[16];
    size_t len;

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        bool ok = scram_base64_decode(cases[i].text, strlen(cases[i].text), bytes, sizeof(bytes), &len);

        if (ok != (cases[i].len > 0) || (ok && len != cases[i].len)) {
            fail_msg("\"%s\"", cases[i].text);
        }
    }
    for (size_t n = 1; n <= sizeof(bytes); n++) {
        secret_random(bytes, n);
        scram_base64_encode(bytes, n, text);
        assert_int_equal(strlen(text), BASE64_BYTES(n));
        assert_true(scram_base64_decode(text, strlen(text), back, sizeof(back), &len));
        assert_int_equal(len, n);
        assert_memory_equal(bytes, back, n);
    }
}

static void derivation_is_bounded(void **state)
{
    static const uint8_t salt[SCRAM_SALT_MAX + 1];
    struct scram_keys keys;

    (void)state;
    assert_int_equal(scram_keys_derive("x", 1, salt, 16, 0, &keys), SCRAM_E_ITERATIONS);
    assert_int_equal(scram_keys_derive("x", 1, salt, 16, SCRAM_ITERATIONS_DERIVE_MAX + 1, &keys), SCRAM_E_ITERATIONS);
    assert_int_equal(scram_keys_derive("x", 1, salt, 0, 1, &keys), SCRAM_E_MALFORMED);
    assert_int_equal(scram_keys_derive("x", 1, salt, SCRAM_SALT_MAX + 1, 1, &keys), SCRAM_E_MALFORMED);
    assert_int_equal(scram_keys_derive("x", 1, salt, SCRAM_SALT_MAX, 1, &keys), SCRAM_OK);
    assert_int_equal(scram_keys_derive("", 0, salt, 1, 1, &keys), SCRAM_OK);
}

/* ---- the server's end ---- */

struct message_case {
    const char *name;
    const char *msg;
    enum scram_verdict verdict;
};

static void client_first_messages(void **state)
{
    static const struct {
        const char *name;
        const char *msg;
        enum scram_mechanism mechanism;
        enum offer offer;
        enum scram_verdict verdict;
    } cases[] = {
#define PLAIN SCRAM_MECH_SHA_256, OFFER_PLAIN
#define OFFERED SCRAM_MECH_SHA_256, OFFER_PLUS
#define PLUS SCRAM_MECH_SHA_256_PLUS, OFFER_PLUS
        {"libpq", "n,,n=,r=abc", PLAIN, SCRAM_OK},
        {"JDBC", "n,,n=*,r=abc", PLAIN, SCRAM_OK},
        {"name", "n,,n=user,r=abc", PLAIN, SCRAM_OK},
        {"name with escapes", "n,,n=a=2Cb=3D,r=abc", PLAIN, SCRAM_OK},
        {"name with a bare equals sign, never looked at", "n,,n=a=b,r=abc", PLAIN, SCRAM_OK},
        {"name in UTF-8", "n,,n=caf\xc3\xa9,r=abc", PLAIN, SCRAM_OK},
        {"nonce with odd signs", "n,,n=,r=!~=%[]", PLAIN, SCRAM_OK},
        {"optional extension", "n,,n=,r=abc,x=1,y=", PLAIN, SCRAM_OK},
        {"able, not offered", "y,,n=,r=abc", PLAIN, SCRAM_OK},
        {"unable, offered", "n,,n=,r=abc", OFFERED, SCRAM_OK},
        {"able, offered: downgrade", "y,,n=,r=abc", OFFERED, SCRAM_E_BINDING},
        {"bound", "p=tls-server-end-point,,n=,r=abc", PLUS, SCRAM_OK},
        {"bound, other type", "p=tls-unique,,n=,r=abc", PLUS, SCRAM_E_UNSUPPORTED},
        {"bound, type with a tail", "p=tls-server-end-point2,,n=,r=abc", PLUS, SCRAM_E_UNSUPPORTED},
        {"bound, type cut", "p=tls-server-end-poin,,n=,r=abc", PLUS, SCRAM_E_UNSUPPORTED},
        {"bound, no type", "p=,,n=,r=abc", PLUS, SCRAM_E_UNSUPPORTED},
        {"bound, no equals sign", "p,,n=,r=abc", PLUS, SCRAM_E_MALFORMED},
        {"PLUS, unbound", "n,,n=,r=abc", PLUS, SCRAM_E_MALFORMED},
        {"PLUS, able", "y,,n=,r=abc", PLUS, SCRAM_E_MALFORMED},
        {"PLUS, not offered", "p=tls-server-end-point,,n=,r=abc", SCRAM_MECH_SHA_256_PLUS, OFFER_PLAIN,
         SCRAM_E_MALFORMED},
        {"bound without PLUS", "p=tls-server-end-point,,n=,r=abc", OFFERED, SCRAM_E_MALFORMED},
        {"unknown mechanism", "n,,n=,r=abc", SCRAM_MECH_UNKNOWN, OFFER_PLAIN, SCRAM_E_MALFORMED},
        {"authzid", "n,a=admin,n=,r=abc", PLAIN, SCRAM_E_UNSUPPORTED},
        {"mandatory extension", "n,,m=1,n=,r=abc", PLAIN, SCRAM_E_UNSUPPORTED},
        {"mandatory extension, second", "n,,n=,m=1,r=abc", PLAIN, SCRAM_E_UNSUPPORTED},
        {"mandatory extension, last", "n,,n=,r=abc,m=1", PLAIN, SCRAM_E_UNSUPPORTED},
        {"empty", "", PLAIN, SCRAM_E_MALFORMED},
        {"unknown flag", "x,,n=,r=abc", PLAIN, SCRAM_E_MALFORMED},
        {"no header", "n=,r=abc", PLAIN, SCRAM_E_MALFORMED},
        {"one comma", "n,n=,r=abc", PLAIN, SCRAM_E_MALFORMED},
        {"wrong order", "n,,r=abc,n=", PLAIN, SCRAM_E_MALFORMED},
        {"no name", "n,,r=abc", PLAIN, SCRAM_E_MALFORMED},
        {"no nonce", "n,,n=", PLAIN, SCRAM_E_MALFORMED},
        {"empty nonce", "n,,n=,r=", PLAIN, SCRAM_E_MALFORMED},
        {"blank in the nonce", "n,,n=,r=a b", PLAIN, SCRAM_E_MALFORMED},
        {"control character in the nonce", "n,,n=,r=a\x01", PLAIN, SCRAM_E_MALFORMED},
        {"beyond ASCII in the nonce", "n,,n=,r=a\xc3\xa9", PLAIN, SCRAM_E_MALFORMED},
        {"line feed", "n,,n=,r=abc\n", PLAIN, SCRAM_E_MALFORMED},
        {"control character in the name", "n,,n=\x1b,r=abc", PLAIN, SCRAM_E_MALFORMED},
        {"trailing comma", "n,,n=,r=abc,", PLAIN, SCRAM_E_MALFORMED},
        {"two commas", "n,,n=,,r=abc", PLAIN, SCRAM_E_MALFORMED},
        {"extension without a name", "n,,n=,r=abc,=1", PLAIN, SCRAM_E_MALFORMED},
        {"extension with a digit", "n,,n=,r=abc,1=1", PLAIN, SCRAM_E_MALFORMED},
        {"extension without a value", "n,,n=,r=abc,x", PLAIN, SCRAM_E_MALFORMED},
    };
    struct scram_keys keys = keys_of(T_SECRET);

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct scram_server *s = server_with(&keys, cases[i].mechanism, cases[i].offer);
        struct buf out = BUF_INIT(SCRAM_MESSAGE_MAX);
        enum scram_verdict v = scram_server_first(s, cases[i].msg, strlen(cases[i].msg), &out);

        if (v != cases[i].verdict || (v != SCRAM_OK && out.len > 0)) {
            fail_msg("%s: %s", cases[i].name, scram_verdict_text(v));
        }
        scram_server_free(s);
        buf_done(&out);
    }
}

static enum scram_verdict first_of(const char *msg, size_t len)
{
    struct scram_keys keys = keys_of(T_SECRET);
    struct scram_server *s = server_with(&keys, SCRAM_MECH_SHA_256, OFFER_PLAIN);
    struct buf out = BUF_INIT(SCRAM_MESSAGE_MAX);
    enum scram_verdict v = scram_server_first(s, msg, len, &out);

    scram_server_free(s);
    buf_done(&out);
    return v;
}

static void client_first_lengths(void **state)
{
    static const size_t shortest = sizeof("n,,n=,r=") - 1 + 1;
    char msg[SCRAM_MESSAGE_MAX + 1];
    size_t header = sizeof("n,,n=,r=") - 1;

    (void)state;
    for (size_t i = 0; i < shortest; i++) { /* a nonce may be short, so only what lacks it is a truncation */
        assert_int_equal(first_of(T_CLIENT_FIRST, i), SCRAM_E_MALFORMED);
    }
    assert_int_equal(first_of(T_CLIENT_FIRST "\0", strlen(T_CLIENT_FIRST) + 1), SCRAM_E_MALFORMED);
    memset(msg, 'x', sizeof(msg));
    memcpy(msg, "n,,n=,r=", header);
    assert_int_equal(first_of(msg, header + SCRAM_NONCE_TEXT_MAX), SCRAM_OK);
    assert_int_equal(first_of(msg, header + SCRAM_NONCE_TEXT_MAX + 1), SCRAM_E_MALFORMED);
    memcpy(msg + SCRAM_MESSAGE_MAX - 4, ",r=a", 4);
    memcpy(msg, "n,,n=xxx", header);
    assert_int_equal(first_of(msg, SCRAM_MESSAGE_MAX), SCRAM_OK);
    assert_int_equal(first_of(msg, SCRAM_MESSAGE_MAX + 1), SCRAM_E_MALFORMED);
}

static enum scram_verdict final_of(const char *msg, size_t len)
{
    struct scram_keys keys = keys_of(T_SECRET);
    struct scram_server *s = server_with(&keys, SCRAM_MECH_SHA_256, OFFER_PLAIN);
    struct buf out = BUF_INIT(SCRAM_MESSAGE_MAX);
    enum scram_verdict v;

    assert_int_equal(scram_server_first(s, T_CLIENT_FIRST, strlen(T_CLIENT_FIRST), &out), SCRAM_OK);
    buf_clear(&out);
    v = scram_server_final(s, msg, len, &out);
    assert_true(v == SCRAM_OK || out.len == 0);
    assert_true(v == SCRAM_OK || !scram_server_keys(s, &keys));
    scram_server_free(s);
    buf_done(&out);
    return v;
}

#define ZERO_PROOF "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA="

static void client_final_messages(void **state)
{
    static const struct message_case cases[] = {
        {"valid", T_CLIENT_FINAL, SCRAM_OK},
        {"wrong proof", "c=biws,r=" T_NONCE ",p=" ZERO_PROOF, SCRAM_E_PROOF},
        {"an extension changes what is signed", "c=biws,r=" T_NONCE ",x=1,p=" T_PROOF, SCRAM_E_PROOF},
        {"mandatory extension", "c=biws,r=" T_NONCE ",m=1,p=" T_PROOF, SCRAM_E_UNSUPPORTED},
        {"mandatory extension first", "m=1,c=biws,r=" T_NONCE ",p=" T_PROOF, SCRAM_E_UNSUPPORTED},
        {"other flag", "c=eSws,r=" T_NONCE ",p=" T_PROOF, SCRAM_E_BINDING},
        {"binding out of nowhere", "c=cD10bHMtc2VydmVyLWVuZC1wb2ludCwsYWJj,r=" T_NONCE ",p=" T_PROOF,
         SCRAM_E_BINDING},
        {"binding empty", "c=,r=" T_NONCE ",p=" T_PROOF, SCRAM_E_MALFORMED},
        {"binding no base64", "c=bi!s,r=" T_NONCE ",p=" T_PROOF, SCRAM_E_MALFORMED},
        {"client's nonce only", "c=biws,r=" T_CLIENT_NONCE ",p=" T_PROOF, SCRAM_E_NONCE},
        {"other nonce", "c=biws,r=" T_SERVER_NONCE T_CLIENT_NONCE ",p=" T_PROOF, SCRAM_E_NONCE},
        {"longer nonce", "c=biws,r=" T_NONCE "x,p=" T_PROOF, SCRAM_E_NONCE},
        {"empty nonce", "c=biws,r=,p=" T_PROOF, SCRAM_E_NONCE},
        {"wrong order", "r=" T_NONCE ",c=biws,p=" T_PROOF, SCRAM_E_MALFORMED},
        {"proof first", "p=" T_PROOF ",c=biws,r=" T_NONCE, SCRAM_E_MALFORMED},
        {"something behind the proof", T_CLIENT_FINAL ",x=1", SCRAM_E_MALFORMED},
        {"trailing comma", T_CLIENT_FINAL ",", SCRAM_E_MALFORMED},
        {"proof no base64", "c=biws,r=" T_NONCE ",p=!teiddGNQsDG9LwcLtsRrGfhTFe/OkazmPXNds+g3bM=",
         SCRAM_E_MALFORMED},
        {"proof short", "c=biws,r=" T_NONCE ",p=AAAA", SCRAM_E_MALFORMED},
        {"proof long", "c=biws,r=" T_NONCE ",p=AAAA" T_PROOF, SCRAM_E_MALFORMED},
        {"proof empty", "c=biws,r=" T_NONCE ",p=", SCRAM_E_MALFORMED},
        {"no proof", "c=biws,r=" T_NONCE, SCRAM_E_MALFORMED},
        {"control character", "c=biws,r=" T_NONCE ",x=\x01,p=" T_PROOF, SCRAM_E_MALFORMED},
        {"client-first again", T_CLIENT_FIRST, SCRAM_E_MALFORMED},
    };

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        enum scram_verdict v = final_of(cases[i].msg, strlen(cases[i].msg));

        if (v != cases[i].verdict) {
            fail_msg("%s: %s", cases[i].name, scram_verdict_text(v));
        }
    }
    for (size_t i = 0; i < strlen(T_CLIENT_FINAL); i++) {
        enum scram_verdict v = final_of(T_CLIENT_FINAL, i);

        if (v != SCRAM_E_MALFORMED && v != SCRAM_E_NONCE && v != SCRAM_E_BINDING) {
            fail_msg("truncated to %zu: %s", i, scram_verdict_text(v));
        }
    }
}

static void server_out_of_turn(void **state)
{
    struct scram_keys keys = keys_of(T_SECRET);
    struct scram_server *s = server_with(&keys, SCRAM_MECH_SHA_256, OFFER_PLAIN);
    struct buf out = BUF_INIT(SCRAM_MESSAGE_MAX);

    (void)state;
    assert_int_equal(scram_server_final(s, T_CLIENT_FINAL, strlen(T_CLIENT_FINAL), &out), SCRAM_E_MALFORMED);
    assert_int_equal(scram_server_first(s, T_CLIENT_FIRST, strlen(T_CLIENT_FIRST), &out), SCRAM_E_MALFORMED);
    s = scram_server_free(s);
    assert_null(scram_server_free(s));
    s = server_with(&keys, SCRAM_MECH_SHA_256, OFFER_PLAIN);
    assert_int_equal(scram_server_first(s, T_CLIENT_FIRST, strlen(T_CLIENT_FIRST), &out), SCRAM_OK);
    assert_int_equal(scram_server_first(s, T_CLIENT_FIRST, strlen(T_CLIENT_FIRST), &out), SCRAM_E_MALFORMED);
    assert_int_equal(scram_server_final(s, T_CLIENT_FINAL, strlen(T_CLIENT_FINAL), &out), SCRAM_E_MALFORMED);
    scram_server_free(s);
    buf_done(&out);
}

/* ---- the client's end ---- */

static enum scram_verdict challenge_of(const char *msg, size_t len)
{
    struct scram_client *c = client_with(SCRAM_CLIENT_UNABLE);
    struct buf out = BUF_INIT(SCRAM_MESSAGE_MAX);
    enum scram_verdict v;

    assert_int_equal(scram_client_first(c, &out), SCRAM_OK);
    v = scram_client_challenge(c, msg, len);
    scram_client_free(c);
    buf_done(&out);
    return v;
}

static void server_first_messages(void **state)
{
    static const struct message_case cases[] = {
        {"valid", T_SERVER_FIRST, SCRAM_OK},
        {"optional extension", T_SERVER_FIRST ",x=1", SCRAM_OK},
        {"one iteration", "r=" T_NONCE ",s=AAAA,i=1", SCRAM_OK},
        {"most iterations", "r=" T_NONCE ",s=AAAA,i=2147483647", SCRAM_OK},
        {"too many iterations", "r=" T_NONCE ",s=AAAA,i=2147483648", SCRAM_E_MALFORMED},
        {"endless iterations", "r=" T_NONCE ",s=AAAA,i=00000000000000000001", SCRAM_E_MALFORMED},
        {"no iteration", "r=" T_NONCE ",s=AAAA,i=0", SCRAM_E_MALFORMED},
        {"negative iterations", "r=" T_NONCE ",s=AAAA,i=-1", SCRAM_E_MALFORMED},
        {"iterations empty", "r=" T_NONCE ",s=AAAA,i=", SCRAM_E_MALFORMED},
        {"iterations with a tail", "r=" T_NONCE ",s=AAAA,i=1x", SCRAM_E_MALFORMED},
        {"mandatory extension", "m=1,r=" T_NONCE ",s=AAAA,i=1", SCRAM_E_UNSUPPORTED},
        {"mandatory extension last", "r=" T_NONCE ",s=AAAA,i=1,m=1", SCRAM_E_UNSUPPORTED},
        {"only our nonce", "r=" T_CLIENT_NONCE ",s=AAAA,i=1", SCRAM_E_NONCE},
        {"other nonce", "r=" T_SERVER_NONCE T_CLIENT_NONCE ",s=AAAA,i=1", SCRAM_E_NONCE},
        {"empty nonce", "r=,s=AAAA,i=1", SCRAM_E_MALFORMED},
        {"blank in the nonce", "r=" T_CLIENT_NONCE " a,s=AAAA,i=1", SCRAM_E_MALFORMED},
        {"salt empty", "r=" T_NONCE ",s=,i=1", SCRAM_E_MALFORMED},
        {"salt no base64", "r=" T_NONCE ",s=A,i=1", SCRAM_E_MALFORMED},
        {"salt too long",
         "r=" T_NONCE ",s=AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=,i=1",
         SCRAM_E_MALFORMED},
        {"wrong order", "s=AAAA,r=" T_NONCE ",i=1", SCRAM_E_MALFORMED},
        {"no salt", "r=" T_NONCE ",i=1", SCRAM_E_MALFORMED},
        {"trailing comma", T_SERVER_FIRST ",", SCRAM_E_MALFORMED},
        {"error in place of it", "e=other-error", SCRAM_E_MALFORMED},
        {"control character", "r=" T_NONCE "\x7f,s=AAAA,i=1", SCRAM_E_MALFORMED},
        {"empty", "", SCRAM_E_MALFORMED},
    };
    size_t digits = strlen(T_SERVER_FIRST) - 3; /* "i=4" is a shorter valid message */

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        enum scram_verdict v = challenge_of(cases[i].msg, strlen(cases[i].msg));

        if (v != cases[i].verdict) {
            fail_msg("%s: %s", cases[i].name, scram_verdict_text(v));
        }
    }
    for (size_t i = 0; i < digits; i++) {
        enum scram_verdict v = challenge_of(T_SERVER_FIRST, i);

        if (v != SCRAM_E_MALFORMED && v != SCRAM_E_NONCE) {
            fail_msg("truncated to %zu: %s", i, scram_verdict_text(v));
        }
    }
}

static struct scram_client *client_that_proved(void)
{
    struct scram_keys secret = keys_of(T_SECRET);
    struct scram_keys keys = derive("pencil", &secret);
    struct scram_client *c = client_with(SCRAM_CLIENT_UNABLE);
    struct buf out = BUF_INIT(SCRAM_MESSAGE_MAX);

    assert_int_equal(scram_client_first(c, &out), SCRAM_OK);
    assert_int_equal(scram_client_challenge(c, T_SERVER_FIRST, strlen(T_SERVER_FIRST)), SCRAM_OK);
    assert_int_equal(scram_client_final(c, &keys, &out), SCRAM_OK);
    buf_done(&out);
    return c;
}

static void server_final_messages(void **state)
{
    static const struct {
        const char *name;
        const char *msg;
        enum scram_verdict verdict;
        const char *error;
    } cases[] = {
        {"valid", T_SERVER_FINAL, SCRAM_OK, ""},
        {"extension", T_SERVER_FINAL ",x=1", SCRAM_OK, ""},
        {"mandatory extension", T_SERVER_FINAL ",m=1", SCRAM_E_UNSUPPORTED, ""},
        {"mandatory extension first", "m=1," T_SERVER_FINAL, SCRAM_E_UNSUPPORTED, ""},
        {"wrong signature", "v=" ZERO_PROOF, SCRAM_E_SIGNATURE, ""},
        {"signature short", "v=AAAA", SCRAM_E_MALFORMED, ""},
        {"signature empty", "v=", SCRAM_E_MALFORMED, ""},
        {"no base64", "v=!DiH/umBuw/Vmasb1KXhbm2BEbCtSOrbQ/bPsqgZLkM=", SCRAM_E_MALFORMED, ""},
        {"error", "e=invalid-proof", SCRAM_E_REFUSED, "invalid-proof"},
        {"error with odd bytes", "e=caf\xc3\xa9", SCRAM_E_REFUSED, "caf??"},
        {"error empty", "e=", SCRAM_E_REFUSED, ""},
        {"long error",
         "e=0123456789012345678901234567890123456789012345678901234567890123456789012345678901234567890123456789",
         SCRAM_E_REFUSED, "0123456789012345678901234567890123456789012345678901234567890123456789012345678"},
        {"other attribute", "x=1", SCRAM_E_MALFORMED, ""},
        {"trailing comma", T_SERVER_FINAL ",", SCRAM_E_MALFORMED, ""},
        {"empty", "", SCRAM_E_MALFORMED, ""},
    };

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct scram_client *c = client_that_proved();
        enum scram_verdict v = scram_client_verify(c, cases[i].msg, strlen(cases[i].msg));

        if (v != cases[i].verdict || strcmp(scram_client_error(c), cases[i].error) != 0 ||
            scram_client_is_verified(c) != (v == SCRAM_OK)) {
            fail_msg("%s: %s \"%s\"", cases[i].name, scram_verdict_text(v), scram_client_error(c));
        }
        scram_client_free(c);
    }
    for (size_t i = 0; i < strlen(T_SERVER_FINAL); i++) {
        struct scram_client *c = client_that_proved();

        assert_int_equal(scram_client_verify(c, T_SERVER_FINAL, i), SCRAM_E_MALFORMED);
        scram_client_free(c);
    }
}

static void keys_must_fit_the_challenge(void **state)
{
    struct scram_keys secret = keys_of(T_SECRET);
    struct scram_keys good = derive("pencil", &secret);
    struct scram_keys bare;
    struct scram_keys cases[5];
    static const bool fits[] = {true, false, false, false, true};

    (void)state;
    assert_true(scram_keys_from_pair(good.client_key, good.server_key, &bare));
    assert_memory_equal(bare.stored_key, good.stored_key, SCRAM_KEY_BYTES);
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        cases[i] = good;
    }
    cases[1].iterations++;
    cases[2].salt[0] ^= 1;
    cases[3].has_client_key = false;
    cases[4] = bare;
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct scram_client *c = client_with(SCRAM_CLIENT_UNABLE);
        struct buf out = BUF_INIT(SCRAM_MESSAGE_MAX);

        assert_int_equal(scram_client_first(c, &out), SCRAM_OK);
        assert_int_equal(scram_client_challenge(c, T_SERVER_FIRST, strlen(T_SERVER_FIRST)), SCRAM_OK);
        buf_clear(&out);
        assert_int_equal(scram_client_final(c, &cases[i], &out), fits[i] ? SCRAM_OK : SCRAM_E_KEYS);
        assert_true(fits[i] ? strcmp(buf_cstr(&out), T_CLIENT_FINAL) == 0 : out.len == 0);
        scram_client_free(c);
        buf_done(&out);
    }
}

static void client_out_of_turn(void **state)
{
    struct scram_keys keys = keys_of(T_SECRET);
    struct scram_client *c = client_with(SCRAM_CLIENT_UNABLE);
    struct buf out = BUF_INIT(SCRAM_MESSAGE_MAX);

    (void)state;
    assert_int_equal(scram_client_challenge(c, T_SERVER_FIRST, strlen(T_SERVER_FIRST)), SCRAM_E_MALFORMED);
    assert_int_equal(scram_client_first(c, &out), SCRAM_E_MALFORMED);
    c = scram_client_free(c);
    assert_null(scram_client_free(c));
    c = client_with(SCRAM_CLIENT_UNABLE);
    assert_int_equal(scram_client_first(c, &out), SCRAM_OK);
    assert_int_equal(scram_client_verify(c, T_SERVER_FINAL, strlen(T_SERVER_FINAL)), SCRAM_E_MALFORMED);
    assert_int_equal(scram_client_final(c, &keys, &out), SCRAM_E_MALFORMED);
    assert_false(scram_client_is_verified(c));
    scram_client_free(c);
    buf_done(&out);
}

/* ---- both ends ---- */

struct login {
    struct scram_keys server_keys; /* what the server knows */
    struct scram_keys client_keys;
    enum scram_client_binding binding;
    enum scram_mechanism mechanism;
    enum offer offer;
    bool tamper_binding; /* the server has another certificate than the client saw */
};

/* The verdict of the server, or of the client where it is the one that stops. */
static enum scram_verdict run_login(const struct login *l, struct scram_keys *ret_keys)
{
    struct scram_client *c = client_with(l->binding);
    struct scram_server *s;
    struct buf to_server = BUF_INIT(SCRAM_MESSAGE_MAX);
    struct buf to_client = BUF_INIT(SCRAM_MESSAGE_MAX);
    uint8_t other[sizeof(certificate)] = "another certificate";
    struct fixed_nonce n = nonce_of(T_SERVER_NONCE);
    struct scram_server_params p = {
        .keys = &l->server_keys,
        .mechanism = l->mechanism,
        .nonce = n.bytes,
        .binding = l->offer == OFFER_PLAIN ? NULL : l->tamper_binding ? other : certificate,
        .binding_len = sizeof(certificate),
    };
    enum scram_verdict v;

    s = scram_server_new(&p);
    assert_non_null(s);
    v = scram_client_first(c, &to_server);
    v = v != SCRAM_OK ? v : scram_server_first(s, to_server.data, to_server.len, &to_client);
    v = v != SCRAM_OK ? v : scram_client_challenge(c, to_client.data, to_client.len);
    buf_clear(&to_server);
    buf_clear(&to_client);
    v = v != SCRAM_OK ? v : scram_client_final(c, &l->client_keys, &to_server);
    v = v != SCRAM_OK ? v : scram_server_final(s, to_server.data, to_server.len, &to_client);
    v = v != SCRAM_OK ? v : scram_client_verify(c, to_client.data, to_client.len);
    assert_int_equal(scram_client_is_verified(c), v == SCRAM_OK);
    if (v == SCRAM_OK && ret_keys != NULL) {
        assert_true(scram_server_keys(s, ret_keys));
    }
    scram_client_free(c);
    scram_server_free(s);
    buf_done(&to_server);
    buf_done(&to_client);
    return v;
}

static void keys_pass_through(void **state)
{
    struct scram_keys secret = keys_of(T_SECRET);
    struct login l = {.server_keys = secret, .client_keys = derive("pencil", &secret), .mechanism = SCRAM_MECH_SHA_256};
    struct scram_keys got;

    (void)state;
    assert_int_equal(run_login(&l, &got), SCRAM_OK);
    assert_memory_equal(got.client_key, l.client_keys.client_key, SCRAM_KEY_BYTES);
    assert_memory_equal(got.server_key, l.client_keys.server_key, SCRAM_KEY_BYTES);
    l.client_keys = got; /* what the client's login gave us opens the server, without the password */
    assert_int_equal(run_login(&l, NULL), SCRAM_OK);
    l.client_keys = derive("pencil2", &secret);
    assert_int_equal(run_login(&l, NULL), SCRAM_E_PROOF);
    l.client_keys = got;
    l.server_keys.server_key[0] ^= 1; /* knows StoredKey, but is not the server */
    assert_int_equal(run_login(&l, NULL), SCRAM_E_SIGNATURE);
}

static void channel_binding(void **state)
{
    struct scram_keys secret = keys_of(T_SECRET);
    struct login l = {
        .server_keys = secret,
        .client_keys = derive("pencil", &secret),
        .binding = SCRAM_CLIENT_BOUND,
        .mechanism = SCRAM_MECH_SHA_256_PLUS,
        .offer = OFFER_PLUS,
    };

    (void)state;
    assert_int_equal(run_login(&l, NULL), SCRAM_OK);
    l.tamper_binding = true;
    assert_int_equal(run_login(&l, NULL), SCRAM_E_BINDING);
    l.tamper_binding = false;
    l.binding = SCRAM_CLIENT_ABLE;
    l.mechanism = SCRAM_MECH_SHA_256;
    assert_int_equal(run_login(&l, NULL), SCRAM_E_BINDING);
    l.offer = OFFER_PLAIN;
    assert_int_equal(run_login(&l, NULL), SCRAM_OK);
    l.offer = OFFER_PLUS;
    l.binding = SCRAM_CLIENT_UNABLE;
    assert_int_equal(run_login(&l, NULL), SCRAM_OK);
}

static void unknown_users(void **state)
{
    struct login l = {.mechanism = SCRAM_MECH_SHA_256};
    struct scram_keys again;
    struct scram_keys other;
    uint8_t salt[SCRAM_SALT_BYTES];

    (void)state;
    assert_true(scram_keys_mock(process_key, "nobody", 4096, &l.server_keys));
    assert_true(scram_keys_mock(process_key, "nobody", 4096, &again));
    assert_true(scram_keys_mock(process_key, "nobody2", 4096, &other));
    assert_memory_equal(&l.server_keys, &again, sizeof(again));
    assert_memory_not_equal(again.salt, other.salt, SCRAM_SALT_BYTES);
    assert_true(scram_salt_of_user(process_key, "nobody", salt));
    assert_memory_equal(again.salt, salt, sizeof(salt));
    assert_int_equal(again.salt_len, SCRAM_SALT_BYTES);
    l.client_keys = derive("pencil", &again);
    assert_int_equal(run_login(&l, NULL), SCRAM_E_PROOF);
    l.server_keys = l.client_keys; /* even the right password of a mock is wrong */
    l.server_keys.is_mock = true;
    assert_int_equal(run_login(&l, NULL), SCRAM_E_PROOF);
}

/* ---- the cache ---- */

static struct scram_cache_query query(const char *user, const char *password, const uint8_t *salt)
{
    return (struct scram_cache_query){
        .user = user,
        .password = password,
        .password_len = strlen(password),
        .salt = salt,
        .salt_len = 4,
        .iterations = 2,
    };
}

static void cache_derives_once(void **state)
{
    static const uint8_t salt[] = "salt";
    static const uint8_t other_salt[] = "SALT";
    struct scram_cache *cache = scram_cache_new(100);
    struct scram_cache_query q = query("u", "p", salt);
    struct scram_cache_query others[] = {query("v", "p", salt), query("u", "q", salt), query("u", "p", other_salt),
                                         query("up", "", salt), query("u", "p", salt)};
    struct scram_keys first;
    struct scram_keys second;

    (void)state;
    assert_non_null(cache);
    assert_false(scram_cache_has(cache, &q));
    assert_int_equal(scram_cache_derive(cache, &q, &first), SCRAM_OK);
    assert_true(scram_cache_has(cache, &q));
    assert_int_equal(scram_cache_derive(cache, &q, &second), SCRAM_OK);
    assert_memory_equal(&first, &second, sizeof(first));
    assert_int_equal(scram_cache_stats(cache).derivations, 1);
    assert_int_equal(scram_cache_stats(cache).hits, 1);
    others[4].iterations = 3;
    for (size_t i = 0; i < ARRAY_LEN(others); i++) {
        assert_false(scram_cache_has(cache, &others[i]));
        assert_int_equal(scram_cache_derive(cache, &others[i], &second), SCRAM_OK);
    }
    assert_int_equal(scram_cache_stats(cache).derivations, 6);
    others[0].iterations = 0;
    assert_int_equal(scram_cache_derive(cache, &others[0], &second), SCRAM_E_ITERATIONS);
    assert_int_equal(scram_cache_stats(cache).n_entries, 6);
    scram_cache_clear(cache);
    assert_int_equal(scram_cache_stats(cache).n_entries, 0);
    assert_false(scram_cache_has(cache, &q));
    assert_null(scram_cache_free(cache));
    assert_null(scram_cache_free(NULL));
}

static void cache_forgets_the_least_recent(void **state)
{
    static const uint8_t salt[] = "salt";
    static const char *const names[] = {"a", "b", "c"};
    struct scram_cache *cache = scram_cache_new(2);
    struct scram_cache_query q[3];
    struct scram_keys keys;

    (void)state;
    for (size_t i = 0; i < 3; i++) {
        q[i] = query(names[i], "p", salt);
    }
    assert_int_equal(scram_cache_derive(cache, &q[0], &keys), SCRAM_OK);
    assert_int_equal(scram_cache_derive(cache, &q[1], &keys), SCRAM_OK);
    assert_int_equal(scram_cache_derive(cache, &q[0], &keys), SCRAM_OK);
    assert_int_equal(scram_cache_derive(cache, &q[2], &keys), SCRAM_OK);
    assert_true(scram_cache_has(cache, &q[0]));
    assert_false(scram_cache_has(cache, &q[1]));
    assert_true(scram_cache_has(cache, &q[2]));
    assert_int_equal(scram_cache_stats(cache).n_entries, 2);
    scram_cache_free(cache);
}

static void cache_checks_a_clear_password(void **state)
{
    struct scram_cache *cache = scram_cache_new(10);
    struct scram_keys stored = keys_of(T_SECRET);
    struct scram_keys keys = {0};

    (void)state;
    assert_int_equal(scram_cache_check(cache, "app", "pencil2", &stored, &keys), SCRAM_E_PROOF);
    assert_int_equal(scram_cache_stats(cache).n_entries, 0); /* a guess is not kept */
    assert_false(keys.has_client_key);
    assert_int_equal(scram_cache_check(cache, "app", "pencil", &stored, &keys), SCRAM_OK);
    assert_true(keys.has_client_key);
    assert_int_equal(scram_cache_check(cache, "app", "pencil", &stored, &keys), SCRAM_OK);
    assert_int_equal(scram_cache_stats(cache).derivations, 2);
    stored.stored_key[0] ^= 1; /* the password was changed, the salt by chance was not */
    assert_int_equal(scram_cache_check(cache, "app", "pencil", &stored, &keys), SCRAM_E_PROOF);
    stored.stored_key[0] ^= 1;
    stored.is_mock = true;
    assert_int_equal(scram_cache_check(cache, "app", "pencil", &stored, &keys), SCRAM_E_PROOF);
    scram_cache_free(cache);
}

static void names(void **state)
{
    (void)state;
    assert_int_equal(scram_mechanism_by_name("SCRAM-SHA-256"), SCRAM_MECH_SHA_256);
    assert_int_equal(scram_mechanism_by_name("SCRAM-SHA-256-PLUS"), SCRAM_MECH_SHA_256_PLUS);
    assert_int_equal(scram_mechanism_by_name("scram-sha-256"), SCRAM_MECH_UNKNOWN);
    assert_int_equal(scram_mechanism_by_name("SCRAM-SHA-1"), SCRAM_MECH_UNKNOWN);
    assert_int_equal(scram_mechanism_by_name(""), SCRAM_MECH_UNKNOWN);
    for (unsigned v = 0; v < SCRAM_VERDICTS; v++) {
        assert_non_null(scram_verdict_text((enum scram_verdict)v));
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(server_repeats_postgres),
        cmocka_unit_test(client_repeats_libpq),
        cmocka_unit_test(rfc_7677),
        cmocka_unit_test(secrets_of_postgres),
        cmocka_unit_test(malformed_secrets),
        cmocka_unit_test(base64),
        cmocka_unit_test(derivation_is_bounded),
        cmocka_unit_test(client_first_messages),
        cmocka_unit_test(client_first_lengths),
        cmocka_unit_test(client_final_messages),
        cmocka_unit_test(server_out_of_turn),
        cmocka_unit_test(server_first_messages),
        cmocka_unit_test(server_final_messages),
        cmocka_unit_test(keys_must_fit_the_challenge),
        cmocka_unit_test(client_out_of_turn),
        cmocka_unit_test(keys_pass_through),
        cmocka_unit_test(channel_binding),
        cmocka_unit_test(unknown_users),
        cmocka_unit_test(cache_derives_once),
        cmocka_unit_test(cache_forgets_the_least_recent),
        cmocka_unit_test(cache_checks_a_clear_password),
        cmocka_unit_test(names),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
