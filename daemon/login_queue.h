/* SPDX-License-Identifier: ISC */
/* Fairness between those who log in and those who are at work. Handshakes and proofs are the dear part of a client's life,
 * and thousands may come at once (all of an application's servers after a deployment). So whoever is at work comes first in
 * each turn of the loop, and then only so much time goes into logins; the steps that are left over stand in line, first
 * come, first served, and are not read meanwhile. When nobody is at work the turns follow each other at once, so logins lose nothing.
 * Owned by the server; knows clients only as their embedded struct login_turn. */
#ifndef PGPOOLD_DAEMON_LOGIN_QUEUE_H
#define PGPOOLD_DAEMON_LOGIN_QUEUE_H

#include "daemon/util/clock.h"
#include "daemon/util/list.h"
#include "daemon/util/loop.h"

struct login_turn;
/* It is this one's turn: it has left the queue and may be read. */
typedef void (*login_turn_fn)(struct login_turn *turn);

/* All fields are private. */
struct login_queue {
    struct loop *loop;
    login_turn_fn fn;
    struct list waiting;
    struct loop_wakeup wakeup; /* another turn of the loop is wanted */
    uint64_t turn;             /* of the loop, the one that spent_us is about */
    usec_t spent_us;
    usec_t begun_us; /* of the step that runs; nested ones do not count twice */
    unsigned depth;
};

/* Embedded in a login, zeroed at first. All fields are private. */
struct login_turn {
    struct list_node link;
    struct login_queue *queue; /* NULL: does not wait */
};

void login_queue_init(struct login_queue *q, struct loop *loop, login_turn_fn fn);
void login_queue_done(struct login_queue *q);

/* Is there time in this turn, and nobody waits? */
bool login_queue_is_open(struct login_queue *q);
/* At the end of the line; waits already: no effect. */
void login_queue_add(struct login_queue *q, struct login_turn *turn);
void login_turn_leave(struct login_turn *turn);
static inline bool login_turn_waits(const struct login_turn *turn)
{
    return turn->queue != NULL;
}
/* So many wait that the next one's descriptor should not be watched meanwhile. */
bool login_queue_is_long(const struct login_queue *q);

/* Around each piece of work for logins. */
void login_queue_begin(struct login_queue *q);
void login_queue_end(struct login_queue *q);

#endif
