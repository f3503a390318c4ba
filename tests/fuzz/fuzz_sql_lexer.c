/* SPDX-License-Identifier: ISC */
/* Any text as SQL: tokens and statements lie in order within it, names have an end, and a
 * statement whose first word is there is found by the cheap question too. The first byte holds
 * the flags. */
#include "daemon/util/fatal.h"
#include "protocol/sql_lexer.h"

#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void read_tokens(const char *text, size_t len, unsigned flags)
{
    struct sql_lexer lx;
    struct sql_token t;
    size_t pos = 0;

    sql_lexer_init(&lx, text, len, flags);
    for (;;) {
        t = sql_token_next(&lx);
        fatal_unless(t.at >= pos && t.at <= len && t.len <= len - t.at);
        if (t.kind == SQL_TOKEN_END || t.kind == SQL_TOKEN_BROKEN) {
            break;
        }
        fatal_unless(t.len > 0);
        pos = t.at + t.len;
    }
    fatal_unless(sql_token_next(&lx).kind == t.kind);
}

static void read_statements(const char *text, size_t len, unsigned flags)
{
    struct sql_lexer lx;
    struct sql_statement st;
    size_t pos = 0;

    sql_lexer_init(&lx, text, len, flags);
    while (sql_statement_next(&lx, &st)) {
        fatal_unless(st.at >= pos && st.len > 0 && st.len <= len - st.at);
        pos = st.at + st.len;
        fatal_unless(st.name_len == 0 || (st.name_at > st.at && st.name_len <= pos - st.name_at));
        fatal_unless(memchr(st.name, '\0', sizeof(st.name)) != NULL);
        fatal_unless(st.kind < SQL_KINDS);
        if (st.kind == SQL_LISTEN || st.kind == SQL_UNLISTEN || st.kind == SQL_UNLISTEN_ALL) {
            fatal_unless(sql_might_contain(text, len, "listen"));
        }
    }
}

static bool contains_slowly(const char *text, size_t len, const char *word)
{
    for (size_t i = 0; i + strlen(word) <= len; i++) {
        if (strncasecmp(text + i, word, strlen(word)) == 0) {
            return true;
        }
    }
    return false;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    const char *text = (const char *)data + 1;

    if (size == 0) {
        return 0;
    }
    read_tokens(text, size - 1, data[0] & 31U);
    read_statements(text, size - 1, data[0] & 31U);
    fatal_unless(sql_might_contain(text, size - 1, "listen") ==
                 contains_slowly(text, size - 1, "listen"));
    return 0;
}
