/* SPDX-License-Identifier: ISC */
/* Taking apart the value of an entry of [databases], [users] or [peers]: pairs key=value with
 * blanks between them. Blanks round "=" do not count. A value may stand in single quotes, in which
 * '' is one quote and blanks are kept. Pure. */
#ifndef PGPOOLD_CONFIG_CONNINFO_H
#define PGPOOLD_CONFIG_CONNINFO_H

#include "daemon/util/macros.h"

#include <stdbool.h>
#include <stddef.h>

struct conninfo {
    /* private; it is a copy of the text, in which keys and values are ended by NULs as they are
     * read */
    char *text;
    size_t len;
    char *pos;
};

enum conninfo_result {
    CONNINFO_PAIR, /* key and value are there */
    CONNINFO_END,
    CONNINFO_BAD, /* *ret_why says what is wrong: what is allowed; nothing more can be read */
};

struct conninfo_pair {
    const char *key;   /* never "" */
    const char *value; /* may be "" */
};

/* false: out of memory. */
MUSTCHECK bool conninfo_init(struct conninfo *c, const char *text);
/* Wipes and frees: there may be a password in it. May run twice. */
void conninfo_done(struct conninfo *c);

/* The next pair, valid until conninfo_done(). */
MUSTCHECK enum conninfo_result conninfo_next(struct conninfo *c, struct conninfo_pair *ret,
                                             const char **ret_why);

#endif
