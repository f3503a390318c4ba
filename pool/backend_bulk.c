/* SPDX-License-Identifier: ISC */
/* Long results. Once reads fill the read buffer, rows are only looked at where they wait in the kernel, and then moved from
 * the server's socket to the client's without being copied again (conn_splice): that saves a quarter of what such a
 * result costs. What is not rows, small, or of a connection with TLS is read as ever: backend_io.c, backend_read.c. */
#include "pool/backend.h"
#include "pool/pool.h"

/* Is what comes next (@len bytes of it at @data) the rest of a message for the owner, or whole ones for it, perhaps with
 * the beginning of a row behind? Then that is the message under way: body_left. */
static void begin_run(struct backend *b, const uint8_t *data, size_t len)
{
    size_t run = b->body_left;
    struct frame f;

    run += backend_skim(b, data + run, len - run);
    if (frame_peek(msg_from_server, data + run, len - run, &f) == FRAME_OK &&
        (f.type == 'D' || f.type == 'd') && inflight_skim(&b->inflight, f.type)) {
        run += f.total;
    }
    b->body_left = num_u32(run);
    b->body_as = BACKEND_BODY_FORWARD;
}

static struct conn *sink_of(const struct backend *b)
{
    return b->lease != NULL ? b->lease->ops->sink(b->lease) : NULL;
}

bool backend_is_bulk(const struct backend *b)
{
    const struct conn *sink = sink_of(b);

    return sink != NULL && b->state == BACKEND_ACTIVE && b->lease->ops->message == NULL &&
           b->in.len == 0 && (b->body_left == 0 || b->body_as == BACKEND_BODY_FORWARD) &&
           conn_can_splice(&b->conn, sink, &b->pool->env->pipe);
}

/* How many bytes wait at @b, at most ENV_SCRATCH_BYTES; those that may be moved are b->body_left then. */
static size_t look_ahead(struct backend *b)
{
    uint8_t *scratch = b->pool->env->scratch;
    ssize_t n;

    if (b->body_left >= ENV_SCRATCH_BYTES) { /* nothing in it is to be looked at */
        return MIN(conn_waiting(&b->conn), ENV_SCRATCH_BYTES);
    }
    n = conn_peek(&b->conn, scratch, ENV_SCRATCH_BYTES);
    if (n >= (ssize_t)ENV_MOVE_BYTES && (size_t)n > b->body_left) {
        begin_run(b, scratch, (size_t)n);
    }
    return n > 0 ? (size_t)n : 0;
}

static bool wait_for_room(struct backend *b)
{
    backend_want_read(b, false);
    return false;
}

bool backend_move_bulk(struct backend *b)
{
    struct pool_env *env = b->pool->env;
    struct conn *sink = sink_of(b);
    size_t waiting;
    size_t moved = 0;

    if (conn_queued(sink) > 0) {
        return wait_for_room(b);
    }
    waiting = look_ahead(b);
    if (MIN(waiting, (size_t)b->body_left) >= ENV_MOVE_BYTES) {
        moved =
            conn_splice(&b->conn, sink, env->loop, &env->pipe, MIN(waiting, (size_t)b->body_left));
        b->body_left -= num_u32(moved);
        b->pool->db->stats.bytes_sent += moved;
    }
    if (conn_queued(sink) > 0) {
        return wait_for_room(b);
    }
    b->conn.is_bulk = moved > 0;
    return moved == 0 || waiting == ENV_SCRATCH_BYTES;
}
