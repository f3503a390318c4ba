/* SPDX-License-Identifier: ISC */
#include "daemon/util/loop.h"

#include "daemon/util/fatal.h"

#include <errno.h>
#include <malloc.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <unistd.h>

#define ENDS_PER_TURN 64

struct loop {
    struct ev_loop *ev;
    struct ev_check check;     /* after the wait: the clock */
    struct ev_prepare prepare; /* before the wait: deferred work */
    struct ev_idle idle;       /* active while "again" is not empty: the wait must not block */
    struct loop_io *
        *again; /* to be called once more in the next turn; NULL entries were stopped since */
    size_t n_again;
    size_t cap_again;
    struct loop_io ends; /* an epoll descriptor of our own: libev asks for no hang-ups */
    struct loop_deferred *first;
    struct loop_deferred **last;
    uint64_t turns;
};

static void feed_again(struct loop *loop)
{
    if (loop->n_again == 0) {
        return;
    }
    for (size_t i = 0; i < loop->n_again; i++) {
        if (loop->again[i] != NULL) {
            ev_feed_event(loop->ev, &loop->again[i]->ev, EV_READ);
        }
    }
    loop->n_again = 0;
    ev_idle_stop(loop->ev, &loop->idle);
}

static void forget_again(struct loop *loop, const struct loop_io *io)
{
    for (size_t i = 0; i < loop->n_again; i++) {
        if (loop->again[i] == io) {
            loop->again[i] = NULL;
        }
    }
}

static void on_check(struct ev_loop *ev, struct ev_check *w, int revents)
{
    (void)ev;
    (void)revents;
    clock_update();
    feed_again(container_of(w, struct loop, check));
}

static void on_idle(struct ev_loop *ev, struct ev_idle *w, int revents)
{
    (void)ev;
    (void)w;
    (void)revents;
}

static void run_deferred(struct loop *loop)
{
    while (loop->first != NULL) {
        struct loop_deferred *work = loop->first;
        loop_deferred_fn fn = work->fn;

        loop->first = work->next;
        if (loop->first == NULL) {
            loop->last = &loop->first;
        }
        work->next = NULL;
        work->fn = NULL;
        fn(work); /* may free @work */
    }
}

static void on_syserr(const char *msg) EV_NOEXCEPT
{
    fatal_exit("event loop: %s: %s", msg != NULL ? msg : "?", strerror(errno));
}

/* libev's arrays double when there are more descriptors or timers than ever before, and there is no way back into its caller
 * when memory is short then. So the memory for each of them to double once is kept ready. Nobody touches it, so it costs
 * addresses, not pages. Until it is there again those who need more memory than libev, new connections, get none.
 * No state of a loop: libev's allocator is the process's. */
#define SPARES 8 /* arrays of libev and the loop's own */
#define SPARE_MIN_BYTES ((size_t)4096)

static struct {
    void *at[SPARES];
    size_t size[SPARES];
    size_t wanted; /* bytes of each */
    bool complete;
} spares = {.wanted = SPARE_MIN_BYTES};

static void fill_spares(void)
{
    spares.complete = true;
    for (unsigned i = 0; i < SPARES; i++) {
        void *fresh = NULL;

        if (spares.at[i] != NULL && spares.size[i] >= spares.wanted) {
            continue;
        }
        fresh = malloc(spares.wanted);
        if (fresh == NULL) {
            spares.complete = false; /* tried again in the next turn */
            return;
        }
        free(spares.at[i]);
        spares.at[i] = fresh;
        spares.size[i] = spares.wanted;
    }
}

static void free_spares(void)
{
    for (unsigned i = 0; i < SPARES; i++) {
        free(spares.at[i]);
        spares.at[i] = NULL;
    }
    spares.complete = false;
}

static void *take_spare(void *ptr, size_t size)
{
    for (unsigned i = 0; i < SPARES; i++) {
        void *spare = spares.at[i];

        if (spare == NULL || spares.size[i] < size) {
            continue;
        }
        if (ptr != NULL) {
            memcpy(spare, ptr, MIN(malloc_usable_size(ptr), size));
            free(ptr);
        }
        spares.at[i] = NULL;
        spares.complete = false;
        return spare;
    }
    fatal_exit("event loop: out of memory");
}

static void *allocate(void *ptr, long size) EV_NOEXCEPT
{
    void *fresh;

    if (size == 0) {
        free(ptr);
        return NULL;
    }
    fresh = realloc(ptr, (size_t)size);
    if (fresh == NULL) {
        return take_spare(ptr, (size_t)size);
    }
    if ((size_t)size * 2 > spares.wanted) {
        spares.wanted = (size_t)size * 2;
        spares.complete = false;
    }
    return fresh;
}

static void on_prepare(struct ev_loop *ev, struct ev_prepare *w, int revents)
{
    struct loop *loop = container_of(w, struct loop, prepare);

    (void)ev;
    (void)revents;
    loop->turns++;
    run_deferred(loop);
    if (!spares.complete) {
        fill_spares();
    }
}

