/* SPDX-License-Identifier: ISC */
#include "pool/pool.h"

#include "daemon/util/fatal.h"
#include "pool/cancel.h"
#include "pool/farewell.h"
#include "pool/notify_hub.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Connection attempts of one pool at a time: enough that a slow one holds nobody up, few enough not to storm a server. */
#define MAX_CONNECTING 16U
/* Longest pause between two looks for a host that fits target_session_attrs. */
#define FAILOVER_RETRY_US USEC_PER_SEC

static void wake_others(struct pool *pool);

/* --- life --- */

static bool set_text(char **to, const char *text)
{
    char *copy = strdup(text);

    if (copy == NULL) {
        return false;
    }
    free(*to);
    *to = copy;
    return true;
}

bool pool_set_queries(struct pool *pool, const char *connect, const char *reset, const char *check)
{
    return set_text(&pool->queries.connect, connect) && set_text(&pool->queries.reset, reset) &&
           set_text(&pool->queries.check, check);
}

struct pool *pool_new(struct database *db, struct pool_user *user, const struct pool_limits *limits)
{
    struct pool *pool = calloc(1, sizeof(*pool));

    if (pool == NULL) {
        return NULL;
    }
    pool->env = db->env;
    pool->db = db;
    pool->user = user;
    pool->credentials = db->has_forced_user ? db->forced : user->credentials;
    pool->limits = *limits;
    for (unsigned i = 0; i < BACKEND_STATES; i++) {
        list_init(&pool->backends[i]);
    }
    list_init(&pool->waiters);
    list_init(&pool->opening);
    list_init(&pool->cancels);
    list_init(&pool->farewells);
    list_init(&pool->clients);
    loop_timer_init(&pool->timer, pool_on_timer);
    pool->empty_since_us = clock_now_us();
    if (!pool_set_queries(pool, "", "", "")) {
        free(pool->queries.connect);
        free(pool->queries.reset);
        free(pool->queries.check);
        free(pool);
        return NULL;
    }
    list_add_tail(&db->pools, &pool->link);
    user->n_pools++;
    return pool;
}

struct pool *pool_free(struct pool *pool, const struct pg_error *why)
{
    if (pool == NULL) {
        return NULL;
    }
    fatal_unless(list_is_empty(&pool->clients));
    pool_kill(pool, why);
    cancel_drop_all(pool);
    farewell_end_all(pool);
    loop_timer_stop(pool->env->loop, &pool->timer);
    pool_set_elsewhere(pool, 0);
    loop_defer_cancel(pool->env->loop, &pool->dispatch_later);
    if (pool->is_folded) {
        pool_metrics_add(&pool->env->metrics.gone_pools, &pool->metrics);
    } else {
        pool_metrics_add(&pool->env->metrics.gone_named, &pool->metrics);
    }
    pool->env->metrics.n_extra_pools -= pool->is_extra ? 1 : 0;
    list_remove(&pool->db->pools, &pool->link);
    pool->user->n_pools--;
    pool->welcome = params_unref(pool->welcome);
    pool->defaults = params_unref(pool->defaults);
    pool->hub = notify_hub_free(pool->hub);
    free(pool->queries.connect);
    free(pool->queries.reset);
    free(pool->queries.check);
    free(pool);
    return NULL;
}

struct pool *pool_find(const struct database *db, const struct pool_user *user)
{
    struct pool *pool;

    list_for_each(&db->pools, pool, link) {
        if (pool->user == user) {
            return pool;
        }
    }
    return NULL;
}

static bool is_too_large(const struct pool *pool)
{
    return pool->n_backends > pool->limits.size &&
           pool->n_backends - pool->limits.size > pool->limits.reserve_size;
}

void pool_set_limits(struct pool *pool, const struct pool_limits *limits)
{
    struct list *idle = &pool->backends[BACKEND_IDLE];

    pool->limits = *limits;
    while (is_too_large(pool) && !list_is_empty(idle)) { /* the others go when they come back */
        backend_close(list_entry(list_last(idle), struct backend, link), "pool_size was lowered",
                      NULL);
    }
    pool_wake_at(pool, clock_now_us());
    pool_dispatch_later(pool);
}

