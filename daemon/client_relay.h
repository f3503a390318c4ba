/* SPDX-License-Identifier: ISC */
/* Between the files that carry a client's messages to a server: client_relay.c (the stream), client_extended.c (prepared
 * statements), client_lease.c (what the pool tells). Nobody else includes it. */
#ifndef PGPOOLD_DAEMON_CLIENT_RELAY_H
#define PGPOOLD_DAEMON_CLIENT_RELAY_H

#include "daemon/client.h"
#include "protocol/frame.h"
#include "protocol/outvec.h"

/* One batch of a client's bytes on its way. Lies on the stack. */
struct relay {
    struct client *c;
    struct backend *b;   /* NULL: no server connection yet */
    bool is_open;        /* b is there and alive: out may be used */
    bool is_silent;      /* the message at hand is a Query without LISTEN */
    struct relay *outer; /* the batch of another client in whose middle this one came; NULL: none */
    struct outvec out;
};

/* Each false: the server connection is gone, the client was told; stop. */
MUSTCHECK bool relay_note_statement(struct relay *r, enum inflight_kind kind,
                                    enum inflight_origin origin, struct prepared *prepared,
                                    uint32_t server_id);
static inline bool relay_note(struct relay *r, enum inflight_kind kind)
{
    return (LIKELY(r->is_open) && LIKELY(backend_note_plain(r->b, kind))) ||
           relay_note_statement(r, kind, INFLIGHT_OF_CLIENT, NULL, 0);
}

/* Sends the message, or as much of it as is there; the rest follows by itself. Returns how much was taken. */
static inline size_t relay_pass_on(struct relay *r, const uint8_t *m, size_t len,
                                   const struct frame *f)
{
    size_t take = MIN(len, (size_t)f->total);

    outvec_add(&r->out, m, take);
    r->c->body_left = (uint32_t)(f->total - take);
    r->c->body_discarded = false;
    return take;
}
/* Keeps the client's further input until relay_go_on(). */
void relay_hold(struct relay *r, enum client_hold why);
/* The hold is over (c->hold was cleared): works on what was kept. */
void relay_go_on(struct client *c);

/* Is the client to be read now? */
void relay_update_reading(struct client *c);

/* client_bulk.c. Does it send much of a COPY, which may be moved to the server without being read? */
bool client_is_bulk(const struct client *c);
/* Moves some of it. false: there is nothing more now, or no room for it; true: go on, perhaps it is no bulk any more. */
MUSTCHECK bool client_move_bulk(struct client *c);

/* client_lease.c: one of the things that a held ReadyForQuery waits for, the hub, is over. */
void client_ready_go_on(struct client *c);

/* What HOLD_HUB waits for is over. */
void client_hub_go_on(struct client *c);

/* Statements that one client may have prepared at once. */
#define CLIENT_MAX_STATEMENTS 65536U

/* client_replication.c: a message for the server connection of a client that replicates. */
size_t client_replication_send(struct relay *r, const uint8_t *m, size_t len,
                               const struct frame *f);

/* client_extended.c. Each takes a message of which @len bytes are there and returns how many are dealt with; 0: more are
 * needed, or the client is on hold or closed. */
size_t extended_parse(struct relay *r, const uint8_t *m, size_t len, const struct frame *f);
size_t extended_bind(struct relay *r, const uint8_t *m, size_t len, const struct frame *f);
size_t extended_describe(struct relay *r, const uint8_t *m, size_t len, const struct frame *f);
size_t extended_close(struct relay *r, const uint8_t *m, size_t len, const struct frame *f);
/* A Parse of a client that has no server connection; 0: it needs one. */
size_t extended_parse_alone(struct client *c, const uint8_t *m, size_t len, const struct frame *f);
/* A Close of a client that has no server connection; 0: it needs one. */
size_t extended_close_alone(struct client *c, const uint8_t *m, size_t len, const struct frame *f);
/* A simple query that means one of the client's prepared statements (DEALLOCATE name); 0: it does not. */
size_t extended_query(struct relay *r, const uint8_t *m, size_t len, const struct frame *f);
/* Makes a LISTEN fail. */
void relay_refuse_listen(struct relay *r, enum inflight_kind kind, enum inflight_refusal why);
/* Puts a Close of a statement of ours whose answer is swallowed. */
void relay_put_close(struct relay *r, const char *server_name);

#endif
