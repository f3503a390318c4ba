/* SPDX-License-Identifier: ISC */
/* Thousands of listeners and one who notifies, on one thread. It connects all, lets each LISTEN, then has the sender
 * notify round by round and takes the time until the last listener has all that is its own. Before each part it prints
 * a line and waits for one on its standard input, so that memory and CPU can be read in between. Prints key=value. */
#include "bench_util.h"

#include <errno.h>
#include <getopt.h>
#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <unistd.h>

#define N_EVENTS 1024
#define READ_BYTES 65536
#define STALL_US 60000000u
#define ROUNDS_MAX 10000
#define CONNECTING 64u

struct options {
    const char *host;
    unsigned port;
    const char *user;
    const char *database;
    unsigned clients;
    unsigned channels; /* that each listens to */
    bool own;          /* no two listen to the same */
    unsigned at_once;  /* LISTENs on their way at most */
    unsigned rounds;
    unsigned batch; /* notifications of a round, in one transaction; with own: one to each */
    pid_t pid;
};

struct peer {
    int fd;
    struct bytes in; /* the beginning of a message; mostly empty */
    bool is_ready;
};

struct load {
    struct options opt;
    int epoll_fd;
    struct peer *peers; /* the last one notifies */
    unsigned n_peers;
    unsigned n_opened;
    unsigned n_ready;
    uint64_t n_heard;
};

static const struct option longs[] = {
    {"host", required_argument, NULL, 'h'},    {"port", required_argument, NULL, 'p'},
    {"user", required_argument, NULL, 'U'},    {"database", required_argument, NULL, 'd'},
    {"clients", required_argument, NULL, 'c'}, {"channels", required_argument, NULL, 'k'},
    {"own", no_argument, NULL, 'o'},           {"at-once", required_argument, NULL, 'a'},
    {"rounds", required_argument, NULL, 'r'},  {"batch", required_argument, NULL, 'b'},
    {"pid", required_argument, NULL, 'P'},     {0}};

static void take_option(struct options *o, int opt)
{
    switch (opt) {
    case 'h':
        o->host = optarg;
        break;
    case 'p':
        o->port = (unsigned)number_arg("port", optarg, 65535);
        break;
    case 'U':
        o->user = optarg;
        break;
    case 'd':
        o->database = optarg;
        break;
    case 'c':
        o->clients = (unsigned)number_arg("clients", optarg, 60000);
        break;
    case 'k':
        o->channels = (unsigned)number_arg("channels", optarg, 1000);
        break;
    case 'o':
        o->own = true;
        break;
    case 'a':
        o->at_once = (unsigned)number_arg("at-once", optarg, 60000);
        break;
    case 'r':
        o->rounds = (unsigned)number_arg("rounds", optarg, ROUNDS_MAX);
        break;
    case 'b':
        o->batch = (unsigned)number_arg("batch", optarg, 1000000);
        break;
    case 'P':
        o->pid = (pid_t)number_arg("pid", optarg, INT32_MAX);
        break;
    default:
        die("usage: notifyload --host ADDRESS --port N [--user U] [--database D] [--clients N] "
            "[--channels N] [--own] [--at-once N] [--rounds N] [--batch N] [--pid N]");
    }
}

static void send_all(int fd, const struct bytes *b)
{
    size_t sent = 0;

    while (sent < b->len) { /* small, to sockets that are empty */
        ssize_t n = send(fd, b->data + sent, b->len - sent, MSG_NOSIGNAL);

        if (n > 0) {
            sent += (size_t)n;
        } else if (errno != EINTR && errno != EAGAIN) {
            die("send: %s", strerror(errno));
        }
    }
}

static void send_query(struct load *l, struct peer *p, const char *sql)
{
    struct bytes b = {0};
    size_t mark = msg_begin(&b, 'Q');

    bytes_put_cstr(&b, sql);
    msg_end(&b, mark);
    p->is_ready = false;
    l->n_ready--;
    send_all(p->fd, &b);
    bytes_done(&b);
}

static void send_startup(const struct load *l, const struct peer *p)
{
    struct bytes b = {0};
    size_t mark = msg_begin(&b, 0);

    bytes_put_u32(&b, PG_PROTOCOL_3);
    bytes_put_cstr(&b, "user");
    bytes_put_cstr(&b, l->opt.user);
    bytes_put_cstr(&b, "database");
    bytes_put_cstr(&b, l->opt.database);
    bytes_put_u8(&b, 0);
    msg_end(&b, mark);
    send_all(p->fd, &b);
    bytes_done(&b);
}

