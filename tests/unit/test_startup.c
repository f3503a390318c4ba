/* SPDX-License-Identifier: ISC */
/* The first packet, and what we answer at start-up. Limits and layout are those of PG15's ProcessStartupPacket(), the
 * rules of "options" those of pg_split_opts() and process_postgres_switches(). */
#include "protocol/startup.h"

#include "protocol/wire.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define CANCEL 80877102U
#define SSL 80877103U
#define GSSENC 80877104U
#define BODY(text) text, sizeof(text) - 1

static const struct {
    const char *name;
    uint32_t code;
    const char *body;
    size_t len;
    enum startup_verdict verdict;
    enum startup_kind kind;
} packets[] = {
    {"user alone", PROTOCOL_3_0, BODY("user\0app\0\0"), STARTUP_OK, STARTUP_MESSAGE},
    {"three parameters", PROTOCOL_3_0, BODY("user\0app\0database\0shop\0options\0-c a=b\0\0"),
     STARTUP_OK, STARTUP_MESSAGE},
    {"no parameter", PROTOCOL_3_0, BODY("\0"), STARTUP_OK, STARTUP_MESSAGE},
    {"empty value", PROTOCOL_3_0, BODY("user\0\0\0"), STARTUP_OK, STARTUP_MESSAGE},
    {"protocol 3.2", PROTOCOL_3_2, BODY("user\0app\0\0"), STARTUP_OK, STARTUP_MESSAGE},
    {"protocol 3.65535", 0x0003ffff, BODY("user\0app\0\0"), STARTUP_OK, STARTUP_MESSAGE},
    {"no final terminator", PROTOCOL_3_0, BODY("user\0app\0"), STARTUP_BAD_LAYOUT, 0},
    {"no terminator at all", PROTOCOL_3_0, BODY(""), STARTUP_BAD_LAYOUT, 0},
    {"value without end", PROTOCOL_3_0, BODY("user\0app"), STARTUP_BAD_LAYOUT, 0},
    {"name without end", PROTOCOL_3_0, BODY("user"), STARTUP_BAD_LAYOUT, 0},
    {"name without value", PROTOCOL_3_0, BODY("user\0"), STARTUP_BAD_LAYOUT, 0},
    {"trailing byte", PROTOCOL_3_0, BODY("user\0app\0\0x"), STARTUP_BAD_LAYOUT, 0},
    {"trailing terminator", PROTOCOL_3_0, BODY("user\0app\0\0\0"), STARTUP_BAD_LAYOUT, 0},
    {"protocol 2", 0x00020000, BODY("user\0app\0\0"), STARTUP_BAD_VERSION, 0},
    {"protocol 4", 0x00040000, BODY("user\0app\0\0"), STARTUP_BAD_VERSION, 0},
    {"protocol 0", 0, BODY(""), STARTUP_BAD_VERSION, 0},
    {"an unknown request code", 80877105U, BODY(""), STARTUP_BAD_VERSION, 0},
    {"HTTP", 0x47455420, BODY("/ HT"), STARTUP_BAD_VERSION, 0},
    {"SSLRequest", SSL, BODY(""), STARTUP_OK, STARTUP_SSL_REQUEST},
    {"SSLRequest and a byte", SSL, BODY("x"), STARTUP_BAD_LAYOUT, 0},
    {"GSSENCRequest", GSSENC, BODY(""), STARTUP_OK, STARTUP_GSSENC_REQUEST},
    {"GSSENCRequest and a byte", GSSENC, BODY("x"), STARTUP_BAD_LAYOUT, 0},
    {"CancelRequest", CANCEL, BODY("\0\0\1\2keys"), STARTUP_OK, STARTUP_CANCEL_REQUEST},
    {"CancelRequest, long key", CANCEL, BODY("\0\0\1\2keyskeyskeyskeyskeyskeyskeyskeys"),
     STARTUP_OK, STARTUP_CANCEL_REQUEST},
    {"CancelRequest, key of three", CANCEL, BODY("\0\0\1\2key"), STARTUP_BAD_LAYOUT, 0},
    {"CancelRequest, no key", CANCEL, BODY("\0\0\1\2"), STARTUP_BAD_LAYOUT, 0},
    {"CancelRequest, half a pid", CANCEL, BODY("\0\0"), STARTUP_BAD_LAYOUT, 0},
};

