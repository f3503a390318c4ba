/* SPDX-License-Identifier: ISC */
/* One server connection that listens for all clients of a pool, so that ten thousand listening clients cost PostgreSQL
 * one connection. Owned by the pool; its connection is opened with the first subscription and closed when nobody has
 * been subscribed for a while. It is never leased and does not count in the pool's size.
 *
 * Everything it has to tell the server waits for the next round trip: LISTENs and UNLISTENs of any number of clients, and
 * barriers. A barrier is a round trip with nothing else in it: when its ReadyForQuery is back, whatever was committed
 * before it began has been received. Who waits (struct hub_waiter) waits for the next round trip to end.
 *
 * Names and payloads come in the hub's client_encoding, so a pool whose clients listen in several of them has one hub
 * for each; they are a chain that begins at pool->hub. PostgreSQL does all conversion.
 *
 * Lost connections: the subscribers are told (env->ops->gap), then it connects again with growing pauses; not while the
 * database is paused. */
#ifndef PGPOOLD_POOL_NOTIFY_HUB_H
#define PGPOOLD_POOL_NOTIFY_HUB_H

#include "daemon/util/clock.h"
#include "daemon/util/list.h"
#include "pool/channel_set.h"
#include "protocol/error_msg.h"

#include <stdbool.h>
#include <stdint.h>

struct backend;
struct notify_hub;
struct pool;

/* Embedded in who waits; zero it before the first use. */
struct hub_waiter {
    struct list_node link;
    struct list *in; /* NULL: waits for nothing */
    /* @ok: the round trip is over. Else the hub's connection is lost; the subscribers are told of the gap. */
    void (*done)(struct hub_waiter *w, bool ok);
};

/* -- life -- */

/* The pool's hub for @encoding (a client_encoding, "": what the server prefers), made when there is none. NULL: out of
 * memory. It lives as long as its pool. */
MUSTCHECK struct notify_hub *notify_hub_of(struct pool *pool, const char *encoding);
/* @hub and the rest of its chain. */
struct notify_hub *notify_hub_free(struct notify_hub *hub);

/* -- use -- */

/* @s listens to @name from now on. *ret_wait: the hub does not yet; wait with notify_hub_wait().
 * 0, CHANNEL_E_FULL, or -ENOMEM. */
MUSTCHECK int notify_hub_subscribe(struct notify_hub *hub, struct subscriber *s, const char *name,
                                   unsigned max, bool *ret_wait);
void notify_hub_unsubscribe(struct notify_hub *hub, struct subscriber *s, const char *name);
void notify_hub_unsubscribe_all(struct notify_hub *hub, struct subscriber *s);

/* Waits for a round trip that begins after this call. w->done is set by the caller; it is called from the loop, never
 * before this function has returned. */
void notify_hub_wait(struct notify_hub *hub, struct hub_waiter *w);
/* Nothing will come any more. Harmless when it waits for nothing. */
void hub_waiter_forget(struct hub_waiter *w);

/* The server may be another one now: closes the connections of the chain, which is a gap for who listens. */
void notify_hub_reconnect(struct notify_hub *hub);

/* -- for an online restart (pool/backend_move.h) -- */

/* No round trip begins, no connection is closed, until it is thawed. */
void notify_hub_freeze(struct notify_hub *hub);
void notify_hub_thaw(struct notify_hub *hub);
/* Its connection, when it listens and nothing is on its way; else NULL. */
struct backend *notify_hub_movable(const struct notify_hub *hub);
/* Then it can never move. */
bool notify_hub_is_tls(const struct notify_hub *hub);
/* Does it listen? */
bool notify_hub_is_listening(const struct notify_hub *hub);
/* The old process: its connection is the new one's. From now on it is a subscriber there, through @fd, which is owned. */
void notify_hub_become_proxy(struct notify_hub *hub, int fd);
bool notify_hub_is_proxy(const struct notify_hub *hub);
/* The new process: @b, which was adopted, is its connection from now on; frozen. */
void notify_hub_adopt(struct notify_hub *hub, struct backend *b);
/* ... and it listens to this. 0 or -errno. */
MUSTCHECK int notify_hub_adopt_channel(struct notify_hub *hub, const char *name);
/* ... and notifications were missed: tells the subscribers now, and again when it listens. */
void notify_hub_adopt_gap(struct notify_hub *hub);
/* A notification of nobody (pid 0) on this channel, from the new process to a proxy: see pool_env_ops.cut. */
#define NOTIFY_HUB_CUT_CHANNEL "pgpoold takeover"

/* -- for the connection -- */
void notify_hub_ready(struct notify_hub *hub);
void notify_hub_done(struct notify_hub *hub, bool failed);
/* @msg: a whole NotificationResponse. false: malformed. */
MUSTCHECK bool notify_hub_received(struct notify_hub *hub, const uint8_t *msg, size_t len);
void notify_hub_lost(struct notify_hub *hub, struct backend *b, const struct pg_error *why);

/* -- questions -- */

/* Does anybody listen? Then a client that notifies waits for a barrier. @pool's hub may be NULL. */
bool notify_hub_is_used(const struct pool *pool);
/* The first of the chain behind @hub (NULL: of all) that listens just now: it takes a barrier. NULL: none. */
struct notify_hub *notify_hub_next_listening(const struct pool *pool, const struct notify_hub *hub);
/* Has a round trip ended that began after @moment_us? Then all that was committed until then has been received. */
bool notify_hub_has_passed(const struct notify_hub *hub, usec_t moment_us);
/* The number of the loss that its subscribers were told of and that is not over; 0: none. */
uint32_t notify_hub_gap(const struct notify_hub *hub);
/* Has the server confirmed the LISTEN? */
bool notify_hub_listens(const struct notify_hub *hub, const char *channel);
bool notify_hub_has_encoding(const struct notify_hub *hub, const char *encoding);
/* Connections of the chain that are being opened. */
unsigned notify_hub_count_opening(const struct notify_hub *hub);
/* The next one of the chain; NULL ends. */
struct notify_hub *notify_hub_next(const struct notify_hub *hub);

/* For SHOW LISTENERS and the metrics. */
uint64_t notify_hub_id(const struct notify_hub *hub); /* never the same for two */
const char *notify_hub_encoding(const struct notify_hub *hub);
const struct channel_set *notify_hub_channels(const struct notify_hub *hub);
uint32_t notify_hub_pid(const struct notify_hub *hub); /* 0: not connected */
usec_t notify_hub_age_us(
    const struct notify_hub *hub); /* since its connection is ready; 0: it is not */
uint64_t notify_hub_round_trips(const struct notify_hub *hub);

#endif
