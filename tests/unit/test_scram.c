/* SPDX-License-Identifier: ISC */
/* Keys, secrets, whole logins and the cache; message by message: test_scram_messages.c. */
#include "daemon/util/buf.h"
#include "daemon/util/secret.h"
#include "protocol/scram_cache.h"
#include "protocol/scram_internal.h"
#include "tests/unit/scram_login.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static const uint8_t process_key[SCRAM_KEY_BYTES] = "a key of this test, 32 bytes ...";

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
    assert_int_equal(scram_server_final(s, T_CLIENT_FINAL, strlen(T_CLIENT_FINAL), &out),
                     SCRAM_E_MALFORMED);
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

/* RFC 7677 section 3; its nonces are no base64, so the keys and primitives are put to it by
 * hand. */
static void rfc_7677(void **state)
{
    static const char auth[] =
        "n=user,r=rOprNGfwEbeRWgbNEkqO,r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,"
        "s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096,"
        "c=biws,r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0";
    uint8_t bytes[SCRAM_SALT_MAX];
    struct scram_salt salt = {.bytes = bytes, .iterations = 4096};
    struct scram_keys keys;
    uint8_t value[SCRAM_KEY_BYTES];
    char text[64];

    (void)state;
    assert_true(
        scram_base64_decode("W22ZaJ0SNY7soEsUEjb6gQ==", 24, bytes, sizeof(bytes), &salt.len));
    assert_int_equal(scram_keys_derive("pencil", 6, &salt, &keys), SCRAM_OK);
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
         "SCRAM-SHA-256$4096:EfQCwG/GDVP7lfmM4S09yA==$5wvDgtA4QLpcDKNMeTk1bpq/"
         "WJkTR8rVzdm6W3TBfnk=:4/"
         "uHbM6PBP1+h+6uvtWiiiNeTW0nXbVK5Wr5QFEuacE="},
    };

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct scram_keys parsed = keys_of(cases[i].secret);
        struct scram_keys derived = derive(cases[i].password, &parsed);

        if (memcmp(derived.stored_key, parsed.stored_key, SCRAM_KEY_BYTES) != 0 ||
            memcmp(derived.server_key, parsed.server_key, SCRAM_KEY_BYTES) != 0) {
            fail_msg("%s", cases[i].name);
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
         "SCRAM-SHA-256$1:"
         "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA$" KEY
         ":" KEY,
         true},
        {"salt of 64 bytes",
         "SCRAM-SHA-256$1:"
         "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=="
         "$" KEY ":" KEY,
         true},
        {"salt of 65 bytes",
         "SCRAM-SHA-256$1:"
         "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA="
         "$" KEY ":" KEY,
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
}

