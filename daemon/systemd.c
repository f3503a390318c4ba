/* SPDX-License-Identifier: ISC */
#include "daemon/systemd.h"

#include "pool/pool.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#if WITH_SYSTEMD

#include <inttypes.h>
#include <systemd/sd-daemon.h>
#include <time.h>
#include <unistd.h>

#define STATUS_EVERY_US (5 * USEC_PER_SEC)
#define STATUS_SIZE 256

struct systemd {
    struct server *server;
    struct loop_timer feed;
    usec_t feed_every_us; /* 0: nobody watches */
    struct loop_timer status;
    char told[STATUS_SIZE]; /* the status that systemd has */
};

/* --- sockets --- */

int systemd_sockets(struct systemd_sockets *ret)
{
    char **names = NULL;
    int n = sd_listen_fds_with_names(1, &names);

    if (n >= 0) {
        *ret = (struct systemd_sockets){.first_fd = SD_LISTEN_FDS_START, .n = n, .names = names};
    }
    return n;
}

void systemd_sockets_done(struct systemd_sockets *sockets)
{
    for (int i = 0; sockets->names != NULL && i < sockets->n; i++) {
        free(sockets->names[i]);
    }
    free(sockets->names);
    sockets->names = NULL;
}

/* --- what is told; a courtesy: whether systemd hears it changes nothing for us --- */

static const char *state_text(const struct server *s)
{
    switch (s->state) {
    case SERVER_RUNS:
        return s->is_paused ? "paused" : "running";
    case SERVER_SUSPENDED:
        return "suspended";
    case SERVER_WAITS_FOR_SERVERS:
        return "shutting down when no server connection is in use";
    case SERVER_WAITS_FOR_CLIENTS:
        return "shutting down when all clients have left";
    case SERVER_ENDS:
        return "shutting down";
    }
    unreachable();
}

static void write_status(const struct server *s, char *ret)
{
    unsigned n_servers = 0;
    unsigned n_waiting = 0;
    const struct database *db;
    const struct pool *pool;

    list_for_each(&s->env->databases, db, link) {
        list_for_each(&db->pools, pool, link) {
            n_servers += pool->n_backends;
            n_waiting += pool->waiters.n + pool->opening.n;
        }
    }
    (void)snprintf(
        ret, STATUS_SIZE,
        "%s: %u clients, %u waiting, %u servers; %" PRIu64 " xacts/s, %" PRIu64 " queries/s%s",
        state_text(s), s->n_logged_in, n_waiting, n_servers, s->xacts_per_s, s->queries_per_s,
        s->reload_failed ? "; the last reload failed, see the log" : ""); /* it fits */
}

void systemd_tell(struct server *s)
{
    struct systemd *d = s->systemd;
    char text[STATUS_SIZE];

    if (d == NULL) {
        return;
    }
    write_status(s, text);
    if (strcmp(text, d->told) != 0) {
        memcpy(d->told, text, sizeof(text));
        (void)sd_notifyf(0, "STATUS=%s", text);
    }
}

void systemd_ready(struct server *s)
{
    (void)sd_notify(0, "READY=1");
    systemd_tell(s);
}

void systemd_reloading(void)
{
    struct timespec now = {0};

    (void)clock_gettime(CLOCK_MONOTONIC, &now); /* this clock always exists */
    (void)sd_notifyf(0, "RELOADING=1\nMONOTONIC_USEC=%llu",
                     (unsigned long long)now.tv_sec * USEC_PER_SEC +
                         (unsigned long long)now.tv_nsec / 1000);
}

void systemd_stopping(struct server *s)
{
    (void)sd_notify(0, "STOPPING=1");
    systemd_tell(s);
}

/* --- timers of the loop: when it is stuck they do not fire --- */

static void on_feed(struct loop_timer *timer)
{
    struct systemd *d = container_of(timer, struct systemd, feed);

    (void)sd_notify(0, "WATCHDOG=1");
    loop_timer_set(d->server->loop, timer, d->feed_every_us);
}

static void on_status(struct loop_timer *timer)
{
    struct systemd *d = container_of(timer, struct systemd, status);

    systemd_tell(d->server);
    loop_timer_set(d->server->loop, timer, STATUS_EVERY_US);
}

bool systemd_start(struct server *s)
{
    uint64_t interval_us = 0;
    struct systemd *d;

    if (getenv("NOTIFY_SOCKET") == NULL) {
        return true;
    }
    d = calloc(1, sizeof(*d));
    if (d == NULL) {
        return false;
    }
    d->server = s;
    loop_timer_init(&d->feed, on_feed);
    loop_timer_init(&d->status, on_status);
    loop_timer_set(s->loop, &d->status, STATUS_EVERY_US);
    if (sd_watchdog_enabled(1, &interval_us) > 0 && interval_us > 1) {
        d->feed_every_us = interval_us / 2;
        loop_timer_set(s->loop, &d->feed, 0);
    }
    s->systemd = d;
    return true;
}

void systemd_stop(struct server *s)
{
    if (s->systemd != NULL) {
        loop_timer_stop(s->loop, &s->systemd->feed);
        loop_timer_stop(s->loop, &s->systemd->status);
        free(s->systemd);
        s->systemd = NULL;
    }
}

/* --- an online restart --- */

void systemd_mute(struct server *s)
{
    systemd_stop(s);
    (void)unsetenv("NOTIFY_SOCKET"); /* it is a name, so it works */
}

void systemd_take_over(struct server *s)
{
    (void)sd_notifyf(0, "MAINPID=%lu", (unsigned long)getpid());
    systemd_ready(s);
}

usec_t systemd_watchdog_us(const struct server *s)
{
    return s->systemd != NULL ? 2 * s->systemd->feed_every_us : 0;
}

void systemd_watchdog_inherit(struct server *s, usec_t interval_us)
{
    struct systemd *d = s->systemd;

    if (d != NULL && d->feed_every_us == 0 && interval_us > 1) {
        d->feed_every_us = interval_us / 2;
        loop_timer_set(s->loop, &d->feed, 0);
    }
}

#else

int systemd_sockets(struct systemd_sockets *ret)
{
    *ret = (struct systemd_sockets){.first_fd = -1};
    return 0;
}

void systemd_sockets_done(struct systemd_sockets *sockets)
{
    (void)sockets;
}

void systemd_tell(struct server *s)
{
    (void)s;
}

void systemd_ready(struct server *s)
{
    (void)s;
}

void systemd_reloading(void)
{
}

void systemd_stopping(struct server *s)
{
    (void)s;
}

bool systemd_start(struct server *s)
{
    (void)s;
    return true;
}

void systemd_stop(struct server *s)
{
    (void)s;
}

void systemd_mute(struct server *s)
{
    (void)s;
}

void systemd_take_over(struct server *s)
{
    (void)s;
}

usec_t systemd_watchdog_us(const struct server *s)
{
    (void)s;
    return 0;
}

void systemd_watchdog_inherit(struct server *s, usec_t interval_us)
{
    (void)s;
    (void)interval_us;
}

#endif
