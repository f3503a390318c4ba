/* SPDX-License-Identifier: ISC */
/* The loop over pipes and timers of a few milliseconds. Nothing here is told from outside. */
#include "daemon/util/loop.h"

#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

static struct loop *loop;
static char trace[64]; /* one letter for each thing that happened */

static void note(char what)
{
    size_t len = strlen(trace);

    assert_true(len + 1 < sizeof(trace));
    trace[len] = what;
    trace[len + 1] = '\0';
}

static int set_up(void **state)
{
    (void)state;
    loop = loop_new();
    trace[0] = '\0';
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    loop = loop_free(loop);
    return 0;
}

/* --- timers --- */

struct ticker {
    struct loop_timer timer;
    struct loop_deferred work;
    char letter;
    bool stops;
};

static void on_timer(struct loop_timer *t)
{
    struct ticker *k = container_of(t, struct ticker, timer);

    note(k->letter);
    if (k->stops) {
        loop_stop(loop);
    }
}

static void ticker_set(struct ticker *k, char letter, usec_t after_us, bool stops)
{
    k->letter = letter;
    k->stops = stops;
    loop_timer_init(&k->timer, on_timer);
    loop_timer_set(loop, &k->timer, after_us);
}

static void test_timers_fire_once_in_their_order(void **state)
{
    struct ticker k[3] = {0};

    (void)state;
    ticker_set(&k[0], 'c', 9000, true);
    ticker_set(&k[1], 'a', 1000, false);
    ticker_set(&k[2], 'b', 4000, false);
    assert_true(loop_timer_is_set(&k[0].timer));
    loop_run(loop);
    assert_string_equal(trace, "abc");
    assert_false(loop_timer_is_set(&k[0].timer));
    assert_false(loop_timer_is_set(&k[1].timer));
    assert_true(loop_turns(loop) > 0);
}

static void test_timer_is_moved_and_stopped(void **state)
{
    struct ticker k[4] = {0};

    (void)state;
    ticker_set(&k[0], 'a', 1000, false);
    ticker_set(&k[1], 'b', 3000, false);
    ticker_set(&k[2], 'x', 2000, false);
    ticker_set(&k[3], 'z', 12000, true);
    loop_timer_set(loop, &k[0].timer, 7000); /* later than b now */
    loop_timer_stop(loop, &k[2].timer);
    loop_timer_stop(loop, &k[2].timer);
    assert_false(loop_timer_is_set(&k[2].timer));
    loop_run(loop);
    assert_string_equal(trace, "baz");
}

static void on_timer_again(struct loop_timer *t)
{
    note('t');
    if (strlen(trace) < 3) {
        loop_timer_set(loop, t, 500);
    } else {
        loop_stop(loop);
    }
}

static void test_timer_sets_itself(void **state)
{
    struct loop_timer t;

    (void)state;
    loop_timer_init(&t, on_timer_again);
    loop_timer_set(loop, &t, 0);
    loop_run(loop);
    assert_string_equal(trace, "ttt");
}

static void test_clock_goes_on(void **state)
{
    struct ticker k = {0};
    usec_t before_us = clock_now_us();

    (void)state;
    ticker_set(&k, 'a', 3000, true);
    loop_run(loop);
    assert_true(clock_now_us() >= before_us + 2000);
}

/* --- deferred work --- */

static struct loop_deferred second_work;

static void on_second(struct loop_deferred *work)
{
    (void)work;
    note('2');
}

static void on_first(struct loop_deferred *work)
{
    (void)work;
    note('1');
    loop_defer(loop, &second_work, on_second);
}

static void on_timer_defers(struct loop_timer *t)
{
    struct ticker *k = container_of(t, struct ticker, timer);

    note('t');
    loop_defer(loop, &k->work, on_first);
    loop_defer(loop, &k->work, on_second); /* queued already: no effect */
    note('u');
}

static void test_deferred_runs_at_the_end_of_the_turn(void **state)
{
    struct ticker a = {0};
    struct ticker b = {0};

    (void)state;
    memset(&second_work, 0, sizeof(second_work));
    loop_timer_init(&a.timer, on_timer_defers);
    loop_timer_set(loop, &a.timer, 1000);
    ticker_set(&b, 'z', 6000, true);
    loop_run(loop);
    assert_string_equal(trace, "tu12z");
}

