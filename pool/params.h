/* SPDX-License-Identifier: ISC */
/* Sets of run-time parameters (name, value), interned: equal sets are one object, so that "is what this client wants in
 * force on that server connection?" is a comparison of two pointers. Immutable and counted; a table finds equal ones. */
#ifndef PGPOOLD_POOL_PARAMS_H
#define PGPOOLD_POOL_PARAMS_H

#include "daemon/util/buf.h"
#include "daemon/util/macros.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Parameters in one set. A peer cannot make it grow further. */
#define PARAMS_MAX 96
/* Bytes of all names and values of one set. */
#define PARAMS_MAX_BYTES 16384

struct params_table;

struct param {
    const char *name;
    const char *value;
};

struct params {
    /* private, but entries and n may be read; sorted by name */
    unsigned refs;
    unsigned n;
    uint64_t hash;
    struct params_table *table;
    struct params *next; /* in its bucket */
    struct param entries[];
};

struct params_table *params_table_new(void);
struct params_table *params_table_free(struct params_table *t);
size_t params_table_count(const struct params_table *t);

/* The set with these entries (unsorted, names distinct); a reference for the caller. NULL: out of memory (errno is
 * ENOMEM) or too many (E2BIG). */
MUSTCHECK struct params *params_intern(struct params_table *t, const struct param *entries,
                                       unsigned n);
/* The set @p (NULL: the empty one) with @name changed to @value, or without it (@value NULL). A new reference; @p keeps
 * its own. NULL as above. */
MUSTCHECK struct params *params_with(struct params_table *t, const struct params *p,
                                     const char *name, const char *value);
struct params *params_ref(struct params *p);
/* Returns NULL. */
struct params *params_unref(struct params *p);

/* NULL: not in the set. Names compare as PostgreSQL's do, without regard to case. */
const char *params_get(const struct params *p, const char *name);

/* Appends one SQL statement that turns a session with @from in force into one with @to; what @to does not have goes back
 * to the session's default. Nothing to do: appends nothing. Values are quoted for any setting of
 * standard_conforming_strings. */
void params_diff_sql(const struct params *from, const struct params *to, struct buf *sql);

/* Calls @fn for each parameter that is in @to and differs from @from or is absent there. */
typedef void (*params_diff_fn)(void *arg, const char *name, const char *value);
void params_diff(const struct params *from, const struct params *to, params_diff_fn fn, void *arg);

#endif
