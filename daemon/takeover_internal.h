/* SPDX-License-Identifier: ISC */
/* Between takeover.c (the course), takeover_begin.c (before the loop runs), takeover_take.c (what comes) and
 * takeover_hub.c (the old process's access to our hubs). */
#ifndef PGPOOLD_DAEMON_TAKEOVER_INTERNAL_H
#define PGPOOLD_DAEMON_TAKEOVER_INTERNAL_H

#include "daemon/takeover.h"
#include "daemon/takeover_link.h"
#include "pool/notify_hub.h"

struct takeover {
    struct server *s; /* NULL before takeover_run() */
    struct takeover_link link;
    pid_t peer;
    int peer_fd;          /* pidfd: readable when it has ended */
    unsigned n_listeners; /* offered */
    int pidfile_fd;       /* -1: none */
    char *pidfile_path;   /* owned */
    uint64_t next_id;
    uint64_t version_seed;
    uint32_t n_slots;
    uint64_t watchdog_us;
    uint8_t process_key[SCRAM_KEY_BYTES];
    bool is_committed;
    bool has_ended; /* BYE, or the old one is dead */
    const char *failed;
    char why[256];
    /* what the records that come belong to */
    struct pool *pool;
    struct backend *backend;
    struct notify_hub *hub;
    struct client *client;
    uint32_t seq;        /* of the batch that is coming; never 0 */
    struct stmt **stmts; /* by number - 1; owned references */
    uint32_t n_stmts;
    uint32_t cap_stmts;
    struct list backends; /* struct backend by link: dormant */
    struct list hubs;     /* struct dormant_hub */
    struct list proxies;  /* struct hub_proxy */
    struct list gaps;     /* of clients: struct client_gap */
    unsigned n_clients;
    unsigned n_servers;
    struct loop_deferred look;
    struct takeover_msg msg; /* large, so not on the stack */
};

/* One record of a batch; @fd is taken. false: it must not have come. */
MUSTCHECK bool takeover_take(struct takeover *t, const struct takeover_msg *m, int fd);
/* Everything that has come is ours. */
void takeover_awaken(struct takeover *t);
/* What has come and is not ours is closed without a word. Not for the first batch, whose process just exits. */
void takeover_forget_dormant(struct takeover *t);
/* Frees what the records needed. */
void takeover_take_done(struct takeover *t);

/* takeover_hub.c */
MUSTCHECK bool takeover_add_proxy(struct takeover *t, struct notify_hub *hub, int fd);
/* From now on they are served. */
void takeover_serve_proxies(struct takeover *t);
/* Everything that was told to the old process's subscribers lies before this. */
void takeover_cut_proxies(struct takeover *t);
void takeover_drop_proxies(struct takeover *t);
enum notify_fate takeover_forward(struct subscriber *to, const uint8_t *msg, size_t len);
void takeover_forward_gap(struct subscriber *to);

#endif