static void test_deferred_in_order_and_cancelled(void **state)
{
    struct loop_deferred work[4] = {0};
    struct ticker z = {0};

    (void)state;
    memset(&second_work, 0, sizeof(second_work));
    loop_defer_cancel(loop, &work[0]); /* not queued */
    for (size_t i = 0; i < ARRAY_LEN(work); i++) {
        loop_defer(loop, &work[i], i == 1 ? on_first : on_second);
    }
    loop_defer_cancel(loop, &work[3]); /* the last, the first, ... */
    loop_defer_cancel(loop, &work[0]);
    loop_defer_cancel(loop, &work[0]);
    ticker_set(&z, 'z', 0, true);
    loop_run(loop);
    assert_string_equal(trace, "122z");
    trace[0] = '\0';
    loop_defer(loop, &work[3], on_second); /* the queue is whole after the last one was cancelled */
    loop_defer(loop, &work[0], on_second);
    loop_defer_cancel(loop, &work[0]);
    loop_defer_cancel(loop, &work[3]);
    loop_defer(loop, &work[1], on_second);
    ticker_set(&z, 'z', 0, true);
    loop_run(loop);
    assert_string_equal(trace, "2z");
}

static void on_work_stops(struct loop_deferred *work)
{
    (void)work;
    note('s');
    loop_stop(loop);
}

static void test_stop_from_deferred_work(void **state)
{
    struct loop_deferred work = {0};
    struct ticker late = {0};

    (void)state;
    ticker_set(&late, 'x', 5 * USEC_PER_SEC, true);
    loop_defer(loop, &work, on_work_stops);
    loop_run(loop);
    assert_string_equal(trace, "s");
    loop_timer_stop(loop, &late.timer);
}

static void on_timer_stops(struct loop_timer *t)
{
    struct ticker *k = container_of(t, struct ticker, timer);

    loop_stop(loop);
    loop_defer(loop, &k->work, on_second);
    note('s');
}

static void test_deferred_work_runs_although_stopped(void **state)
{
    struct ticker k = {0};

    (void)state;
    loop_timer_init(&k.timer, on_timer_stops);
    loop_timer_set(loop, &k.timer, 0);
    loop_run(loop);
    assert_string_equal(trace, "s2");
}

static void test_deferred_work_runs_when_the_loop_goes(void **state)
{
    struct loop_deferred work = {0};

    (void)state;
    loop_defer(loop, &work, on_second);
    loop = loop_free(loop);
    assert_string_equal(trace, "2");
}

/* --- descriptors --- */

struct end {
    struct loop_io io;
    char letter;
    struct end *other;
    unsigned events; /* of the last call */
    unsigned calls;
    int fds[2];
};

static void end_open(struct end *e, char letter, loop_io_fn fn)
{
    *e = (struct end){.letter = letter};
    assert_int_equal(pipe(e->fds), 0);
    loop_io_init(&e->io, e->fds[0], fn);
}

static void end_close(struct end *e)
{
    loop_io_stop(loop, &e->io);
    (void)close(e->fds[0]);
    (void)close(e->fds[1]);
}

static void on_readable(struct loop_io *io, unsigned events)
{
    struct end *e = container_of(io, struct end, io);
    char byte;

    e->events = events;
    e->calls++;
    assert_int_equal(read(loop_io_fd(io), &byte, 1), 1);
    note(byte);
    if (byte == 'z') {
        loop_stop(loop);
    }
}

static void test_readable_until_empty(void **state)
{
    struct end e;

    (void)state;
    end_open(&e, 'e', on_readable);
    assert_int_equal(loop_io_wanted(&e.io), LOOP_NONE);
    loop_io_want(loop, &e.io, LOOP_READ);
    loop_io_want(loop, &e.io, LOOP_READ);
    assert_int_equal(loop_io_wanted(&e.io), LOOP_READ);
    assert_int_equal(write(e.fds[1], "abz", 3), 3);
    loop_run(loop);
    assert_string_equal(trace, "abz");
    assert_int_equal(e.events, LOOP_READ);
    end_close(&e);
    assert_int_equal(loop_io_wanted(&e.io), LOOP_NONE);
}

