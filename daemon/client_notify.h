/* SPDX-License-Identifier: ISC */
/* LISTEN, UNLISTEN and NOTIFY of a client whose server connection changes with every transaction (notify_mode = relay).
 *
 * LISTEN and UNLISTEN run on the server connection that the client has, unchanged, in its transaction; what they are is
 * noted on the way (pool/listen_log.h). Before a LISTEN goes to the server the pool's hub (pool/notify_hub.h) listens
 * already, and the client is subscribed tentatively; when the transaction has committed, the changes are applied to the
 * client's set of channels. A transaction that notifies, or may have, waits until the hub has received what it sent.
 * Notifications come from the hub alone; a client that is in a transaction gets them before the ReadyForQuery that ends
 * it.
 *
 * A client that never listens and never notifies costs a scan of its query texts for one word, and nothing else. */
#ifndef PGPOOLD_DAEMON_CLIENT_NOTIFY_H
#define PGPOOLD_DAEMON_CLIENT_NOTIFY_H

#include "daemon/client_relay.h"

enum notify_verdict {
    NOTIFY_GO_ON,    /* nothing stands in the way: send it */
    NOTIFY_ALONE,    /* send it, and nothing of the client's behind it before its ReadyForQuery */
    NOTIFY_MORE,     /* the whole message is needed first */
    NOTIFY_AFTER,    /* hold it back until what is in flight is answered */
    NOTIFY_WAIT,     /* hold it back until client_hub_go_on() */
    NOTIFY_REFUSE,   /* notify_mode = refuse: make it fail */
    NOTIFY_TOO_MANY, /* over max_listen_channels: make it fail */
    NOTIFY_CLOSED,   /* the client is closed */
};

struct client_notify;
struct client_notify *client_notify_free(struct client_notify *n);

/* --- what the client sends --- */

/* A message of a client without a server connection: does it LISTEN to something that the hub has to be told of first?
 * true: hold it back until client_hub_go_on(); or the client is closed. *ret_silent: a Query that was looked through, and
 * has no LISTEN in it; not touched else. */
bool client_notify_must_wait(struct client *c, const uint8_t *m, size_t len, const struct frame *f,
                             bool *ret_silent);
/* A client that has just been lent a server connection, before anything of it is sent: what others sent on that one comes
 * first, or the client would take it for its own. true: hold everything back until client_hub_go_on(); or the client is closed. */
bool client_notify_must_settle(struct client *c);
/* A Query of which @len bytes are there. @silent: as client_notify_must_wait() found. */
enum notify_verdict client_notify_query(struct client *c, const uint8_t *m, size_t len,
                                        const struct frame *f, bool silent);
/* A Parse of @stmt: only NOTIFY_GO_ON or NOTIFY_REFUSE. */
enum notify_verdict client_notify_parse(const struct client *c, struct stmt *stmt);
/* A Bind of @stmt (NULL: not known). */
void client_notify_bind(struct client *c, const char *portal, struct stmt *stmt);
/* Has client_notify_execute() to be called? */
bool client_notify_minds_portals(const struct client *c);
/* An Execute: NOTIFY_GO_ON, NOTIFY_AFTER, NOTIFY_WAIT, NOTIFY_TOO_MANY or NOTIFY_CLOSED. */
enum notify_verdict client_notify_execute(struct client *c, const char *portal);
/* A FunctionCall: NOTIFY_GO_ON or NOTIFY_ALONE. */
enum notify_verdict client_notify_call(struct client *c);
/* A Sync: NOTIFY_GO_ON or NOTIFY_ALONE. */
enum notify_verdict client_notify_sync(struct client *c);

/* --- what the server answers --- */

void client_notify_command(struct client *c, const char *tag);
void client_notify_error(struct client *c);
/* A NotificationResponse on the client's own server connection: never for the client, whose notifications come from the
 * hub, but it says which of its own belong to it. */
void client_notify_own(struct client *c, const uint8_t *m, size_t len);
/* Before a ReadyForQuery: what goes before it is put into @out. LEASE_READY_HOLD: the client waits for the hub; the
 * ReadyForQuery is sent when that is over. */
enum lease_ready client_notify_ready(struct client *c, uint8_t status, struct outvec *out);
/* The client's queue, before a ReadyForQuery 'I' that was held back. */
void client_notify_flush(struct client *c, struct buf *out);
/* Its socket has room again. */
void client_notify_writable(struct client *c);

/* --- what the hub tells: see struct pool_env_ops --- */
enum notify_fate client_notify_deliver(struct subscriber *to, const uint8_t *msg, size_t len);
void client_notify_gap(struct subscriber *to, uint32_t gap, bool again);

/* Channels the client listens to, for SHOW CLIENTS. */
unsigned client_notify_channels(const struct client *c);

#endif
