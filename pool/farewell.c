/* SPDX-License-Identifier: ISC */
#include "pool/farewell.h"

#include "pool/pool.h"

#include <errno.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

/* A server that is there takes a few milliseconds. One that is not must not hold its place for long. */
#define FAREWELL_MAX_US (5 * USEC_PER_SEC)

struct farewell {
    struct list_node link; /* in pool->farewells */
    struct pool *pool;
    struct loop_io io;
    struct loop_timer timer;
};

static void end(struct farewell *f)
{
    struct pool *pool = f->pool;
    struct loop *loop = pool->env->loop;
    int fd = loop_io_fd(&f->io);

    loop_timer_stop(loop, &f->timer);
    loop_io_stop(loop, &f->io);
    (void)close(fd);
    list_remove(&pool->farewells, &f->link);
    pool->db->n_farewells--;
    pool->user->n_farewells--;
    free(f);
    pool_has_room(pool);
}

/* What it had sent before, or still says: nobody's. */
static void on_io(struct loop_io *io, unsigned events)
{
    struct farewell *f = container_of(io, struct farewell, io);
    ssize_t n = recv(loop_io_fd(io), f->pool->env->scratch, ENV_SCRATCH_BYTES, MSG_DONTWAIT);

    (void)events;
    if (n == 0 || (n < 0 && errno != EAGAIN && errno != EINTR)) {
        end(f);
    }
}

static void on_timer(struct loop_timer *timer)
{
    end(container_of(timer, struct farewell, timer));
}

/* Will its server process read our goodbye soon, and would the next connection meet it? */
static bool ends_soon(const struct backend *b)
{
    bool is_quiet = inflight_is_empty(&b->inflight);
    bool is_cut = b->out_left > 0; /* in the midst of a message: that ends it */

    return conn_is_open(&b->conn) && b->state >= BACKEND_SETUP && !b->is_hub && !b->host_moved &&
           b->target == b->pool->db->target && b->replication == REPLICATION_NONE &&
           !b->conn.broken && (is_quiet || is_cut || b->n_cancels > 0);
}

void farewell_begin(struct backend *b)
{
    struct pool *pool = b->pool;
    struct loop *loop = pool->env->loop;
    struct farewell *f = ends_soon(b) ? malloc(sizeof(*f)) : NULL;
    int fd;

    if (f == NULL) {
        return;
    }
    fd = conn_take_fd(&b->conn, loop);
    (void)shutdown(fd, SHUT_WR); /* fails when it is gone already, which the first read tells */
    *f = (struct farewell){.pool = pool};
    loop_io_init(&f->io, fd, on_io);
    loop_io_want(loop, &f->io, LOOP_READ);
    loop_timer_init(&f->timer, on_timer);
    loop_timer_set(loop, &f->timer, FAREWELL_MAX_US);
    list_add_tail(&pool->farewells, &f->link);
    pool->db->n_farewells++;
    pool->user->n_farewells++;
}

void farewell_end_all(struct pool *pool)
{
    while (!list_is_empty(&pool->farewells)) {
        end(list_entry(list_first(&pool->farewells), struct farewell, link));
    }
}
