/* SPDX-License-Identifier: ISC */
#include "daemon/admin_count.h"

struct pool *admin_next_pool(const struct server *s, const struct pool *prev)
{
    const struct list *databases = &s->env->databases;
    const struct list_node *db = prev == NULL ? list_first(databases) : &prev->db->link;
    const struct list_node *next = prev == NULL ? NULL : list_next(&prev->db->pools, &prev->link);

    if (prev != NULL && next == NULL) {
        db = list_next(databases, db);
    }
    while (next == NULL && db != NULL) {
        next = list_first(&list_entry(db, struct database, link)->pools);
        db = list_next(databases, db);
    }
    return next == NULL ? NULL : list_entry(next, struct pool, link);
}

struct client *admin_client_of(struct lease *l)
{
    if (l == NULL || (l->ops != &client_lease_ops && l->ops != &client_login_ops &&
                      l->ops != &client_replication_ops)) {
        return NULL;
    }
    return container_of(l, struct client, lease);
}

bool admin_backend_is_obsolete(const struct backend *b)
{
    return b->close_needed || b->generation != b->pool->generation ||
           b->target != b->pool->db->target;
}

/* An idle connection that server_check_query is run on before anybody has it. */
static bool is_used(const struct backend *b)
{
    const struct pool *pool = b->pool;

    return *pool->queries.check != '\0' &&
           clock_now_us() - b->idle_since_us >= pool->limits.server_check_delay_us;
}

static bool is_opening(const struct backend *b)
{
    return b->state == BACKEND_CONNECTING || b->state == BACKEND_LOGIN || b->state == BACKEND_SETUP;
}

const char *admin_backend_state(const struct backend *b)
{
    if (is_opening(b)) {
        return "new";
    }
    if (b->state == BACKEND_IDLE && is_used(b)) {
        return "used";
    }
    if (b->state == BACKEND_CLEANING && b->is_reset) {
        return "tested";
    }
    return backend_state_name(b->state);
}

/* The hub that listens for clients is no connection for queries: no figure of SHOW POOLS has it. */
static unsigned count_opening(const struct list *backends)
{
    const struct backend *b;
    unsigned n = 0;

    list_for_each(backends, b, link) {
        n += b->is_hub ? 0 : 1;
    }
    return n;
}

static void count_clients(const struct pool *pool, struct admin_pool_count *ret)
{
    struct lease *l;
    struct cancel *cancel;
    unsigned n_logged_in = 0;

    list_for_each(&pool->waiters, l, link) {
        if (admin_client_of(l) != NULL) {
            ret->cl_waiting++;
            n_logged_in += l->is_login ? 0 : 1;
        }
    }
    list_for_each(&pool->opening, l, link) {
        ret->cl_waiting++;
    }
    ret->cl_active = pool->clients.n - n_logged_in;
    list_for_each(&pool->cancels, cancel, link) {
        if (cancel->request != NULL) {
            ret->sv_active_cancel++;
            ret->cl_active_cancel_req += cancel->waiters.n;
        } else {
            ret->cl_waiting_cancel_req += cancel->waiters.n;
        }
    }
}

void admin_count_pool(const struct pool *pool, struct admin_pool_count *ret)
{
    struct backend *b;

    *ret = (struct admin_pool_count){.sv_active = pool_count(pool, BACKEND_ACTIVE)};
    count_clients(pool, ret);
    ret->sv_being_canceled = pool_count(pool, BACKEND_CANCELED);
    ret->sv_login = count_opening(&pool->backends[BACKEND_CONNECTING]) +
                    count_opening(&pool->backends[BACKEND_LOGIN]) +
                    count_opening(&pool->backends[BACKEND_SETUP]);
    ret->sv_tested = pool_count(pool, BACKEND_CHECK);
    list_for_each(&pool->backends[BACKEND_CLEANING], b, link) {
        if (b->is_reset) {
            ret->sv_tested++;
        } else {
            ret->sv_active++;
        }
    }
    list_for_each(&pool->backends[BACKEND_IDLE], b, link) {
        if (is_used(b)) {
            ret->sv_used++;
        } else {
            ret->sv_idle++;
        }
    }
}
