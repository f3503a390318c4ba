/* SPDX-License-Identifier: ISC */
#include "loadgen.h"

#include <stdio.h>
#include <string.h>

#define COPY_MESSAGE 8192u /* as psql's \copy sends */
#define COPY_MESSAGES 8u
#define STATEMENT "bench_stmt"

/* Requests, built once and sent as they are by every client. */

static void put_query(struct bytes *b, const char *text)
{
    size_t mark = msg_begin(b, 'Q');

    bytes_put_cstr(b, text);
    msg_end(b, mark);
}

static void put_parse(struct bytes *b, const char *name, const char *text)
{
    size_t mark = msg_begin(b, 'P');

    bytes_put_cstr(b, name);
    bytes_put_cstr(b, text);
    bytes_put_u16(b, 0);
    msg_end(b, mark);
}

static void put_bind_to_execute(struct bytes *b, const char *statement)
{
    size_t mark = msg_begin(b, 'B');

    bytes_put_cstr(b, "");
    bytes_put_cstr(b, statement);
    bytes_put_u16(b, 0);
    bytes_put_u16(b, 0);
    bytes_put_u16(b, 0);
    msg_end(b, mark);
    mark = msg_begin(b, 'D');
    bytes_put_u8(b, 'P');
    bytes_put_cstr(b, "");
    msg_end(b, mark);
    mark = msg_begin(b, 'E');
    bytes_put_cstr(b, "");
    bytes_put_u32(b, 0);
    msg_end(b, mark);
}

static void put_sync(struct bytes *b)
{
    msg_end(b, msg_begin(b, 'S'));
}

static struct lg_step *add_step(struct lg_work *w)
{
    struct lg_step *step = &w->steps[w->n_steps++];

    step->n_ready = 1;
    return step;
}

static void build_startup(struct lg *lg)
{
    struct bytes *b = &lg->work.startup;
    size_t mark = msg_begin(b, 0);

    bytes_put_u32(b, PG_PROTOCOL_3);
    bytes_put_cstr(b, "user");
    bytes_put_cstr(b, lg->opt.user);
    bytes_put_cstr(b, "database");
    bytes_put_cstr(b, lg->opt.database);
    bytes_put_u8(b, 0);
    msg_end(b, mark);
}

static void build_copy_chunk(struct bytes *b)
{
    unsigned char line[COPY_MESSAGE];
    unsigned i;

    memset(line, 'x', sizeof line);
    line[sizeof line - 1] = '\n';
    for (i = 0; i < COPY_MESSAGES; i++) {
        size_t mark = msg_begin(b, 'd');

        bytes_put(b, line, sizeof line);
        msg_end(b, mark);
    }
}

static void build_extended(struct lg *lg, const char *query)
{
    struct lg_step *step = add_step(&lg->work);
    unsigned passes = lg->opt.mode == MODE_PIPELINE ? lg->opt.depth : 1;
    bool named = lg->opt.mode == MODE_PREPARED;
    unsigned i;

    step->n_ready = passes;
    lg->work.per_pass = passes;
    if (named) {
        put_parse(&lg->work.setup.request, STATEMENT, query);
        put_sync(&lg->work.setup.request);
    }
    for (i = 0; i < passes; i++) {
        if (!named) {
            put_parse(&step->request, "", query);
        }
        put_bind_to_execute(&step->request, named ? STATEMENT : "");
        put_sync(&step->request);
    }
}

static void build_sized(struct lg *lg, const char *format)
{
    char text[128];

    (void)snprintf(text, sizeof text, format, (unsigned long long)lg->opt.size);
    put_query(&add_step(&lg->work)->request, text);
}

void work_build(struct lg *lg)
{
    struct lg_work *w = &lg->work;
    const char *query = lg->opt.query != NULL ? lg->opt.query : "SELECT 1";

    build_startup(lg);
    w->setup.n_ready = 1;
    w->per_pass = 1;
    switch (lg->opt.mode) {
    case MODE_SIMPLE:
    case MODE_CONNECT:
        put_query(&add_step(w)->request, query);
        break;
    case MODE_FAIRNESS:
        put_query(&add_step(w)->request, lg->opt.query != NULL ? query : "DELAY 1000");
        break;
    case MODE_EXTENDED:
    case MODE_PREPARED:
    case MODE_PIPELINE:
        build_extended(lg, query);
        break;
    case MODE_BEGIN:
        put_query(&add_step(w)->request, "BEGIN");
        put_query(&add_step(w)->request, query);
        put_query(&add_step(w)->request, "COMMIT");
        break;
    case MODE_BIG:
        build_sized(lg, "BIG %llu");
        break;
    case MODE_COPYOUT:
        build_sized(lg, "COPY bench TO STDOUT /* %llu */");
        break;
    case MODE_COPYIN:
        put_query(&add_step(w)->request, "COPY bench FROM STDIN");
        build_copy_chunk(&w->copy_chunk);
        break;
    case MODE_IDLE:
        if (lg->opt.query != NULL) {
            put_query(&w->setup.request, query);
        }
        break;
    case MODE_NOTIFY:
        put_query(&w->setup.request, "LISTEN bench_channel");
        put_query(&add_step(w)->request, "NOTIFY bench_channel, 'payload'");
        break;
    case LG_MODES:
        break;
    }
}

