/* SPDX-License-Identifier: ISC */
/* The auth_file: lines of "user" "secret". Read whole into a table that is looked up by name and
 * never changes; a reload reads another one. The secrets are wiped when the table is freed. */
#ifndef PGPOOLD_CONFIG_USERLIST_H
#define PGPOOLD_CONFIG_USERLIST_H

#include "config/config_errors.h"
#include "daemon/util/hash.h"
#include "daemon/util/secret.h"

#include <stdio.h>

#define USERLIST_NAME_MAX 127     /* bytes of one user name */
#define USERLIST_SECRET_MAX 65536 /* bytes of one secret */

enum secret_kind {
    SECRET_KIND_PLAIN,
    SECRET_KIND_MD5,   /* "md5" and 32 hex digits */
    SECRET_KIND_SCRAM, /* a whole SCRAM-SHA-256$ verifier */
    SECRET_KIND_EMPTY, /* nobody can log in with it */
};

struct userlist_entry {
    char *name;
    struct secret secret;
    enum secret_kind kind;
    UT_hash_handle hh; /* private */
};

struct userlist;

/* Reads @path. NULL when it cannot be read or a line is wrong: every fault is in @errors. */
struct userlist *userlist_load(const char *path, struct config_errors *errors);
/* The same from an open stream; @name stands for the file in messages. */
struct userlist *userlist_load_stream(FILE *in, const char *name, struct config_errors *errors);
struct userlist *userlist_free(struct userlist *u);

/* NULL: not in the file. Borrowed: dies with the list. */
const struct userlist_entry *userlist_find(const struct userlist *u, const char *name);
unsigned userlist_count(const struct userlist *u);
/* In the order of the file; pass NULL to begin. */
const struct userlist_entry *userlist_next(const struct userlist *u,
                                           const struct userlist_entry *prev);

/* What a stored secret is, by its form; the same for a line of the file and for what auth_query
 * returned. A text that only begins like a hash is plain, as in PostgreSQL. */
enum secret_kind secret_kind_of(const char *data, size_t len);

#endif