static void open_one(struct load *l)
{
    struct peer *p = &l->peers[l->n_opened];
    struct epoll_event e = {.events = EPOLLOUT, .data.ptr = p};

    p->fd = connect_to(l->opt.host, l->opt.port, l->n_opened / 16000);
    l->n_opened++;
    if (epoll_ctl(l->epoll_fd, EPOLL_CTL_ADD, p->fd, &e) != 0) {
        die("epoll_ctl: %s", strerror(errno));
    }
}

static void take_message(struct load *l, struct peer *p, const unsigned char *m, size_t len)
{
    switch (m[0]) {
    case 'A':
        l->n_heard++;
        return;
    case 'Z':
        p->is_ready = true;
        l->n_ready++;
        return;
    case 'E':
        for (size_t at = 5; at + 1 < len; at += strlen((const char *)m + at) + 1) {
            if (m[at] == 'M') {
                die("error of the server: %.300s", (const char *)m + at + 1);
            }
        }
        die("error of the server");
    default:
        return;
    }
}

static size_t take_messages(struct load *l, struct peer *p, const unsigned char *data, size_t len)
{
    size_t at = 0;

    while (len - at >= 5 && len - at >= get_u32(data + at + 1) + 1u) {
        size_t n = get_u32(data + at + 1) + 1u;

        take_message(l, p, data + at, n);
        at += n;
    }
    return at;
}

static void read_peer(struct load *l, struct peer *p)
{
    static unsigned char buffer[READ_BYTES];
    ssize_t n = recv(p->fd, buffer, sizeof buffer, 0);

    if (n == 0 || (n < 0 && errno != EAGAIN && errno != EINTR)) {
        die("a connection was closed: %s", n == 0 ? "end of file" : strerror(errno));
    }
    if (n < 0) {
        return;
    }
    if (bytes_left(&p->in) > 0) {
        bytes_put(&p->in, buffer, (size_t)n);
        bytes_take(&p->in, take_messages(l, p, p->in.data + p->in.pos, bytes_left(&p->in)));
    } else {
        size_t taken = take_messages(l, p, buffer, (size_t)n);

        bytes_put(&p->in, buffer + taken, (size_t)n - taken);
    }
}

static void turn(struct load *l)
{
    struct epoll_event events[N_EVENTS];
    int n = epoll_wait(l->epoll_fd, events, N_EVENTS, 1000);

    for (int i = 0; i < n; i++) {
        struct peer *p = events[i].data.ptr;

        if (events[i].events & EPOLLOUT) {
            struct epoll_event e = {.events = EPOLLIN, .data.ptr = p};

            send_startup(l, p);
            (void)epoll_ctl(l->epoll_fd, EPOLL_CTL_MOD, p->fd, &e);
        } else {
            read_peer(l, p);
        }
    }
}

/* Until so many are ready and so many notifications are there. */
static void run_until(struct load *l, unsigned n_ready, uint64_t n_heard)
{
    uint64_t last_us = now_us();
    uint64_t last = 0;

    while (l->n_ready < n_ready || l->n_heard < n_heard) {
        turn(l);
        if (l->n_ready + l->n_heard != last) {
            last = l->n_ready + l->n_heard;
            last_us = now_us();
        } else if (now_us() - last_us > STALL_US) {
            die("stalled: %u of %u ready, %" PRIu64 " of %" PRIu64 " notifications", l->n_ready,
                n_ready, l->n_heard, n_heard);
        }
    }
}

static void connect_all(struct load *l)
{
    while (l->n_opened < l->n_peers) {
        if (l->n_opened - l->n_ready < CONNECTING) {
            open_one(l);
        } else {
            turn(l);
        }
    }
    run_until(l, l->n_peers, 0);
    for (unsigned i = 0; i < l->n_peers; i++) { /* what a first query costs is not LISTEN's */
        while (l->n_peers - l->n_ready >= CONNECTING) {
            turn(l);
        }
        send_query(l, &l->peers[i], "SELECT 1");
    }
    run_until(l, l->n_peers, 0);
}

static void wait_for_go(const char *what)
{
    char line[64];

    (void)printf("%s=1\n", what);
    (void)fflush(stdout);
    if (fgets(line, sizeof line, stdin) == NULL) {
        exit(0); /* nobody wants the figures */
    }
}

