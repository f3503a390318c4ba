/* SPDX-License-Identifier: ISC */
#include "protocol/sql_lexer.h"

#include <string.h>

/* --- bytes --- */

enum byte_class {
    IS_BLANK = 1,
    IS_NEWLINE = 2, /* a blank too */
    IS_DIGIT = 4,
    IS_LETTER = 8, /* what may begin an identifier */
};

static inline unsigned class_of(char c)
{
    uint8_t b = (uint8_t)c;

    if (b >= 128 || (b | 0x20U) - 'a' < 26U || b == '_') {
        return IS_LETTER;
    }
    if (b - (unsigned)'0' < 10U) {
        return IS_DIGIT;
    }
    if (b == '\n' || b == '\r') {
        return IS_BLANK | IS_NEWLINE;
    }
    return b == ' ' || b == '\t' || b == '\f' || b == '\v' ? IS_BLANK
                                                           : 0; /* \v: since PostgreSQL 16 */
}

static inline char lower_of(char c)
{
    return c >= 'A' && c <= 'Z' ? (char)(c | 0x20) : c;
}

/* The place behind the character at @at, which is in the text. */
static inline size_t behind(const struct sql_lexer *lx, size_t at)
{
    return at + sql_char_bytes(lx->flags, lx->text + at, lx->len - at);
}

static inline bool has_at(const struct sql_lexer *lx, size_t at, char c)
{
    return at < lx->len && lx->text[at] == c;
}

/* --- blanks, comments, strings: each takes a place in the text and gives the place behind --- */

#define OPEN SIZE_MAX /* it has no end */

static size_t skip_line(const struct sql_lexer *lx, size_t at)
{
    while (at < lx->len && (class_of(lx->text[at]) & IS_NEWLINE) == 0) {
        at++;
    }
    return at;
}

/* @at: of the first slash and star. They nest. */
static size_t skip_comment(const struct sql_lexer *lx, size_t at)
{
    size_t depth = 0;

    while (at < lx->len) {
        if (lx->text[at] == '/' && has_at(lx, at + 1, '*')) {
            depth++;
            at += 2;
        } else if (lx->text[at] == '*' && has_at(lx, at + 1, '/')) {
            at += 2;
            if (--depth == 0) {
                return at;
            }
        } else {
            at++;
        }
    }
    return OPEN;
}

static size_t skip_blanks(const struct sql_lexer *lx, size_t at)
{
    while (at < lx->len) {
        char c = lx->text[at];

        if ((class_of(c) & IS_BLANK) != 0) {
            at++;
        } else if (c == '-' && has_at(lx, at + 1, '-')) {
            at = skip_line(lx, at);
        } else if (c == '/' && has_at(lx, at + 1, '*')) {
            at = skip_comment(lx, at);
        } else {
            return at;
        }
    }
    return at; /* the end, or OPEN */
}

/* A string goes on when its next piece stands on a later line, with nothing but blanks and --
 * comments between. The place behind the opening quote of that piece, or OPEN. */
static size_t next_piece(const struct sql_lexer *lx, size_t at)
{
    bool is_later_line = false;

    while (at < lx->len) {
        char c = lx->text[at];

        if ((class_of(c) & IS_BLANK) != 0) {
            is_later_line = is_later_line || (class_of(c) & IS_NEWLINE) != 0;
            at++;
        } else if (c == '-' && has_at(lx, at + 1, '-')) {
            at = skip_line(lx, at);
        } else {
            return c == '\'' && is_later_line ? at + 1 : OPEN;
        }
    }
    return OPEN;
}

enum quoting {
    QUOTING_PLAIN,     /* '' is a quote */
    QUOTING_BACKSLASH, /* and \ takes the next byte along */
    QUOTING_BITS,      /* neither: B'' and X'' */
};

/* One piece, from behind its opening quote. */
static size_t skip_piece(const struct sql_lexer *lx, size_t at, char quote, enum quoting quoting)
{
    while (at < lx->len) {
        if (lx->text[at] == quote) {
            if (quoting == QUOTING_BITS || !has_at(lx, at + 1, quote)) {
                return at + 1;
            }
            at += 2;
        } else if (lx->text[at] == '\\' && quoting == QUOTING_BACKSLASH) {
            at = at + 1 < lx->len ? behind(lx, at + 1) : at + 2;
        } else {
            at = behind(lx, at);
        }
    }
    return OPEN;
}

