/* SPDX-License-Identifier: ISC */
/* Between notify_hub.c (round trips, losses) and notify_hub_move.c (an online restart). Nobody else includes it. */
#ifndef PGPOOLD_POOL_NOTIFY_HUB_INTERNAL_H
#define PGPOOLD_POOL_NOTIFY_HUB_INTERNAL_H

#include "pool/notify_hub.h"
#include "pool/pool.h"

#define HUB_ENCODING_BYTES 32

/* channel.hub_state */
enum {
    CHANNEL_WANTED, /* in hub->wanted: LISTEN is due */
    CHANNEL_SENT,   /* LISTEN is on its way */
    CHANNEL_ON,     /* the server sends its notifications */
};

enum hub_state {
    HUB_CLOSED,
    HUB_OPENING,
    HUB_READY,  /* nothing is on its way */
    HUB_BUSY,   /* a round trip is under way */
    HUB_PAUSED, /* lost; tries again when the timer fires */
};

struct notify_hub {
    struct pool *pool;
    uint64_t id;
    struct notify_hub *next; /* of the pool, with another encoding */
    char encoding[HUB_ENCODING_BYTES];
    struct backend *b;
    enum hub_state state;
    struct channel_set set;
    struct list wanted;  /* struct channel by hub_link */
    struct list sent;    /* struct channel by hub_link */
    struct list waiting; /* struct hub_waiter: for the next round trip */
    struct list served;  /* struct hub_waiter: for the one under way */
    struct loop_timer timer;
    struct loop_timer pace;
    struct loop_deferred kick;
    usec_t pace_us;   /* between the beginnings of two round trips with LISTENs in them; 0: none */
    usec_t trip_us;   /* the last one began */
    usec_t passed_us; /* the last one that has ended began */
    unsigned n_seen;  /* wanted when the timer `pace` was set */
    bool is_quiet;    /* no more of them had come when it fired */
    unsigned most_listens; /* in one round trip; 0: no bound. 1 when one of several has failed */
    usec_t ready_since_us;
    usec_t retry_us; /* the next pause */
    bool is_frozen;
    bool is_proxy;
    uint32_t gap; /* of which the subscribers know, and have to be told that it is over; 0: none */
    uint64_t round_trips;
};

/* Looks at the end of the turn what there is to do. */
void notify_hub_kick(struct notify_hub *hub);
/* Tells all subscribers of the gap hub->gap. */
void notify_hub_tell(struct notify_hub *hub, bool again);
uint32_t notify_hub_new_gap(struct notify_hub *hub);

#endif
