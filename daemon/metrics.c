/* SPDX-License-Identifier: ISC */
#include "daemon/metrics.h"

#include "daemon/admin_count.h"
#include "daemon/health.h"
#include "daemon/metrics_http.h"
#include "daemon/util/log.h"
#include "pool/notify_hub.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

#define NAME_MAX_BYTES 256 /* of a peer's text; longer ones are cut */
#define ERROR_MAX_BYTES 200

/* --- names: one block, since there may be thousands of them --- */

/* Names are offsets until the block stops moving: see settle(). Offset 0 is NULL. */
static const char *keep(struct metrics *m, const char *text, size_t most)
{
    char clean[NAME_MAX_BYTES];
    size_t len;
    size_t at = m->names_len;

    if (text == NULL) {
        return NULL;
    }
    (void)log_escape(clean, MIN(most, sizeof(clean)), text);
    len = strlen(clean) + 1;
    if (m->names_cap - m->names_len < len) {
        size_t cap = m->names_cap * 2 + 4096;
        char *names = realloc(m->names, cap);

        if (names == NULL) {
            m->names_lost = true;
            return NULL;
        }
        m->names = names;
        m->names_cap = cap;
    }
    memcpy(m->names + at, clean, len);
    m->names_len += len;
    return (const char *)(uintptr_t)at;
}

static void settle_one(const struct metrics *m, const char **name)
{
    if (*name != NULL) {
        *name = m->names + (uintptr_t)*name;
    }
}

static void settle(struct metrics *m)
{
    for (size_t i = 0; i < m->n_pools; i++) {
        settle_one(m, &m->pools[i].database);
        settle_one(m, &m->pools[i].user);
        settle_one(m, &m->pools[i].error);
    }
    for (size_t i = 0; i < m->n_databases; i++) {
        settle_one(m, &m->databases[i].name);
    }
    for (size_t i = 0; i < m->n_users; i++) {
        settle_one(m, &m->users[i].name);
    }
    for (size_t i = 0; i < m->n_hosts; i++) {
        settle_one(m, &m->hosts[i].name);
    }
}

static bool is_other(const char *name)
{
    return strcmp(name, METRICS_OTHER) == 0;
}

/* --- pools --- */

static uint64_t size_or_0(unsigned size)
{
    return size >= POOL_SIZE_UNLIMITED ? 0 : size;
}

static void add_hubs(const struct pool *pool, struct metrics_pool *p)
{
    for (const struct notify_hub *hub = pool->hub; hub != NULL; hub = notify_hub_next(hub)) {
        const struct channel_set *set = notify_hub_channels(hub);

        p->n_hubs += notify_hub_pid(hub) != 0 ? 1 : 0;
        p->n_channels += set->used.n;
        p->n_subscriptions += channel_set_count_subscriptions(set);
    }
}

static uint64_t count_replication(const struct pool *pool)
{
    const struct backend *b;
    uint64_t n = 0;

    list_for_each(&pool->backends[BACKEND_ACTIVE], b, link) {
        n += b->replication != REPLICATION_NONE ? 1 : 0;
    }
    return n;
}

static void add_pool(const struct pool *pool, struct metrics_pool *p)
{
    struct admin_pool_count n;

    admin_count_pool(pool, &n);
    p->n_pools++;
    p->cl_active += n.cl_active;
    p->cl_waiting += n.cl_waiting;
    p->cl_active_cancel_req += n.cl_active_cancel_req;
    p->cl_waiting_cancel_req += n.cl_waiting_cancel_req;
    p->sv_active += n.sv_active;
    p->sv_active_cancel += n.sv_active_cancel;
    p->sv_being_canceled += n.sv_being_canceled;
    p->sv_idle += n.sv_idle;
    p->sv_used += n.sv_used;
    p->sv_tested += n.sv_tested;
    p->sv_login += n.sv_login;
    p->n_servers += pool->n_backends;
    p->size += size_or_0(pool->limits.size);
    p->min_size += pool->limits.min_size;
    p->reserve_size += size_or_0(pool->limits.reserve_size);
    p->n_replication += count_replication(pool);
    p->max_wait_us = MAX(p->max_wait_us, pool_max_wait_us(pool));
    p->has_failed |= pool->has_failed ? 1 : 0;
    add_hubs(pool, p);
    pool_metrics_add(&p->m, &pool->metrics);
}

static bool pool_is_folded(const struct pool *pool)
{
    return pool->is_folded || (is_other(pool->db->name) && is_other(pool->user->name));
}