void pool_set_elsewhere(struct pool *pool, unsigned n)
{
    unsigned before = pool->n_elsewhere;

    pool->n_elsewhere = n;
    pool->db->n_connections = pool->db->n_connections - before + n;
    pool->user->n_connections = pool->user->n_connections - before + n;
    if (n < before) {
        wake_others(pool);
        pool_dispatch_later(pool);
    }
}

/* --- questions --- */

bool pool_is_stopped(const struct pool *pool)
{
    return pool->db->pause != DATABASE_RUNS || pool->env->is_held;
}

const char *pool_mode_text(const struct pool *pool)
{
    static const char *const names[] = {"session", "transaction", "statement"};

    return names[pool->limits.mode];
}

static usec_t wait_of_first(const struct list *leases)
{
    const struct list_node *first = list_first(leases);

    return first == NULL ? 0 : clock_now_us() - list_entry(first, struct lease, link)->since_us;
}

usec_t pool_max_wait_us(const struct pool *pool)
{
    return MAX(wait_of_first(&pool->waiters), wait_of_first(&pool->opening));
}

/* --- who gets a connection --- */

void pool_enqueue(struct pool *pool, struct lease *l)
{
    list_add_tail(&pool->waiters, &l->link);
    pool->n_waiters_own += l->replication != REPLICATION_NONE ? 1 : 0;
}

void pool_dequeue(struct pool *pool, struct lease *l)
{
    if (l->opening != NULL) {
        list_remove(&pool->opening, &l->link);
        l->opening = NULL;
        return;
    }
    list_remove(&pool->waiters, &l->link);
    pool->n_waiters_own -= l->replication != REPLICATION_NONE ? 1 : 0;
}

static void grant(struct pool *pool, struct lease *l, struct backend *b)
{
    usec_t now_us = clock_now_us();

    l->state = LEASE_HELD;
    l->backend = b;
    b->lease = l;
    b->request_us = now_us;
    b->prior_pid = b->owner_pid != l->owner_pid ? b->owner_pid : 0;
    b->owner_pid = l->owner_pid;
    b->was_used = true;
    b->is_checked = false;
    if (l->since_us == now_us) { /* at once, as most are */
        pool->metrics.latency[LATENCY_WAIT].cells[0]++;
    } else {
        pool->db->stats.wait_time_us += now_us - l->since_us;
        histogram_add(&pool->metrics.latency[LATENCY_WAIT], now_us - l->since_us);
    }
    pool->db->stats.server_assignment_count++;
    l->since_us = now_us;
    backend_set_state(b, BACKEND_ACTIVE);
}

static bool needs_check(const struct pool *pool, const struct backend *b)
{
    return clock_now_us() - b->idle_since_us >= pool->limits.server_check_delay_us &&
           !b->is_checked && *pool->queries.check != '\0';
}

/* The idle connection to use next, NULL when there is none. Expired ones are closed on the way. */
static struct backend *pick_idle(struct pool *pool)
{
    struct list *idle = &pool->backends[BACKEND_IDLE];

    while (!list_is_empty(idle)) {
        struct list_node *node = pool->limits.round_robin ? list_last(idle) : list_first(idle);
        struct backend *b = list_entry(node, struct backend, link);

        if (!backend_is_expired(b)) {
            return b;
        }
        backend_close(b, "server lifetime over", NULL);
    }
    return NULL;
}

bool pool_grant_at_once(struct pool *pool, struct lease *l)
{
    struct backend *b;

    if (pool_is_stopped(pool) || l->replication != REPLICATION_NONE) {
        return false;
    }
    b = pick_idle(pool);
    if (b == NULL || needs_check(pool, b)) {
        return false;
    }
    grant(pool, l, b);
    return true;
}

/* How many connections the pool may have now, given who waits. */
static unsigned allowed_now(struct pool *pool)
{
    const struct pool_limits *lim = &pool->limits;

    if (lim->reserve_size == 0 || list_is_empty(&pool->waiters)) {
        return lim->size;
    }
    if (wait_of_first(&pool->waiters) < lim->reserve_timeout_us) {
        const struct lease *first = list_entry(list_first(&pool->waiters), struct lease, link);

        pool_wake_at(pool, first->since_us + lim->reserve_timeout_us);
        return lim->size;
    }
    return lim->size + lim->reserve_size;
}

