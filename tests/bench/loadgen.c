/* SPDX-License-Identifier: ISC */
/* An event-driven PostgreSQL load generator: N clients in a closed loop, one thread. It prints key=value
 * lines, and takes the CPU time of the processes named by --pid over exactly the measured time.
 * An error of the server ends the run: a bench of failures is none. README.md names the modes. */
#include "loadgen.h"

#include <errno.h>
#include <getopt.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/prctl.h>
#include <unistd.h>

#define N_EVENTS 512
#define STALL_US 30000000u

static volatile sig_atomic_t ended_early;

static void end_early(int sig)
{
    (void)sig;
    ended_early = 1;
}

static const char *const mode_names[LG_MODES] = {"simple",   "extended", "prepared", "begin",
                                                 "pipeline", "connect",  "big",      "copyin",
                                                 "copyout",  "idle",     "fairness", "notify"};

static const struct option longs[] = {{"mode", required_argument, NULL, 'm'},
                                      {"clients", required_argument, NULL, 'c'},
                                      {"host", required_argument, NULL, 'h'},
                                      {"port", required_argument, NULL, 'p'},
                                      {"user", required_argument, NULL, 'U'},
                                      {"database", required_argument, NULL, 'd'},
                                      {"password", required_argument, NULL, 'W'},
                                      {"query", required_argument, NULL, 'q'},
                                      {"depth", required_argument, NULL, 'D'},
                                      {"size", required_argument, NULL, 's'},
                                      {"duration", required_argument, NULL, 't'},
                                      {"warmup", required_argument, NULL, 'w'},
                                      {"count", required_argument, NULL, 'n'},
                                      {"connecting", required_argument, NULL, 'C'},
                                      {"tls", no_argument, NULL, 'T'},
                                      {"tls-resume", no_argument, NULL, 'R'},
                                      {"active", required_argument, NULL, 'a'},
                                      {"pause", required_argument, NULL, 'z'},
                                      {"hold", no_argument, NULL, 'H'},
                                      {"pid", required_argument, NULL, 'P'},
                                      {0}};

static enum lg_mode mode_of(const char *name)
{
    unsigned i;

    for (i = 0; i < LG_MODES; i++) {
        if (strcmp(mode_names[i], name) == 0) {
            return (enum lg_mode)i;
        }
    }
    die("--mode: unknown: %s", name);
}

static uint64_t milliseconds_arg(const char *name, const char *text)
{
    return number_arg(name, text, 3600000) * 1000u;
}

/* One flat switch, a line an option. */
static void take_option(struct lg_options *o, int opt, const char *arg)
{
    switch (opt) {
    case 'm':
        o->mode = mode_of(arg);
        break;
    case 'c':
        o->n_clients = (unsigned)number_arg("clients", arg, 60000);
        break;
    case 'h':
        o->host = arg;
        break;
    case 'p':
        o->port = (unsigned)number_arg("port", arg, 65535);
        break;
    case 'U':
        o->user = arg;
        break;
    case 'd':
        o->database = arg;
        break;
    case 'W':
        o->password = arg;
        break;
    case 'q':
        o->query = arg;
        break;
    case 'D':
        o->depth = (unsigned)number_arg("depth", arg, 1000);
        break;
    case 's':
        o->size = number_arg("size", arg, 1ull << 40);
        break;
    case 't':
        o->duration_us = milliseconds_arg("duration", arg);
        break;
    case 'w':
        o->warmup_us = milliseconds_arg("warmup", arg);
        break;
    case 'n':
        o->count = number_arg("count", arg, UINT32_MAX);
        break;
    case 'C':
        o->connecting = (unsigned)number_arg("connecting", arg, 60000);
        break;
    case 'a':
        o->active = (unsigned)number_arg("active", arg, 60000);
        break;
    case 'z':
        o->pause_us = milliseconds_arg("pause", arg);
        break;
    case 'T':
        o->tls = TLS_ON;
        break;
    case 'R':
        o->tls = TLS_RESUME;
        break;
    case 'H':
        o->hold = true;
        break;
    case 'P':
        if (o->n_pids == LG_PIDS) {
            die("--pid: at most %d", LG_PIDS);
        }
        o->pids[o->n_pids++] = (pid_t)number_arg("pid", arg, INT32_MAX);
        break;
    default:
        die("usage: loadgen --mode M --clients N --host ADDRESS|FOLDER --port N [--database D] "
            "[--user U] [--password W]\n  [--duration MS | --count N] [--warmup MS] [--query SQL] "
            "[--depth N] [--size BYTES] [--tls | --tls-resume]\n  [--hold] [--pid N]... "
            "[--connecting N] [--active N] [--pause MS]; SIGINT ends the measured time early");
    }
}

