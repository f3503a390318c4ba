/* SPDX-License-Identifier: ISC */
/* The event loop: the one door to libev. One loop per process, one thread.
 *
 * A turn: wait, read the clock, run the callbacks of what is ready, then run the deferred work (loop_defer), among it
 * the freeing of objects that were closed during the turn. So a callback may close anything, itself included. */
#ifndef PGPOOLD_UTIL_LOOP_H
#define PGPOOLD_UTIL_LOOP_H

#include "daemon/util/clock.h"
#include "daemon/util/macros.h"

#include <stdbool.h>

#define EV_MULTIPLICITY 1
#include <ev.h> /* only for the watchers embedded below; nobody but loop.c calls ev_* */

struct loop;

enum loop_events {
    LOOP_NONE = 0,
    LOOP_READ = EV_READ,
    LOOP_WRITE = EV_WRITE,
    LOOP_HANGUP = 4, /* of loop_io_watch_end() only */
};

struct loop_io;
struct loop_timer;
struct loop_signal;
struct loop_deferred;
struct loop_wakeup;
typedef void (*loop_io_fn)(struct loop_io *io, unsigned events);
typedef void (*loop_timer_fn)(struct loop_timer *timer);
typedef void (*loop_signal_fn)(struct loop_signal *sig);
typedef void (*loop_deferred_fn)(struct loop_deferred *work);
typedef void (*loop_wakeup_fn)(struct loop_wakeup *wakeup);

/* Embedded in their owner, which the callback finds with container_of. All fields are private.
 * loop_io is kept small, one lies in each connection: the callback is stored in libev's data pointer. */
struct loop_io {
    struct ev_io ev;
};
struct loop_timer {
    struct ev_timer ev;
    loop_timer_fn fn;
};
struct loop_signal {
    struct ev_signal ev;
    loop_signal_fn fn;
};
struct loop_wakeup {
    struct ev_async ev;
    loop_wakeup_fn fn;
};
struct loop_deferred {
    struct loop_deferred *next;
    loop_deferred_fn fn; /* NULL while not queued */
};

/* The process's loop. Aborts the start when epoll is not to be had. */
struct loop *loop_new(void);
struct loop *loop_free(struct loop *loop);

/* Runs until loop_stop(). */
void loop_run(struct loop *loop);
void loop_stop(struct loop *loop);
/* Turns done so far: a watchdog sees that the loop lives. */
uint64_t loop_turns(const struct loop *loop);

/* Descriptors. loop_io_want() says which events are wanted now and may be called at any time, also with LOOP_NONE;
 * asking for what is already wanted costs nothing. */
void loop_io_init(struct loop_io *io, int fd, loop_io_fn fn);
void loop_io_want(struct loop *loop, struct loop_io *io, unsigned events);
unsigned loop_io_wanted(const struct loop_io *io);
/* The descriptor behind @io is another one now, or the same number anew. Stops watching first. */
void loop_io_set_fd(struct loop *loop, struct loop_io *io, int fd);
/* Stops watching; call it before close(2). */
void loop_io_stop(struct loop *loop, struct loop_io *io);
/* Calls @io's callback with LOOP_READ in the next turn, which then does not wait: for a callback that stopped early so
 * that others get their turn, and for bytes that TLS holds already. @io must be watched. */
void loop_io_again(struct loop *loop, struct loop_io *io);
/* Within a turn those of a higher rank come first. LOOP_USUAL is what @io begins with; may be called at any time. */
enum loop_rank {
    LOOP_LAST = EV_MINPRI,
    LOOP_LATE,
    LOOP_USUAL = 0,
};
void loop_io_set_rank(struct loop *loop, struct loop_io *io, enum loop_rank rank);
/* Calls @io's callback with LOOP_HANGUP when its peer has closed the connection, for one that is not read. What the peer has
 * sent before may still be there, or on its way. It is told until loop_io_unwatch_end(), which must come before close(2) and
 * before @io moves. false: no memory for it. */
MUSTCHECK bool loop_io_watch_end(struct loop *loop, struct loop_io *io);
void loop_io_unwatch_end(struct loop *loop, struct loop_io *io);
static inline int loop_io_fd(const struct loop_io *io)
{
    return io->ev.fd;
}

/* Timers are single-shot. Setting one that runs moves it. */
void loop_timer_init(struct loop_timer *t, loop_timer_fn fn);
void loop_timer_set(struct loop *loop, struct loop_timer *t, usec_t after_us);
void loop_timer_stop(struct loop *loop, struct loop_timer *t);
bool loop_timer_is_set(const struct loop_timer *t);

void loop_signal_start(struct loop *loop, struct loop_signal *s, int signo, loop_signal_fn fn);
void loop_signal_stop(struct loop *loop, struct loop_signal *s);

/* loop_wakeup_send() is the only function here that another thread may call. */
void loop_wakeup_start(struct loop *loop, struct loop_wakeup *w, loop_wakeup_fn fn);
void loop_wakeup_set_rank(struct loop *loop, struct loop_wakeup *w, enum loop_rank rank);
void loop_wakeup_stop(struct loop *loop, struct loop_wakeup *w);
void loop_wakeup_send(struct loop *loop, struct loop_wakeup *w);

/* Runs @fn once at the end of this turn; already queued: no effect. Work queued by deferred work runs in the same end. */
void loop_defer(struct loop *loop, struct loop_deferred *work, loop_deferred_fn fn);
void loop_defer_cancel(struct loop *loop, struct loop_deferred *work);

#endif
