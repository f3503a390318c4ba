/* SPDX-License-Identifier: ISC */
/* Statements: their ends, their kinds, their names. Tokens are in sql_lexer.c. */
#include "protocol/sql_lexer.h"

#include <string.h>

static inline char lower_of(char c)
{
    return c >= 'A' && c <= 'Z' ? (char)(c | 0x20) : c;
}

static bool is_sign(const struct sql_lexer *lx, const struct sql_token *t, char c)
{
    return t->kind == SQL_TOKEN_SIGN && lx->text[t->at] == c;
}

static bool is_identifier(const struct sql_token *t)
{
    return t->kind == SQL_TOKEN_WORD || t->kind == SQL_TOKEN_QUOTED;
}

/* --- names --- */

/* Room for the longest name and one character more, enough to see where to cut. */
struct name {
    char bytes[SQL_NAME_BYTES + 4];
    size_t len;
    unsigned flags;
};

static void name_put(struct name *n, char c)
{
    if (n->len < sizeof(n->bytes)) {
        n->bytes[n->len++] = c;
    }
}

/* Puts the character at @p as it stands when it takes more than one byte (SQL_PAIRS). Returns these, else 0. */
static size_t name_put_pair(struct name *n, const char *p, const char *end)
{
    if (sql_char_bytes(n->flags, p, (size_t)(end - p)) == 1) {
        return 0;
    }
    name_put(n, p[0]);
    name_put(n, p[1]);
    return 2;
}

static size_t name_char_bytes(const struct name *n, size_t at)
{
    uint8_t b = (uint8_t)n->bytes[at];

    return (n->flags & (SQL_PAIRS | SQL_SJIS)) != 0
               ? sql_char_bytes(n->flags, n->bytes + at, n->len - at)
               : (size_t)1 + (b >= 0xc0) + (b >= 0xe0) + (b >= 0xf0);
}

/* Cuts as PostgreSQL does and writes it out. */
static void name_finish(const struct name *n, char ret[SQL_NAME_BYTES])
{
    size_t len = n->len;

    if (len > SQL_NAME_BYTES - 1) {
        len = SQL_NAME_BYTES - 1;
        for (size_t i = 0, next; (n->flags & SQL_SINGLE_BYTE) == 0; i = next) {
            next = i + name_char_bytes(n, i);
            if (next > SQL_NAME_BYTES - 1) {
                len = i;
                break;
            }
        }
    }
    memcpy(ret, n->bytes, len);
    ret[len] = '\0';
}

static bool name_put_code_point(struct name *n, uint32_t cp)
{
    if (cp == 0 || cp > 0x10ffff ||
        (cp >= 128 && (n->flags & (SQL_SINGLE_BYTE | SQL_NOT_UTF8)) != 0)) {
        return false; /* of a server encoding that we do not know */
    }
    if (cp < 0x80) {
        name_put(n, (char)cp);
    } else if (cp < 0x800) {
        name_put(n, (char)(0xc0 | cp >> 6));
        name_put(n, (char)(0x80 | (cp & 0x3f)));
    } else if (cp < 0x10000) {
        name_put(n, (char)(0xe0 | cp >> 12));
        name_put(n, (char)(0x80 | (cp >> 6 & 0x3f)));
        name_put(n, (char)(0x80 | (cp & 0x3f)));
    } else {
        name_put(n, (char)(0xf0 | cp >> 18));
        name_put(n, (char)(0x80 | (cp >> 12 & 0x3f)));
        name_put(n, (char)(0x80 | (cp >> 6 & 0x3f)));
        name_put(n, (char)(0x80 | (cp & 0x3f)));
    }
    return true;
}

static bool hex_of(const char *p, size_t n, uint32_t *ret)
{
    uint32_t v = 0;

    for (size_t i = 0; i < n; i++) {
        char c = lower_of(p[i]);

        if (c >= '0' && c <= '9') {
            v = v << 4 | (uint32_t)(c - '0');
        } else if (c >= 'a' && c <= 'f') {
            v = v << 4 | (uint32_t)(c - 'a' + 10);
        } else {
            return false;
        }
    }
    *ret = v;
    return true;
}