/* In memory of its own, so that ASan sees a byte too many. */
static uint8_t *make_packet(uint32_t length, uint32_t code, const void *body, size_t len)
{
    uint8_t *packet = malloc(STARTUP_HEADER_BYTES + len);

    assert_non_null(packet);
    wire_store_u32(packet, length);
    wire_store_u32(packet + 4, code);
    if (len > 0) {
        memcpy(packet + STARTUP_HEADER_BYTES, body, len);
    }
    return packet;
}

static void test_packets(void **state)
{
    static struct startup s;

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(packets); i++) {
        size_t total = STARTUP_HEADER_BYTES + packets[i].len;
        uint8_t *packet =
            make_packet((uint32_t)total, packets[i].code, packets[i].body, packets[i].len);
        enum startup_verdict verdict = startup_parse(packet, total, &s);

        if (verdict != packets[i].verdict) {
            fail_msg("%s: verdict %d", packets[i].name, (int)verdict);
        }
        if (verdict == STARTUP_OK) {
            assert_int_equal(s.kind, packets[i].kind);
            assert_int_equal(s.total, total);
        }
        if (verdict == STARTUP_BAD_VERSION) {
            assert_int_equal(s.version, packets[i].code);
        }
        free(packet);
    }
}

static void test_truncations_are_partial(void **state)
{
    static struct startup s;

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(packets); i++) {
        size_t total = STARTUP_HEADER_BYTES + packets[i].len;

        for (size_t len = 0; len < total; len++) {
            uint8_t *packet =
                make_packet((uint32_t)total, packets[i].code, packets[i].body, packets[i].len);
            uint8_t *cut = malloc(len > 0 ? len : 1);

            assert_non_null(cut);
            memcpy(cut, packet, len);
            if (startup_parse(cut, len, &s) != STARTUP_PARTIAL) {
                fail_msg("%s cut to %zu bytes", packets[i].name, len);
            }
            free(cut);
            free(packet);
        }
    }
}

static void test_what_follows_is_left_alone(void **state)
{
    static struct startup s;
    uint8_t *packet = make_packet(8, SSL, "more", 4);

    (void)state;
    assert_int_equal(startup_parse(packet, 12, &s), STARTUP_OK);
    assert_int_equal(s.total, 8);
    free(packet);
}

static void test_lying_lengths(void **state)
{
    static const uint32_t bad[] = {0, 1, 4, 7, 10005, 20000, 0x7fffffff, 0x80000000U, UINT32_MAX};
    static struct startup s;

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
        uint8_t *packet = make_packet(bad[i], PROTOCOL_3_0, "user\0app\0", 10);

        assert_int_equal(startup_parse(packet, 18, &s), STARTUP_BAD_LENGTH);
        assert_int_equal(startup_parse(packet, 4, &s), STARTUP_BAD_LENGTH); /* seen at once */
        assert_int_equal(startup_parse(packet, 3, &s), STARTUP_PARTIAL);
        free(packet);
    }
}

/* PG15: MAX_STARTUP_PACKET_LENGTH (10000) bounds what comes behind the length. */
static void test_largest_packet(void **state)
{
    static struct startup s;

    (void)state;
    for (size_t total = 10003; total <= 10005; total++) {
        size_t len = total - STARTUP_HEADER_BYTES;
        char *body = calloc(1, len);
        uint8_t *packet;

        assert_non_null(body);
        memcpy(body, "user", 5);
        memset(body + 5, 'u', len - 7);
        packet = make_packet((uint32_t)total, PROTOCOL_3_0, body, len);
        assert_int_equal(startup_parse(packet, total, &s),
                         total <= 10004 ? STARTUP_OK : STARTUP_BAD_LENGTH);
        assert_int_equal(startup_parse(packet, 8, &s),
                         total <= 10004 ? STARTUP_PARTIAL : STARTUP_BAD_LENGTH);
        free(packet);
        free(body);
    }
}

