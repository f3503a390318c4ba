/* SPDX-License-Identifier: ISC */
/* COPY FROM STDIN of a client that sends much: its CopyData is looked at where it waits in the kernel and then moved to the
 * server's socket without being copied again. pool/backend_bulk.c does the same in the other direction. */
#include "daemon/client_relay.h"

/* What comes next (@len bytes of it at @data): the rest of a message for the server, whole CopyData, the beginning of one.
 * That is the message under way from now on. */
static void begin_run(struct client *c, const uint8_t *data, size_t len)
{
    size_t run = c->body_left;
    struct frame f;

    while (run < len && frame_peek(msg_from_client, data + run, len - run, &f) == FRAME_OK &&
           f.type == 'd' && f.total <= c->server->env->settings.max_packet_bytes) {
        run += f.total;
    }
    c->body_left = num_u32(run);
    c->body_discarded = false;
}

bool client_is_bulk(const struct client *c)
{
    const struct backend *b = c->lease.backend;

    return c->state == CLIENT_ACTIVE && c->lease.state == LEASE_HELD && c->hold == HOLD_NONE &&
           c->in == NULL && !c->skipping && c->replication == REPLICATION_NONE &&
           b->inflight.copy_in && (c->body_left == 0 || !c->body_discarded) &&
           conn_can_splice(&c->conn, &b->conn, &c->server->env->pipe);
}

/* How many bytes wait at @c, at most ENV_SCRATCH_BYTES; those that may be moved are c->body_left then. */
static size_t look_ahead(struct client *c)
{
    uint8_t *scratch = c->server->env->scratch;
    ssize_t n;

    if (c->body_left >= ENV_SCRATCH_BYTES) { /* nothing in it is to be looked at */
        return MIN(conn_waiting(&c->conn), ENV_SCRATCH_BYTES);
    }
    n = conn_peek(&c->conn, scratch, ENV_SCRATCH_BYTES);
    if (n >= (ssize_t)ENV_MOVE_BYTES && (size_t)n > c->body_left) {
        begin_run(c, scratch, (size_t)n);
    }
    return n > 0 ? (size_t)n : 0;
}

/* The server's socket takes no more. */
static bool wait_for_room(struct client *c)
{
    c->hold = HOLD_FULL;
    relay_update_reading(c);
    return false;
}

bool client_move_bulk(struct client *c)
{
    struct pool_env *env = c->server->env;
    struct backend *b = c->lease.backend;
    size_t waiting;
    size_t moved = 0;

    if (conn_queued(&b->conn) > 0) {
        return wait_for_room(c);
    }
    waiting = look_ahead(c);
    if (MIN(waiting, (size_t)c->body_left) >= ENV_MOVE_BYTES) {
        moved = conn_splice(&c->conn, &b->conn, env->loop, &env->pipe,
                            MIN(waiting, (size_t)c->body_left));
        c->body_left -= num_u32(moved);
        c->request_us = clock_now_us();
        c->pool->db->stats.bytes_received += moved;
    }
    b->out_left = c->body_left;
    if (conn_queued(&b->conn) > 0) {
        return wait_for_room(c);
    }
    c->conn.is_bulk = moved > 0;
    return moved == 0 || waiting == ENV_SCRATCH_BYTES;
}
