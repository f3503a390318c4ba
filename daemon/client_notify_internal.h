/* SPDX-License-Identifier: ISC */
/* Between the files of a client's LISTEN and NOTIFY: client_notify.c (what the server and the hub tell),
 * client_notify_request.c (what the client sends). Nobody else includes it. */
#ifndef PGPOOLD_DAEMON_CLIENT_NOTIFY_INTERNAL_H
#define PGPOOLD_DAEMON_CLIENT_NOTIFY_INTERNAL_H

#include "daemon/client_notify.h"
#include "pool/listen_log.h"
#include "pool/notify_hub.h"

/* A longer text is not scanned: a LISTEN in a megabyte of SQL is not seen, and so not relayed. */
#define SCAN_MAX_BYTES ((uint32_t)1 << 20)
/* Bytes of notifications that wait for one client, whatever their number. */
#define QUEUE_MAX_BYTES ((size_t)16 << 20)

/* Portals of one client that are kept in mind; with more of them at once a LISTEN may not be noticed. */
#define PORTALS_MAX 64U

struct portal {
    struct list_node link;
    struct stmt *stmt; /* owned reference */
    char name[];
};

/* What is under way: of a transaction with something in it that matters, or of a queue. Most listeners have none. */
struct notify_work {
    struct listen_log log;
    uint32_t seq; /* of the last request that the log was told of */
    unsigned n_queued;
    bool has_notified;           /* the open transaction has a text with "notify" in it */
    bool is_expecting;           /* statements since the last Sync are in the log, or notify */
    bool is_announcing;          /* a request waits here until the hub listens to what it names */
    bool is_announced;           /* that is over: the request may go */
    bool is_asking;              /* it waits for what others sent on its server connection */
    bool was_deaf;               /* the client listened to nothing when that was said */
    struct subscriber tentative; /* channels of LISTENs that are not committed */
    struct buf own; /* while was_deaf: its own notifications as its server connection tells them */
    struct list portals; /* struct portal: what was bound, where it matters */
    struct buf
        queue; /* whole messages that wait for the end of the transaction, or for room in the socket */
    struct client_notify *n;
    struct hub_waiter waiter;
    struct notify_hub
        *barrier;       /* the hub whose barrier the waiter is at; NULL: it waits for a LISTEN */
    bool needs_barrier; /* after that */
};

enum close_why {
    CLOSE_HUB_LOST,
    CLOSE_QUEUE_FULL,
    CLOSE_UNSEEN,
    CLOSE_NO_MEMORY,
};

/* One for each client that listens: kept small. */
struct client_notify {
    struct client *c;
    struct notify_hub *hub;   /* where its subscriptions are; NULL: never had any */
    struct notify_work *work; /* NULL: nothing is under way */
    struct subscriber subscriber;
    uint8_t why; /* enum close_why */
    bool
        may_have_notified; /* a statement of the open transaction may have: a function, a trigger */
    uint32_t gap;          /* the loss of its hub that it was told of; 0: none that is not over */
    struct loop_deferred close; /* a client is never closed while the hub walks its subscribers */
};

const struct settings *notify_settings_of(const struct client *c);
bool notify_relays(const struct client *c);
bool notify_refuses(const struct client *c);
void notify_out_of_memory(struct client *c);
struct notify_work *notify_record(struct client *c);
void notify_drop_portal(struct notify_work *w, struct portal *p);
struct notify_work *notify_work_of(const struct client *c);
bool notify_is_active(const struct client *c);
unsigned notify_n_channels(const struct client_notify *n);
bool notify_listens_to(const struct client_notify *n, const char *channel);
const char *notify_encoding_of(const struct client *c);
bool notify_find_hub(struct client_notify *n);
size_t notify_message_length(const struct buf *b, size_t at);
const char *notify_channel_of(const uint8_t *m);
void notify_filter_queue(struct client_notify *n);
void notify_on_hub_done(struct hub_waiter *waiter, bool ok);

#endif