/* XXXX or +XXXXXX behind the escape character at @p. Returns its length, 0: wrong. */
static size_t read_escape(const char *p, const char *end, uint32_t *ret)
{
    size_t left = (size_t)(end - p);

    if (left >= 4 && hex_of(p, 4, ret)) {
        return 4;
    }
    return left >= 7 && p[0] == '+' && hex_of(p + 1, 6, ret) ? 7 : 0;
}

/* One escape of U&"", @p behind its escape character; a high surrogate takes the low one along.
 * NULL: wrong. */
static const char *put_escape(struct name *n, const char *p, const char *end, char escape)
{
    uint32_t cp;
    uint32_t low;
    size_t used;

    if (p < end && *p == escape) {
        name_put(n, escape);
        return p + 1;
    }
    used = read_escape(p, end, &cp);
    p += used;
    if (used > 0 && cp >= 0xd800 && cp < 0xdc00) {
        if (p == end || *p != escape) {
            return NULL;
        }
        used = read_escape(p + 1, end, &low);
        if (used == 0 || low < 0xdc00 || low >= 0xe000) {
            return NULL;
        }
        p += 1 + used;
        cp = 0x10000 + ((cp & 0x3ff) << 10) + (low & 0x3ff);
    }
    if (used == 0 || (cp >= 0xd800 && cp < 0xe000) || !name_put_code_point(n, cp)) {
        return NULL;
    }
    return p;
}

/* The inside of a quoted identifier. @escape: '\0' when it has no U&. false: PostgreSQL refuses
 * it, or it has a code point that only the server can turn into bytes. */
static bool put_quoted(struct name *n, const char *p, const char *end, char escape)
{
    while (p < end) {
        size_t pair = name_put_pair(n, p, end);
        char c;

        if (pair > 0) {
            p += pair;
            continue;
        }
        c = *p++;
        if (c == '"') {
            p++; /* the second of two */
        }
        if (c == escape && escape != '\0') {
            p = put_escape(n, p, end, escape);
            if (p == NULL) {
                return false;
            }
        } else {
            name_put(n, c);
        }
    }
    return true;
}

/* --- statements --- */

/* Reads ahead in a statement; a copy of the lexer, so the reading leaves no trace. */
struct cursor {
    struct sql_lexer lx;
    struct sql_token t; /* the current one */
};

static void advance(struct cursor *c)
{
    c->t = sql_token_next(&c->lx);
}

static bool is_word(const struct cursor *c, const char *lower)
{
    return sql_token_is_word(&c->lx, &c->t, lower);
}

static bool accept(struct cursor *c, const char *lower)
{
    if (!is_word(c, lower)) {
        return false;
    }
    advance(c);
    return true;
}

/* As accept, if a name follows: SAVEPOINT and PREPARE can be names themselves. */
static void accept_before_name(struct cursor *c, const char *lower)
{
    struct cursor ahead = *c;

    if (accept(&ahead, lower) && is_identifier(&ahead.t)) {
        *c = ahead;
    }
}

/* UESCAPE 'c' behind U&"". '\0': something that PostgreSQL refuses. */
static char accept_uescape(struct cursor *c)
{
    const char *p;
    uint32_t digit;

    if (!accept(c, "uescape")) {
        return '\\';
    }
    p = c->lx.text + c->t.at;
    if (c->t.kind != SQL_TOKEN_STRING || c->t.len != 3 || memchr("+'\"", p[1], 3) != NULL ||
        memchr(" \t\n\r\f\v", p[1], 6) != NULL || hex_of(p + 1, 1, &digit)) {
        return '\0';
    }
    advance(c);
    return p[1];
}