/* One at a time, since a callback may unwatch any other. */
static void on_ends(struct loop_io *io, unsigned events)
{
    struct epoll_event e;
    struct loop_io *ended;
    loop_io_fn fn;

    (void)events;
    for (unsigned i = 0; i < ENDS_PER_TURN; i++) {
        if (epoll_wait(loop_io_fd(io), &e, 1, 0) != 1) {
            return;
        }
        ended = e.data.ptr;
        memcpy(&fn, &ended->ev.data, sizeof(fn));
        fn(ended, LOOP_HANGUP);
    }
}

struct loop *loop_new(void)
{
    struct loop *loop = calloc(1, sizeof(*loop));

    if (loop == NULL) {
        fatal_exit("out of memory");
    }
    ev_set_allocator(allocate);
    ev_set_syserr_cb(on_syserr);
    /* The backends that libev would try first (linuxaio, io_uring) abort or are slower here. */
    loop->ev = ev_default_loop(EVBACKEND_EPOLL | EVFLAG_NOENV);
    if (loop->ev == NULL) {
        fatal_exit("event loop: epoll is not available");
    }
    loop->last = &loop->first;
    ev_set_userdata(loop->ev, loop);
    ev_check_init(&loop->check, on_check);
    ev_set_priority(&loop->check, EV_MAXPRI); /* before every other callback of the turn */
    ev_check_start(loop->ev, &loop->check);
    ev_unref(loop->ev);
    ev_idle_init(&loop->idle, on_idle);
    ev_prepare_init(&loop->prepare, on_prepare);
    ev_prepare_start(loop->ev, &loop->prepare);
    ev_unref(loop->ev);
    clock_update();
    loop_io_init(&loop->ends, epoll_create1(EPOLL_CLOEXEC), on_ends);
    if (loop_io_fd(&loop->ends) < 0) {
        fatal_exit("event loop: epoll is not available");
    }
    loop_io_want(loop, &loop->ends, LOOP_READ);
    ev_unref(loop->ev);
    return loop;
}

struct loop *loop_free(struct loop *loop)
{
    if (loop == NULL) {
        return NULL;
    }
    run_deferred(loop);
    ev_ref(loop->ev);
    loop_io_stop(loop, &loop->ends);
    (void)close(loop_io_fd(&loop->ends)); /* nothing is written to it */
    ev_ref(loop->ev);
    ev_prepare_stop(loop->ev, &loop->prepare);
    ev_ref(loop->ev);
    ev_check_stop(loop->ev, &loop->check);
    ev_loop_destroy(loop->ev);
    free(loop->again);
    free_spares();
    free(loop);
    return NULL;
}

void loop_run(struct loop *loop)
{
    ev_run(loop->ev, 0);
    run_deferred(loop);
}

void loop_stop(struct loop *loop)
{
    ev_break(loop->ev, EVBREAK_ALL);
}

uint64_t loop_turns(const struct loop *loop)
{
    return loop->turns;
}

static void on_io(struct ev_loop *ev, struct ev_io *w, int revents)
{
    struct loop_io *io = container_of(w, struct loop_io, ev);
    loop_io_fn fn;

    (void)ev;
    memcpy(&fn, &w->data, sizeof(fn));
    fn(io, (unsigned)revents & (LOOP_READ | LOOP_WRITE));
}

void loop_io_init(struct loop_io *io, int fd, loop_io_fn fn)
{
    ev_io_init(&io->ev, on_io, fd, EV_NONE);
    memcpy(&io->ev.data, &fn,
           sizeof(fn)); /* a function pointer fits a data pointer on every Linux */
}

unsigned loop_io_wanted(const struct loop_io *io)
{
    return ev_is_active(&io->ev) ? (unsigned)io->ev.events & (LOOP_READ | LOOP_WRITE) : LOOP_NONE;
}

void loop_io_want(struct loop *loop, struct loop_io *io, unsigned events)
{
    unsigned pending;

    if (loop_io_wanted(io) == events) {
        return;
    }
    /* Stopping drops what was found ready in this turn and is still to be told. Epoll would tell it again, but not what
     * was fed by loop_io_again(). */
    pending = (unsigned)ev_clear_pending(loop->ev, &io->ev) & events;
    ev_io_stop(loop->ev, &io->ev);
    if ((events & LOOP_READ) == 0) {
        forget_again(loop, io);
    }
    if (events != LOOP_NONE) {
        /* Not ev_io_set: the descriptor is the same, so libev needs one epoll_ctl at most. */
        ev_io_modify(&io->ev, (int)events);
        ev_io_start(loop->ev, &io->ev);
    }
    if (pending != LOOP_NONE) {
        ev_feed_event(loop->ev, &io->ev, (int)pending);
    }
}

void loop_io_set_fd(struct loop *loop, struct loop_io *io, int fd)
{
    loop_io_stop(loop, io);
    ev_io_set(&io->ev, fd, EV_NONE);
}

void loop_io_stop(struct loop *loop, struct loop_io *io)
{
    ev_io_stop(loop->ev, &io->ev);
    forget_again(loop, io);
}