static void test_what_is_not_wanted_is_not_told(void **state)
{
    struct end quiet;
    struct end e;

    (void)state;
    end_open(&quiet, 'q', on_readable);
    end_open(&e, 'e', on_readable);
    loop_io_want(loop, &quiet.io, LOOP_READ);
    loop_io_want(loop, &quiet.io, LOOP_NONE);
    assert_int_equal(loop_io_wanted(&quiet.io), LOOP_NONE);
    loop_io_want(loop, &e.io, LOOP_READ);
    assert_int_equal(write(quiet.fds[1], "x", 1), 1);
    assert_int_equal(write(e.fds[1], "az", 2), 2);
    loop_run(loop);
    assert_string_equal(trace, "az");
    loop_io_want(loop, &quiet.io, LOOP_READ); /* what came meanwhile is told now */
    assert_int_equal(write(quiet.fds[1], "z", 1), 1);
    loop_run(loop);
    assert_string_equal(trace, "azxz");
    end_close(&quiet);
    end_close(&e);
}

static void test_another_descriptor(void **state)
{
    struct end a;
    struct end b;

    (void)state;
    end_open(&a, 'a', on_readable);
    end_open(&b, 'b', on_readable);
    loop_io_want(loop, &a.io, LOOP_READ);
    assert_int_equal(write(a.fds[1], "x", 1), 1);
    assert_int_equal(write(b.fds[1], "z", 1), 1);
    loop_io_set_fd(loop, &a.io, b.fds[0]);
    assert_int_equal(loop_io_wanted(&a.io), LOOP_NONE);
    assert_int_equal(loop_io_fd(&a.io), b.fds[0]);
    loop_io_want(loop, &a.io, LOOP_READ);
    loop_run(loop);
    assert_string_equal(trace, "z");
    end_close(&a);
    end_close(&b);
}

/* --- once more --- */

static void on_again(struct loop_io *io, unsigned events)
{
    struct end *e = container_of(io, struct end, io);

    e->calls++;
    e->events = events;
    note(e->letter);
    if (e->calls < 3) {
        loop_io_again(loop, io);
        loop_io_again(loop, io); /* still one call */
    } else {
        loop_stop(loop);
    }
}

static void test_again_does_not_wait(void **state)
{
    struct ticker late = {0};
    struct end e;

    (void)state;
    end_open(&e, 'e', on_again);
    ticker_set(&late, 'x', 2 * USEC_PER_SEC, true); /* were it to wait, then until here */
    loop_io_want(loop, &e.io, LOOP_READ);
    loop_io_again(loop, &e.io);
    loop_run(loop);
    assert_string_equal(trace, "eee");
    assert_int_equal(e.events, LOOP_READ);
    loop_timer_stop(loop, &late.timer);
    end_close(&e);
}

static void on_nothing(struct loop_io *io, unsigned events)
{
    (void)events;
    note(container_of(io, struct end, io)->letter);
}

static void test_again_is_forgotten(void **state)
{
    struct ticker k = {0};
    struct end a;
    struct end b;

    (void)state;
    end_open(&a, 'a', on_nothing);
    end_open(&b, 'b', on_nothing);
    loop_io_want(loop, &a.io, LOOP_READ);
    loop_io_want(loop, &b.io, LOOP_READ);
    loop_io_again(loop, &a.io);
    loop_io_again(loop, &b.io);
    loop_io_stop(loop, &a.io);
    loop_io_want(loop, &b.io, LOOP_NONE);
    ticker_set(&k, 'z', 2000, true);
    loop_run(loop);
    assert_string_equal(trace, "z");
    end_close(&a);
    end_close(&b);
}

/* Whichever of the two is called first changes what the other one wants, which is to be called all the same. */
static void on_again_disturbs(struct loop_io *io, unsigned events)
{
    struct end *e = container_of(io, struct end, io);

    if ((events & LOOP_READ) != 0) {
        note('r');
    }
    if (++e->calls == 1 && e->other->calls == 0) {
        loop_io_want(loop, &e->other->io, LOOP_READ | LOOP_WRITE);
        loop_io_want(loop, &e->other->io, LOOP_READ);
    }
}