/* The identifier at the cursor as a name; the cursor goes behind it. "": it cannot be read. */
static void read_name(struct cursor *c, char ret[SQL_NAME_BYTES])
{
    struct name n = {.flags = c->lx.flags};
    const char *p = c->lx.text + c->t.at;
    const char *end = p + c->t.len;
    bool is_quoted = c->t.kind == SQL_TOKEN_QUOTED;
    bool ok = true;

    advance(c);
    if (!is_quoted) {
        while (p < end) {
            size_t pair = name_put_pair(&n, p, end);

            if (pair == 0) {
                name_put(&n, lower_of(*p));
            }
            p += pair > 0 ? pair : 1;
        }
    } else if (*p == '"') {
        ok = put_quoted(&n, p + 1, end - 1, '\0');
    } else {
        char escape = accept_uescape(c);

        ok = escape != '\0' && put_quoted(&n, p + 3, end - 1, escape);
    }
    if (ok) {
        name_finish(&n, ret);
    } else {
        ret[0] = '\0';
    }
}

static bool take_name(struct cursor *c, struct sql_statement *st)
{
    if (!is_identifier(&c->t)) {
        return false;
    }
    st->name_at = c->t.at;
    st->name_len = c->t.len;
    if (c->t.kind == SQL_TOKEN_QUOTED && c->lx.text[c->t.at] != '"') {
        struct cursor ahead = *c;

        advance(&ahead);
        if (accept(&ahead, "uescape") && ahead.t.kind == SQL_TOKEN_STRING) {
            st->name_len = ahead.t.at + ahead.t.len - st->name_at;
        }
    }
    read_name(c, st->name);
    return true;
}

/* NAME or ALL. ALL is reserved, so without quotes it is no name. */
static bool take_name_or_all(struct cursor *c, struct sql_statement *st)
{
    st->is_all = accept(c, "all");
    return st->is_all || take_name(c, st);
}

/* --- one reader a kind; false: it is none of that kind after all --- */

static bool read_unlisten(struct cursor *c, struct sql_statement *st)
{
    if (is_sign(&c->lx, &c->t, '*')) {
        st->kind = SQL_UNLISTEN_ALL;
        return true;
    }
    return take_name(c, st);
}

static bool read_release(struct cursor *c, struct sql_statement *st)
{
    accept_before_name(c, "savepoint");
    return take_name(c, st);
}

/* [WORK | TRANSACTION] [AND [NO] CHAIN], COMMIT and ROLLBACK. The ... PREPARED ones end another
 * transaction. */
static bool read_end(struct cursor *c, struct sql_statement *st)
{
    if (is_word(c, "prepared")) {
        return false;
    }
    if (!accept(c, "work")) {
        (void)accept(c, "transaction"); /* either, or none */
    }
    st->is_chain = accept(c, "and") && accept(c, "chain");
    return true;
}

static bool read_rollback(struct cursor *c, struct sql_statement *st)
{
    if (!read_end(c, st)) {
        return false;
    }
    if (!accept(c, "to")) {
        return true;
    }
    st->kind = SQL_ROLLBACK_TO;
    return read_release(c, st);
}

static bool read_begin(struct cursor *c, struct sql_statement *st)
{
    (void)c;
    (void)st;
    return true;
}

static bool read_start(struct cursor *c, struct sql_statement *st)
{
    (void)st;
    return is_word(c, "transaction");
}

static bool read_prepare(struct cursor *c, struct sql_statement *st)
{
    struct cursor ahead = *c;

    if (accept(&ahead, "transaction") && ahead.t.kind == SQL_TOKEN_STRING) {
        st->kind = SQL_PREPARE_TRANSACTION;
        return true;
    }
    return take_name(c, st);
}

static bool read_deallocate(struct cursor *c, struct sql_statement *st)
{
    accept_before_name(c, "prepare");
    return take_name_or_all(c, st);
}

static bool read_declare(struct cursor *c, struct sql_statement *st)
{
    if (!take_name(c, st)) {
        return false;
    }
    while (!accept(c, "cursor")) {
        if (c->t.kind != SQL_TOKEN_WORD || is_word(c, "for")) {
            return false;
        }
        advance(c); /* BINARY, SCROLL, ... */
    }
    st->is_hold = accept(c, "with") && accept(c, "hold");
    return true;
}