/* The connection that has been idle longest in the other pools of the same database, or of the same user. NULL: none
 * is idle there. */
static struct backend *idle_elsewhere(struct pool *pool, bool same_user)
{
    struct backend *oldest = NULL;
    struct database *db;
    struct pool *other;

    list_for_each(&pool->env->databases, db, link) {
        if (!same_user && db != pool->db) {
            continue;
        }
        struct list_node *node = db->pools.head.next;

        for (; node != &db->pools.head; node = node->next) {
            struct list_node *last;

            other = list_entry(node, struct pool, link);
            last = list_last(&other->backends[BACKEND_IDLE]);
            if (other == pool || last == NULL || (same_user && other->user != pool->user)) {
                continue;
            }
            struct backend *b = list_entry(last, struct backend, link);

            if (oldest == NULL || b->idle_since_us < oldest->idle_since_us) {
                oldest = b;
            }
        }
    }
    return oldest;
}

static bool database_is_full(const struct pool *pool)
{
    const struct database *db = pool->db;

    return db->max_connections > 0 && db->n_connections >= db->max_connections;
}

static bool user_is_full(const struct pool *pool)
{
    const struct pool_user *user = pool->user;

    return user->max_connections > 0 && user->n_connections >= user->max_connections;
}

/* Idle connections of other pools go until database and user have room for one more. None goes in vain: what one limit
 * needs is closed only when the other one can be met too. A pool is one pair of both, so they never need the same one. */
static bool evict_others(struct pool *pool)
{
    if ((database_is_full(pool) && idle_elsewhere(pool, false) == NULL) ||
        (user_is_full(pool) && idle_elsewhere(pool, true) == NULL)) {
        return false;
    }
    for (unsigned same_user = 0; same_user <= 1; same_user++) {
        struct backend *b;

        while ((same_user ? user_is_full(pool) : database_is_full(pool)) &&
               (b = idle_elsewhere(pool, same_user)) != NULL) {
            backend_close(b, "evicted", NULL);
        }
    }
    return !database_is_full(pool) && !user_is_full(pool);
}

/* Is a place taken by a connection that we have closed, and that will be free soon without our doing? */
static bool must_wait_for_farewell(const struct pool *pool)
{
    const struct database *db = pool->db;
    const struct pool_user *user = pool->user;

    return (db->max_connections > 0 &&
            db->n_connections + db->n_farewells >= db->max_connections) ||
           (user->max_connections > 0 &&
            user->n_connections + user->n_farewells >= user->max_connections);
}

/* Is this a moment for another connection attempt? */
static bool may_try(struct pool *pool)
{
    if (pool->retry_at_us > clock_now_us()) {
        pool_wake_at(pool, pool->retry_at_us);
        return false;
    }
    return pool_count(pool, BACKEND_CONNECTING) + pool_count(pool, BACKEND_LOGIN) < MAX_CONNECTING;
}

/* For a client that waits others' idle connections may go; for a mere minimum not, or two pools would take them from each
 * other for ever. */
enum eviction { KEEP_OTHERS, EVICT_OTHERS };

static bool may_open(struct pool *pool, unsigned allowed, enum eviction eviction)
{
    if (pool->n_backends + pool->farewells.n + pool->n_elsewhere >= allowed || !may_try(pool)) {
        return false;
    }
    if ((database_is_full(pool) || user_is_full(pool)) &&
        (eviction == KEEP_OTHERS || !evict_others(pool))) {
        return false;
    }
    return !must_wait_for_farewell(pool);
}

static void log_reserve(const struct pool *pool)
{
    log_warning("pool %s/%s: taking connection from reserve_pool", pool->db->name,
                pool->user->name);
}

static bool open_one(struct pool *pool)
{
    if (pool->n_backends + pool->n_elsewhere >= pool->limits.size) {
        log_reserve(pool);
    }
    return backend_open(pool) != NULL;
}

/* Of those that are being cleaned only the ones in their last step: a query that somebody left behind may take long. */
static unsigned nearly_clean(const struct pool *pool)
{
    const struct backend *b;
    unsigned n = 0;

    list_for_each(&pool->backends[BACKEND_CLEANING], b, link) {
        n += b->is_reset || b->is_unlistened;
    }
    return n;
}

