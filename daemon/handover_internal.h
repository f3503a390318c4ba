/* SPDX-License-Identifier: ISC */
/* Between handover.c (the course of an online restart) and handover_batch.c (what goes into a batch). */
#ifndef PGPOOLD_DAEMON_HANDOVER_INTERNAL_H
#define PGPOOLD_DAEMON_HANDOVER_INTERNAL_H

#include "daemon/handover.h"
#include "daemon/takeover_link.h"

enum handover_phase {
    HANDOVER_OFFERED,
    HANDOVER_CALMING,
    HANDOVER_MOVING,
};

enum handover_batch {
    HANDOVER_AT_REST,
    HANDOVER_SENDING,
    HANDOVER_ASKED, /* the new process has to say that it has everything */
};

/* The end of a socket pair that a hub will have in place of its connection. */
struct handover_proxy {
    struct handover_proxy *next;
    struct notify_hub
        *hub; /* lives as long as its pool, which has clients or connections on their way */
    int fd;
};

struct handover {
    struct server *s;
    struct takeover_link link;
    struct loop_timer tick;
    struct loop_deferred kick;
    pid_t peer;
    struct pidfile *pidfile; /* borrowed; NULL: none */
    enum handover_phase phase;
    enum handover_batch batch;
    bool is_committed; /* the first batch is the new process's */
    bool has_ended;
    bool has_answer; /* HAVE has come for the batch */
    bool has_sent;   /* there is something in the batch */
    const char *end_why;
    usec_t since_us; /* of the calming */
    uint32_t seq;
    unsigned stage;
    uint32_t next_slot;
    uint32_t next_stmt;
    unsigned n_cuts;
    unsigned n_clients; /* handed over with the first batch */
    unsigned n_servers;
    const struct pool *last_pool; /* the one that the new process takes things for; NULL: none */
    struct handover_proxy *proxies;
    uint8_t kept[TAKEOVER_LISTENERS_MAX];
    size_t n_kept;
    struct takeover_msg received; /* large, so not on the stack */
    struct takeover_msg msg;
};

/* Makes @pool the one that what follows is for. */
void handover_send_pool(struct handover *h, const struct pool *pool);
/* Queues the next object of the batch. false: there is no more. */
bool handover_send_next(struct handover *h);
/* What its clients were told up to now, and have to be given later. */
void handover_send_queues(struct handover *h);
/* The batch is the new process's. */
void handover_forget_moved(struct handover *h);
void handover_drop_proxies(struct handover *h);
unsigned handover_count_moving(const struct pool *pool);
/* Clients of batch @moving (0: of all) go on, who has waited longest first. */
void handover_thaw_clients(struct server *s, uint32_t moving);

#endif
