/* SPDX-License-Identifier: ISC */
#include "daemon/signals.h"

#include "daemon/reload.h"
#include "daemon/util/log.h"

#include <signal.h>
#include <stdlib.h>

struct signal_watch {
    struct loop_signal watcher;
    struct server *server;
};

struct signals {
    struct signal_watch watches[6];
};

static struct server *server_of(struct loop_signal *sig)
{
    return container_of(sig, struct signal_watch, watcher)->server;
}

static void on_hup(struct loop_signal *sig)
{
    struct config_errors errors = CONFIG_ERRORS_INIT;

    log_info("got SIGHUP, reloading");
    (void)reload_again(server_of(sig), &errors); /* it has logged what is wrong */
    config_errors_done(&errors);
}

/* The polite ways out. When one is under way already, or everything else was in vain, it is enough. */
static void end_politely(struct server *s, const char *name, enum server_state how)
{
    switch (s->state) {
    case SERVER_RUNS:
    case SERVER_SUSPENDED:
        log_info("got %s, shutting down when all %s", name,
                 how == SERVER_WAITS_FOR_CLIENTS ? "clients have left"
                                                 : "server connections are free");
        server_wait_for(s, how);
        return;
    case SERVER_WAITS_FOR_SERVERS:
    case SERVER_WAITS_FOR_CLIENTS:
        log_info("got %s again, shutting down now", name);
        server_end(s, SERVER_SHUTDOWN_TEXT);
        return;
    case SERVER_ENDS:
        return;
    }
    unreachable();
}

static void on_term(struct loop_signal *sig)
{
    end_politely(server_of(sig), "SIGTERM", SERVER_WAITS_FOR_CLIENTS);
}

static void on_int(struct loop_signal *sig)
{
    end_politely(server_of(sig), "SIGINT", SERVER_WAITS_FOR_SERVERS);
}

static void on_quit(struct loop_signal *sig)
{
    log_info("got SIGQUIT, shutting down now");
    server_end(server_of(sig), SERVER_SHUTDOWN_TEXT);
}

static void on_usr1(struct loop_signal *sig)
{
    struct server *s = server_of(sig);

    if (s->state != SERVER_RUNS) {
        log_info("got SIGUSR1, but cannot pause now");
        return;
    }
    log_info("got SIGUSR1, pausing all databases");
    server_pause_all(s);
}

static void on_usr2(struct loop_signal *sig)
{
    struct server *s = server_of(sig);

    if (s->state != SERVER_RUNS && s->state != SERVER_SUSPENDED) {
        log_info("got SIGUSR2, but a shutdown is under way");
        return;
    }
    log_info("got SIGUSR2, resuming all databases");
    server_resume_all(s);
}

static const struct {
    int signo;
    loop_signal_fn fn;
} table[] = {
    {SIGHUP, on_hup},   {SIGTERM, on_term}, {SIGINT, on_int},
    {SIGQUIT, on_quit}, {SIGUSR1, on_usr1}, {SIGUSR2, on_usr2},
};

static void set_mask(int how)
{
    sigset_t set;

    (void)sigemptyset(&set); /* these cannot fail with numbers that exist */
    for (size_t i = 0; i < ARRAY_LEN(table); i++) {
        (void)sigaddset(&set, table[i].signo);
    }
    (void)sigdelset(&set, SIGQUIT); /* the way out of a start that hangs */
    (void)sigprocmask(how, &set, NULL);
}

void signals_hold(void)
{
    set_mask(SIG_BLOCK);
}

bool signals_start(struct server *s)
{
    struct signals *all = calloc(1, sizeof(*all));

    if (all == NULL) {
        return false;
    }
    fatal_unless(ARRAY_LEN(table) == ARRAY_LEN(all->watches));
    for (size_t i = 0; i < ARRAY_LEN(table); i++) {
        all->watches[i].server = s;
        loop_signal_start(s->loop, &all->watches[i].watcher, table[i].signo, table[i].fn);
    }
    s->signals = all;
    set_mask(SIG_UNBLOCK);
    return true;
}

void signals_stop(struct server *s)
{
    if (s->signals == NULL) {
        return;
    }
    signals_hold(); /* else one that comes now would end us with the wrong status */
    for (size_t i = 0; i < ARRAY_LEN(table); i++) {
        loop_signal_stop(s->loop, &s->signals->watches[i].watcher);
    }
    free(s->signals);
    s->signals = NULL;
}
