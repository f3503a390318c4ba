/* SPDX-License-Identifier: ISC */
/* The whole configuration: the settings, the entries of [databases], [users] and [peers], and the
 * files they name (auth_file, HBA rules, ident map), read at once and checked at once. A loaded
 * configuration is correct by itself; RELOAD loads another one and swaps. Never logs. */
#ifndef PGPOOLD_CONFIG_CONFIG_H
#define PGPOOLD_CONFIG_CONFIG_H

#include "config/config_errors.h"
#include "config/databases.h"
#include "config/hba.h"
#include "config/ident.h"
#include "config/options.h"
#include "config/userlist.h"

#include <stdio.h>

/* Where a global option was given; line 0: nowhere. */
struct option_place {
    const char *file; /* borrowed from the configuration */
    unsigned line;
};

struct config {
    char *path; /* as it was loaded; the next RELOAD reads settings.conffile, which is the same
                   unless set otherwise */
    struct settings settings;

    struct option_place *places; /* one for each option, by option_index(); private */
    char **files;                /* names of the files read; private */
    unsigned n_files;

    /* Tables by name in the order of the file; read them with the functions below. */
    struct database_config *databases; /* without "*" */
    struct database_config *autodb;    /* the entry "*", or NULL */
    struct user_config *users;
    struct peer_config *peers;

    /* Owned; the daemon may put a newer one in place of the old, which it then frees. */
    struct userlist *userlist;   /* auth_file, NULL where that is empty */
    struct userlist *http_users; /* http_auth_file, NULL where that is empty */
    struct hba *hba;             /* auth_hba_file, NULL unless auth_type is hba */
    struct ident *ident;         /* auth_ident_file, NULL unless auth_type is hba and it is given */
};

/* Reads @path and all it names. NULL when anything is wrong; then @errors has every fault. */
struct config *config_load(const char *path, struct config_errors *errors);
/* The same, with faults that only others can find: @check is called when all else was looked at, for a
 * configuration that may have faults already. */
typedef void (*config_check_fn)(const struct config *c, struct config_errors *errors);
struct config *config_load_with(const char *path, config_check_fn check,
                                struct config_errors *errors);
struct config *config_free(struct config *c);

/* Console SET: @name = @text in the running settings, with the relations to all others checked.
 * false: nothing changed and @errors says why. An option that cannot change at
 * run time is refused. */
MUSTCHECK bool config_set(struct config *c, const char *name, const char *text,
                          struct config_errors *errors);

/* NULL: no such entry. config_database() knows exact names only; for the rest see config.autodb. */
const struct database_config *config_database(const struct config *c, const char *name);
const struct user_config *config_user(const struct config *c, const char *name);
/* Pass NULL to begin; NULL comes back at the end. */
const struct database_config *config_next_database(const struct config *c,
                                                   const struct database_config *prev);
const struct user_config *config_next_user(const struct config *c, const struct user_config *prev);
const struct peer_config *config_next_peer(const struct config *c, const struct peer_config *prev);

/* "pgbouncer" and "pgpoold": the console, never a database of the ini. */
bool config_name_is_console(const char *database);

/* ---- check.c: relations between options ---- */

/* Adds a fault for each pair of settings that do not fit together, and for each file they name that
 * cannot be read.
 * @places: by option_index(), or NULL when unknown. */
void config_check_settings(const struct settings *s, const struct option_place *places,
                           struct config_errors *errors);
/* The same for the entries, the rules and maps, and between them and the settings. */
void config_check_entries(const struct config *c, struct config_errors *errors);

/* Adds a fault of the global option @name, with the place where it was given. @places as above. */
void config_fault(const struct option_place *places, struct config_errors *errors, const char *name,
                  const char *fmt, ...) PRINTF_LIKE(4, 5);

/* ---- warn.c ---- */

/* What is allowed and will hardly do what is wanted, in the form of faults. */
void config_warnings(const struct config *c, struct config_errors *warnings);

#endif
