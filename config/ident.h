/* SPDX-License-Identifier: ISC */
/* The ident map file: which name from outside (peer's system user, a certificate's common name) may
 * log in as which database user, under a map name that HBA rules refer to. Format and matching are
 * PostgreSQL's (pg_ident.conf); a system user that begins with '/' is a regular expression (ident_regex.h says which).
 * Pure once loaded. */
#ifndef PGPOOLD_CONFIG_IDENT_H
#define PGPOOLD_CONFIG_IDENT_H

#include "config/config_errors.h"

#include <stdbool.h>
#include <stdio.h>

struct ident;

/* NULL when a line is wrong or the file cannot be read; every fault is in @errors. */
struct ident *ident_load(const char *path, struct config_errors *errors);
struct ident *ident_load_stream(FILE *in, const char *name, struct config_errors *errors);
struct ident *ident_free(struct ident *m);

/* May @system_user log in as @user under @map? With @map NULL or "" the two names must be equal. @m
 * may be NULL. */
bool ident_match(const struct ident *m, const char *map, const char *system_user, const char *user);
/* Is there any line of that map? */
bool ident_has_map(const struct ident *m, const char *map);

#endif