static void test_number_of_parameters(void **state)
{
    static struct startup s;

    (void)state;
    for (unsigned n = STARTUP_MAX_PARAMS - 1; n <= STARTUP_MAX_PARAMS + 1; n++) {
        struct buf b = BUF_INIT(STARTUP_MAX_BYTES);

        wire_put_u32(&b, 0);
        wire_put_u32(&b, PROTOCOL_3_0);
        for (unsigned i = 0; i < n; i++) {
            (void)buf_append_fmt(&b, "p%u", i);
            wire_put_u8(&b, 0);
            wire_put_cstr(&b, "v");
        }
        wire_put_u8(&b, 0);
        assert_true(buf_ok(&b));
        wire_store_u32(b.data, (uint32_t)b.len);
        assert_int_equal(startup_parse(b.data, b.len, &s),
                         n <= STARTUP_MAX_PARAMS ? STARTUP_OK : STARTUP_TOO_MANY);
        assert_true(n > STARTUP_MAX_PARAMS || s.n_params == n);
        buf_done(&b);
    }
}

static void test_length_of_a_cancel_key(void **state)
{
    static struct startup s;
    static const uint8_t zeros[4 + CANCEL_KEY_MAX_BYTES + 1];

    (void)state;
    for (size_t key = CANCEL_KEY_MAX_BYTES - 1; key <= CANCEL_KEY_MAX_BYTES + 1; key++) {
        uint8_t *packet = make_packet((uint32_t)(12 + key), CANCEL, zeros, 4 + key);

        assert_int_equal(startup_parse(packet, 12 + key, &s),
                         key <= CANCEL_KEY_MAX_BYTES ? STARTUP_OK : STARTUP_BAD_LAYOUT);
        free(packet);
    }
}

static void test_content(void **state)
{
    static const char body[] = "user\0app\0_pq_.a\0"
                               "1\0DateStyle\0ISO\0user\0root\0_pq_.b\0\0";
    static struct startup s;
    uint8_t *packet = make_packet(8 + sizeof(body), PROTOCOL_3_2, body, sizeof(body));
    uint8_t *cancel = make_packet(16, CANCEL, "\xff\0\1\2\0key", 8);

    (void)state;
    assert_int_equal(startup_parse(packet, 8 + sizeof(body), &s), STARTUP_OK);
    assert_int_equal(s.version, PROTOCOL_3_2);
    assert_int_equal(s.n_params, 5);
    assert_string_equal(s.params[2].name, "DateStyle");
    assert_string_equal(s.params[2].value, "ISO");
    assert_int_equal(s.n_unknown_pq, 2);
    assert_string_equal(startup_find(&s, "user"), "root"); /* the last one wins */
    assert_string_equal(startup_find(&s, "_pq_.b"), "");
    assert_null(startup_find(&s, "datestyle"));
    assert_null(startup_find(&s, "database"));
    assert_int_equal(startup_parse(cancel, 16, &s), STARTUP_OK);
    assert_int_equal(s.cancel_pid, 0xff000102U);
    assert_int_equal(s.cancel_key_len, 4);
    assert_memory_equal(s.cancel_key, "\0key", 4);
    free(packet);
    free(cancel);
}

/* --- options --- */

