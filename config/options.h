/* SPDX-License-Identifier: ISC */
/* THE table of options, each described once. From it come the reading of the ini file, its error
 * texts, SHOW CONFIG, SET, the difference that RELOAD makes, --help-config, the man page and the
 * example file. An option may stand globally, in a [databases], [users] or [peers] entry; the table
 * says where and in which field. Nothing here logs, reads a file or keeps state. */
#ifndef PGPOOLD_CONFIG_OPTIONS_H
#define PGPOOLD_CONFIG_OPTIONS_H

#include "config/settings.h"
#include "daemon/util/buf.h"
#include "daemon/util/macros.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum option_type {
    OPTION_BOOL,     /* bool */
    OPTION_TRISTATE, /* int: OPTION_UNSET, 0 or 1; the form of a bool in database and user entries
                      */
    OPTION_INT,      /* int */
    OPTION_BYTES,    /* size_t */
    OPTION_DURATION, /* usec_t; text in seconds, fractions allowed, or with a unit: 250ms 5s 2min 1h
                        7d */
    OPTION_MODE,     /* unsigned; octal text */
    OPTION_ENUM,     /* an enum, all of which have the size of int */
    OPTION_STRING,   /* char * */
    OPTION_SECRET,   /* struct secret */
};

/* Where an option may stand, and so which record its value goes to. */
enum option_scope {
    OPTION_GLOBAL,   /* struct settings */
    OPTION_DATABASE, /* struct database_config */
    OPTION_USER,     /* struct user_config */
    OPTION_PEER,     /* struct peer_config */
    OPTION_SCOPES,
};

struct option {
    const char *name;
    const char *aliases[2];   /* NULL where there is none */
    const char *group;        /* heading in the documents */
    const char *unit;         /* "seconds", "bytes", ...; NULL for none */
    const char *text;         /* default in ini form; of entries: NULL, which is "not given" */
    const char *const *words; /* OPTION_ENUM: value -> word, NULL behind the last */
    const char *help;         /* a few sentences for the documents */
    size_t at[OPTION_SCOPES]; /* offset of the field in the record of that scope, plus 1; 0: may not
                                 stand there */
    int64_t least;            /* bounds: numbers as they are, durations in microseconds */
    int64_t most;
    enum option_type type;
    int unset;           /* OPTION_ENUM: the value of an entry that does not give it */
    bool reload;         /* may change at run time; where it is false SHOW CONFIG says "no" */
    bool zero_unlimited; /* a pool size: 0 is stored as POOL_SIZE_UNLIMITED */
    bool or_never;       /* a duration that may be -1, stored as USEC_NEVER */
    bool own;            /* not an option of PgBouncer */
};

/* ---- options: use ---- */

/* Reads @text into the field of @o in @record, which is the record of @scope. false: nothing
 * changed, and @why (may not be NULL, CONFIG_WHY_SIZE bytes) says "what is wrong: what is allowed",
 * without the option's name. */
MUSTCHECK bool option_set(const struct option *o, enum option_scope scope, void *record,
                          const char *text, char *why);

/* Appends the value as SHOW CONFIG shows it: durations in seconds, booleans 0 or 1, enums by word,
 * "" for not given. A secret is never printed, only "***". */
void option_print(const struct option *o, enum option_scope scope, const void *record,
                  struct buf *out);

/* Puts the "not given" mark of its type there, "" for strings, without freeing what was there: how
 * a record starts. Strings so marked share one empty text, so nobody but option_clear() may free
 * them. */
void option_unset(const struct option *o, enum option_scope scope, void *record);
/* Frees what the field owns and unsets it. */
void option_clear(const struct option *o, enum option_scope scope, void *record);
/* Deep copy of one field over another that is valid. false: out of memory, nothing changed. */
MUSTCHECK bool option_copy(const struct option *o, enum option_scope scope, void *to,
                           const void *from);
bool option_is_equal(const struct option *o, enum option_scope scope, const void *a, const void *b);

/* ---- options: questions ---- */

/* By name or alias; NULL: none of that name may stand there. */
const struct option *option_find(enum option_scope scope, const char *name);
/* In the order of the table (grouped); pass NULL to begin, NULL comes back at the end. */
const struct option *option_next(enum option_scope scope, const struct option *prev);
/* The same by alphabet, as SHOW CONFIG lists them. */
const struct option *option_next_by_name(enum option_scope scope, const struct option *prev);
/* The known name nearest to an unknown one; NULL when none is near enough to be meant. */
const char *option_nearest(enum option_scope scope, const char *name);
/* Its row's number, 0 to option_count() - 1: for arrays with one item for each option. */
unsigned option_index(const struct option *o);
unsigned option_count(void);
/* The default as SHOW CONFIG shows it. */
const char *option_default_text(const struct option *o);
static inline bool option_is_in(const struct option *o, enum option_scope scope)
{
    return o->at[scope] != 0;
}

/* Is @word one of the comma-separated @list? Blanks round a word do not count; upper and lower case
 * differ. */
bool option_list_has(const char *list, const char *word);
/* Takes the next word off *@list: its start, its length in *@ret_len, or NULL at the end. */
const char *option_list_next(const char **list, size_t *ret_len);

#endif