static void take_pools(struct metrics *m, const struct server *s)
{
    struct metrics_pool other = {
        .database = METRICS_OTHER, .user = METRICS_OTHER, .mode = METRICS_OTHER};

    other.m = m->env.gone_pools;
    for (const struct pool *pool = admin_next_pool(s, NULL); pool != NULL;
         pool = admin_next_pool(s, pool)) {
        struct metrics_pool *p = &m->pools[m->n_pools];

        if (pool_is_folded(pool)) {
            add_pool(pool, &other);
            continue;
        }
        m->n_pools++;
        p->database = keep(m, pool->db->name, NAME_MAX_BYTES);
        p->user = keep(m, pool->user->name, NAME_MAX_BYTES);
        p->mode = pool_mode_text(pool);
        p->error = pool->has_failed ? keep(m, pool->last_error.message, ERROR_MAX_BYTES) : NULL;
        add_pool(pool, p);
        pool_metrics_add(&m->sum, &p->m);
    }
    pool_metrics_add(&m->sum, &other.m);
    pool_metrics_add(&m->sum, &m->env.gone_named);
    if (other.n_pools > 0 || histogram_count(&other.m.latency[LATENCY_WAIT]) > 0) {
        other.database = keep(m, METRICS_OTHER, NAME_MAX_BYTES);
        other.user = other.database;
        m->pools[m->n_pools++] = other;
    }
}

/* --- databases --- */

static void add_database(const struct database *db, struct metrics_database *d)
{
    d->n_connections += db->n_connections;
    d->max_connections += db->max_connections;
    d->n_clients += db->n_clients;
    d->max_clients += db->max_clients;
    d->is_paused |= db->pause != DATABASE_RUNS ? 1 : 0;
    d->is_disabled |= db->is_disabled ? 1 : 0;
    d->is_unreachable |= health_of(db) == HEALTH_UNREACHABLE ? 1 : 0;
    pool_stats_add(&d->stats, &db->stats);
}

static void take_databases(struct metrics *m, const struct server *s)
{
    struct metrics_database other = {.state = METRICS_OTHER, .stats = m->env.gone_databases};
    bool has_other = m->env.gone_databases.client_login_count > 0;
    const struct database *db;

    list_for_each(&s->env->databases, db, link) {
        struct metrics_database *d = &m->databases[m->n_databases];

        if (db->is_folded || is_other(db->name)) {
            has_other = true;
            add_database(db, &other);
            continue;
        }
        m->n_databases++;
        d->name = keep(m, db->name, NAME_MAX_BYTES);
        d->state = health_name(health_of(db));
        add_database(db, d);
    }
    if (has_other) {
        other.name = keep(m, METRICS_OTHER, NAME_MAX_BYTES);
        m->databases[m->n_databases++] = other;
    }
}

/* --- users: those who have logged in, or are the user of a pool --- */

static void add_user(const struct pool_user *u, struct metrics_user *to)
{
    to->n_connections += u->n_connections;
    to->max_connections += u->max_connections;
    to->n_clients += u->n_clients;
    to->max_clients += u->max_clients;
}

static void take_users(struct metrics *m, const struct server *s)
{
    struct metrics_user other = {0};
    bool has_other = false;
    const struct pool_user *u;

    list_for_each(&s->env->users, u, link) {
        struct metrics_user *to = &m->users[m->n_users];

        if (u->is_folded || is_other(u->name)) {
            has_other = true;
            add_user(u, &other);
            continue;
        }
        m->n_users++;
        to->name = keep(m, u->name, NAME_MAX_BYTES);
        add_user(u, to);
    }
    if (has_other) {
        other.name = keep(m, METRICS_OTHER, NAME_MAX_BYTES);
        m->users[m->n_users++] = other;
    }
}

static void take_peers(struct metrics *m, const struct server *s)
{
    const struct peer *peer;

    list_for_each(&s->peers.list, peer, link) {
        struct metrics_peer *p = &m->peers[m->n_peers++];

        (void)snprintf(p->id, sizeof(p->id), "%u", peer->id);
        p->cl_active_cancel_req = peer_count_clients(&peer->active);
        p->cl_waiting_cancel_req = peer_count_clients(&peer->waiting);
        p->n_connections = peer->active.n;
        p->max_connections = peer->size;
        p->n_done = peer->n_done;
        p->n_failed = peer->n_failed;
    }
}

/* --- the process --- */

