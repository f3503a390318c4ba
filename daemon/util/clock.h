/* SPDX-License-Identifier: ISC */
/* Time as the daemon sees it: monotonic microseconds, read once per turn of the loop.
 * Wall time exists only for log lines and columns that people read. */
#ifndef PGPOOLD_UTIL_CLOCK_H
#define PGPOOLD_UTIL_CLOCK_H

#include <stdint.h>

typedef uint64_t usec_t;

#define USEC_PER_MSEC ((usec_t)1000)
#define USEC_PER_SEC ((usec_t)1000000)

extern usec_t clock_turn_us; /* private to clock_now_us() and clock.c */
usec_t clock_first_us(void); /* private as well */

/* The time of this turn of the loop. Never 0 after the first clock_update(). */
static inline usec_t clock_now_us(void)
{
    return clock_turn_us != 0 ? clock_turn_us : clock_first_us();
}

/* Reads the clock; the loop calls it once per turn, before the callbacks. */
void clock_update(void);

/* The wall-clock moment that belongs to the monotonic moment @at_us, microseconds since the epoch. */
uint64_t clock_wall_of_us(usec_t at_us);

/* Monotonic time read afresh: for measuring what a piece of this turn takes. */
usec_t clock_read_us(void);

/* Wall-clock now, read afresh, microseconds since the epoch. */
uint64_t clock_wall_now_us(void);

/* Tests only: from now on clock_now_us() gives @now_us and clock_update() does nothing. */
void clock_fake(usec_t now_us);

#endif
