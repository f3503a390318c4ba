/* SPDX-License-Identifier: ISC */
/* The one place where the configuration meets the pools: turns settings and entries into databases, users, targets and
 * limits, at start, at a reload and after SET. All or nothing: what cannot be applied leaves everything as it was.
 *
 * A database or pool that these functions return stays valid for this turn of the loop; for longer only while it is in
 * use: a client is counted in it (n_clients) or in the pool's list, a lease waits or is held, a server connection
 * exists. The janitor frees auto-databases and pools that nobody uses; a user is never freed. */
#ifndef PGPOOLD_DAEMON_RELOAD_H
#define PGPOOLD_DAEMON_RELOAD_H

#include "daemon/server.h"

/* -- use -- */

/* Puts s->config in force for the first time; opens the minimum of pools with a forced user. false: @errors says why. */
MUSTCHECK bool reload_start(struct server *s, struct config_errors *errors);
/* RELOAD, SIGHUP: reads the file anew. false: nothing has changed; each fault was logged and is in @errors. */
bool reload_again(struct server *s, struct config_errors *errors);
/* Console SET. false: nothing has changed, @errors says why. */
MUSTCHECK bool reload_set(struct server *s, const char *name, const char *text,
                          struct config_errors *errors);

/* The database that a client asks for: configured, or made from the entry "*". NULL: there is none, or no memory. */
struct database *reload_find_database(struct server *s, const char *name);
/* Created with what auth_file and [users] say when it does not exist. NULL: out of memory. */
struct pool_user *reload_find_user(struct server *s, const char *name);
/* The pool for clients that log in as @user to @db; a forced user wins. Created when it does not exist.
 * NULL: out of memory. */
struct pool *reload_get_pool(struct server *s, struct database *db, const char *user);
/* The pool in which auth_query runs: of @auth_user himself, whatever user the entry forces. As above. */
struct pool *reload_get_auth_pool(struct server *s, struct database *db, const char *auth_user);

/* Frees pools and databases that a reload took away, as soon as their clients have left. */
void reload_sweep(struct server *s);
/* Frees the records that hang on a database, for server_free(). */
void reload_drop_database(struct database *db);

/* -- questions -- */

/* The entry of a database; borrowed, changes with a reload. NULL: its entry is gone. */
const struct database_config *reload_entry(const struct database *db);

#endif
