/* SPDX-License-Identifier: ISC */
/* Between reload.c (the transaction), reload_lookup.c (what logins ask for), reload_database.c (entries to targets, limits and credentials) and janitor.c. */
#ifndef PGPOOLD_DAEMON_RELOAD_INTERNAL_H
#define PGPOOLD_DAEMON_RELOAD_INTERNAL_H

#include "daemon/reload.h"

/* -- reload_lookup.c -- */

/* Configured or automatic; not one that a reload took away. NULL: there is none. */
struct database *reload_find_living(const struct server *s, const char *name);
/* A new database is in the state that all of them were put into. */
enum database_pause reload_initial_pause(const struct server *s);
/* Somebody is logging in to @db. */
bool reload_is_asked_for(const struct server *s, const struct database *db);

/* -- reload_database.c -- */

/* What @entry says about where and how to connect. NULL: out of memory. */
struct target *reload_target(const struct server *s, const struct config *c,
                             const struct database_config *entry);
/* Would a connection made with the one do for the other? */
bool reload_same_target(const struct target *a, const struct target *b);
/* The entry's credentials of the server, and the limits. false: out of memory; the rest was set. */
bool reload_apply_entry(struct database *db, const struct config *c,
                        const struct database_config *entry);
void reload_apply_user(struct pool_user *user, const struct config *c);
/* Secrets of auth_file; @before is the list in force until now, or NULL. */
void reload_apply_secret(struct pool_user *user, const struct userlist *before,
                         const struct userlist *now);
/* Limits and queries of one pool. false: out of memory, queries may be the old ones. */
bool reload_apply_pool(struct pool *pool, const struct config *c);

/* -- janitor.c -- */

/* Sets the timer if there is anything to look after. */
void janitor_start(struct server *s);
void janitor_stop(struct server *s);
/* An auto-database is about to be added: makes room by freeing the longest unused one when there are too many.
 * false: there are too many, and all are in use. */
MUSTCHECK bool janitor_make_room(struct server *s);

#endif
