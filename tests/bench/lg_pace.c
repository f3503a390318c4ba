/* SPDX-License-Identifier: ISC */
/* Clients that rest: with --active N only so many of all have a transaction under way, taking turns; with --pause MS a
 * client thinks before its next one. All pauses are equal, so who has rested longest is always the first in the ring. */
#include "loadgen.h"

#include <stdlib.h>

bool pace_is_on(const struct lg *lg)
{
    return lg->rest != NULL;
}

void pace_prepare(struct lg *lg)
{
    if (lg->opt.active == 0 && lg->opt.pause_us == 0) {
        return;
    }
    if (lg->opt.active == 0) {
        lg->opt.active = lg->n_all;
    }
    lg->rest = calloc(lg->n_all, sizeof(*lg->rest));
    if (lg->rest == NULL) {
        die("out of memory");
    }
}

void pace_rest(struct lg *lg, struct lg_client *c)
{
    lg->rest[(lg->rest_at + lg->n_rest++) % lg->n_all] = c->index;
    c->due_us = now_us() + lg->opt.pause_us;
}

static struct lg_client *first(const struct lg *lg)
{
    return &lg->clients[lg->rest[lg->rest_at]];
}

struct lg_client *pace_next(struct lg *lg)
{
    struct lg_client *c;

    if (lg->n_rest == 0 || lg->n_busy >= lg->opt.active || first(lg)->due_us > now_us()) {
        return NULL;
    }
    c = first(lg);
    lg->rest_at = (lg->rest_at + 1) % lg->n_all;
    lg->n_rest--;
    return c;
}

uint64_t pace_until_us(const struct lg *lg, uint64_t until_us)
{
    if (!lg->running || lg->n_rest == 0 || lg->n_busy >= lg->opt.active ||
        first(lg)->due_us > until_us) {
        return until_us;
    }
    return first(lg)->due_us;
}
