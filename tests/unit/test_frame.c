/* SPDX-License-Identifier: ISC */
/* Framing and the table of types. The least lengths are those of PG15 protocol, "Message Formats": the smallest message
 * that can be built of its fields. */
#include "protocol/frame.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

struct bound {
    char type;
    uint32_t least;
    bool is_exact; /* it has no other length */
};

static const struct bound from_client[] = {
    {'B', 4 + 1 + 1 + 2 + 2 + 2, false},
    {'C', 4 + 1 + 1, false},
    {'D', 4 + 1 + 1, false},
    {'E', 4 + 1 + 4, false},
    {'F', 4 + 4 + 2 + 2 + 2, false},
    {'H', 4, true},
    {'P', 4 + 1 + 1 + 2, false},
    {'Q', 4 + 1, false},
    {'S', 4, true},
    {'X', 4, true},
    {'c', 4, true},
    {'d', 4, false},
    {'f', 4 + 1, false},
    {'p', 4 + 1, false},
};

static const struct bound from_server[] = {
    {'1', 4, true},          {'2', 4, true},      {'3', 4, true},  {'A', 4 + 4 + 1 + 1, false},
    {'C', 4 + 1, false},     {'D', 4 + 2, false}, {'E', 5, false}, {'G', 4 + 1 + 2, false},
    {'H', 4 + 1 + 2, false}, {'I', 4, true},      {'N', 5, false}, {'K', 4 + 4 + 4, false},
    {'R', 4 + 4, false},     {'S', 6, false},     {'T', 6, false}, {'V', 4 + 4, false},
    {'W', 4 + 1 + 2, false}, {'Z', 5, true},      {'c', 4, true},  {'d', 4, false},
    {'n', 4, true},          {'s', 4, true},      {'t', 6, false}, {'v', 4 + 4 + 4, false},
};

static enum frame_verdict peek(const struct msg_info *table, unsigned type, uint32_t length,
                               struct frame *ret)
{
    uint8_t header[FRAME_HEADER_BYTES] = {(uint8_t)type};

    wire_store_u32(header + 1, length);
    return frame_peek(table, header, sizeof(header), ret);
}

static void check_bounds(const struct msg_info *table, const struct bound *b)
{
    const struct msg_info *info = &table[(uint8_t)b->type];
    struct frame f = {.type = 0};

    if (info->name == NULL || info->least != b->least ||
        (info->most == info->least) != b->is_exact) {
        fail_msg("type %c", b->type);
    }
    assert_int_equal(peek(table, (uint8_t)b->type, info->least, &f), FRAME_OK);
    assert_int_equal(f.type, b->type);
    assert_int_equal(f.total, info->least + 1);
    assert_int_equal(peek(table, (uint8_t)b->type, info->most, &f), FRAME_OK);
    assert_int_equal(f.total, info->most + 1);
    assert_int_equal(peek(table, (uint8_t)b->type, info->least - 1, &f), FRAME_BAD);
    assert_int_equal(peek(table, (uint8_t)b->type, info->most + 1, &f), FRAME_BAD);
    assert_int_equal(peek(table, (uint8_t)b->type, 0, &f), FRAME_BAD);
    assert_int_equal(peek(table, (uint8_t)b->type, 3, &f), FRAME_BAD);
    assert_int_equal(peek(table, (uint8_t)b->type, 0x80000000U, &f), FRAME_BAD);
    assert_int_equal(peek(table, (uint8_t)b->type, UINT32_MAX, &f), FRAME_BAD);
}

static void test_bounds_of_each_type(void **state)
{
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(from_client); i++) {
        check_bounds(msg_from_client, &from_client[i]);
    }
    for (size_t i = 0; i < ARRAY_LEN(from_server); i++) {
        check_bounds(msg_from_server, &from_server[i]);
    }
}

static bool is_listed(const struct bound *list, size_t n, unsigned type)
{
    for (size_t i = 0; i < n; i++) {
        if ((uint8_t)list[i].type == type) {
            return true;
        }
    }
    return false;
}

static void test_types_that_do_not_exist(void **state)
{
    static const uint32_t lengths[] = {0, 1, 3, 4, 5, 100, 0x3fffffff, 0x7fffffff, UINT32_MAX};
    struct frame f;

    (void)state;
    for (unsigned type = 0; type < 256; type++) {
        bool client = is_listed(from_client, ARRAY_LEN(from_client), type);
        bool server = is_listed(from_server, ARRAY_LEN(from_server), type);

        assert_int_equal(msg_from_client[type].name != NULL, client);
        assert_int_equal(msg_from_server[type].name != NULL, server);
        for (size_t i = 0; i < ARRAY_LEN(lengths); i++) {
            assert_true(client || peek(msg_from_client, type, lengths[i], &f) == FRAME_BAD);
            assert_true(server || peek(msg_from_server, type, lengths[i], &f) == FRAME_BAD);
        }
    }
}

/* PG15 src/backend/tcop/postgres.c: PQ_LARGE_MESSAGE_LIMIT is MaxAllocSize - 1; MaxAllocSize is 0x3fffffff. */
static void test_large_messages_end_where_the_server_ends_them(void **state)
{
    static const char large[] = "BFPQd";
    struct frame f;

    (void)state;
    for (const char *type = large; *type != '\0'; type++) {
        assert_int_equal(peek(msg_from_client, (uint8_t)*type, 0x3ffffffe, &f), FRAME_OK);
        assert_int_equal(peek(msg_from_client, (uint8_t)*type, 0x3fffffff, &f), FRAME_BAD);
    }
}

/* A cancel key has up to 256 bytes. */
static void test_longest_cancel_key(void **state)
{
    struct frame f;

    (void)state;
    assert_int_equal(peek(msg_from_server, 'K', 4 + 4 + 256, &f), FRAME_OK);
    assert_int_equal(peek(msg_from_server, 'K', 4 + 4 + 257, &f), FRAME_BAD);
}

static void test_header_in_pieces(void **state)
{
    static const uint8_t message[] = {'Q', 0, 0, 0, 6, ';', 0, 'X'};
    struct frame f = {.type = 'u', .total = 99};

    (void)state;
    for (size_t len = 0; len <= sizeof(message); len++) {
        uint8_t *copy = malloc(len > 0 ? len : 1);
        enum frame_verdict verdict;

        assert_non_null(copy);
        memcpy(copy, message, len);
        verdict = frame_peek(msg_from_client, copy, len, &f);
        assert_int_equal(verdict, len < FRAME_HEADER_BYTES ? FRAME_PARTIAL : FRAME_OK);
        assert_int_equal(f.total, len < FRAME_HEADER_BYTES ? 99 : 7);
        free(copy);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_bounds_of_each_type),
        cmocka_unit_test(test_types_that_do_not_exist),
        cmocka_unit_test(test_large_messages_end_where_the_server_ends_them),
        cmocka_unit_test(test_longest_cancel_key),
        cmocka_unit_test(test_header_in_pieces),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