static void test_again_outlives_a_change_of_what_is_wanted(void **state)
{
    struct ticker k = {0};
    struct end a;
    struct end b;

    (void)state;
    end_open(&a, 'a', on_again_disturbs);
    end_open(&b, 'b', on_again_disturbs);
    a.other = &b;
    b.other = &a;
    loop_io_want(loop, &a.io, LOOP_READ);
    loop_io_want(loop, &b.io, LOOP_READ);
    loop_io_again(loop, &a.io);
    loop_io_again(loop, &b.io);
    ticker_set(&k, 'z', 5000, true);
    loop_run(loop);
    assert_string_equal(trace, "rrz");
    end_close(&a);
    end_close(&b);
}

static void on_stops_the_other(struct loop_io *io, unsigned events)
{
    struct end *e = container_of(io, struct end, io);

    (void)events;
    note('r');
    loop_io_stop(loop, &e->other->io);
    loop_io_stop(loop, io);
}

/* Two are ready in one turn, the first closes the second: that one must not be called any more. */
static void test_stopped_by_another_in_the_same_turn(void **state)
{
    struct ticker k = {0};
    struct end a;
    struct end b;

    (void)state;
    end_open(&a, 'a', on_stops_the_other);
    end_open(&b, 'b', on_stops_the_other);
    a.other = &b;
    b.other = &a;
    loop_io_want(loop, &a.io, LOOP_READ);
    loop_io_want(loop, &b.io, LOOP_READ);
    assert_int_equal(write(a.fds[1], "x", 1), 1);
    assert_int_equal(write(b.fds[1], "x", 1), 1);
    ticker_set(&k, 'z', 3000, true);
    loop_run(loop);
    assert_string_equal(trace, "rz");
    end_close(&a);
    end_close(&b);
}

static void test_many_ask_for_another_call(void **state)
{
    enum { MANY = 200 };
    static struct end ends[MANY];
    struct ticker k = {0};

    (void)state;
    for (size_t i = 0; i < MANY; i++) {
        end_open(&ends[i], 'x', on_again_disturbs);
        ends[i].other = &ends[i];
        loop_io_want(loop, &ends[i].io, LOOP_READ);
    }
    trace[0] = '\0';
    for (size_t i = 0; i < MANY; i++) {
        ends[i].calls = 0;
        loop_io_again(loop, &ends[i].io);
    }
    for (size_t i = 0; i < MANY; i += 2) {
        loop_io_stop(loop, &ends[i].io);
    }
    for (size_t i = 21; i < MANY; i++) {
        loop_io_stop(loop, &ends[i].io);
    }
    ticker_set(&k, 'z', 2000, true);
    loop_run(loop);
    assert_string_equal(trace, "rrrrrrrrrrz");
    for (size_t i = 0; i < MANY; i++) {
        end_close(&ends[i]);
    }
}

/* --- signals and other threads --- */

static void on_sig(struct loop_signal *s)
{
    (void)s;
    note('s');
    loop_stop(loop);
}

static void test_signal(void **state)
{
    struct loop_signal s;

    (void)state;
    loop_signal_start(loop, &s, SIGUSR1, on_sig);
    assert_int_equal(kill(getpid(), SIGUSR1), 0);
    loop_run(loop);
    assert_string_equal(trace, "s");
    loop_signal_stop(loop, &s);
}

static void on_wake(struct loop_wakeup *w)
{
    (void)w;
    note('w');
    loop_stop(loop);
}

static void *wake_from_thread(void *arg)
{
    loop_wakeup_send(loop, arg);
    return NULL;
}

static void test_wakeup_from_another_thread(void **state)
{
    struct loop_wakeup w;
    pthread_t thread;

    (void)state;
    loop_wakeup_start(loop, &w, on_wake);
    assert_int_equal(pthread_create(&thread, NULL, wake_from_thread, &w), 0);
    loop_run(loop);
    assert_int_equal(pthread_join(thread, NULL), 0);
    assert_string_equal(trace, "w");
    loop_wakeup_stop(loop, &w);
}

