/* SPDX-License-Identifier: ISC */
/* What is counted beside the figures of SHOW STATS: how long things take, per pool, and why connections end and what went
 * wrong, for the whole process. Only plain numbers are kept here, embedded in pool and env; daemon/metrics.c turns them
 * into text. Every quantity has a fixed number of cells, whatever peers do. */
#ifndef PGPOOLD_POOL_METRICS_H
#define PGPOOLD_POOL_METRICS_H

#include "daemon/util/histogram.h"

#include <stdbool.h>

enum pool_latency {
    LATENCY_QUERY,
    LATENCY_XACT,
    LATENCY_WAIT,    /* of who needs a server connection */
    LATENCY_CONNECT, /* of a server connection, from its beginning until it can be used */
    LATENCY_LOGIN,   /* of a client, from accept to its welcome */
    POOL_LATENCIES,
};

struct pool_metrics {
    struct histogram latency[POOL_LATENCIES];
    uint64_t n_errors;          /* ErrorResponses that its servers gave */
    uint64_t n_notify_received; /* by its hub; the rest: once for each subscriber */
    uint64_t n_notify_delivered;
    uint64_t n_notify_queued;
    uint64_t n_notify_dropped;
};

/* Statistics of SHOW STATS, per database. Times are microseconds. */
struct pool_stats {
    uint64_t server_assignment_count;
    uint64_t xact_count;
    uint64_t query_count;
    uint64_t bytes_received; /* from clients */
    uint64_t bytes_sent;     /* to clients */
    uint64_t xact_time_us;
    uint64_t query_time_us;
    uint64_t wait_time_us;
    uint64_t client_parse_count;
    uint64_t server_parse_count;
    uint64_t bind_count;
    uint64_t client_login_count;
};

/* It has nothing but uint64_t in it: an array of so many. */
#define POOL_STATS_COUNTERS (sizeof(struct pool_stats) / sizeof(uint64_t))

void pool_stats_add(struct pool_stats *sum, const struct pool_stats *s);
void pool_metrics_add(struct pool_metrics *to, const struct pool_metrics *from);

/* Why a connection ended: id, name in the metrics, SQLSTATE ("": any), beginning of the text that is logged. The first
 * row that fits counts. */
#define METRICS_CLIENT_CLOSES(X)                                                \
    X(CLIENT_LEFT, "client_left", "", "client close request")                   \
    X(CLIENT_LOST, "client_lost", "", "client unexpected eof")                  \
    X(CLIENT_TLS, "tls_failed", "", "TLS ")                                     \
    X(CLIENT_TLS_LEFT, "tls_failed", "", "client closed the connection during") \
    X(CLIENT_LOGIN_TIMEOUT, "login_timeout", "", "client_login_timeout")        \
    X(CLIENT_IDLE_TIMEOUT, "idle_timeout", "", "client_idle_timeout")           \
    X(CLIENT_QUEUE_TIMEOUT, "query_wait_timeout", "", "query_wait_timeout")     \
    X(CLIENT_QUERY_TIMEOUT, "query_timeout", "", "query timeout")               \
    X(CLIENT_IDLE_XACT, "idle_transaction_timeout", "25P03", "")                \
    X(CLIENT_XACT_TIMEOUT, "transaction_timeout", "25P04", "")                  \
    X(CLIENT_SHUTDOWN, "shutdown", "", "pooler is shutting down")               \
    X(CLIENT_TOO_MANY, "too_many_connections", "53300", "")                     \
    X(CLIENT_DISABLED, "database_disabled", "08004", "")                        \
    X(CLIENT_NO_DATABASE, "no_such_database", "3D", "")                         \
    X(CLIENT_AUTH, "login_refused", "28", "")                                   \
    X(CLIENT_PROTOCOL, "protocol_violation", "08P01", "")                       \
    X(CLIENT_SERVER, "server_connection", "08", "")                             \
    X(CLIENT_SERVER_LOST, "server_connection", "", "server connection lost")    \
    X(CLIENT_MEMORY, "out_of_memory", "", "out of memory")                      \
    X(CLIENT_LIMIT, "limit_exceeded", "54", "")                                 \
    X(CLIENT_LIMIT_CONFIG, "limit_exceeded", "53", "")                          \
    X(CLIENT_ADMIN, "admin", "57", "")