static void take_memory_use(struct metrics_process *p)
{
    FILE *f = fopen("/proc/self/statm", "re");
    unsigned long long pages[2] = {0, 0};
    char text[128] = "";
    uint64_t page = (uint64_t)sysconf(_SC_PAGESIZE);

    if (f == NULL) {
        return;
    }
    if (fgets(text, sizeof(text), f) != NULL) {
        const char *at = text;

        for (unsigned i = 0; i < 2; i++) {
            for (; *at >= '0' && *at <= '9'; at++) {
                pages[i] = pages[i] * 10 + (unsigned)(*at - '0');
            }
            at += *at == ' ' ? 1 : 0;
        }
    }
    (void)fclose(f); /* was only read */
    p->virtual_bytes = pages[0] * page;
    p->rss_bytes = pages[1] * page;
}

static uint64_t usec_of(struct timeval t)
{
    return (uint64_t)t.tv_sec * USEC_PER_SEC + (uint64_t)t.tv_usec;
}

static void take_process(struct metrics_process *p, const struct server *s)
{
    struct rusage use;
    struct rlimit files;

    p->started_wall_us = s->started_wall_us;
    if (getrusage(RUSAGE_SELF, &use) == 0) {
        p->cpu_us = usec_of(use.ru_utime) + usec_of(use.ru_stime);
    }
    if (getrlimit(RLIMIT_NOFILE, &files) == 0) {
        p->max_fds = files.rlim_cur;
    }
    take_memory_use(p);
    p->fds_needed = server_descriptors_needed(s->config);
    p->n_turns = loop_turns(s->loop);
    p->n_clients = s->n_clients;
    p->max_clients = (uint64_t)s->config->settings.max_client_conn;
    p->n_logins = s->logins.n;
    p->n_consoles = s->consoles.n;
    p->n_http = metrics_http_count(s->http);
    p->n_http_refused = metrics_http_refused(s->http);
    p->max_http = (uint64_t)s->config->settings.http_max_connections;
    p->is_suspended = s->state == SERVER_SUSPENDED;
    p->is_paused = s->is_paused;
    p->is_ending = s->state != SERVER_RUNS && s->state != SERVER_SUSPENDED;
    p->is_active = !p->is_suspended && !p->is_paused && !p->is_ending;
}

/* --- the rest --- */

static void keep_list(void *arg, const char *name, uint64_t n)
{
    struct metrics *m = arg;

    if (m->n_lists < METRICS_NUMBERS_MAX) {
        m->lists[m->n_lists++] = (struct metrics_number){name, n};
    }
}

static void keep_memory(void *arg, const char *name, size_t size, uint64_t used)
{
    struct metrics *m = arg;

    if (m->n_memory < METRICS_NUMBERS_MAX) {
        m->memory[m->n_memory++] = (struct metrics_number){name, size * used};
    }
}

static void keep_host(void *arg, const struct resolve_host_info *host)
{
    struct metrics *m = arg;

    if (m->n_hosts < METRICS_HOSTS_MAX) {
        const char *name = keep(m, host->name, NAME_MAX_BYTES);

        m->hosts[m->n_hosts++] = (struct metrics_host){name, host->ttl_s, host->n_addrs};
    }
}

static bool allocate(struct metrics *m, const struct server *s)
{
    size_t n_pools = 1;

    for (const struct pool *pool = admin_next_pool(s, NULL); pool != NULL;
         pool = admin_next_pool(s, pool)) {
        n_pools++;
    }
    m->pools = calloc(n_pools, sizeof(*m->pools));
    m->databases = calloc((size_t)s->env->databases.n + 1, sizeof(*m->databases));
    m->users = calloc((size_t)s->env->users.n + 1, sizeof(*m->users));
    m->peers = calloc((size_t)s->peers.list.n + 1, sizeof(*m->peers));
    m->names_cap = 4096;
    m->names = malloc(m->names_cap);
    if (m->names == NULL) {
        return false;
    }
    m->names_len = 1; /* offset 0 means none */
    m->names[0] = '\0';
    return m->pools != NULL && m->databases != NULL && m->users != NULL && m->peers != NULL;
}

struct metrics *metrics_take(struct server *s)
{
    struct metrics *m = calloc(1, sizeof(*m));

    if (m == NULL || !allocate(m, s)) {
        return metrics_free(m);
    }
    m->env = s->env->metrics;
    take_process(&m->process, s);
    take_pools(m, s);
    take_databases(m, s);
    take_users(m, s);
    take_peers(m, s);
    admin_each_list(s, keep_list, m);
    admin_each_memory(s, keep_memory, m);
    resolver_each_host(s->resolver, keep_host, m);
    if (m->names_lost) {
        return metrics_free(m);
    }
    settle(m);
    return m;
}

struct metrics *metrics_free(struct metrics *m)
{
    if (m == NULL) {
        return NULL;
    }
    free(m->pools);
    free(m->databases);
    free(m->users);
    free(m->peers);
    free(m->names);
    free(m);
    return NULL;
}
