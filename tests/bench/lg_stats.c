/* SPDX-License-Identifier: ISC */
#include "loadgen.h"

#include <stdio.h>
#include <string.h>
#include <sys/resource.h>

/* Values below 64 have a bucket each; above, 64 buckets share a power of two. */
static size_t bucket_of(uint64_t us)
{
    unsigned shift;

    if (us < 64) {
        return (size_t)us;
    }
    shift = 63u - (unsigned)__builtin_clzll(us) - 6u;
    return 64u * (shift + 1u) + (size_t)((us >> shift) - 64u);
}

static uint64_t bucket_value(size_t bucket)
{
    size_t shift;

    if (bucket < 64) {
        return bucket;
    }
    shift = bucket / 64 - 1;
    return ((uint64_t)(bucket % 64) + 64u) << shift;
}

static uint64_t percentile(const struct lg_stats *s, double part)
{
    uint64_t below = (uint64_t)((double)s->n_latencies * part);
    uint64_t seen = 0;
    size_t i;

    for (i = 0; i < HIST_BUCKETS; i++) {
        seen += s->hist[i];
        if (seen > below) {
            return bucket_value(i);
        }
    }
    return s->max_us;
}

static uint64_t all_cpu_ns(const struct lg *lg)
{
    uint64_t sum = 0;
    unsigned i;

    for (i = 0; i < lg->opt.n_pids; i++) {
        sum += process_cpu_ns(lg->opt.pids[i]);
    }
    return sum;
}

void stats_begin(struct lg *lg)
{
    unsigned i;

    lg->stats = (struct lg_stats){.begin_us = now_us(), .begin_cpu_ns = all_cpu_ns(lg)};
    for (i = 0; i < lg->n_all; i++) {
        lg->clients[i].done = 0;
    }
}

void stats_end(struct lg *lg)
{
    unsigned i;

    lg->stats.end_us = now_us();
    lg->stats.end_cpu_ns = all_cpu_ns(lg);
    for (i = 0; i < lg->n_all; i++) {
        const struct lg_client *c = &lg->clients[i];
        uint64_t waited = lg->stats.end_us - c->started_us;

        /* a client still waiting counts with what it waited so far, else starving would go unseen */
        if (c->state == CL_BUSY && waited > lg->stats.max_us) {
            lg->stats.max_us = waited;
        }
    }
}

void stats_latency(struct lg_stats *s, uint64_t us)
{
    size_t bucket = bucket_of(us);

    s->hist[bucket < HIST_BUCKETS ? bucket : HIST_BUCKETS - 1]++;
    s->n_latencies++;
    if (us > s->max_us) {
        s->max_us = us;
    }
}

/* Jain's fairness index: 1 when all clients got the same, 1/n when one got everything. */
static void print_fairness(const struct lg *lg)
{
    double sum = 0, squares = 0;
    uint64_t least = UINT64_MAX, most = 0;
    unsigned i;

    for (i = 0; i < lg->opt.n_clients; i++) {
        uint64_t done = lg->clients[i].done;

        sum += (double)done;
        squares += (double)done * (double)done;
        least = done < least ? done : least;
        most = done > most ? done : most;
    }
    (void)printf("jain=%.5f\nclient_least=%llu\nclient_most=%llu\n",
                 squares > 0 ? sum * sum / (squares * lg->opt.n_clients) : 0.0,
                 (unsigned long long)least, (unsigned long long)most);
}

void stats_print(const struct lg *lg)
{
    const struct lg_stats *s = &lg->stats;
    double seconds = (double)(s->end_us - s->begin_us) / 1e6;
    double cpu_us = (double)(s->end_cpu_ns - s->begin_cpu_ns) / 1e3;
    double n = (double)(s->transactions > 0 ? s->transactions : 1);
    struct rusage own;

    (void)getrusage(RUSAGE_SELF, &own);
    (void)printf("transactions=%llu\nseconds=%.4f\ntps=%.1f\n", (unsigned long long)s->transactions,
                 seconds, (double)s->transactions / seconds);
    (void)printf("p50_us=%llu\np99_us=%llu\nmax_us=%llu\n", (unsigned long long)percentile(s, 0.50),
                 (unsigned long long)percentile(s, 0.99), (unsigned long long)s->max_us);
    print_fairness(lg);
    (void)printf("bytes=%llu\nmb_per_s=%.1f\n", (unsigned long long)s->bytes,
                 (double)s->bytes / 1e6 / seconds);
    (void)printf("deliveries=%llu\nresumed=%llu\n", (unsigned long long)s->deliveries,
                 (unsigned long long)s->resumed);
    (void)printf("cpu_us=%.1f\ncpu_us_per_tx=%.3f\ncpu_us_per_second=%.1f\n", cpu_us, cpu_us / n,
                 cpu_us / seconds);
    if (s->bytes > 0) {
        (void)printf("cpu_us_per_mb=%.2f\n", cpu_us / ((double)s->bytes / 1e6));
    }
    if (s->deliveries > 0) {
        (void)printf("cpu_us_per_delivery=%.3f\n", cpu_us / (double)s->deliveries);
    }
    (void)printf("own_cpu_s=%.3f\n",
                 (double)(own.ru_utime.tv_sec + own.ru_stime.tv_sec) +
                     (double)(own.ru_utime.tv_usec + own.ru_stime.tv_usec) / 1e6);
    (void)fflush(stdout);
}