#define METRICS_SERVER_CLOSES(X)                                                    \
    X(SERVER_LIFETIME, "lifetime", "", "server lifetime over")                      \
    X(SERVER_IDLE, "idle_timeout", "", "server idle timeout")                       \
    X(SERVER_CONNECT, "connect_failed", "", "connect failed")                       \
    X(SERVER_LOGIN, "login_failed", "", "login failed")                             \
    X(SERVER_HUB_CONNECT, "connect_failed", "", "hub: connect failed")              \
    X(SERVER_HUB_IDLE, "idle_timeout", "", "hub: nobody listens")                   \
    X(SERVER_CLIENT_LEFT, "client_left", "", "client left")                         \
    X(SERVER_REPLICATION, "client_left", "", "replication client left")             \
    X(SERVER_ABANDONED, "query_abandoned", "", "query was abandoned")               \
    X(SERVER_ROLLBACK, "rollback_failed", "", "rollback")                           \
    X(SERVER_NO_ROLLBACK, "rollback_failed", "", "transaction did not roll back")   \
    X(SERVER_RESET, "reset_failed", "", "reset query failed")                       \
    X(SERVER_CHECK, "check_failed", "", "check query")                              \
    X(SERVER_QUERY_TIMEOUT, "query_timeout", "", "query timeout")                   \
    X(SERVER_QUEUE_TIMEOUT, "query_wait_timeout", "", "query_wait_timeout")         \
    X(SERVER_OBSOLETE, "obsolete", "", "obsolete connection")                       \
    X(SERVER_CONFIG, "configuration_changed", "", "database configuration changed") \
    X(SERVER_SIZE, "configuration_changed", "", "pool_size was lowered")            \
    X(SERVER_FAST, "obsolete", "", "server_fast_close")                             \
    X(SERVER_DNS, "dns_changed", "", "server DNS entry changed")                    \
    X(SERVER_EVICTED, "evicted", "", "evicted")                                     \
    X(SERVER_PAUSED, "paused", "", "pause mode")                                    \
    X(SERVER_KILLED, "killed", "", "kill")                                          \
    X(SERVER_PROTOCOL, "protocol_violation", "", "protocol violation")              \
    X(SERVER_INJECTED, "protocol_violation", "", "injected statement failed")       \
    X(SERVER_MEMORY, "out_of_memory", "", "out of memory")                          \
    X(SERVER_HUB_MEMORY, "out_of_memory", "", "hub: out of memory")                 \
    X(SERVER_LOST, "server_lost", "", "server ")

#define METRICS_ID(id, name, sqlstate, prefix) CLOSE_##id,
enum client_close { METRICS_CLIENT_CLOSES(METRICS_ID) CLOSE_CLIENT_OTHER, CLIENT_CLOSES };
enum server_close { METRICS_SERVER_CLOSES(METRICS_ID) CLOSE_SERVER_OTHER, SERVER_CLOSES };
#undef METRICS_ID

enum metrics_error_source {
    ERROR_OF_SERVER, /* PostgreSQL's own */
    ERROR_OF_POOLER, /* ours, told to clients */
    ERROR_SOURCES,
};

#define METRICS_ERROR_CLASSES 44U /* those of PG15 appendix A; the last one is for all others */

/* Part of struct pool_env. */
struct env_metrics {
    uint64_t client_closes[CLIENT_CLOSES];
    uint64_t server_closes[SERVER_CLOSES];
    uint64_t errors[ERROR_SOURCES][METRICS_ERROR_CLASSES];
    uint64_t n_accepted;       /* connections of clients */
    uint64_t n_server_opened;  /* attempts to open a server connection */
    uint64_t n_connect_failed; /* ... that failed */
    /* Names that no configuration knows, and that have labels of their own all the same. */
    unsigned n_extra_pools;
    unsigned n_extra_databases;
    unsigned n_extra_users;
    /* Of those that had no label of their own and are freed: what is summed up as "other" never falls. */
    struct pool_metrics gone_pools;
    struct pool_metrics
        gone_named; /* of pools that had a label; their series end, but no sum over all pools falls */
    struct pool_stats gone_databases;
};

/* @sqlstate may be "". Each returns what it counted. */
enum client_close metrics_client_closed(struct env_metrics *m, const char *sqlstate,
                                        const char *text);
enum server_close metrics_server_closed(struct env_metrics *m, const char *text);
void metrics_error(struct env_metrics *m, enum metrics_error_source source, const char *sqlstate);

const char *metrics_client_close_name(enum client_close why); /* several may share one */
const char *metrics_server_close_name(enum server_close why);
/* The first two characters of its SQLSTATEs; "other" for the last one. */
const char *metrics_error_class_name(unsigned i);

#endif
