/* SPDX-License-Identifier: ISC */
/* The lexical side of pg_hba.conf and pg_ident.conf, as PostgreSQL reads them: fields with blanks
 * between them, in a field words with commas between them, "quotes" that take a word's special
 * meaning away ("" inside is one quote), comments from '#' on, and '\' at the end of a line to go
 * on in the next. Knows nothing of what the fields mean. */
#ifndef PGPOOLD_CONFIG_AUTH_TOKENS_H
#define PGPOOLD_CONFIG_AUTH_TOKENS_H

#include "config/text_file.h"

#include <stdbool.h>

struct auth_token {
    char *text;
    bool quoted; /* began with a quote: keywords and prefixes are plain text then */
};

struct auth_field {
    struct auth_token *tokens;
    unsigned n; /* at least 1 */
};

struct auth_line {
    struct auth_field *fields;
    unsigned n;    /* at least 1 after auth_line_read() */
    unsigned line; /* number of its first physical line */
};

/* The next line with something on it; what is wrong with one goes to the errors of @in, and the
 * next is taken. false: there are no more. */
MUSTCHECK bool auth_line_read(struct text_file *in, struct auth_line *ret);
/* Takes apart one text. false: *ret_why says why not. */
MUSTCHECK bool auth_line_parse(const char *text, struct auth_line *ret, const char **ret_why);
/* May run twice. */
void auth_line_done(struct auth_line *l);

/* Appends a copy; false: out of memory. */
MUSTCHECK bool auth_field_add(struct auth_field *f, const char *text, bool quoted);
/* Frees the words. May run twice. */
void auth_field_done(struct auth_field *f);

/* Is it this keyword, and not in quotes? */
bool auth_token_is(const struct auth_token *t, const char *keyword);

#endif
