/* SPDX-License-Identifier: ISC */
/* All figures of one moment: what /metrics and the status page show. Taken in one go, so that the figures fit together,
 * and then written in pieces, so that no answer holds the loop for long; pools may come and go meanwhile. Figures of
 * pools, databases and users without a label of their own are summed up as METRICS_OTHER. */
#ifndef PGPOOLD_DAEMON_METRICS_H
#define PGPOOLD_DAEMON_METRICS_H

#include "daemon/server.h"
#include "pool/metrics.h"

#define METRICS_OTHER "other"

/* Everything is a uint64_t so that tables can name it by its offset. Durations: microseconds. Limits: 0 is none. */
struct metrics_pool {
    const char *database;
    const char *user;
    const char *mode;
    const char
        *error; /* why no server connection could be opened; NULL: the last attempt went well */
    uint64_t n_pools; /* summed up in this one */
    uint64_t cl_active;
    uint64_t cl_waiting;
    uint64_t cl_active_cancel_req;
    uint64_t cl_waiting_cancel_req;
    uint64_t sv_active;
    uint64_t sv_active_cancel;
    uint64_t sv_being_canceled;
    uint64_t sv_idle;
    uint64_t sv_used;
    uint64_t sv_tested;
    uint64_t sv_login;
    uint64_t n_servers;
    uint64_t size;
    uint64_t min_size;
    uint64_t reserve_size;
    uint64_t n_replication;
    uint64_t max_wait_us;
    uint64_t has_failed;
    uint64_t n_hubs;
    uint64_t n_channels;
    uint64_t n_subscriptions;
    struct pool_metrics m;
};

struct metrics_database {
    const char *name;
    const char *state; /* "ok", "unused", "unreachable", "paused", "disabled" */
    uint64_t n_connections;
    uint64_t max_connections;
    uint64_t n_clients;
    uint64_t max_clients;
    uint64_t is_paused;
    uint64_t is_disabled;
    uint64_t is_unreachable;
    struct pool_stats stats;
};

struct metrics_user {
    const char *name;
    uint64_t n_connections;
    uint64_t max_connections;
    uint64_t n_clients;
    uint64_t max_clients;
};

struct metrics_number {
    const char *name;
    uint64_t n;
};

struct metrics_host {
    const char *name;
    uint64_t ttl_s;
    uint64_t n_addrs;
};

struct metrics_peer {
    char id[12];
    uint64_t cl_active_cancel_req;
    uint64_t cl_waiting_cancel_req;
    uint64_t n_connections;
    uint64_t max_connections;
    uint64_t n_done;
    uint64_t n_failed;
};

struct metrics_process {
    uint64_t started_wall_us;
    uint64_t cpu_us;
    uint64_t rss_bytes;
    uint64_t virtual_bytes;
    uint64_t max_fds;
    uint64_t fds_needed;
    uint64_t n_turns;
    uint64_t n_clients;
    uint64_t max_clients;
    uint64_t n_logins;
    uint64_t n_consoles;
    uint64_t n_http;
    uint64_t max_http;
    uint64_t n_http_refused;
    uint64_t is_active;
    uint64_t is_paused;
    uint64_t is_suspended;
    uint64_t is_ending;
};

#define METRICS_NUMBERS_MAX 32U
#define METRICS_HOSTS_MAX 200U

struct metrics {
    struct metrics_process process;
    struct env_metrics env;
    struct pool_metrics
        sum; /* over all pools, those that are gone included where they had no label */
    struct metrics_pool *pools;
    size_t n_pools;
    struct metrics_database *databases;
    size_t n_databases;
    struct metrics_user *users;
    size_t n_users;
    struct metrics_peer *peers;
    size_t n_peers;
    struct metrics_number lists[METRICS_NUMBERS_MAX];
    size_t n_lists;
    struct metrics_number memory[METRICS_NUMBERS_MAX];
    size_t n_memory;
    struct metrics_host hosts[METRICS_HOSTS_MAX];
    size_t n_hosts;
    char *names; /* private: the storage of all names */
    size_t names_len;
    size_t names_cap;
    bool names_lost;
};

/* NULL: out of memory. */
struct metrics *metrics_take(struct server *s);
struct metrics *metrics_free(struct metrics *m);

/* --- as text for Prometheus: metrics_text.c --- */

enum metrics_format {
    METRICS_CLASSIC, /* text/plain; version=0.0.4 */
    METRICS_OPEN,    /* application/openmetrics-text; version=1.0.0 */
};

/* A text under way. */
struct metrics_text {
    const struct metrics *m;
    enum metrics_format format;
    /* private, zero at first */
    size_t family;
    size_t row;
    bool is_done;
};

/* Appends families until @out has @enough bytes or all is said; then is_done. */
void metrics_text_step(struct metrics_text *t, struct buf *out, size_t enough);
/* The format that an Accept header wants; NULL: none was sent. */
enum metrics_format metrics_format_of(const char *accept);
const char *metrics_format_type(enum metrics_format format); /* the Content-Type */

#endif