/* All three are ready in one turn; a rank may change while somebody is watched. */
static void test_in_the_order_of_their_ranks(void **state)
{
    struct loop_wakeup w;
    struct end a;
    struct end b;

    (void)state;
    end_open(&a, 'a', on_readable);
    end_open(&b, 'b', on_readable);
    loop_io_set_rank(loop, &a.io, LOOP_LATE);
    loop_io_want(loop, &a.io, LOOP_READ);
    loop_io_want(loop, &b.io, LOOP_READ);
    loop_wakeup_start(loop, &w, on_wake);
    loop_wakeup_set_rank(loop, &w, LOOP_LAST);
    for (unsigned round = 0; round < 2; round++) {
        assert_int_equal(write(a.fds[1], "a", 1), 1);
        assert_int_equal(write(b.fds[1], "b", 1), 1);
        loop_wakeup_send(loop, &w);
        loop_run(loop);
        assert_string_equal(trace, round == 0 ? "baw" : "bawabw");
        loop_io_set_rank(loop, &a.io, LOOP_USUAL);
        loop_io_set_rank(loop, &b.io, LOOP_LATE);
        assert_int_equal(loop_io_wanted(&a.io), LOOP_READ);
    }
    loop_wakeup_stop(loop, &w);
    end_close(&a);
    end_close(&b);
}

static void on_hangup(struct loop_io *io, unsigned events)
{
    struct end *e = container_of(io, struct end, io);

    assert_int_equal(events, LOOP_HANGUP);
    note(e->letter);
    loop_io_unwatch_end(loop, &e->io);
    if (e->other != NULL) {
        loop_io_unwatch_end(loop, &e->other->io);
        loop_stop(loop);
    }
}

/* What is not read is heard to end, once; bytes alone are not told, nor is one that another's callback has unwatched. */
static void test_the_end_of_what_is_not_read(void **state)
{
    struct ticker k = {0};
    struct end ends[3];

    (void)state;
    for (unsigned i = 0; i < ARRAY_LEN(ends); i++) {
        end_open(&ends[i], (char)('a' + i), on_hangup);
        assert_true(loop_io_watch_end(loop, &ends[i].io));
        assert_int_equal(write(ends[i].fds[1], "x", 1), 1);
    }
    ticker_set(&k, 'z', 3000, true);
    loop_run(loop);
    assert_string_equal(trace, "z");
    (void)close(ends[0].fds[1]);
    ends[0].fds[1] = -1;
    ticker_set(&k, 'z', 3000, true);
    loop_run(loop);
    assert_string_equal(trace, "zaz");
    ends[1].other = &ends[2];
    ends[2].other = &ends[1];
    for (unsigned i = 1; i < ARRAY_LEN(ends); i++) {
        (void)close(ends[i].fds[1]);
        ends[i].fds[1] = -1;
    }
    loop_run(loop);
    ticker_set(&k, 'z', 3000, true);
    loop_run(loop);
    assert_int_equal(strlen(trace), strlen("zaz") + 2); /* either of the two, and the ticker */
    for (unsigned i = 0; i < ARRAY_LEN(ends); i++) {
        end_close(&ends[i]);
    }
}

#define LOOP_TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        LOOP_TEST(test_timers_fire_once_in_their_order),
        LOOP_TEST(test_timer_is_moved_and_stopped),
        LOOP_TEST(test_timer_sets_itself),
        LOOP_TEST(test_clock_goes_on),
        LOOP_TEST(test_deferred_runs_at_the_end_of_the_turn),
        LOOP_TEST(test_deferred_in_order_and_cancelled),
        LOOP_TEST(test_stop_from_deferred_work),
        LOOP_TEST(test_deferred_work_runs_although_stopped),
        LOOP_TEST(test_deferred_work_runs_when_the_loop_goes),
        LOOP_TEST(test_readable_until_empty),
        LOOP_TEST(test_what_is_not_wanted_is_not_told),
        LOOP_TEST(test_another_descriptor),
        LOOP_TEST(test_again_does_not_wait),
        LOOP_TEST(test_again_is_forgotten),
        LOOP_TEST(test_again_outlives_a_change_of_what_is_wanted),
        LOOP_TEST(test_stopped_by_another_in_the_same_turn),
        LOOP_TEST(test_many_ask_for_another_call),
        LOOP_TEST(test_signal),
        LOOP_TEST(test_wakeup_from_another_thread),
        LOOP_TEST(test_in_the_order_of_their_ranks),
        LOOP_TEST(test_the_end_of_what_is_not_read),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
