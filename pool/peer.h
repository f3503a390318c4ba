/* SPDX-License-Identifier: ISC */
/* The other processes of a group: where they are, and the cancel requests on their way to them. A request is a short
 * connection of its own, that ends when the peer has closed it; of each peer so many are open at once as its size says,
 * others wait. What was taken on is delivered even if its client does not wait for it.
 * Owned by the server. Knows nothing of keys: it passes bytes on. */
#ifndef PGPOOLD_POOL_PEER_H
#define PGPOOLD_POOL_PEER_H

#include "daemon/util/list.h"
#include "daemon/util/loop.h"
#include "pool/cancel.h"
#include "pool/resolve.h"

#define PEER_SECRET_MAX_BYTES 64
/* More connections to one peer at once than this are too many, whatever its pool_size says. */
#define PEER_SIZE_MAX 1024
/* Requests that wait for one peer; clients that do not wait for the end of theirs cannot pile up more. */
#define PEER_WAITING_MAX 1024U

struct peers {
    struct list list; /* struct peer */
    struct loop *loop;
    struct resolver *resolver;
    usec_t
        wait_us; /* longest wait for a turn, and longest delivery; 0: waits for ever, delivers in 10 s */
};

struct peer {
    struct list_node link; /* in peers->list */
    struct peers *peers;   /* NULL until peers_replace() */
    unsigned id;
    char *host; /* name, address or directory of a Unix socket */
    unsigned port;
    unsigned size;       /* connections to it at once */
    struct list active;  /* struct forward */
    struct list waiting; /* the same, first come first served */
    uint64_t n_done;     /* requests that the peer has read */
    uint64_t n_failed;   /* ... that did not get there, or not in time */
};

/* -- life -- */

void peers_init(struct peers *p, struct loop *loop, struct resolver *resolver);
/* Gives up what is on its way; the clients are told. May run twice. */
void peers_done(struct peers *p);
/* Of a list that peers_replace() will take. NULL: out of memory. */
struct peer *peer_new(unsigned id, const char *host, unsigned port, unsigned size);
/* Frees a list of them that no peers_replace() has seen. */
void peer_list_done(struct list *list);
/* @list (struct peer) instead of those in force; it is empty afterwards. Requests go over to the peer of the same number;
 * those of a peer that is gone end. */
void peers_replace(struct peers *p, struct list *list);

/* -- use -- */

/* Passes a CancelRequest of @pid and @len bytes at @secret on to @peer. @w->done comes when the peer has dealt with it,
 * or when that did not work. false: too many wait already, or no memory; @w is not used. */
MUSTCHECK bool peer_forward(struct peer *peer, uint32_t pid, const uint8_t *secret, size_t len,
                            struct cancel_waiter *w);

/* -- questions -- */

struct peer *peer_find(const struct peers *p, unsigned id);
/* Clients that wait for the requests in @forwards, which is one of the peer's two lists. */
unsigned peer_count_clients(const struct list *forwards);
/* Of the active ones: how many are being connected. */
unsigned peer_count_connecting(const struct peer *peer);

#endif
