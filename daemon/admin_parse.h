/* SPDX-License-Identifier: ISC */
/* One command of the console taken apart into words. Words are what blanks separate; "identifiers" and 'strings' in quotes
 * keep their case and blanks; = stands alone; comments of SQL and a semicolon at the end are left out. Knows no command.
 * Pure. */
#ifndef PGPOOLD_DAEMON_ADMIN_PARSE_H
#define PGPOOLD_DAEMON_ADMIN_PARSE_H

#include "daemon/util/buf.h"
#include "daemon/util/macros.h"

#include <stdbool.h>

#define ADMIN_TOKENS_MAX 8               /* kept; no command of ours has so many */
#define ADMIN_TEXT_MAX_BYTES (64 * 1024) /* of one command */

enum admin_token_kind {
    ADMIN_TOKEN_WORD,
    ADMIN_TOKEN_QUOTED, /* "..." or '...': never a keyword */
    ADMIN_TOKEN_EQUALS,
};

struct admin_token {
    enum admin_token_kind kind;
    const char *text;
};

struct admin_statement {
    struct admin_token tokens[ADMIN_TOKENS_MAX];
    unsigned n;       /* of tokens; 0: there was nothing but blanks and comments */
    bool is_longer;   /* there are more than were kept */
    const char *text; /* borrowed: all of it, as it came */
    struct buf texts; /* private: the texts of the tokens */
};

/* false: *ret_why (static) says what is wrong, and @ret is empty. */
MUSTCHECK bool admin_parse(const char *text, struct admin_statement *ret, const char **ret_why);
/* May run twice. */
void admin_statement_done(struct admin_statement *st);

/* Is token @i there and this keyword, in whatever case? */
bool admin_statement_is(const struct admin_statement *st, unsigned i, const char *keyword);

#endif
