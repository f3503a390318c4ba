/* SPDX-License-Identifier: ISC */
/* The socket of a server connection: what the loop calls when it can be read or written. What the bytes mean is
 * backend_read.c's. */
#include "pool/backend.h"
#include "pool/pool.h"

#include <stdio.h>
#include <string.h>

static void on_end(struct backend *b, ssize_t n)
{
    char text[128];
    struct pg_error e;
    bool is_ours = false; /* @e has what the client is told */

    if (b->state == BACKEND_LOGIN) {
        pg_error_set(&e, SQLSTATE_CANNOT_CONNECT, "server closed the connection during login");
        backend_open_failed(b, &e, false);
        return;
    }
    if (b->last_error != NULL && b->close_needed) {
        (void)snprintf(text, sizeof(text), "server said: %.100s", b->last_error->message);
    } else if (n == CONN_EOF) {
        (void)snprintf(text, sizeof(text), "server conn crashed?");
    } else {
        (void)snprintf(text, sizeof(text), "server connection lost: %s", strerror((int)-n));
        pg_error_set(&e, SQLSTATE_CONNECTION_FAILURE, "%s", text);
        is_ours = b->last_error == NULL || !b->told_error;
    }
    backend_close(b, text, is_ours ? &e : NULL);
}

static bool sink_is_full(const struct backend *b)
{
    const struct conn *sink = b->lease != NULL ? b->lease->ops->sink(b->lease) : NULL;

    return sink != NULL && conn_queued(sink) >= CONN_HIGH_BYTES;
}

static void read_some(struct backend *b)
{
    struct pool_env *env = b->pool->env;
    unsigned turns = env->settings.read_turns > 0 ? env->settings.read_turns : UINT32_MAX;

    for (;;) {
        if (UNLIKELY(b->conn.is_bulk) && backend_is_bulk(b)) {
            if (!backend_move_bulk(b)) {
                return;
            }
        } else {
            ssize_t n = conn_read(&b->conn, env->loop, env->scratch, ENV_SCRATCH_BYTES);

            if (n == CONN_AGAIN) {
                return;
            }
            if (n < 0) {
                on_end(b, n);
                return;
            }
            if (!backend_consume(b, env->scratch, (size_t)n)) {
                return;
            }
            if (sink_is_full(b)) {
                backend_want_read(b, false);
                return;
            }
            if ((size_t)n < ENV_SCRATCH_BYTES && !conn_has_pending(&b->conn)) {
                return; /* drained: the next read would only say so */
            }
            conn_begin_bulk(&b->conn);
        }
        if (--turns == 0) {
            if (conn_has_pending(&b->conn)) {
                loop_io_again(env->loop, &b->conn.io);
            }
            return;
        }
    }
}

void backend_on_io(struct loop_io *io, unsigned events)
{
    struct backend *b = container_of(container_of(io, struct conn, io), struct backend, conn);

    if ((events & LOOP_WRITE) != 0) {
        conn_on_writable(&b->conn, b->pool->env->loop);
        if (b->lease != NULL && b->lease->ops->resumed != NULL &&
            conn_queued(&b->conn) <= CONN_LOW_BYTES) {
            b->lease->ops->resumed(b->lease);
        }
    }
    if ((events & LOOP_READ) != 0 && b->state != BACKEND_CLOSED) {
        read_some(b);
    }
}