/* @at: behind the opening quote. */
static size_t skip_string(const struct sql_lexer *lx, size_t at, enum quoting quoting)
{
    size_t end = OPEN;

    while (at != OPEN) {
        end = skip_piece(lx, at, '\'', quoting);
        at = end != OPEN ? next_piece(lx, end) : OPEN;
    }
    return end;
}

/* @at: of a dollar. The place behind the second dollar of $tag$, or OPEN: it is none. */
static size_t skip_dollar_tag(const struct sql_lexer *lx, size_t at)
{
    size_t p = at + 1;

    while (p < lx->len) {
        unsigned cls = class_of(lx->text[p]);

        if (lx->text[p] == '$') {
            return p + 1;
        }
        if ((cls & IS_LETTER) == 0 && ((cls & IS_DIGIT) == 0 || p == at + 1)) {
            return OPEN;
        }
        p = behind(lx, p);
    }
    return OPEN;
}

static size_t skip_digits(const struct sql_lexer *lx, size_t at)
{
    while (at < lx->len && (class_of(lx->text[at]) & IS_DIGIT) != 0) {
        at++;
    }
    return at;
}

static size_t skip_number(const struct sql_lexer *lx, size_t at)
{
    at = skip_digits(lx, at);
    if (has_at(lx, at, '.')) {
        at = skip_digits(lx, at + 1);
    }
    if (at < lx->len && lower_of(lx->text[at]) == 'e') {
        size_t exponent = at + 1 + (has_at(lx, at + 1, '+') || has_at(lx, at + 1, '-'));
        size_t end = skip_digits(lx, exponent);

        if (end > exponent) {
            at = end;
        }
    }
    return at;
}

/* --- tokens --- */

static struct sql_token token(struct sql_lexer *lx, enum sql_token_kind kind, size_t at, size_t end)
{
    if (end > lx->len) { /* OPEN, or a backslash as the last byte */
        kind = SQL_TOKEN_BROKEN;
        end = lx->len;
    }
    lx->pos = kind == SQL_TOKEN_BROKEN ? at : end;
    return (struct sql_token){.at = at, .len = end - at, .kind = kind};
}

/* @at: of the whole, @quote: of its double quote. An empty one is an error of PostgreSQL's
 *      lexer. */
static struct sql_token quoted_token(struct sql_lexer *lx, size_t at, size_t quote)
{
    size_t end = skip_piece(lx, quote + 1, '"', QUOTING_PLAIN);

    return token(lx, SQL_TOKEN_QUOTED, at, end == quote + 2 ? OPEN : end);
}

static enum quoting plain_quoting(const struct sql_lexer *lx)
{
    return (lx->flags & SQL_BACKSLASHES) != 0 ? QUOTING_BACKSLASH : QUOTING_PLAIN;
}

/* An identifier, a key word, or what has a letter for a prefix. */
static struct sql_token word_token(struct sql_lexer *lx, size_t at)
{
    char first = lower_of(lx->text[at]);
    size_t end = behind(lx, at);

    if (first == 'u' && has_at(lx, at + 1, '&')) {
        if (has_at(lx, at + 2, '"')) {
            return quoted_token(lx, at, at + 2);
        }
        if (has_at(lx, at + 2, '\'')) { /* refused when backslashes escape, so plain in any case */
            return token(lx, SQL_TOKEN_STRING, at, skip_string(lx, at + 3, QUOTING_PLAIN));
        }
    }
    if (has_at(lx, at + 1, '\'') && memchr("ebxn", first, 4) != NULL) {
        enum quoting quoting = first == 'e'   ? QUOTING_BACKSLASH
                               : first == 'n' ? plain_quoting(lx)
                                              : QUOTING_BITS;

        return token(lx, SQL_TOKEN_STRING, at, skip_string(lx, at + 2, quoting));
    }
    while (end < lx->len &&
           ((class_of(lx->text[end]) & (IS_LETTER | IS_DIGIT)) != 0 || lx->text[end] == '$')) {
        end = behind(lx, end);
    }
    return token(lx, SQL_TOKEN_WORD, at, end);
}

static struct sql_token dollar_token(struct sql_lexer *lx, size_t at)
{
    size_t end = skip_digits(lx, at + 1);
    const char *close;

    if (end > at + 1) {
        return token(lx, SQL_TOKEN_PARAM, at, end);
    }
    end = skip_dollar_tag(lx, at);
    if (end == OPEN) {
        return token(lx, SQL_TOKEN_SIGN, at, at + 1);
    }
    close = memmem(lx->text + end, lx->len - end, lx->text + at, end - at);
    return token(lx, SQL_TOKEN_STRING, at,
                 close == NULL ? OPEN : (size_t)(close - lx->text) + (end - at));
}

