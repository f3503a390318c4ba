/* SPDX-License-Identifier: ISC */
#include "daemon/login_queue.h"

/* Of one turn; a step that has begun is finished, so a turn may take one RSA signature longer. */
#define LOGIN_TURN_US ((usec_t)100)
/* In a shorter line it is cheaper to hear again in each turn that they are readable than to tell epoll twice. */
#define SHORT_LINE 16

static void run(struct loop_wakeup *wakeup)
{
    struct login_queue *q = container_of(wakeup, struct login_queue, wakeup);

    if (q->turn != loop_turns(q->loop)) {
        q->turn = loop_turns(q->loop);
        q->spent_us = 0;
    }
    while (!list_is_empty(&q->waiting) && q->spent_us < LOGIN_TURN_US) {
        struct login_turn *turn = list_entry(list_first(&q->waiting), struct login_turn, link);

        login_turn_leave(turn);
        login_queue_begin(q);
        q->fn(turn);
        login_queue_end(q);
    }
    if (!list_is_empty(&q->waiting)) {
        loop_wakeup_send(q->loop, &q->wakeup);
    }
}

void login_queue_init(struct login_queue *q, struct loop *loop, login_turn_fn fn)
{
    *q = (struct login_queue){.loop = loop, .fn = fn};
    list_init(&q->waiting);
    loop_wakeup_start(loop, &q->wakeup, run);
    loop_wakeup_set_rank(loop, &q->wakeup, LOOP_LAST);
}

void login_queue_done(struct login_queue *q)
{
    while (!list_is_empty(&q->waiting)) {
        login_turn_leave(list_entry(list_first(&q->waiting), struct login_turn, link));
    }
    loop_wakeup_stop(q->loop, &q->wakeup);
}

bool login_queue_is_open(struct login_queue *q)
{
    if (q->turn != loop_turns(q->loop)) {
        q->turn = loop_turns(q->loop);
        q->spent_us = 0;
    }
    return list_is_empty(&q->waiting) && q->spent_us < LOGIN_TURN_US;
}

bool login_queue_is_long(const struct login_queue *q)
{
    return q->waiting.n >= SHORT_LINE;
}

void login_queue_add(struct login_queue *q, struct login_turn *turn)
{
    if (turn->queue != NULL) {
        return;
    }
    turn->queue = q;
    list_add_tail(&q->waiting, &turn->link);
    if (q->waiting.n == 1) {
        loop_wakeup_send(q->loop, &q->wakeup);
    }
}

void login_turn_leave(struct login_turn *turn)
{
    if (turn->queue != NULL) {
        list_remove(&turn->queue->waiting, &turn->link);
        turn->queue = NULL;
    }
}

void login_queue_begin(struct login_queue *q)
{
    if (q->depth++ == 0) {
        q->begun_us = clock_read_us();
    }
}

void login_queue_end(struct login_queue *q)
{
    if (--q->depth == 0) {
        q->spent_us += clock_read_us() - q->begun_us;
    }
}
