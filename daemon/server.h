/* SPDX-License-Identifier: ISC */
/* The one struct that holds the rest: loop, configuration in force, pools, listeners, clients. Created by main(), lives
 * until the process ends. Nothing else is global (but the clock and the logger). */
#ifndef PGPOOLD_DAEMON_SERVER_H
#define PGPOOLD_DAEMON_SERVER_H

#include "config/config.h"
#include "daemon/command_line.h"
#include "daemon/login_queue.h"
#include "daemon/util/list.h"
#include "daemon/util/loop.h"
#include "pool/env.h"
#include "pool/peer.h"
#include "pool/pool.h"
#include "protocol/scram.h"
#include "protocol/tls.h"

struct auth_cache;
struct auth_worker;
struct client;
struct listener;
struct metrics_http;
struct relay;
struct pidfile;
struct canon_table;
struct database;
struct handover;
struct signals;
struct systemd;
struct takeover;

#define SERVER_SPARE_BUFS 64U

enum server_state {
    SERVER_RUNS,
    SERVER_SUSPENDED,
    SERVER_WAITS_FOR_SERVERS, /* SHUTDOWN WAIT_FOR_SERVERS: like PAUSE, then ends */
    SERVER_WAITS_FOR_CLIENTS, /* SHUTDOWN WAIT_FOR_CLIENTS: no new clients, ends when the last has left */
    SERVER_ENDS,
};

/* Who waits for something to happen anywhere (server_changed): a console command. Embedded; fn may remove it. */
struct server_waiter {
    struct list_node link; /* in server->waiters */
    void (*fn)(struct server_waiter *w);
};

/* What became of the CancelRequests of clients and peers. */
struct cancel_figures {
    uint64_t n_own;       /* for a client of this process */
    uint64_t n_forwarded; /* passed on to a peer */
    uint64_t n_unknown;   /* fits nobody: a finished client, an unknown peer, a forged key */
    uint64_t n_circling;  /* passed on too often */
};

/* The ParameterStatus messages of the last login, and for which parameters they hold. */
struct welcome {
    struct params *reported; /* owned reference */
    struct params *own;      /* owned reference */
    struct buf text;
};

struct server {
    struct loop *loop;
    struct resolver *resolver;
    struct peers peers;
    struct cancel_figures cancels;
    struct pool_env *env;
    struct config *config; /* in force; owned */
    enum server_state state;
    usec_t drained_since_us; /* SHUTDOWN WAIT_FOR_...: when it was said */
    usec_t started_us;
    uint64_t started_wall_us;

    struct list listeners;          /* struct listener by its link */
    struct metrics_http *http;      /* NULL: http_port is 0; owned */
    struct tls_context *client_tls; /* NULL: TLS is not offered */

    struct relay
        *relay; /* client_relay.c: the batch of a client that is worked on, innermost; NULL: none */
    struct buf
        *spare[SERVER_SPARE_BUFS]; /* empty buffers of clients that waited, for the next ones */
    unsigned n_spare;
    struct welcome welcome; /* private to client_login.c */
    struct list logins;     /* clients that have not logged in yet, oldest first */
    struct login_queue login_queue;
    struct list consoles;     /* clients of the console */
    struct database *console; /* its figures in SHOW STATS; nothing else of it is of use */
    struct loop_timer login_timer;
    struct client **slots; /* by slot - 1; NULL: free */
    uint32_t n_slots;
    uint32_t first_free_hint;
    unsigned n_clients;   /* every connection of a client counts, also before its login */
    unsigned n_logged_in; /* clients in pools */

    uint8_t process_key[SCRAM_KEY_BYTES]; /* mock salts */
    struct scram_cache *mock_cache;
    enum secret_kind
        queried_kind; /* of what auth_query found last: who it does not find looks the same */
    struct auth_cache *auth_cache;   /* what auth_query has found lately */
    struct auth_worker *auth_worker; /* PAM and LDAP; NULL until the first such login */
    struct auth_worker
        *key_worker; /* passwords against SCRAM secrets; likewise, with threads of its own */
    struct canon_table *canon; /* parameter values in the server's own spelling */

    bool reload_failed; /* the last one, for whoever looks at the service */
    struct loop_timer stats_timer;
    usec_t stats_since_us;
    usec_t stats_period_us; /* how long the last whole stats_period was; 0: none yet */
    uint64_t xacts_per_s;   /* of the last stats_period */
    uint64_t queries_per_s;
    struct loop_deferred changed; /* wakes console commands that wait */
    struct list waiters;          /* struct server_waiter */
    struct loop_timer janitor;    /* idle pools, auto-databases */
    struct loop_deferred sweep;   /* frees what a reload took away */
    bool sweep_again;             /* ... some of which is still in use */
    struct loop_deferred ending;  /* server_end() */
    char end_text[128];
    bool is_paused;              /* PAUSE of all databases: new ones begin paused too */
    struct handover *handover;   /* an online restart, and we are the old process; NULL: none */
    struct takeover *takeover;   /* ... and we are the new one */
    struct pidfile *pidfile;     /* borrowed from main(); NULL: none */
    uint32_t slot_floor;         /* virtual pids up to this may be the old process's; 0: none is */
    struct signals *signals;     /* daemon/signals.c's own */
    struct systemd *systemd;     /* daemon/systemd.c's own */
    struct pool_env_ops env_ops; /* the pools find their way up by its address */
    void *admin;                 /* daemon/admin.c's own */
    struct server_options options;
    char *ini_path;
};

#define SERVER_SHUTDOWN_TEXT "pooler is shutting down"

/* Everything but the listening: reads nothing, logs nothing. NULL: out of memory. */
struct server *server_new(struct loop *loop, struct config *config, const char *ini_path);
/* Closes and frees all that is left; its console commands must be told by server_end() before. */
struct server *server_free(struct server *s);

/* Ends the loop at the end of this turn; every client is told @text ("" for silence). */
void server_end(struct server *s, const char *text);

/* SHUTDOWN WAIT_FOR_SERVERS, SHUTDOWN WAIT_FOR_CLIENTS. */
void server_wait_for(struct server *s, enum server_state how);

/* Clients that SHUTDOWN WAIT_FOR_CLIENTS waits for: in pools, and those that had connected before and log in yet. */
unsigned server_clients_left(const struct server *s);
/* Has @c connected before the shutdown that waits? It is let in yet. */
bool server_lets_in(const struct server *s, const struct client *c);

/* PAUSE, RESUME: of one database, and of all (those made later included). The two know nothing of each other: a database
 * runs when neither holds it. A pause is complete when server_is_drained(). */
void server_pause(struct database *db);
void server_resume(const struct server *s, struct database *db);
void server_pause_all(struct server *s);
void server_resume_all(struct server *s);
/* No server connection exists that is more than idle; @db NULL: in no database. */
bool server_is_drained(const struct server *s, const struct database *db);

/* Takes a slot for @c: its virtual pid, by which its peers know it too; 0: out of memory, or of slots. */
MUSTCHECK uint32_t server_take_slot(struct server *s, struct client *c);
/* The slot of @vpid, as the old process gave it. false: it is taken, or no memory. */
MUSTCHECK bool server_take_slot_at(struct server *s, struct client *c, uint32_t vpid);
void server_give_slot(struct server *s, uint32_t vpid);
struct client *server_client_by_pid(const struct server *s, uint32_t vpid);

/* Something happened that waiting console commands and a waiting shutdown may wait for. */
void server_changed(struct server *s);

/* Descriptors that a full house needs, by the configuration: clients, server connections, and what we have besides. */
uint64_t server_descriptors_needed(const struct config *c);

#endif