/* Connections that will be free without our doing: those on their way, and those being cleaned. */
static unsigned expected(const struct pool *pool)
{
    unsigned hub = notify_hub_count_opening(pool->hub);

    return pool_count(pool, BACKEND_CONNECTING) + pool_count(pool, BACKEND_LOGIN) +
           pool_count(pool, BACKEND_SETUP) + pool_count(pool, BACKEND_CHECK) + nearly_clean(pool) -
           hub - pool->opening.n;
}

static void open_missing(struct pool *pool)
{
    unsigned min = pool->limits.min_size;

    if (LIKELY(pool->n_backends >= pool->limits.size && pool->limits.reserve_size == 0)) {
        return; /* full: with a queue that is so at each query */
    }
    while (expected(pool) < pool->waiters.n - pool->n_waiters_own &&
           may_open(pool, allowed_now(pool), EVICT_OTHERS)) {
        if (!open_one(pool)) {
            return;
        }
    }
    if (pool->clients.n == 0 && !pool->limits.forced_user) {
        return;
    }
    while (pool->n_backends + pool->n_elsewhere < min &&
           may_open(pool, pool->limits.size, KEEP_OTHERS)) {
        if (!open_one(pool)) {
            return;
        }
    }
}

void pool_probe(struct pool *pool)
{
    if (pool->n_backends + pool->n_elsewhere == 0 && !pool_is_stopped(pool) &&
        may_open(pool, pool->limits.size, KEEP_OTHERS)) {
        (void)open_one(pool); /* no memory: the next question asks again */
    }
}

/* Closes the connection that has been idle longest. */
static bool close_one_idle(struct pool *pool)
{
    struct list_node *last = list_last(&pool->backends[BACKEND_IDLE]);

    if (last == NULL) {
        return false;
    }
    backend_close(list_entry(last, struct backend, link), "evicted for a connection of its own",
                  NULL);
    return true;
}

bool pool_make_room(struct pool *pool)
{
    if (!database_is_full(pool) && !user_is_full(pool)) {
        return true;
    }
    /* one of its own helps with both limits */
    return evict_others(pool) || close_one_idle(pool);
}

/* Room for one more connection, for replication: idle ones have to go for it. */
static bool make_room(struct pool *pool)
{
    while (pool->n_backends + pool->n_elsewhere >= allowed_now(pool)) {
        if (!close_one_idle(pool)) {
            return false;
        }
    }
    return pool_make_room(pool) && !must_wait_for_farewell(pool) &&
           pool->n_backends + pool->farewells.n + pool->n_elsewhere < allowed_now(pool);
}

void pool_fail_waiter(struct pool *pool, struct lease *l, const struct pg_error *e)
{
    pool_dequeue(pool, l);
    l->state = LEASE_NONE;
    l->pool = NULL;
    l->ops->failed(l, e);
}

/* Opens the connection that @l is to have for its replication; until it has it, @l waits in pool->opening. */
static bool open_own(struct pool *pool, struct lease *l)
{
    struct pg_error e;

    if (!may_try(pool) || !make_room(pool)) {
        return false;
    }
    if (pool->n_backends >= pool->limits.size) {
        log_reserve(pool);
    }
    if (!backend_open_for(pool, l)) {
        pg_error_set(&e, SQLSTATE_OUT_OF_MEMORY, "out of memory");
        pool_fail_waiter(pool, l, &e);
    }
    return true;
}

void pool_own_is_open(struct pool *pool, struct backend *b)
{
    struct lease *l = b->opens_for;

    b->opens_for = NULL;
    pool_dequeue(pool, l);
    grant(pool, l, b);
    l->ops->granted(l);
}

static void serve_waiters(struct pool *pool)
{
    while (!list_is_empty(&pool->waiters)) {
        struct lease *first = list_entry(list_first(&pool->waiters), struct lease, link);
        struct backend *b;

        if (first->replication != REPLICATION_NONE) {
            if (!open_own(pool, first)) {
                return;
            }
            continue;
        }
        b = pick_idle(pool);
        if (b == NULL) {
            return;
        }
        if (needs_check(pool, b)) {
            backend_start_check(b);
            continue;
        }
        pool_dequeue(pool, first);
        grant(pool, first, b);
        first->ops->granted(first);
    }
}