/* a.b.c, whole, or no name at all: a cut one would be that of another parameter. */
static bool take_parameter(struct cursor *c, struct sql_statement *st)
{
    size_t len = 0;

    if (!is_identifier(&c->t)) {
        return false;
    }
    st->name_at = c->t.at;
    for (;;) {
        char part[SQL_NAME_BYTES];
        size_t part_len;

        st->name_len = c->t.at + c->t.len - st->name_at;
        read_name(c, part);
        part_len = strlen(part);
        if (part_len == 0 || len + part_len >= SQL_NAME_BYTES) {
            st->name[0] = '\0';
            return true;
        }
        memcpy(st->name + len, part, part_len + 1);
        len += part_len;
        if (!is_sign(&c->lx, &c->t, '.') || len + 1 >= SQL_NAME_BYTES) {
            return true;
        }
        advance(c);
        if (!is_identifier(&c->t)) {
            return true;
        }
        st->name[len++] = '.';
    }
}

/* Forms of SET and RESET that have words instead of a parameter's name. */
static const struct {
    const char *first;
    const char *second; /* NULL: any */
    const char *parameter;
} set_words[] = {
    {"time", "zone", "timezone"},       {"session", "authorization", "session_authorization"},
    {"session", "characteristics", ""}, {"transaction", NULL, ""},
    {"xml", "option", "xmloption"},     {"names", NULL, "client_encoding"},
    {"schema", NULL, "search_path"},    {"role", NULL, "role"},
};

/* Is this the name of a parameter, whatever word it is? */
static bool is_assigned(const struct cursor *c)
{
    struct cursor ahead = *c;

    advance(&ahead);
    return is_word(&ahead, "to") || is_sign(&ahead.lx, &ahead.t, '=') ||
           is_sign(&ahead.lx, &ahead.t, '.');
}

static bool read_set_words(const struct cursor *c, struct sql_statement *st)
{
    struct cursor ahead = *c;

    advance(&ahead);
    for (size_t i = 0; i < ARRAY_LEN(set_words); i++) {
        if (is_word(c, set_words[i].first) &&
            (set_words[i].second == NULL || is_word(&ahead, set_words[i].second))) {
            memcpy(st->name, set_words[i].parameter, strlen(set_words[i].parameter) + 1);
            return true;
        }
    }
    return false;
}

static bool read_set(struct cursor *c, struct sql_statement *st)
{
    if (!is_assigned(c)) {
        struct cursor ahead = *c;

        advance(&ahead);
        if (accept(c, "local")) {
            st->is_local = true;
        } else if (is_word(c, "session") && !is_word(&ahead, "authorization") &&
                   !is_word(&ahead, "characteristics")) {
            *c = ahead;
        }
    }
    if (is_assigned(c)) {
        return take_parameter(c, st);
    }
    return !is_word(c, "constraints") && (read_set_words(c, st) || take_parameter(c, st));
}

static bool read_reset(struct cursor *c, struct sql_statement *st)
{
    st->is_all = is_word(c, "all");
    return st->is_all || read_set_words(c, st) || take_parameter(c, st);
}

/* --- dividing a text --- */

/* What may hide a semicolon: parentheses (CREATE RULE ... DO (a; b)) and the body of CREATE
 * FUNCTION ... BEGIN ATOMIC a; b; END. In such a body END closes only where a statement could
 * begin, which is also what tells it from CASE's. */
enum create_state {
    CREATE_NONE,
    CREATE_SEEN,    /* CREATE, or CREATE OR REPLACE */
    CREATE_OR,      /* CREATE OR */
    CREATE_ROUTINE, /* ... FUNCTION or PROCEDURE: BEGIN ATOMIC may come */
};

struct nesting {
    size_t parens;
    size_t bodies;
    enum create_state create;
    bool is_first; /* the next token is the first one of a statement */
    bool is_after_begin;
};

static void nesting_follow_create(struct nesting *n, const struct sql_lexer *lx,
                                  const struct sql_token *t)
{
    if (n->is_first) {
        n->create = sql_token_is_word(lx, t, "create") ? CREATE_SEEN : CREATE_NONE;
        return;
    }
    switch (n->create) {
    case CREATE_NONE:
    case CREATE_ROUTINE:
        return;
    case CREATE_SEEN:
        if (sql_token_is_word(lx, t, "or")) {
            n->create = CREATE_OR;
        } else if (sql_token_is_word(lx, t, "function") || sql_token_is_word(lx, t, "procedure")) {
            n->create = CREATE_ROUTINE;
        } else {
            n->create = CREATE_NONE;
        }
        return;
    case CREATE_OR:
        n->create = sql_token_is_word(lx, t, "replace") ? CREATE_SEEN : CREATE_NONE;
        return;
    }
}