/* libev takes a priority only from a watcher at rest. The descriptor's events do not change, so epoll hears nothing of it. */
void loop_io_set_rank(struct loop *loop, struct loop_io *io, enum loop_rank rank)
{
    bool active = ev_is_active(&io->ev);
    int pending = active ? ev_clear_pending(loop->ev, &io->ev) : 0;

    if (active) {
        ev_io_stop(loop->ev, &io->ev);
    }
    ev_set_priority(&io->ev, (int)rank);
    if (active) {
        ev_io_start(loop->ev, &io->ev);
    }
    if (pending != 0) {
        ev_feed_event(loop->ev, &io->ev, pending);
    }
}

bool loop_io_watch_end(struct loop *loop, struct loop_io *io)
{
    struct epoll_event e = {.events = EPOLLRDHUP, .data = {.ptr = io}};

    return epoll_ctl(loop_io_fd(&loop->ends), EPOLL_CTL_ADD, loop_io_fd(io), &e) == 0;
}

void loop_io_unwatch_end(struct loop *loop, struct loop_io *io)
{
    /* Cannot fail for one that is watched. */
    (void)epoll_ctl(loop_io_fd(&loop->ends), EPOLL_CTL_DEL, loop_io_fd(io), NULL);
}

void loop_io_again(struct loop *loop, struct loop_io *io)
{
    if (loop->n_again == loop->cap_again) {
        loop->cap_again =
            MAX(loop->cap_again * 2, (size_t)64); /* bounded by the number of descriptors */
        loop->again = allocate(loop->again, (long)(loop->cap_again * sizeof(struct loop_io *)));
    }
    loop->again[loop->n_again++] = io;
    ev_idle_start(loop->ev, &loop->idle);
}

static void on_timer(struct ev_loop *ev, struct ev_timer *w, int revents)
{
    struct loop_timer *t = container_of(w, struct loop_timer, ev);

    (void)ev;
    (void)revents;
    t->fn(t);
}

void loop_timer_init(struct loop_timer *t, loop_timer_fn fn)
{
    ev_timer_init(&t->ev, on_timer, 0., 0.);
    t->fn = fn;
}

void loop_timer_set(struct loop *loop, struct loop_timer *t, usec_t after_us)
{
    ev_timer_stop(loop->ev, &t->ev);
    ev_timer_set(&t->ev, (double)after_us / (double)USEC_PER_SEC, 0.);
    ev_timer_start(loop->ev, &t->ev);
}

void loop_timer_stop(struct loop *loop, struct loop_timer *t)
{
    ev_timer_stop(loop->ev, &t->ev);
}

bool loop_timer_is_set(const struct loop_timer *t)
{
    return ev_is_active(&t->ev);
}

static void on_signal(struct ev_loop *ev, struct ev_signal *w, int revents)
{
    struct loop_signal *s = container_of(w, struct loop_signal, ev);

    (void)ev;
    (void)revents;
    s->fn(s);
}

void loop_signal_start(struct loop *loop, struct loop_signal *s, int signo, loop_signal_fn fn)
{
    ev_signal_init(&s->ev, on_signal, signo);
    s->fn = fn;
    ev_signal_start(loop->ev, &s->ev);
}

void loop_signal_stop(struct loop *loop, struct loop_signal *s)
{
    ev_signal_stop(loop->ev, &s->ev);
}

static void on_wakeup(struct ev_loop *ev, struct ev_async *w, int revents)
{
    struct loop_wakeup *wakeup = container_of(w, struct loop_wakeup, ev);

    (void)ev;
    (void)revents;
    wakeup->fn(wakeup);
}

void loop_wakeup_start(struct loop *loop, struct loop_wakeup *w, loop_wakeup_fn fn)
{
    ev_async_init(&w->ev, on_wakeup);
    w->fn = fn;
    ev_async_start(loop->ev, &w->ev);
}

void loop_wakeup_set_rank(struct loop *loop, struct loop_wakeup *w, enum loop_rank rank)
{
    ev_async_stop(loop->ev, &w->ev);
    ev_set_priority(&w->ev, (int)rank);
    ev_async_start(loop->ev, &w->ev);
}

void loop_wakeup_stop(struct loop *loop, struct loop_wakeup *w)
{
    ev_async_stop(loop->ev, &w->ev);
}

void loop_wakeup_send(struct loop *loop, struct loop_wakeup *w)
{
    ev_async_send(loop->ev, &w->ev);
}

void loop_defer(struct loop *loop, struct loop_deferred *work, loop_deferred_fn fn)
{
    if (work->fn != NULL) {
        return;
    }
    work->fn = fn;
    work->next = NULL;
    *loop->last = work;
    loop->last = &work->next;
}

void loop_defer_cancel(struct loop *loop, struct loop_deferred *work)
{
    struct loop_deferred **at = &loop->first;

    if (work->fn == NULL) {
        return;
    }
    while (*at != work) {
        at = &(*at)->next;
    }
    *at = work->next;
    if (*at == NULL) {
        loop->last = at;
    }
    work->next = NULL;
    work->fn = NULL;
}
