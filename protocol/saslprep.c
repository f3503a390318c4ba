/* SPDX-License-Identifier: ISC */
/* The rules and tables are libidn's; the order of the steps is PostgreSQL's. RFC 3454 normalises
 * first and then looks for prohibited and right-to-left characters in the result; PostgreSQL
 * looks for them in what the mapping step left, before normalising. U+0340 shows it: prohibited
 * there, an innocent U+0300 in the RFC's order. A password has to come out as the server that
 * stored the secret has it, so its order rules. */
#include "protocol/saslprep.h"

#include "daemon/util/fatal.h"

#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <stringprep.h>

/* Longer ones are taken as raw bytes: normalising sorts combining marks in quadratic time, 4 ms
 * for this many. */
#define SASLPREP_MAX_BYTES 8192
/* NFKC makes at most 18 characters of one (U+FDFA). */
#define NFKC_GROWTH 18
#define PROFILE_STEPS 32

static bool is_ascii(const char *text, size_t len)
{
    uint8_t seen = 0;

    for (size_t i = 0; i < len; i++) {
        seen |= (uint8_t)text[i];
    }
    return seen < 0x80;
}

/* Unicode 3.2, which libidn has, normalises these five wrongly; Corrigendum 4 put them right,
 * and PostgreSQL's tables are newer. With them every single character comes out as in PostgreSQL
 * 15. What still differs are sequences that Public Review Issue 29 describes (a Hangul
 * consonant, a combining mark, a Hangul vowel): nobody can write them. */
static const Stringprep_table_element corrected[] = {
    {0x2f868, 0x2f868, {0x36fc}}, {0x2f874, 0x2f874, {0x5f53}}, {0x2f91f, 0x2f91f, {0x243ab}},
    {0x2f95f, 0x2f95f, {0x7aee}}, {0x2f9bf, 0x2f9bf, {0x45d7}},
};

/* libidn's SASLprep with the normalisation moved to the end. */
static void profile_of_postgres(Stringprep_profile ret[PROFILE_STEPS])
{
    const Stringprep_profile *step = stringprep_saslprep;
    size_t n = 0;

    for (; step->operation != 0; step++) {
        if (step->operation != STRINGPREP_NFKC) {
            fatal_unless(n < PROFILE_STEPS - 3);
            ret[n++] = *step;
        }
    }
    ret[n++] = (Stringprep_profile){
        .operation = STRINGPREP_MAP_TABLE, .table = corrected, .table_size = ARRAY_LEN(corrected)};
    ret[n++] = (Stringprep_profile){.operation = STRINGPREP_NFKC};
    ret[n] = (Stringprep_profile){0};
}

enum prepared {
    PREPARED,
    PREPARED_NOT, /* refused by the rules, or too long: take it raw */
    PREPARED_NO_MEMORY,
};

static enum prepared to_utf8(const uint32_t *chars, size_t n_chars, struct secret *ret)
{
    size_t len = 0;
    char *utf8 = stringprep_ucs4_to_utf8(chars, (ssize_t)n_chars, NULL, &len);
    bool ok;

    if (utf8 == NULL) {
        return PREPARED_NOT;
    }
    ok = secret_set(ret, utf8, len);
    explicit_bzero(utf8, len);
    free(utf8);
    return ok ? PREPARED : PREPARED_NO_MEMORY;
}

static enum prepared prepare(const char *password, size_t len, struct secret *ret)
{
    Stringprep_profile profile[PROFILE_STEPS];
    size_t n_chars = 0;
    size_t cap;
    uint32_t *read;
    uint32_t *chars;
    enum prepared result = PREPARED_NOT;

    if (len > SASLPREP_MAX_BYTES || memchr(password, '\0', len) != NULL) {
        return PREPARED_NOT;
    }
    read = stringprep_utf8_to_ucs4(password, (ssize_t)len, &n_chars); /* NULL: not UTF-8 */
    if (read == NULL) {
        return PREPARED_NOT;
    }
    cap = n_chars * NFKC_GROWTH + 1;
    chars = calloc(cap, sizeof(*chars));
    if (chars != NULL) {
        memcpy(chars, read, n_chars * sizeof(*chars));
    }
    explicit_bzero(read, n_chars * sizeof(*read));
    free(read);
    if (chars == NULL) {
        return PREPARED_NO_MEMORY;
    }
    profile_of_postgres(profile);
    if (stringprep_4i(chars, &n_chars, cap, STRINGPREP_NO_UNASSIGNED, profile) == STRINGPREP_OK &&
        n_chars > 0) {
        result = to_utf8(chars, n_chars, ret);
    }
    explicit_bzero(chars, cap * sizeof(*chars));
    free(chars);
    return result;
}

bool saslprep_password(const char *password, size_t len, struct secret *ret)
{
    struct secret prepared = {0};

    if (!is_ascii(password, len)) {
        switch (prepare(password, len, &prepared)) {
        case PREPARED:
            *ret = prepared;
            return true;
        case PREPARED_NO_MEMORY:
            return false;
        case PREPARED_NOT:
            break;
        }
    }
    if (!secret_set(&prepared, password, len)) {
        return false;
    }
    *ret = prepared;
    return true;
}