static void base64(void **state)
{
    static const struct {
        const char *text;
        size_t len; /* of the bytes; 0: refused */
    } cases[] = {
        {"AA==", 1},         {"AAA=", 2},  {"AAAA", 3},     {"////", 3},
        {"++++AA==", 4},     {"", 0},      {"A", 0},        {"AA", 0},
        {"AAA", 0},          {"A===", 0},  {"====", 0},     {"=AAA", 0},
        {"AA=A", 0},         {"AB==", 0},  {"AAB=", 0},     {"AA-_", 0},
        {"AA A", 0},         {"AAA\n", 0}, {"AAAAA===", 0}, {"AA==AAAA", 0},
        {"AAAAAAAAAAAA", 0},
    };
    uint8_t bytes[8];
    uint8_t back[8];
    char text[16];
    size_t len;

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        bool ok =
            scram_base64_decode(cases[i].text, strlen(cases[i].text), bytes, sizeof(bytes), &len);

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
    static const uint8_t zeros[SCRAM_SALT_MAX + 1];
    static const struct {
        const char *name;
        struct scram_salt salt;
        enum scram_verdict verdict;
    } cases[] = {
        {"no iteration", {zeros, 16, 0}, SCRAM_E_ITERATIONS},
        {"too many iterations", {zeros, 16, SCRAM_ITERATIONS_DERIVE_MAX + 1}, SCRAM_E_ITERATIONS},
        {"salt empty", {zeros, 0, 1}, SCRAM_E_MALFORMED},
        {"salt too long", {zeros, SCRAM_SALT_MAX + 1, 1}, SCRAM_E_MALFORMED},
        {"longest salt", {zeros, SCRAM_SALT_MAX, 1}, SCRAM_OK},
        {"shortest salt", {zeros, 1, 1}, SCRAM_OK},
    };
    struct scram_keys keys;

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        if (scram_keys_derive("x", 1, &cases[i].salt, &keys) != cases[i].verdict) {
            fail_msg("%s", cases[i].name);
        }
    }
    assert_int_equal(scram_keys_derive("", 0, &cases[4].salt, &keys), SCRAM_OK);
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
    uint8_t other[sizeof(scram_certificate)] = "another certificate";
    struct fixed_nonce n = nonce_of(T_SERVER_NONCE);
    struct scram_server_params p = {
        .keys = &l->server_keys,
        .mechanism = l->mechanism,
        .nonce = n.bytes,
        .binding = l->offer == OFFER_PLAIN ? NULL
                   : l->tamper_binding     ? other
                                           : scram_certificate,
        .binding_len = sizeof(scram_certificate),
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
    struct login l = {.server_keys = secret,
                      .client_keys = derive("pencil", &secret),
                      .mechanism = SCRAM_MECH_SHA_256};
    struct scram_keys got;

    (void)state;
    assert_int_equal(run_login(&l, &got), SCRAM_OK);
    assert_memory_equal(got.client_key, l.client_keys.client_key, SCRAM_KEY_BYTES);
    assert_memory_equal(got.server_key, l.client_keys.server_key, SCRAM_KEY_BYTES);
    l.client_keys =
        got; /* what the client's login gave us opens the server, without the password */
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
    struct scram_cache_query others[] = {query("v", "p", salt), query("u", "q", salt),
                                         query("u", "p", other_salt), query("up", "", salt),
                                         query("u", "p", salt)};
    struct scram_keys first;
    struct scram_keys second;

    (void)state;
    assert_non_null(cache);
    assert_false(scram_cache_has(cache, &q));
    assert_int_equal(scram_cache_derive(cache, &q, &first), SCRAM_OK);
    assert_true(scram_cache_has(cache, &q));
    assert_int_equal(scram_cache_derive(cache, &q, &second), SCRAM_OK);
    assert_memory_equal(&first, &second, sizeof(first));
    others[4].iterations = 3;
    for (size_t i = 0; i < ARRAY_LEN(others); i++) {
        assert_false(scram_cache_has(cache, &others[i]));
        assert_int_equal(scram_cache_derive(cache, &others[i], &second), SCRAM_OK);
    }
    for (size_t i = 0; i < ARRAY_LEN(others); i++) {
        assert_true(scram_cache_has(cache, &others[i]));
    }
    assert_true(scram_cache_has(cache, &q));
    others[0].iterations = 0;
    assert_int_equal(scram_cache_derive(cache, &others[0], &second), SCRAM_E_ITERATIONS);
    assert_false(scram_cache_has(cache, &others[0]));
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
    scram_cache_free(cache);
}

static void cache_checks_a_clear_password(void **state)
{
    struct scram_cache *cache = scram_cache_new(10);
    struct scram_keys stored = keys_of(T_SECRET);
    struct scram_keys keys = {0};
    struct scram_cache_query guess = query("app", "pencil2", stored.salt);
    struct scram_cache_query right = query("app", "pencil", stored.salt);

    (void)state;
    guess.salt_len = right.salt_len = stored.salt_len;
    guess.iterations = right.iterations = stored.iterations;
    assert_int_equal(scram_cache_check(cache, "app", "pencil2", &stored, &keys), SCRAM_E_PROOF);
    assert_false(scram_cache_has(cache, &guess)); /* it is not kept */
    assert_false(keys.has_client_key);
    assert_int_equal(scram_cache_check(cache, "app", "pencil", &stored, &keys), SCRAM_OK);
    assert_true(keys.has_client_key);
    assert_true(scram_cache_has(cache, &right));
    assert_int_equal(scram_cache_check(cache, "app", "pencil", &stored, &keys), SCRAM_OK);
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