static void listen_all(struct load *l)
{
    uint64_t begin_us = now_us();
    uint64_t begin_ns = l->opt.pid != 0 ? process_cpu_ns(l->opt.pid) : 0;
    struct bytes sql = {0};

    for (unsigned i = 0; i + 1 < l->n_peers; i++) {
        bytes_done(&sql);
        while (l->n_peers - l->n_ready >= l->opt.at_once) {
            turn(l);
        }
        for (unsigned k = 0; k < l->opt.channels; k++) {
            char one[64];
            int n = snprintf(one, sizeof one, "LISTEN c%u%s", l->opt.own ? i : k,
                             k + 1 < l->opt.channels ? ";" : "");

            bytes_put(&sql, one, (size_t)n);
        }
        bytes_put_u8(&sql, 0);
        send_query(l, &l->peers[i], (const char *)sql.data);
    }
    bytes_done(&sql);
    run_until(l, l->n_peers, 0);
    (void)printf("listen_us=%" PRIu64 "\n", now_us() - begin_us);
    if (l->opt.pid != 0) {
        (void)printf("listen_cpu_us=%" PRIu64 "\n", (process_cpu_ns(l->opt.pid) - begin_ns) / 1000);
    }
}

static int compare(const void *a, const void *b)
{
    uint64_t x = *(const uint64_t *)a;
    uint64_t y = *(const uint64_t *)b;

    return x < y ? -1 : x > y;
}

static void notify_all(struct load *l)
{
    static uint64_t took_us[ROUNDS_MAX];
    const struct options *o = &l->opt;
    uint64_t each = o->own ? o->clients : (uint64_t)o->clients * o->batch;
    uint64_t begin_ns = o->pid != 0 ? process_cpu_ns(o->pid) : 0;
    uint64_t all_us = 0;

    for (unsigned r = 0; r < o->rounds; r++) {
        uint64_t begin_us = now_us();
        char sql[160];

        (void)snprintf(
            sql, sizeof sql,
            "SELECT count(pg_notify('c' || %s, '%u ' || g)::text) FROM generate_series(0, %u) g",
            o->own ? "g" : "0", r, (o->own ? o->clients : o->batch) - 1);
        send_query(l, &l->peers[l->n_peers - 1], sql);
        run_until(l, l->n_peers, (r + 1) * each);
        took_us[r] = now_us() - begin_us;
        all_us += took_us[r];
    }
    if (l->n_heard != o->rounds * each) {
        die("%" PRIu64 " notifications instead of %" PRIu64, l->n_heard, o->rounds * each);
    }
    qsort(took_us, o->rounds, sizeof took_us[0], compare);
    (void)printf("last_us=%" PRIu64 "\nlast_most_us=%" PRIu64 "\n", took_us[o->rounds / 2],
                 took_us[o->rounds - 1]);
    (void)printf("deliveries=%" PRIu64 "\nper_s=%.0f\n", l->n_heard,
                 (double)l->n_heard * 1e6 / (double)(all_us > 0 ? all_us : 1));
    if (o->pid != 0) {
        (void)printf("cpu_us=%.3f\n",
                     (double)(process_cpu_ns(o->pid) - begin_ns) / 1e3 / o->rounds);
    }
}

int main(int argc, char **argv)
{
    static struct load l;
    int opt;

    l.opt = (struct options){.host = "127.0.0.1",
                             .port = 5432,
                             .user = "bench",
                             .database = "pg",
                             .clients = 1,
                             .channels = 1,
                             .at_once = 64,
                             .rounds = 20,
                             .batch = 1};
    while ((opt = getopt_long(argc, argv, "", longs, NULL)) != -1) {
        take_option(&l.opt, opt);
    }
    if (l.opt.clients == 0 || l.opt.channels == 0 || l.opt.at_once == 0 || l.opt.batch == 0) {
        die("--clients, --channels, --at-once and --batch must be at least 1");
    }
    (void)prctl(PR_SET_PDEATHSIG, SIGTERM); /* never outlives the bench, whatever ended it */
    raise_fd_limit();
    l.epoll_fd = epoll_create1(EPOLL_CLOEXEC);
    l.n_peers = l.opt.clients + 1;
    l.peers = calloc(l.n_peers, sizeof *l.peers);
    if (l.peers == NULL) {
        die("out of memory");
    }
    connect_all(&l);
    wait_for_go("ready");
    listen_all(&l);
    wait_for_go("listening");
    if (l.opt.rounds > 0) {
        notify_all(&l);
    }
    return 0;
}