static void nesting_follow(struct nesting *n, const struct sql_lexer *lx, const struct sql_token *t)
{
    bool was_after_begin = n->is_after_begin;

    n->is_after_begin = false;
    if (is_sign(lx, t, '(')) {
        n->parens++;
    } else if (is_sign(lx, t, ')') && n->parens > 0) {
        n->parens--;
    } else if (n->parens > 0) {
        return;
    } else if (is_sign(lx, t, ';')) { /* of a body */
        n->is_first = true;
        n->create = CREATE_NONE;
        return;
    } else if (was_after_begin && sql_token_is_word(lx, t, "atomic")) {
        n->bodies++;
        n->is_first = true;
        n->create = CREATE_NONE;
        return;
    } else if (n->is_first && n->bodies > 0 && sql_token_is_word(lx, t, "end")) {
        n->bodies--;
    } else {
        n->is_after_begin = n->create == CREATE_ROUTINE && sql_token_is_word(lx, t, "begin");
        nesting_follow_create(n, lx, t);
    }
    n->is_first = false;
}

static const struct {
    const char *word;
    enum sql_kind kind;
    bool (*read)(struct cursor *c, struct sql_statement *st);
} first_words[] = {
    {"abort", SQL_ROLLBACK, read_rollback},
    {"begin", SQL_BEGIN, read_begin},
    {"close", SQL_CLOSE, take_name_or_all},
    {"commit", SQL_COMMIT, read_end},
    {"deallocate", SQL_DEALLOCATE, read_deallocate},
    {"declare", SQL_DECLARE, read_declare},
    {"discard", SQL_DISCARD, take_name_or_all},
    {"end", SQL_COMMIT, read_end},
    {"execute", SQL_EXECUTE, take_name},
    {"listen", SQL_LISTEN, take_name},
    {"notify", SQL_NOTIFY, take_name},
    {"prepare", SQL_PREPARE, read_prepare},
    {"release", SQL_RELEASE, read_release},
    {"reset", SQL_RESET, read_reset},
    {"rollback", SQL_ROLLBACK, read_rollback},
    {"savepoint", SQL_SAVEPOINT, take_name},
    {"set", SQL_SET, read_set},
    {"start", SQL_BEGIN, read_start},
    {"unlisten", SQL_UNLISTEN, read_unlisten},
};

/* @first: the first token of the statement, @lx behind it. */
static void read_kind(const struct sql_lexer *lx, const struct sql_token *first,
                      struct sql_statement *ret)
{
    struct sql_statement st = *ret;

    for (size_t i = 0; i < ARRAY_LEN(first_words); i++) {
        if (sql_token_is_word(lx, first, first_words[i].word)) {
            struct cursor c = {.lx = *lx};

            advance(&c);
            st.kind = first_words[i].kind;
            if (first_words[i].read(&c, &st)) {
                *ret = st;
            }
            return;
        }
    }
}

bool sql_statement_next(struct sql_lexer *lx, struct sql_statement *ret)
{
    struct nesting n = {.is_first = true};
    struct sql_token t;
    size_t end;

    do {
        t = sql_token_next(lx);
    } while (is_sign(lx, &t, ';'));
    if (t.kind == SQL_TOKEN_END || t.kind == SQL_TOKEN_BROKEN) {
        return false;
    }
    *ret = (struct sql_statement){.kind = SQL_OTHER, .at = t.at};
    read_kind(lx, &t, ret);
    do {
        nesting_follow(&n, lx, &t);
        end = t.at + t.len;
        t = sql_token_next(lx);
    } while (t.kind != SQL_TOKEN_END && t.kind != SQL_TOKEN_BROKEN &&
             !(is_sign(lx, &t, ';') && n.parens == 0 && n.bodies == 0));
    ret->len = end - ret->at;
    return t.kind != SQL_TOKEN_BROKEN;
}
