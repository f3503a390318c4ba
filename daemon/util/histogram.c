/* SPDX-License-Identifier: ISC */
#include "daemon/util/histogram.h"

const uint64_t histogram_bounds_us[HISTOGRAM_BOUNDS] = {
    50,     100,    200,    500,     1000,    2000,    5000,     10000,    20000,    50000,
    100000, 200000, 500000, 1000000, 2000000, 5000000, 10000000, 20000000, 50000000, 100000000};

/* Follows from the bounds; tests/unit/test_histogram.c compares the two. */
const struct histogram_octave histogram_octaves[65] = {
    {0, 50},          {0, 50},          {0, 50},          {0, 50},          {0, 50},
    {0, 50},          {0, 50},          {1, 100},         {2, 200},         {3, 500},
    {4, 1000},        {5, 2000},        {6, 5000},        {6, 5000},        {7, 10000},
    {8, 20000},       {9, 50000},       {10, 100000},     {11, 200000},     {12, 500000},
    {13, 1000000},    {14, 2000000},    {15, 5000000},    {15, 5000000},    {16, 10000000},
    {17, 20000000},   {18, 50000000},   {19, 100000000},  {20, UINT64_MAX}, {20, UINT64_MAX},
    {20, UINT64_MAX}, {20, UINT64_MAX}, {20, UINT64_MAX}, {20, UINT64_MAX}, {20, UINT64_MAX},
    {20, UINT64_MAX}, {20, UINT64_MAX}, {20, UINT64_MAX}, {20, UINT64_MAX}, {20, UINT64_MAX},
    {20, UINT64_MAX}, {20, UINT64_MAX}, {20, UINT64_MAX}, {20, UINT64_MAX}, {20, UINT64_MAX},
    {20, UINT64_MAX}, {20, UINT64_MAX}, {20, UINT64_MAX}, {20, UINT64_MAX}, {20, UINT64_MAX},
    {20, UINT64_MAX}, {20, UINT64_MAX}, {20, UINT64_MAX}, {20, UINT64_MAX}, {20, UINT64_MAX},
    {20, UINT64_MAX}, {20, UINT64_MAX}, {20, UINT64_MAX}, {20, UINT64_MAX}, {20, UINT64_MAX},
    {20, UINT64_MAX}, {20, UINT64_MAX}, {20, UINT64_MAX}, {20, UINT64_MAX}, {20, UINT64_MAX},
};

void histogram_merge(struct histogram *to, const struct histogram *from)
{
    for (unsigned i = 0; i < HISTOGRAM_CELLS; i++) {
        to->cells[i] += from->cells[i];
    }
    to->sum_us += from->sum_us;
}

/* A pool that has gone takes its counts along: then less than nothing is nothing. */
static uint64_t gain(uint64_t now, uint64_t then)
{
    return now > then ? now - then : 0;
}

void histogram_since(struct histogram *ret, const struct histogram *now,
                     const struct histogram *then)
{
    for (unsigned i = 0; i < HISTOGRAM_CELLS; i++) {
        ret->cells[i] = gain(now->cells[i], then->cells[i]);
    }
    ret->sum_us = gain(now->sum_us, then->sum_us);
}

uint64_t histogram_count(const struct histogram *h)
{
    uint64_t n = 0;

    for (unsigned i = 0; i < HISTOGRAM_CELLS; i++) {
        n += h->cells[i];
    }
    return n;
}

usec_t histogram_quantile_us(const struct histogram *h, unsigned permille)
{
    uint64_t n = histogram_count(h);
    double rank = (double)n * permille / 1000.;
    double below = 0;

    for (unsigned i = 0; n > 0 && i < HISTOGRAM_BOUNDS; i++) {
        double here = (double)h->cells[i];

        if (here > 0 && below + here >= rank) {
            double from = i == 0 ? 0 : (double)histogram_bounds_us[i - 1];
            double to = (double)histogram_bounds_us[i];

            return (usec_t)(from + (to - from) * MAX(rank - below, 0.) / here);
        }
        below += here;
    }
    return n == 0 ? 0 : histogram_bounds_us[HISTOGRAM_BOUNDS - 1];
}
