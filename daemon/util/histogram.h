/* SPDX-License-Identifier: ISC */
/* Durations counted in cells whose bounds go 1, 2, 5, 10 from 50 microseconds to 100 seconds. Embedded in its owner, all
 * zero at first. Recording costs a few instructions and no memory, so every query may be counted. */
#ifndef PGPOOLD_UTIL_HISTOGRAM_H
#define PGPOOLD_UTIL_HISTOGRAM_H

#include "daemon/util/clock.h"
#include "daemon/util/macros.h"

#include <stdint.h>

#define HISTOGRAM_BOUNDS 20U
#define HISTOGRAM_CELLS (HISTOGRAM_BOUNDS + 1) /* the last one: longer than every bound */

struct histogram {
    uint64_t
        cells[HISTOGRAM_CELLS]; /* cells[i]: longer than bound i - 1, at most as long as bound i */
    uint64_t sum_us;
};

/* Private to histogram_add(): by the number of bits of a duration, the first cell that it may belong to. */
struct histogram_octave {
    uint64_t first;
    uint64_t bound_us; /* of that cell; no other bound lies within the octave */
};
extern const struct histogram_octave histogram_octaves[65];

/* Microseconds, growing. */
extern const uint64_t histogram_bounds_us[HISTOGRAM_BOUNDS];

static inline unsigned histogram_cell_of(usec_t us)
{
    unsigned bits = us == 0 ? 0 : 64 - (unsigned)__builtin_clzll(us);
    const struct histogram_octave *o = &histogram_octaves[bits];

    return (unsigned)o->first + (us > o->bound_us ? 1 : 0);
}

/* @cell: what histogram_cell_of(@us) said, for who adds the same to several. */
static inline void histogram_add_to(struct histogram *h, unsigned cell, usec_t us)
{
    h->cells[cell]++;
    h->sum_us += us;
}

static inline void histogram_add(struct histogram *h, usec_t us)
{
    histogram_add_to(h, histogram_cell_of(us), us);
}

/* Adds @from's counts to @to's. */
void histogram_merge(struct histogram *to, const struct histogram *from);
/* What came since @then, an earlier state of @now. */
void histogram_since(struct histogram *ret, const struct histogram *now,
                     const struct histogram *then);

uint64_t histogram_count(const struct histogram *h);
/* The duration that @permille of the events did not exceed, estimated within its cell; 0: there were none. */
usec_t histogram_quantile_us(const struct histogram *h, unsigned permille);

#endif