/* Transactions. */

static bool is_sender(const struct lg *lg, const struct lg_client *c)
{
    return c->index == lg->opt.n_clients;
}

static void send_step(struct lg *lg, struct lg_client *c, const struct lg_step *step)
{
    c->ready_missing = step->n_ready;
    client_send(lg, c, step->request.data, step->request.len);
}

static bool may_start(const struct lg *lg)
{
    return lg->running && (lg->opt.count == 0 || lg->started < lg->opt.count);
}

/* From rest: the client is READY, or NEW where each transaction has its own connection. */
static void start(struct lg *lg, struct lg_client *c)
{
    lg->started += lg->work.per_pass;
    lg->n_busy++;
    c->started_us = now_us();
    c->step = 0;
    if (lg->opt.mode == MODE_CONNECT) {
        client_open(lg, c);
        return;
    }
    c->state = CL_BUSY;
    lg->round_missing = lg->opt.n_clients;
    send_step(lg, c, &lg->work.steps[0]);
}

static void finish(struct lg *lg, struct lg_client *c)
{
    stats_latency(&lg->stats, now_us() - c->started_us);
    lg->stats.transactions += lg->work.per_pass;
    c->done += lg->work.per_pass;
    lg->n_busy--;
    if (lg->opt.mode == MODE_CONNECT) {
        client_close(lg, c);
    } else {
        c->state = CL_READY;
    }
    if (pace_is_on(lg)) {
        pace_rest(lg, c);
        work_start_rested(lg);
    } else if (may_start(lg)) {
        start(lg, c);
    }
}

void work_start_rested(struct lg *lg)
{
    struct lg_client *c;

    while (may_start(lg) && (c = pace_next(lg)) != NULL) {
        start(lg, c);
    }
}

void work_start_all(struct lg *lg)
{
    unsigned i = lg->opt.mode == MODE_NOTIFY ? lg->opt.n_clients : 0;

    lg->running = true;
    lg->started = 0;
    if (pace_is_on(lg)) {
        for (unsigned at = lg->n_rest == 0 && lg->n_busy == 0 ? 0 : lg->n_all; at < lg->n_all;
             at++) {
            pace_rest(lg, &lg->clients[at]);
        }
        work_start_rested(lg);
        return;
    }
    for (; i < lg->n_all && may_start(lg); i++) {
        start(lg, &lg->clients[i]);
    }
}

void work_logged_in(struct lg *lg, struct lg_client *c)
{
    if (lg->opt.mode == MODE_CONNECT) {
        c->state = CL_BUSY;
        send_step(lg, c, &lg->work.steps[0]);
    } else if (lg->work.setup.request.len > 0 && !is_sender(lg, c)) {
        c->state = CL_SETUP;
        send_step(lg, c, &lg->work.setup);
    } else {
        c->state = CL_READY;
        lg->n_ready++;
    }
}

void work_ready_for_query(struct lg *lg, struct lg_client *c)
{
    if (c->ready_missing == 0) {
        die("client %u: ReadyForQuery without a request", c->index);
    }
    if (--c->ready_missing > 0) {
        return;
    }
    if (c->state == CL_SETUP) {
        c->state = CL_READY;
        lg->n_ready++;
        return;
    }
    c->step++;
    if (c->step < lg->work.n_steps) {
        send_step(lg, c, &lg->work.steps[c->step]);
    } else if (lg->opt.mode != MODE_NOTIFY || lg->round_missing == 0) {
        finish(lg, c);
    }
}

/* Sends what the socket takes; called again when it takes more. */
void work_copy_pump(struct lg *lg, struct lg_client *c)
{
    const struct bytes *chunk = &lg->work.copy_chunk;

    while (c->copy_left > 0 && bytes_left(&c->out) == 0) {
        uint64_t n = COPY_MESSAGE * COPY_MESSAGES;

        client_send(lg, c, chunk->data, chunk->len);
        lg->stats.bytes += n;
        c->copy_left -= n < c->copy_left ? n : c->copy_left;
        if (c->copy_left == 0) {
            client_send(lg, c, "c\0\0\0\4", 5);
        }
    }
}

void work_notification(struct lg *lg, struct lg_client *c)
{
    struct lg_client *sender = &lg->clients[lg->opt.n_clients];

    if (lg->opt.mode != MODE_NOTIFY) {
        die("client %u: a notification nobody asked for", c->index);
    }
    lg->stats.deliveries++;
    if (lg->round_missing > 0) {
        lg->round_missing--;
    }
    if (lg->round_missing == 0 && sender->state == CL_BUSY && sender->ready_missing == 0) {
        finish(lg, sender);
    }
}
