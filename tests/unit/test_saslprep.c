/* SPDX-License-Identifier: ISC */
#include "protocol/saslprep.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

/* Expected bytes are what PostgreSQL 15's pg_saslprep() gives, or the raw ones where it refuses. */
static const struct {
    const char *name;
    const char *in;
    const char *out; /* NULL: the same */
} cases[] = {
    {"empty", "", NULL},
    {"ASCII", "pencil", NULL},
    {"ASCII with blanks and controls", " a\tb\x01\x7f ", NULL},
    {"RFC 4013: soft hyphen to nothing", "I\xc2\xadX", "IX"},
    {"RFC 4013: case is kept", "USER", NULL},
    {"RFC 4013: feminine ordinal", "\xc2\xaa", "a"},
    {"RFC 4013: roman nine", "\xe2\x85\xa8", "IX"},
    {"RFC 4013: control character, raw", "\x07", NULL},
    {"RFC 4013: bidi check, raw", "\xd8\xa7\x31", NULL},
    {"composes", "cafe\xcc\x81", "caf\xc3\xa9"},
    {"composed already", "caf\xc3\xa9", NULL},
    {"no-break space", "a\xc2\xa0z", "a z"},
    {"ideographic space", "a\xe3\x80\x80z", "a z"},
    {"zero width space", "a\xe2\x80\x8bz", "a z"},
    {"only what maps to nothing, raw", "\xc2\xad\xc2\xad", NULL},
    {"right to left", "\xd7\x90\xd7\x91", NULL},
    {"right to left, ends left to right, raw", "\xd7\x90\x61", NULL},
    {"private use, raw", "a\xee\x80\x80\xe2\x85\xa8", NULL},
    {"unassigned in Unicode 3.2, raw", "\xc8\xa1\xe2\x85\xa8", NULL},
    {"emoji, unassigned then, raw", "\xf0\x9f\x98\x80\xc2\xaa", NULL},
    {"control among others, raw", "\x01\xc2\xaa", NULL},
    {"prohibited before it would be normalised away, raw", "x\xcd\x80", NULL},
    {"expands eighteen times", "\xef\xb7\xba",
     "\xd8\xb5\xd9\x84\xd9\x89\x20\xd8\xa7\xd9\x84\xd9\x84\xd9\x87\x20\xd8\xb9\xd9\x84\xd9\x8a\xd9"
     "\x87\x20\xd9\x88\xd8"
     "\xb3\xd9\x84\xd9\x85"},
    {"Corrigendum 4", "\xf0\xaf\xa1\xa8", "\xe3\x9b\xbc"},
    {"outside the basic plane", "\xf0\x9d\x90\x80", "A"},
    {"Hangul", "\xe1\x84\x80\xe1\x85\xa1\xe1\x86\xa8", "\xea\xb0\x81"},
    {"not UTF-8: stray byte, raw", "\xff\xc2\xaa", NULL},
    {"not UTF-8: cut, raw", "\xc2\xaa\xc2", NULL},
    {"not UTF-8: overlong, raw", "\xc0\x80\xc2\xaa", NULL},
    {"not UTF-8: surrogate, raw", "\xed\xa0\x80\xc2\xaa", NULL},
    {"not UTF-8: beyond Unicode, raw", "\xf4\x90\x80\x80\xc2\xaa", NULL},
};

static void table(void **state)
{
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        const char *out = cases[i].out != NULL ? cases[i].out : cases[i].in;
        struct secret got = {0};

        assert_true(saslprep_password(cases[i].in, strlen(cases[i].in), &got));
        if (!secret_equals(&got, out, strlen(out))) {
            fail_msg("%s: got \"%s\"", cases[i].name, got.data);
        }
        secret_done(&got);
    }
}

static void embedded_nul_is_kept_raw(void **state)
{
    static const char in[] = {'\xc2', '\xaa', '\0', '\xc2', '\xaa'};
    struct secret got = {0};

    (void)state;
    assert_true(saslprep_password(in, sizeof(in), &got));
    assert_true(secret_equals(&got, in, sizeof(in)));
    secret_done(&got);
}

/* The ceiling, and one beyond it: raw. */
static void long_passwords(void **state)
{
    static const size_t max = 8192;
    char *in = malloc(max + 2);
    struct secret got = {0};

    (void)state;
    assert_non_null(in);
    for (size_t i = 0; i < max + 2; i += 2) {
        memcpy(in + i, "\xc2\xaa", 2);
    }
    assert_true(saslprep_password(in, max, &got));
    assert_int_equal(got.len, max / 2);
    secret_done(&got);
    assert_true(saslprep_password(in, max + 2, &got));
    assert_true(secret_equals(&got, in, max + 2));
    secret_done(&got);
    free(in);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(table),
        cmocka_unit_test(embedded_nul_is_kept_raw),
        cmocka_unit_test(long_passwords),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
