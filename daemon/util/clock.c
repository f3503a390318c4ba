/* SPDX-License-Identifier: ISC */
#include "daemon/util/clock.h"

#include <stdbool.h>
#include <time.h>

usec_t clock_turn_us; /* one of the two allowed globals, the other is the logger */
static bool faked;

static uint64_t read_clock_us(clockid_t id)
{
    struct timespec ts;

    (void)clock_gettime(id, &ts); /* cannot fail for these two clocks */
    return (uint64_t)ts.tv_sec * USEC_PER_SEC + (uint64_t)ts.tv_nsec / 1000;
}

usec_t clock_first_us(void)
{
    clock_update();
    return clock_turn_us;
}

void clock_update(void)
{
    if (!faked) {
        clock_turn_us = read_clock_us(CLOCK_MONOTONIC);
    }
}

usec_t clock_read_us(void)
{
    return faked ? clock_turn_us : read_clock_us(CLOCK_MONOTONIC);
}

uint64_t clock_wall_of_us(usec_t at_us)
{
    uint64_t wall_us = clock_wall_now_us();
    uint64_t mono_us = faked ? clock_turn_us : read_clock_us(CLOCK_MONOTONIC);

    return mono_us >= at_us ? wall_us - (mono_us - at_us) : wall_us + (at_us - mono_us);
}

uint64_t clock_wall_now_us(void)
{
    return read_clock_us(CLOCK_REALTIME);
}

void clock_fake(usec_t fake_us)
{
    faked = true;
    clock_turn_us = fake_us;
}