struct sql_token sql_token_next(struct sql_lexer *lx)
{
    size_t at = skip_blanks(lx, lx->pos);
    unsigned cls;

    if (at == OPEN) {
        return token(lx, SQL_TOKEN_BROKEN, lx->pos, OPEN);
    }
    if (at >= lx->len) {
        return token(lx, SQL_TOKEN_END, lx->len, lx->len);
    }
    cls = class_of(lx->text[at]);
    if ((cls & IS_LETTER) != 0) {
        return word_token(lx, at);
    }
    if ((cls & IS_DIGIT) != 0) {
        return token(lx, SQL_TOKEN_NUMBER, at, skip_number(lx, at));
    }
    switch (lx->text[at]) {
    case '"':
        return quoted_token(lx, at, at);
    case '\'':
        return token(lx, SQL_TOKEN_STRING, at, skip_string(lx, at + 1, plain_quoting(lx)));
    case '$':
        return dollar_token(lx, at);
    default:
        return token(lx, SQL_TOKEN_SIGN, at, at + 1);
    }
}

void sql_lexer_init(struct sql_lexer *lx, const char *text, size_t len, unsigned flags)
{
    *lx = (struct sql_lexer){.text = text, .len = len, .flags = flags};
}

bool sql_token_is_word(const struct sql_lexer *lx, const struct sql_token *t, const char *lower)
{
    const char *p = lx->text + t->at;

    if (t->kind != SQL_TOKEN_WORD) {
        return false;
    }
    for (size_t i = 0; i < t->len; i++) {
        if (lower_of(p[i]) != lower[i]) { /* the NUL of @lower differs from every byte of a word */
            return false;
        }
    }
    return lower[t->len] == '\0';
}

/* --- the cheap question --- */

#define BLOCK 16

typedef uint8_t block __attribute__((vector_size(BLOCK)));

/* The 16 bytes at @p with letters in lower case (and other bytes changed somehow: a hit is
 * looked at again). */
static inline block load_lower(const char *p)
{
    block b;

    memcpy(&b, p, sizeof(b));
    return b | 0x20;
}

static inline bool is_any(block b)
{
    uint64_t halves[2];

    memcpy(halves, &b, sizeof(halves));
    return (halves[0] | halves[1]) != 0;
}

static bool has_word_within(const char *p, size_t n_places, const char *word, size_t word_len)
{
    for (size_t i = 0; i < n_places; i++) {
        size_t k = 0;

        while (k < word_len && lower_of(p[i + k]) == word[k]) {
            k++;
        }
        if (k == word_len) {
            return true;
        }
    }
    return false;
}

/* Three letters of a word, and where they are in it. */
struct sieve {
    size_t middle;
    size_t last;
    uint8_t first_byte;
    uint8_t middle_byte;
    uint8_t last_byte;
};

/* Do all three fit at any of the 16 places from @p on? Reads 16 bytes and a word more. */
static inline bool passes(const struct sieve *s, const char *p)
{
    return is_any((block)(load_lower(p) == s->first_byte) &
                  (block)(load_lower(p + s->middle) == s->middle_byte) &
                  (block)(load_lower(p + s->last) == s->last_byte));
}

/* Three letters of the word at their places, 16 places at a time; a full look only where all
 * three fit. */
bool sql_might_contain(const char *text, size_t len, const char *word)
{
    size_t word_len = strlen(word);
    size_t n_places = len >= word_len ? len - word_len + 1 : 0;
    size_t last = word_len - 1;
    size_t middle = word_len / 2;
    struct sieve s = {middle, last, (uint8_t)word[0] | 0x20, (uint8_t)word[middle] | 0x20,
                      (uint8_t)word[last] | 0x20};

    if (n_places < BLOCK) {
        size_t i = 0;

        while (i < n_places && (((uint8_t)text[i + middle] | 0x20) != s.middle_byte ||
                                ((uint8_t)text[i] | 0x20) != s.first_byte)) {
            i++;
        }
        return UNLIKELY(i < n_places) && has_word_within(text + i, n_places - i, word, word_len);
    }
    for (size_t at = 0; at < n_places; at += BLOCK) {
        const char *p = text + MIN(at, n_places - BLOCK); /* the last ones overlap those before */

        if (UNLIKELY(passes(&s, p)) && has_word_within(p, BLOCK, word, word_len)) {
            return true;
        }
    }
    return false;
}