/* The moment of the queue's next event, so that somebody looks at it then. */
static void watch_queue(struct pool *pool)
{
    const struct pool_limits *lim = &pool->limits;
    const struct lease *first;

    if (!list_is_empty(&pool->opening) && lim->query_wait_timeout_us > 0) {
        first = list_entry(list_first(&pool->opening), struct lease, link);
        pool_wake_at(pool, first->since_us + lim->query_wait_timeout_us);
    }
    if (list_is_empty(&pool->waiters)) {
        return;
    }
    first = list_entry(list_first(&pool->waiters), struct lease, link);
    if (lim->query_wait_timeout_us > 0) {
        pool_wake_at(pool, first->since_us + lim->query_wait_timeout_us);
    }
}

void pool_dispatch(struct pool *pool)
{
    if (pool->is_dispatching) {
        pool->again = true;
        return;
    }
    pool->is_dispatching = true;
    do {
        pool->again = false;
        if (!pool_is_stopped(pool)) {
            serve_waiters(pool);
            open_missing(pool);
        }
    } while (pool->again);
    pool->is_dispatching = false;
    watch_queue(pool);
}

static void on_dispatch_later(struct loop_deferred *work)
{
    pool_dispatch(container_of(work, struct pool, dispatch_later));
}

void pool_dispatch_later(struct pool *pool)
{
    loop_defer(pool->env->loop, &pool->dispatch_later, on_dispatch_later);
}

static void wake(struct pool *pool, const struct pool *not_this)
{
    if (pool != not_this && !list_is_empty(&pool->waiters)) {
        pool_dispatch_later(pool);
    }
}

/* @pool has a connection less in use: who waits in another one for room under max_db_connections or
 * max_user_connections may have it. */
static void wake_others(struct pool *pool)
{
    const struct database *db = pool->db;
    const struct pool_user *user = pool->user;
    struct database *each;
    struct pool *other;

    if (LIKELY(db->max_connections == 0 && user->max_connections == 0)) {
        return;
    }
    if (db->max_connections > 0 && db->n_connections + db->n_farewells + 1 >= db->max_connections) {
        list_for_each(&db->pools, other, link) {
            wake(other, pool);
        }
    }
    if (user->max_connections > 0 &&
        user->n_connections + user->n_farewells + 1 >= user->max_connections) {
        list_for_each(&pool->env->databases, each, link) {
            list_for_each(&each->pools, other, link) {
                wake(other->user == user ? other : pool, pool);
            }
        }
    }
}

void pool_backend_is_free(struct pool *pool, struct backend *b)
{
    if (b->n_cancels > 0) {
        backend_set_state(b,
                          BACKEND_CANCELED); /* a late cancel must not hit the next owner's query */
        return;
    }
    if (b->close_needed || b->generation != pool->generation || b->target != pool->db->target) {
        backend_close(b, "database configuration changed", NULL);
        return;
    }
    if (pool->db->pause == DATABASE_PAUSED ||
        (pool->db->wait_close && pool->limits.mode != POOL_SESSION)) {
        backend_close(b, "obsolete connection", NULL);
        return;
    }
    if (is_too_large(pool)) {
        backend_close(b, "pool_size was lowered", NULL);
        return;
    }
    if (backend_is_expired(b) || (b->was_used && pool->limits.server_lifetime_us == 0)) {
        backend_close(b, "server lifetime over", NULL);
        return;
    }
    b->idle_since_us = clock_now_us();
    backend_set_state(b, BACKEND_IDLE);
    if (list_is_empty(&pool->waiters)) {
        b->is_checked = false;
        if (pool->limits.server_idle_timeout_us > 0) {
            pool_wake_at(pool, b->idle_since_us + pool->limits.server_idle_timeout_us);
        }
        if (b->lifetime_us != UINT64_MAX) {
            pool_wake_at(pool, b->connected_us + b->lifetime_us);
        }
        wake_others(pool);
        return;
    }
    pool_dispatch(pool);
}

