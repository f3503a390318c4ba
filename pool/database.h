/* SPDX-License-Identifier: ISC */
/* What pools share along their two axes: struct database (where its servers are, its limits, its state on the console,
 * its statistics) and struct pool_user (limits, what we can log in with). A pool is one of each. Databases and users are
 * created and changed by daemon/reload.c and by logins; here they are only looked up, counted and read. */
#ifndef PGPOOLD_POOL_DATABASE_H
#define PGPOOLD_POOL_DATABASE_H

#include "daemon/util/clock.h"
#include "daemon/util/list.h"
#include "daemon/util/secret.h"
#include "pool/backend_connect.h"
#include "pool/env.h"
#include "pool/metrics.h"
#include "pool/server_auth.h"
#include "pool/target_role.h"
#include "protocol/md5.h"
#include "protocol/scram.h"

/* Where server connections of a database go and how. Immutable and counted: a RELOAD makes a new one, and connections
 * that were opened with another one are closed when they come back. */
struct target_host {
    char *name; /* host name, address, socket directory */
    unsigned port;
};

struct target {
    unsigned refs;
    struct target_host *hosts;
    unsigned n_hosts;
    bool round_robin;      /* load_balance_hosts: each new connection begins with the next host */
    unsigned next_host;    /* where it begins */
    unsigned next_addr;    /* of a name with several addresses: where the next connection begins */
    enum target_role role; /* which of the hosts will do */
    struct server_auth auth; /* what they may ask for; its text is in @text */
    char *dbname;
    struct
        backend_connect_params template; /* all but host, hostaddr, port, user, dbname; its texts are in @text */
    struct params
        *startup; /* parameters of the entry (client_encoding, datestyle, ...); NULL: none */
    char *text;   /* storage of the template's texts */
};

struct target *target_new(void);
struct target *target_ref(struct target *t);
struct target *target_unref(struct target *t); /* returns NULL */
MUSTCHECK bool target_add_host(struct target *t, const char *name, unsigned port);

/* What we know to log in to a server with. Grows with what clients prove; wiped when replaced. From secret_alloc(). */
struct credentials {
    struct secret password;  /* plain; not set: unknown */
    char md5[MD5_TEXT_SIZE]; /* "": unknown */
    struct scram_keys scram; /* of use when has_client_key */
};

/* NULL: out of memory. */
MUSTCHECK struct credentials *credentials_new(void);
struct credentials *credentials_free(struct credentials *c); /* takes and returns NULL */
void credentials_wipe(struct credentials *c);

enum database_pause {
    DATABASE_RUNS,
    DATABASE_PAUSED,    /* no lease is granted, server connections are closed as they come back */
    DATABASE_SUSPENDED, /* no lease is granted, server connections are kept */
};

struct database {
    struct list_node link; /* in env->databases */
    struct pool_env *env;
    char *name;
    bool is_folded;   /* has no name of its own in the metrics */
    bool is_extra;    /* has one although no configuration names it */
    bool is_auto;     /* made from the entry "*" by a client's login */
    bool is_gone;     /* no longer in the ini: freed with its last pool */
    bool is_disabled; /* DISABLE: no new clients */
    enum database_pause pause;
    bool is_paused_by_name; /* only who names it ends this pause */
    bool wait_close;        /* a WAIT_CLOSE is under way */
    struct target *target;  /* owned reference */
    struct list pools;
    bool has_forced_user;       /* the entry names the user that logs in to the server */
    struct credentials *forced; /* ... and perhaps its password; owned */
    unsigned n_clients;
    unsigned max_clients;     /* 0: no limit */
    unsigned n_connections;   /* server connections of all its pools */
    unsigned n_farewells;     /* closed ones that have not ended on the server yet: farewell.h */
    unsigned max_connections; /* 0: no limit */
    usec_t unused_since_us;   /* an auto-database without clients: since when */
    struct pool_stats stats;
    struct pool_stats period_start; /* stats at the beginning of the running stats_period */
    struct pool_stats period;       /* what happened in the last whole one */
    struct pool_stats average;      /* of the same: per second, or per event for the times */
    void *owner;                    /* the daemon's record of the entry */
};

struct pool_user {
    struct list_node link; /* in env->users */
    struct pool_env *env;
    char *name;
    bool is_folded;                  /* has no name of its own in the metrics */
    struct credentials *credentials; /* owned */
    unsigned n_connections;
    unsigned n_farewells;
    unsigned max_connections; /* 0: no limit */
    unsigned n_clients;
    unsigned max_clients; /* 0: no limit */
    unsigned n_pools;
    void *owner; /* the daemon's record of the entry */
};

/* @name is copied. NULL: out of memory. They are found by walking env->databases and env->users only at logins. */
struct database *database_new(struct pool_env *env, const char *name);
/* Only without pools. */
struct database *database_free(struct database *db);
struct database *database_find(struct pool_env *env, const char *name);

struct pool_user *pool_user_new(struct pool_env *env, const char *name);
struct pool_user *pool_user_free(struct pool_user *u);
struct pool_user *pool_user_find(struct pool_env *env, const char *name);

/* Closes the running stats_period: computes the averages. @period_us: its length. */
void database_stats_turn(struct database *db, usec_t period_us);
/* Of what happened in @period_us microseconds: counts and bytes per second, times per event.
 * @ret: not @period itself. */
void pool_stats_average(const struct pool_stats *period, usec_t period_us, struct pool_stats *ret);

#endif
