/* SPDX-License-Identifier: ISC */
#include "null_query.h"

#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

static const struct {
    const char *word;
    enum plan_kind kind;
    const char *tag;
} words[] = {
    {"abort", PLAN_ROLLBACK, "ROLLBACK"},
    {"begin", PLAN_BEGIN, "BEGIN"},
    {"big", PLAN_BIG, "SELECT 0"},
    {"commit", PLAN_COMMIT, "COMMIT"},
    {"copy", PLAN_COPY_IN, "COPY 0"},
    {"deallocate", PLAN_TAG, "DEALLOCATE"},
    {"delay", PLAN_DELAY, "SELECT 1"},
    {"discard", PLAN_DISCARD, "DISCARD ALL"},
    {"end", PLAN_COMMIT, "COMMIT"},
    {"fail", PLAN_FAIL, ""},
    {"listen", PLAN_LISTEN, "LISTEN"},
    {"notify", PLAN_NOTIFY, "NOTIFY"},
    {"release", PLAN_TAG, "RELEASE"},
    {"reset", PLAN_TAG, "RESET"},
    {"rollback", PLAN_ROLLBACK, "ROLLBACK"},
    {"savepoint", PLAN_TAG, "SAVEPOINT"},
    {"set", PLAN_TAG, "SET"},
    {"start", PLAN_BEGIN, "START TRANSACTION"},
    {"unlisten", PLAN_UNLISTEN, "UNLISTEN"},
};

static const char *skip_blanks(const char *text)
{
    while (isspace((unsigned char)*text)) {
        text++;
    }
    return text;
}

static size_t word_len(const char *text)
{
    size_t n = 0;

    while (isalnum((unsigned char)text[n]) || text[n] == '_' || text[n] == '*') {
        n++;
    }
    return n;
}

static void copy_word(char ret[PLAN_WORD_MAX], const char *text, size_t len)
{
    (void)snprintf(ret, PLAN_WORD_MAX, "%.*s", (int)len, text);
}

/* LISTEN and friends: a name, perhaps quoted, and for NOTIFY a payload between apostrophes. */
static void parse_channel(const char *rest, struct plan *ret)
{
    const char *quote;

    if (*rest == '"') {
        rest++;
    }
    copy_word(ret->name, rest, word_len(rest));
    quote = strchr(rest, '\'');
    if (quote != NULL) {
        copy_word(ret->payload, quote + 1, strcspn(quote + 1, "'"));
    }
}

static void parse_rest(const char *rest, size_t len, struct plan *ret)
{
    const char *digit = rest;

    while (digit < rest + len && !isdigit((unsigned char)*digit)) {
        digit++;
    }
    if (digit < rest + len) {
        ret->number =
            strtoull(digit, NULL, 10); /* our own load generator's; garbage is its fault */
    }
    switch (ret->kind) {
    case PLAN_COPY_IN:
        if (memmem(rest, len, "STDOUT", 6) != NULL) {
            ret->kind = PLAN_COPY_OUT;
        }
        break;
    case PLAN_ROLLBACK:
        if (strncasecmp(rest, "to", 2) == 0) {
            ret->kind = PLAN_TAG;
        }
        break;
    case PLAN_LISTEN:
    case PLAN_UNLISTEN:
    case PLAN_NOTIFY:
        parse_channel(rest, ret);
        break;
    case PLAN_SELECT:
    case PLAN_EMPTY:
    case PLAN_TAG:
    case PLAN_BEGIN:
    case PLAN_COMMIT:
    case PLAN_DISCARD:
    case PLAN_BIG:
    case PLAN_COPY_OUT:
    case PLAN_DELAY:
    case PLAN_FAIL:
    case PLAN_KINDS:
        break;
    }
}

const char *plan_parse(const char *text, struct plan *ret)
{
    const char *start = skip_blanks(text);
    size_t len = strcspn(start, ";");
    size_t first = word_len(start);
    const char *next = start[len] == ';' ? skip_blanks(start + len + 1) : "";
    size_t i;

    ret->kind = len == 0 ? PLAN_EMPTY : PLAN_SELECT;
    ret->number = 0;
    ret->name[0] = '\0';
    ret->payload[0] = '\0';
    (void)snprintf(ret->tag, sizeof ret->tag, "SELECT 1");
    for (i = 0; i < sizeof words / sizeof words[0]; i++) {
        if (strlen(words[i].word) == first && strncasecmp(start, words[i].word, first) == 0) {
            const char *rest = skip_blanks(start + first);

            ret->kind = words[i].kind;
            (void)snprintf(ret->tag, sizeof ret->tag, "%s", words[i].tag);
            parse_rest(rest, (size_t)(start + len - rest), ret);
            break;
        }
    }
    return *next == '\0' ? NULL : next;
}