static const struct {
    const char *options;
    const char *settings; /* name<value> each */
    bool ok;
} option_cases[] = {
    {"", "", true},
    {"  \t\n ", "", true},
    {"-c a=b", "a<b>", true},
    {"-ca=b", "a<b>", true},
    {"--a=b", "a<b>", true},
    {" -c  a=b   --c=d -ce=f ", "a<b>c<d>e<f>", true},
    {"--search-path=a,b", "search_path<a,b>", true},
    {"-c search-path=a-b", "search_path<a-b>", true},
    {"-c a=", "a<>", true},
    {"-c a=b=c", "a<b=c>", true},
    {"-c a=b\\ c", "a<b c>", true},
    {"-c a=\\\\", "a<\\>", true},
    {"-c a=\\\\\\ b", "a<\\ b>", true},
    {"-c a=b\\", "a<b>", true},
    {"-c a=\\'x\\'", "a<'x'>", true},
    {"-c a='x y'", "a<'x>", false},
    {"-c my.var=1", "my.var<1>", true},
    {"\\-c a=b", "a<b>", true},
    {"-c\ta=b\v--c=d\f--e=f\r--g=h", "a<b>c<d>e<f>g<h>", true},
    {"-c", "", false},
    {"-c ", "", false},
    {"-c a", "", false},
    {"-c =b", "", false},
    {"--", "", false},
    {"--a", "", false},
    {"--=b", "", false},
    {"-d 5", "", false},
    {"-e", "", false},
    {"a=b", "", false},
    {"\\", "", false},
    {"-c a=b rest", "a<b>", false},
    {"-c stop=1 -c never=2", "stop<1>", false}, /* refused by the callback */
};

static bool keep_setting(void *arg, const char *name, const char *value)
{
    return buf_append_fmt(arg, "%s<%s>", name, value) && strcmp(name, "stop") != 0;
}

static void test_options(void **state)
{
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(option_cases); i++) {
        struct buf b = BUF_INIT(1000);
        char *options = strdup(option_cases[i].options);
        bool ok = startup_split_options(options, keep_setting, &b);

        if (ok != option_cases[i].ok || strcmp(buf_cstr(&b), option_cases[i].settings) != 0) {
            fail_msg("\"%s\": %s, %s", option_cases[i].options, ok ? "taken" : "refused",
                     buf_cstr(&b));
        }
        free(options);
        buf_done(&b);
    }
}

/* --- answers --- */

static void test_answers(void **state)
{
    static const char expected[] = "v\0\0\0\x1a\0\3\0\0\0\0\0\2_pq_.x\0_pq_.y\0"
                                   "K\0\0\0\xc\0\0\1\2keys"
                                   "S\0\0\0\x12TimeZone\0Mars\0"
                                   "Z\0\0\0\5T"
                                   "R\0\0\0\x8\0\0\0";
    struct buf b = BUF_INIT(1000);
    struct startup s = {.n_params = 3, .n_unknown_pq = 2};

    (void)state;
    s.params[0] = (struct startup_param){"_pq_.x", "1"};
    s.params[1] = (struct startup_param){"user", "u"};
    s.params[2] = (struct startup_param){"_pq_.y", ""};
    startup_put_negotiate(&b, &s, PROTOCOL_3_0);
    startup_put_key(&b, 0x102, "keys", 4);
    startup_put_parameter(&b, "TimeZone", "Mars");
    startup_put_ready(&b, 'T');
    startup_put_auth_ok(&b);
    assert_true(buf_ok(&b));
    assert_int_equal(b.len, sizeof(expected));
    assert_memory_equal(b.data, expected, sizeof(expected));
    buf_done(&b);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_packets),
        cmocka_unit_test(test_truncations_are_partial),
        cmocka_unit_test(test_what_follows_is_left_alone),
        cmocka_unit_test(test_lying_lengths),
        cmocka_unit_test(test_largest_packet),
        cmocka_unit_test(test_number_of_parameters),
        cmocka_unit_test(test_length_of_a_cancel_key),
        cmocka_unit_test(test_content),
        cmocka_unit_test(test_options),
        cmocka_unit_test(test_answers),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
