/* SPDX-License-Identifier: ISC */
#include "daemon/admin_parse.h"

#include <string.h>
#include <strings.h>

#define BLANKS " \t\r\n\f\v"

static const char *const why_two = "only one command at a time is understood";
static const char *const why_comment = "a comment is not closed";
static const char *const why_quote = "a quote is not closed";
static const char *const why_parameter = "parameters ($1) are not supported on the console";
static const char *const why_memory = "the command is too long";

/* Behind the comment that begins at @p, which is one. NULL: it has no end. */
static const char *skip_comment(const char *p)
{
    unsigned depth = 0;

    if (*p == '-') {
        return p + strcspn(p, "\r\n");
    }
    for (;;) {
        if (*p == '\0') {
            return NULL;
        }
        if (p[0] == '/' && p[1] == '*') { /* they nest, as in PostgreSQL */
            depth++;
            p += 2;
        } else if (p[0] == '*' && p[1] == '/') {
            p += 2;
            if (--depth == 0) {
                return p;
            }
        } else {
            p++;
        }
    }
}

static bool is_comment(const char *p)
{
    return (p[0] == '-' && p[1] == '-') || (p[0] == '/' && p[1] == '*');
}

/* Behind blanks and comments. NULL: a comment has no end. */
static const char *skip_blanks(const char *p)
{
    for (;;) {
        p += strspn(p, BLANKS);
        if (!is_comment(p)) {
            return p;
        }
        p = skip_comment(p);
        if (p == NULL) {
            return NULL;
        }
    }
}

/* Copies what stands between quotes, a doubled one as one. NULL: there is no closing one. */
static const char *take_quoted(const char *p, struct buf *out)
{
    char quote = *p++;

    for (;; p++) {
        if (*p == '\0') {
            return NULL;
        }
        if (*p == quote && *++p != quote) {
            return p;
        }
        (void)buf_append_u8(out, (uint8_t)*p); /* asked at the end */
    }
}

static const char *take_word(const char *p, struct buf *out)
{
    const char *start = p;

    while (*p != '\0' && strchr(BLANKS ";='\"", *p) == NULL && !is_comment(p)) {
        p++;
    }
    (void)buf_append(out, start, (size_t)(p - start)); /* asked at the end */
    return p;
}

static bool is_rest_empty(const char *p, const char **ret_why)
{
    for (;;) {
        p = skip_blanks(p);
        if (p == NULL) {
            *ret_why = why_comment;
            return false;
        }
        if (*p == '\0') {
            return true;
        }
        if (*p != ';') {
            *ret_why = why_two;
            return false;
        }
        p++;
    }
}

/* Where the token at @p ends; its text goes to @out. NULL: *ret_why says what is wrong. */
static const char *take_token(const char *p, struct buf *out, enum admin_token_kind *ret_kind,
                              const char **ret_why)
{
    if (*p == '\'' || *p == '"') {
        *ret_kind = ADMIN_TOKEN_QUOTED;
        p = take_quoted(p, out);
        *ret_why = why_quote;
    } else if (*p == '=') {
        *ret_kind = ADMIN_TOKEN_EQUALS;
        (void)buf_append_u8(out, '='); /* asked at the end */
        p++;
    } else if (p[0] == '$' && p[1] >= '0' && p[1] <= '9') {
        *ret_why = why_parameter;
        return NULL;
    } else {
        *ret_kind = ADMIN_TOKEN_WORD;
        p = take_word(p, out);
    }
    (void)buf_append_u8(out, 0); /* asked at the end */
    return p;
}

static bool take_all(const char *p, struct admin_statement *st, size_t offsets[ADMIN_TOKENS_MAX],
                     const char **ret_why)
{
    for (;;) {
        enum admin_token_kind kind;
        size_t offset = st->texts.len;

        p = skip_blanks(p);
        if (p == NULL) {
            *ret_why = why_comment;
            return false;
        }
        if (*p == '\0') {
            return true;
        }
        if (*p == ';') {
            return is_rest_empty(p + 1, ret_why);
        }
        p = take_token(p, &st->texts, &kind, ret_why);
        if (p == NULL) {
            return false;
        }
        if (st->n == ADMIN_TOKENS_MAX) {
            st->is_longer = true;
            continue;
        }
        st->tokens[st->n].kind = kind;
        offsets[st->n++] = offset;
    }
}

bool admin_parse(const char *text, struct admin_statement *ret, const char **ret_why)
{
    size_t offsets[ADMIN_TOKENS_MAX];

    *ret =
        (struct admin_statement){.text = text, .texts = BUF_INIT((size_t)2 * ADMIN_TEXT_MAX_BYTES)};
    if (!take_all(text, ret, offsets, ret_why)) {
        admin_statement_done(ret);
        return false;
    }
    if (!buf_ok(&ret->texts)) {
        admin_statement_done(ret);
        *ret_why = why_memory;
        return false;
    }
    for (unsigned i = 0; i < ret->n; i++) { /* only now does the buffer stay where it is */
        ret->tokens[i].text = (const char *)ret->texts.data + offsets[i];
    }
    return true;
}

void admin_statement_done(struct admin_statement *st)
{
    buf_done(&st->texts);
    st->n = 0;
    st->is_longer = false;
}

bool admin_statement_is(const struct admin_statement *st, unsigned i, const char *keyword)
{
    return i < st->n && st->tokens[i].kind == ADMIN_TOKEN_WORD &&
           strcasecmp(st->tokens[i].text, keyword) == 0;
}
