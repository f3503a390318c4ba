/* SPDX-License-Identifier: ISC */
/* How the console counts and calls things, so that SHOW POOLS, SHOW SERVERS, SHOW CLIENTS and the metrics say the same. */
#ifndef PGPOOLD_DAEMON_ADMIN_COUNT_H
#define PGPOOLD_DAEMON_ADMIN_COUNT_H

#include "daemon/client.h"
#include "pool/pool.h"

struct admin_pool_count {
    unsigned cl_active; /* linked to a server connection, or with nothing to do */
    unsigned cl_waiting;
    unsigned cl_active_cancel_req;
    unsigned cl_waiting_cancel_req;
    unsigned sv_active;
    unsigned sv_active_cancel;
    unsigned sv_being_canceled;
    unsigned sv_idle;
    unsigned sv_used; /* idle, but to be checked before use */
    unsigned sv_tested;
    unsigned sv_login;
};

void admin_count_pool(const struct pool *pool, struct admin_pool_count *ret);

/* All pools of all databases; pass NULL to begin, NULL comes back at the end. */
struct pool *admin_next_pool(const struct server *s, const struct pool *prev);

/* What SHOW LISTS and SHOW MEM count: calls @fn for each of the lists, or each kind of memory. */
typedef void (*admin_number_fn)(void *arg, const char *name, uint64_t n);
typedef void (*admin_memory_fn)(void *arg, const char *name, size_t size, uint64_t used);
void admin_each_list(const struct server *s, admin_number_fn fn, void *arg);
void admin_each_memory(const struct server *s, admin_memory_fn fn, void *arg);

/* The state of a server connection in PgBouncer's words: "active", "idle", "used", ... */
const char *admin_backend_state(const struct backend *b);
/* It is closed as soon as it is free. */
bool admin_backend_is_obsolete(const struct backend *b);
/* The client that has, or waits for, the server connection; NULL: an internal query. */
struct client *admin_client_of(struct lease *l);

#endif