static void take_options(struct lg_options *o, int argc, char **argv)
{
    int opt;

    *o = (struct lg_options){.host = "127.0.0.1",
                             .port = 5432,
                             .user = "bench",
                             .database = "bench",
                             .password = "bench",
                             .n_clients = 1,
                             .depth = 16,
                             .connecting = 32,
                             .size = 50000000,
                             .duration_us = 1000000};
    while ((opt = getopt_long(argc, argv, "", longs, NULL)) != -1) {
        take_option(o, opt, optarg);
    }
    if (o->n_clients == 0 || o->depth == 0 || o->connecting == 0) {
        die("--clients, --depth and --connecting must be at least 1");
    }
}

/* One wait and all that it brought; @until_us bounds the wait. */
static void turn(struct lg *lg, uint64_t until_us)
{
    struct epoll_event events[N_EVENTS];
    uint64_t now = now_us();
    uint64_t left;
    int i, n;

    until_us = pace_until_us(lg, until_us);
    left = until_us > now ? until_us - now : 0;

    n = epoll_wait(lg->epoll_fd, events, N_EVENTS, (int)((left + 999) / 1000));
    for (i = 0; i < n; i++) {
        client_event(lg, events[i].data.ptr, events[i].events);
    }
    work_start_rested(lg);
}

static void connect_all(struct lg *lg)
{
    uint64_t last_us = now_us();
    unsigned last = 0;

    while (lg->n_ready < lg->n_all) {
        while (lg->n_opened < lg->n_all && lg->n_opened - lg->n_ready < lg->opt.connecting) {
            client_open(lg, &lg->clients[lg->n_opened++]);
        }
        turn(lg, now_us() + 1000000);
        if (lg->n_ready > last) {
            last = lg->n_ready;
            last_us = now_us();
        } else if (now_us() - last_us > STALL_US) {
            die("stalled: %u of %u clients logged in", lg->n_ready, lg->n_all);
        }
    }
}

/* Until the time is over or nothing is in flight, whichever the run is bound by. */
static void run_until(struct lg *lg, uint64_t until_us)
{
    uint64_t done = lg->stats.transactions, moved = lg->stats.bytes, last_us = now_us(), now;

    while ((now = now_us()) < until_us && !ended_early &&
           (lg->opt.mode == MODE_IDLE || lg->n_busy > 0 || (lg->running && lg->n_rest > 0))) {
        turn(lg, until_us < now + 1000000 ? until_us : now + 1000000);
        if (lg->stats.transactions != done || lg->stats.bytes != moved ||
            lg->opt.mode == MODE_IDLE) {
            done = lg->stats.transactions;
            moved = lg->stats.bytes;
            last_us = now;
        } else if (now - last_us > STALL_US) {
            die("stalled: no transaction ended for %u s, %u in flight", STALL_US / 1000000u,
                lg->n_busy);
        }
    }
}

static void wait_for_go(void)
{
    char line[64];

    (void)printf("ready=1\n");
    (void)fflush(stdout);
    if (fgets(line, sizeof line, stdin) == NULL) {
        exit(0); /* nobody wants the figures */
    }
}

static void warm_up(struct lg *lg)
{
    uint64_t count = lg->opt.count;

    lg->opt.count = 0;
    work_start_all(lg);
    if (lg->opt.warmup_us == 0 && (lg->opt.hold || count > 0)) {
        lg->running = false;
    }
    run_until(lg, now_us() + lg->opt.warmup_us);
    lg->opt.count = count;
    if (lg->opt.hold || count > 0) { /* come to rest, so that what follows is counted exactly */
        lg->running = false;
        run_until(lg, UINT64_MAX);
    }
}

static void measure(struct lg *lg)
{
    stats_begin(lg);
    if (lg->opt.mode != MODE_IDLE && !lg->running) {
        work_start_all(lg);
    }
    run_until(lg, lg->opt.count > 0 ? UINT64_MAX : lg->stats.begin_us + lg->opt.duration_us);
    stats_end(lg);
}

int main(int argc, char **argv)
{
    static struct lg lg;
    unsigned i;

    take_options(&lg.opt, argc, argv);
    (void)prctl(PR_SET_PDEATHSIG, SIGTERM); /* never outlives the bench, whatever ended it */
    (void)signal(SIGPIPE, SIG_IGN);
    (void)signal(SIGINT, end_early);
    raise_fd_limit();
    lg.epoll_fd = epoll_create1(EPOLL_CLOEXEC);
    if (lg.opt.tls != TLS_OFF) {
        tls_prepare(&lg);
    }
    work_build(&lg);
    lg.n_all = lg.opt.n_clients + (lg.opt.mode == MODE_NOTIFY ? 1 : 0);
    lg.clients = calloc(lg.n_all, sizeof *lg.clients);
    if (lg.clients == NULL) {
        die("out of memory");
    }
    for (i = 0; i < lg.n_all; i++) {
        lg.clients[i].index = i;
        lg.clients[i].fd = -1;
    }
    pace_prepare(&lg);
    if (lg.opt.mode != MODE_CONNECT) {
        connect_all(&lg);
    }
    if (lg.opt.mode != MODE_IDLE) {
        warm_up(&lg);
    }
    if (lg.opt.hold) {
        wait_for_go();
    }
    measure(&lg);
    stats_print(&lg);
    return 0;
}
