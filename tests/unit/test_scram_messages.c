/* SPDX-License-Identifier: ISC */
/* Each message of the exchange, valid, cut, reordered and bent, at the end that takes it. */
#include "daemon/util/buf.h"
#include "protocol/scram_internal.h"
#include "tests/unit/scram_login.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

/* ---- the server's end ---- */

struct message_case {
    const char *name;
    const char *msg;
    enum scram_verdict verdict;
};

static const struct {
    const char *name;
    const char *msg;
    enum scram_mechanism mechanism;
    enum offer offer;
    enum scram_verdict verdict;
} first_cases[] = {
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

static void client_first_messages(void **state)
{
    struct scram_keys keys = keys_of(T_SECRET);

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(first_cases); i++) {
        struct scram_server *s = server_with(&keys, first_cases[i].mechanism, first_cases[i].offer);
        struct buf out = BUF_INIT(SCRAM_MESSAGE_MAX);
        enum scram_verdict v =
            scram_server_first(s, first_cases[i].msg, strlen(first_cases[i].msg), &out);

        if (v != first_cases[i].verdict || (v != SCRAM_OK && out.len > 0)) {
            fail_msg("%s: %s", first_cases[i].name, scram_verdict_text(v));
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
    for (size_t i = 0; i < shortest;
         i++) { /* a nonce may be short, so only what lacks it is a truncation */
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

static void client_final_messages(void **state)
{
    static const struct message_case cases[] = {
        {"valid", T_CLIENT_FINAL, SCRAM_OK},
        {"wrong proof", "c=biws,r=" T_NONCE ",p=" ZERO_PROOF, SCRAM_E_PROOF},
        {"an extension changes what is signed", "c=biws,r=" T_NONCE ",x=1,p=" T_PROOF,
         SCRAM_E_PROOF},
        {"mandatory extension", "c=biws,r=" T_NONCE ",m=1,p=" T_PROOF, SCRAM_E_UNSUPPORTED},
        {"mandatory extension first", "m=1,c=biws,r=" T_NONCE ",p=" T_PROOF, SCRAM_E_UNSUPPORTED},
        {"other flag", "c=eSws,r=" T_NONCE ",p=" T_PROOF, SCRAM_E_BINDING},
        {"binding out of nowhere",
         "c=cD10bHMtc2VydmVyLWVuZC1wb2ludCwsYWJj,r=" T_NONCE ",p=" T_PROOF, SCRAM_E_BINDING},
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
        {"proof no base64",
         "c=biws,r=" T_NONCE ",p=!teiddGNQsDG9LwcLtsRrGfhTFe/OkazmPXNds+g3bM=", SCRAM_E_MALFORMED},
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
    assert_int_equal(scram_server_final(s, T_CLIENT_FINAL, strlen(T_CLIENT_FINAL), &out),
                     SCRAM_E_MALFORMED);
    assert_int_equal(scram_server_first(s, T_CLIENT_FIRST, strlen(T_CLIENT_FIRST), &out),
                     SCRAM_E_MALFORMED);
    s = scram_server_free(s);
    assert_null(scram_server_free(s));
    s = server_with(&keys, SCRAM_MECH_SHA_256, OFFER_PLAIN);
    assert_int_equal(scram_server_first(s, T_CLIENT_FIRST, strlen(T_CLIENT_FIRST), &out), SCRAM_OK);
    assert_int_equal(scram_server_first(s, T_CLIENT_FIRST, strlen(T_CLIENT_FIRST), &out),
                     SCRAM_E_MALFORMED);
    assert_int_equal(scram_server_final(s, T_CLIENT_FINAL, strlen(T_CLIENT_FINAL), &out),
                     SCRAM_E_MALFORMED);
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
         "r=" T_NONCE ",s="
         "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"
         "AAAAAAAAAAA=,i=1",
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
         "e="
         "01234567890123456789012345678901234567890123456789012345678901234567890123456789012345678"
         "90123456789",
         SCRAM_E_REFUSED,
         "0123456789012345678901234567890123456789012345678901234567890123456789012345678"},
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
    struct scram_keys cases[4];
    static const bool fits[] = {true, false, false, false};

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        cases[i] = good;
    }
    cases[1].iterations++;
    cases[2].salt[0] ^= 1;
    cases[3].has_client_key = false;
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct scram_client *c = client_with(SCRAM_CLIENT_UNABLE);
        struct buf out = BUF_INIT(SCRAM_MESSAGE_MAX);

        assert_int_equal(scram_client_first(c, &out), SCRAM_OK);
        assert_int_equal(scram_client_challenge(c, T_SERVER_FIRST, strlen(T_SERVER_FIRST)),
                         SCRAM_OK);
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
    assert_int_equal(scram_client_challenge(c, T_SERVER_FIRST, strlen(T_SERVER_FIRST)),
                     SCRAM_E_MALFORMED);
    assert_int_equal(scram_client_first(c, &out), SCRAM_E_MALFORMED);
    c = scram_client_free(c);
    assert_null(scram_client_free(c));
    c = client_with(SCRAM_CLIENT_UNABLE);
    assert_int_equal(scram_client_first(c, &out), SCRAM_OK);
    assert_int_equal(scram_client_verify(c, T_SERVER_FINAL, strlen(T_SERVER_FINAL)),
                     SCRAM_E_MALFORMED);
    assert_int_equal(scram_client_final(c, &keys, &out), SCRAM_E_MALFORMED);
    assert_false(scram_client_is_verified(c));
    scram_client_free(c);
    buf_done(&out);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(client_first_messages),       cmocka_unit_test(client_first_lengths),
        cmocka_unit_test(client_final_messages),       cmocka_unit_test(server_out_of_turn),
        cmocka_unit_test(server_first_messages),       cmocka_unit_test(server_final_messages),
        cmocka_unit_test(keys_must_fit_the_challenge), cmocka_unit_test(client_out_of_turn),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
