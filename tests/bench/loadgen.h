/* SPDX-License-Identifier: ISC */
/* The load generator's own picture: options, what one transaction is made of (work), the clients and the
 * figures. loadgen.c runs the phases, lg_client.c owns sockets, TLS, login and framing, lg_work.c builds
 * requests and decides when a transaction is over, lg_stats.c counts. One thread, so one struct lg that
 * everything gets passed. */
#ifndef BENCH_LOADGEN_H
#define BENCH_LOADGEN_H

#include "bench_scram.h"
#include "bench_util.h"

#include <openssl/ssl.h>

#define LG_PIDS 8
#define LG_STEPS 3
#define HIST_BUCKETS (64 * 40) /* 64 per power of two: within 1.6 % */

enum lg_mode {
    MODE_SIMPLE,
    MODE_EXTENDED,
    MODE_PREPARED,
    MODE_BEGIN,
    MODE_PIPELINE,
    MODE_CONNECT,
    MODE_BIG,
    MODE_COPYIN,
    MODE_COPYOUT,
    MODE_IDLE,
    MODE_FAIRNESS,
    MODE_NOTIFY,
    LG_MODES
};

enum lg_tls { TLS_OFF, TLS_ON, TLS_RESUME };

struct lg_options {
    enum lg_mode mode;
    enum lg_tls tls;
    const char *host; /* address, or folder of a Unix socket */
    unsigned port;
    const char *user;
    const char *database;
    const char *password;
    const char *query; /* NULL: the mode's own */
    unsigned n_clients;
    unsigned depth;      /* of a pipeline */
    unsigned connecting; /* logins at a time, while the clients come up */
    unsigned active;     /* transactions at a time; 0: all clients */
    uint64_t pause_us;   /* of a client between two transactions */
    uint64_t size;       /* bytes of a big result or COPY */
    uint64_t duration_us;
    uint64_t warmup_us;
    uint64_t count;      /* transactions; 0: by duration */
    bool hold;           /* say ready=1 after the warm-up and wait for a line on stdin */
    pid_t pids[LG_PIDS]; /* whose CPU time is taken */
    unsigned n_pids;
};

enum client_state {
    CL_NEW,
    CL_CONNECTING,
    CL_SSL_ANSWER,
    CL_HANDSHAKE,
    CL_LOGIN,
    CL_SETUP,
    CL_READY,
    CL_BUSY,
    CL_STATES
};

struct lg_client {
    int fd;
    enum client_state state;
    unsigned index;
    SSL *ssl;
    SSL_SESSION *session; /* last one the server gave, for TLS_RESUME */
    struct bytes out;     /* what met EAGAIN */
    bool want_write;
    unsigned char head[5]; /* of a message cut by the end of a read */
    unsigned n_head;
    struct bytes body; /* of a message we look into, cut likewise */
    size_t body_missing;
    size_t skip; /* bytes of a body nobody looks at */
    struct scram scram;
    unsigned step;
    unsigned ready_missing; /* ReadyForQuery still to come in this step */
    uint64_t copy_left;
    uint64_t started_us;
    uint64_t due_us; /* not before then is its next transaction */
    uint64_t done;   /* transactions in the measured time */
};

struct lg_step {
    struct bytes request;
    unsigned n_ready;
};

struct lg_work {
    struct lg_step setup; /* once after login; empty: none */
    struct lg_step steps[LG_STEPS];
    unsigned n_steps;
    unsigned per_pass; /* transactions one pass through the steps counts for */
    struct bytes startup;
    struct bytes copy_chunk;
};

struct lg_stats {
    uint64_t hist[HIST_BUCKETS];
    uint64_t n_latencies;
    uint64_t max_us;
    uint64_t transactions;
    uint64_t bytes;
    uint64_t deliveries;
    uint64_t resumed;
    uint64_t begin_us;
    uint64_t end_us;
    uint64_t begin_cpu_ns;
    uint64_t end_cpu_ns;
};

struct lg {
    struct lg_options opt;
    struct lg_work work;
    struct lg_stats stats;
    struct lg_client *clients;
    unsigned n_all; /* clients, and one more sender in MODE_NOTIFY */
    unsigned n_opened;
    unsigned n_ready; /* logged in and set up */
    unsigned n_busy;
    uint64_t started;       /* transactions begun, for --count */
    uint64_t round_missing; /* MODE_NOTIFY: deliveries to come */
    unsigned *rest;         /* a ring of clients that rest, lg_pace.c; NULL: nobody does */
    unsigned rest_at;
    unsigned n_rest;
    bool running; /* clients begin the next transaction by themselves */
    int epoll_fd;
    SSL_CTX *tls;
};

/* lg_client.c */
void tls_prepare(struct lg *lg);
void client_open(struct lg *lg, struct lg_client *c);
void client_close(struct lg *lg, struct lg_client *c);
void client_event(struct lg *lg, struct lg_client *c, uint32_t events);
void client_send(struct lg *lg, struct lg_client *c, const void *data, size_t len);

/* lg_pace.c */
void pace_prepare(struct lg *lg);
bool pace_is_on(const struct lg *lg);
void pace_rest(struct lg *lg, struct lg_client *c);
struct lg_client *pace_next(struct lg *lg); /* whose turn it is; NULL: nobody's yet */
uint64_t pace_until_us(const struct lg *lg,
                       uint64_t until_us); /* when somebody's turn may come, at most @until_us */

/* lg_work.c */
void work_build(struct lg *lg);
void work_start_all(struct lg *lg);
void work_start_rested(struct lg *lg);
void work_logged_in(struct lg *lg, struct lg_client *c);
void work_ready_for_query(struct lg *lg, struct lg_client *c);
void work_copy_pump(struct lg *lg, struct lg_client *c);
void work_notification(struct lg *lg, struct lg_client *c);

/* lg_stats.c */
void stats_begin(struct lg *lg);
void stats_end(struct lg *lg);
void stats_latency(struct lg_stats *s, uint64_t us);
void stats_print(const struct lg *lg);

#endif