void pool_has_room(struct pool *pool)
{
    wake_others(pool);
    pool_dispatch_later(
        pool); /* to fill up, or to serve who waits; not from within whatever closed it */
}

void pool_backend_closed(struct pool *pool, struct backend *b)
{
    (void)b;
    if (pool->n_backends == 0 && pool->clients.n == 0) {
        pool->empty_since_us = clock_now_us();
    }
    pool_has_room(pool);
    pool->env->ops->changed(pool->env);
}

/* --- connection attempts --- */

void pool_connect_succeeded(struct pool *pool)
{
    pool->has_failed = false;
    pool->retry_at_us = 0;
}

static struct lease *first_waiter(const struct pool *pool, bool only_logins)
{
    struct lease *l;

    list_for_each(&pool->waiters, l, link) {
        if (l->is_login || !only_logins) {
            return l;
        }
    }
    return NULL;
}

void pool_fail_waiters(struct pool *pool, const struct pg_error *e, bool only_logins)
{
    /* Not more than wait now: a callback may close any of them, and may queue new ones. */
    for (unsigned left = pool->waiters.n; left > 0; left--) {
        struct lease *l = first_waiter(pool, only_logins);

        if (l == NULL) {
            return;
        }
        pool_fail_waiter(pool, l, e);
    }
}

/* Where one host of several is looked for, the others answer, and that it is found soon after a failover counts. */
static usec_t retry_us(const struct pool *pool)
{
    usec_t us = pool->limits.server_login_retry_us;

    return pool->db->target->role == TARGET_ANY ? us : MIN(us, FAILOVER_RETRY_US);
}

void pool_connect_failed(struct pool *pool, const struct pg_error *e, bool from_server)
{
    unsigned alive = pool_count(pool, BACKEND_IDLE) + pool_count(pool, BACKEND_ACTIVE) +
                     pool_count(pool, BACKEND_CLEANING) + pool_count(pool, BACKEND_CHECK);

    pool->env->metrics.n_connect_failed++;
    pool->has_failed = true;
    pool->last_error = *e;
    pool->retry_at_us = clock_now_us() + retry_us(pool);
    pool_wake_at(pool, pool->retry_at_us);
    if (alive > 0) {
        return; /* who waits will be served by the others */
    }
    /* What the server itself says is for everybody who waits. That it cannot be reached, or is just starting, is for
     * those who are logging in; a query goes on waiting, up to query_wait_timeout: a restart of the server is no error
     * then. */
    pool_fail_waiters(pool, e,
                      !from_server || strcmp(e->sqlstate, SQLSTATE_CANNOT_CONNECT_NOW) == 0);
}

/* --- closing --- */

void pool_close_idle(struct pool *pool, const char *reason)
{
    while (!list_is_empty(&pool->backends[BACKEND_IDLE])) {
        backend_close(list_entry(list_first(&pool->backends[BACKEND_IDLE]), struct backend, link),
                      reason, NULL);
    }
}

/* server_fast_close: a session keeps its server connection for as long as it likes, but a changed one goes at once when
 * no transaction is open, and else with its end: backend_close_if_due(). */
static void close_quiet_sessions(struct pool *pool)
{
    struct backend *b;

    list_for_each(&pool->backends[BACKEND_ACTIVE], b, link) {
        (void)backend_close_if_due(b);
    }
}

void pool_reconnect(struct pool *pool)
{
    pool->generation++;
    pool->retry_at_us = 0;
    pool_close_idle(pool, "database configuration changed");
    for (unsigned i = 0; i < BACKEND_CLOSED; i++) {
        struct backend *b;

        list_for_each(&pool->backends[i], b, link) {
            b->close_needed = true;
        }
    }
    if (pool->limits.fast_close) {
        close_quiet_sessions(pool);
    }
    notify_hub_reconnect(pool->hub);
    pool_dispatch_later(pool);
}

void pool_kill(struct pool *pool, const struct pg_error *why)
{
    pool_fail_waiters(pool, why, false);
    for (unsigned i = 0; i < BACKEND_CLOSED; i++) {
        while (!list_is_empty(&pool->backends[i])) {
            backend_kill(list_entry(list_first(&pool->backends[i]), struct backend, link), "killed",
                         why);
        }
    }
}
