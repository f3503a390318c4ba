/* SPDX-License-Identifier: ISC */
#include "daemon/systemd.h"

#include <stdio.h>
#include <stdlib.h>

#if WITH_SYSTEMD

#include <stdarg.h>
#include <systemd/sd-daemon.h>
#include <time.h>

struct watchdog {
    struct loop_timer timer;
    struct loop *loop;
    usec_t every_us;
};

int systemd_sockets(int *ret_first)
{
    *ret_first = SD_LISTEN_FDS_START;
    return sd_listen_fds(1);
}

/* What is told here is a courtesy: whether systemd hears it changes nothing for us. */
void systemd_ready(void)
{
    (void)sd_notify(0, "READY=1\nSTATUS=ready");
}

void systemd_reloading(void)
{
    struct timespec now = {0};

    (void)clock_gettime(CLOCK_MONOTONIC, &now); /* this clock always exists */
    (void)sd_notifyf(0, "RELOADING=1\nMONOTONIC_USEC=%llu",
                     (unsigned long long)now.tv_sec * USEC_PER_SEC +
                         (unsigned long long)now.tv_nsec / 1000);
}

void systemd_stopping(void)
{
    (void)sd_notify(0, "STOPPING=1");
}

void systemd_status(const char *fmt, ...)
{
    char text[256];
    va_list args;

    va_start(args, fmt);
    (void)vsnprintf(text, sizeof(text), fmt, args); /* cut is meant */
    va_end(args);
    (void)sd_notifyf(0, "STATUS=%s", text);
}

static void on_watchdog(struct loop_timer *timer)
{
    struct watchdog *w = container_of(timer, struct watchdog, timer);

    (void)sd_notify(0, "WATCHDOG=1");
    loop_timer_set(w->loop, &w->timer, w->every_us);
}

bool systemd_watchdog_start(struct server *s)
{
    uint64_t interval_us = 0;
    struct watchdog *w;

    if (sd_watchdog_enabled(1, &interval_us) <= 0 || interval_us == 0) {
        return true;
    }
    w = calloc(1, sizeof(*w));
    if (w == NULL) {
        return false;
    }
    w->loop = s->loop;
    w->every_us = interval_us / 2;
    loop_timer_init(&w->timer, on_watchdog);
    loop_timer_set(s->loop, &w->timer, 0);
    s->watchdog = w;
    return true;
}

void systemd_watchdog_stop(struct server *s)
{
    if (s->watchdog != NULL) {
        loop_timer_stop(s->loop, &s->watchdog->timer);
        free(s->watchdog);
        s->watchdog = NULL;
    }
}

#else

int systemd_sockets(int *ret_first)
{
    *ret_first = -1;
    return 0;
}

void systemd_ready(void)
{
}

void systemd_reloading(void)
{
}

void systemd_stopping(void)
{
}

void systemd_status(const char *fmt, ...)
{
    (void)fmt;
}

bool systemd_watchdog_start(struct server *s)
{
    (void)s;
    return true;
}

void systemd_watchdog_stop(struct server *s)
{
    (void)s;
}

#endif
