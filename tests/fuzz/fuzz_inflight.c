/* SPDX-License-Identifier: ISC */
/* The memory of what is in flight, in two ways. The first byte of the input chooses.
 *
 * Dialogue: requests go to a small server that does what PostgreSQL 15 does (errors, skipping, COPY, Syncs that a COPY
 * ignores), answers come back late. Each answer must find the request it belongs to, none is absurd, and once all is
 * answered nothing is outstanding.
 * Noise: any request, any answer. Only what always holds is looked at. */
#include "daemon/util/fatal.h"
#include "pool/inflight.h"

#include <stdlib.h>
#include <string.h>

#define QUEUE_MAX 4096U
#define COPY_DATA INFLIGHT_KINDS /* not a request, yet something to read */

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

struct message {
    uint8_t what;  /* kind of a request, type of an answer */
    bool is_local; /* a request that was never sent */
    uint32_t id;   /* of the request; 0: belongs to none */
};

struct queue {
    struct message items[QUEUE_MAX];
    unsigned first;
    unsigned end;
};

struct play {
    struct inflight f;
    struct prepared *prepared;
    const uint8_t *data;
    const uint8_t *end;
    struct queue to_server;
    struct queue to_client;
    uint32_t last_id;
    /* the server */
    bool skips;
    bool copies;
    bool copy_has_read;
    struct message running; /* what the COPY is part of */
    bool is_over; /* the server has ended the connection, or nothing can be said any more */
};

static void put(struct queue *q, struct message m)
{
    if (q->end < QUEUE_MAX) {
        q->items[q->end++] = m;
    }
}

static bool has_room(const struct queue *q)
{
    return QUEUE_MAX - q->end > 32;
}

static unsigned draw(struct play *p, unsigned n)
{
    return p->data < p->end ? *p->data++ % n : 0;
}

static void check_state(const struct play *p)
{
    const struct inflight_entry *head = inflight_head(&p->f);

    fatal_unless((head == NULL) == inflight_is_empty(&p->f));
    fatal_unless(head == NULL || head->kind != INFLIGHT_COPY_END);
    fatal_unless(!inflight_is_skipping(&p->f) || inflight_is_empty(&p->f));
    fatal_unless(!p->f.copy_in || (head != NULL && (head->kind == INFLIGHT_QUERY ||
                                                    head->kind == INFLIGHT_EXECUTE)));
    fatal_unless(p->f.n <= p->f.cap && p->f.head < p->f.cap);
}

static void settle(struct play *p)
{
    const struct inflight_entry *head;

    while ((head = inflight_head(&p->f)) != NULL && head->origin == INFLIGHT_ANSWERED) {
        inflight_pop(&p->f);
    }
}

static void on_void(void *arg, const struct inflight_entry *e)
{
    struct play *p = arg;

    fatal_unless(e->kind != INFLIGHT_SYNC && (e->prepared == NULL || e->prepared == p->prepared));
}

/* --- the server --- */

static void answer(struct play *p, const char *types)
{
    for (; *types != '\0'; types++) {
        put(&p->to_client, (struct message){.what = (uint8_t)*types, .id = p->running.id});
    }
}

static void fail(struct play *p)
{
    answer(p, "E");
    p->copies = false;
    if (p->running.what == INFLIGHT_QUERY || p->running.what == INFLIGHT_FUNCTION ||
        p->running.what == INFLIGHT_SYNC) {
        answer(p, "Z");
    } else {
        p->skips = true;
    }
}

static void begin_copy(struct play *p)
{
    answer(p, "G");
    p->copies = true;
    p->copy_has_read = false;
}

/* The statements of a query, or those that are left of it. */
static void run_query(struct play *p)
{
    for (unsigned i = 0; i < 6; i++) {
        switch (draw(p, 8)) {
        case 0:
            answer(p, "Z");
            return;
        case 1:
            fail(p);
            return;
        case 2:
        case 3:
            begin_copy(p);
            return;
        case 4:
            answer(p, "TDDC");
            break;
        case 5:
            answer(p, "HddcC");
            break;
        case 6:
            answer(p, "I");
            break;
        default:
            answer(p, "C");
            break;
        }
    }
    answer(p, "Z");
}

static void run_execute(struct play *p)
{
    static const char *const answers[] = {"DDC", "C", "I", "Ds", "HdcC", "E", "G", "G"};
    const char *a = answers[draw(p, ARRAY_LEN(answers))];

    if (*a == 'E') {
        fail(p);
    } else if (*a == 'G') {
        begin_copy(p);
    } else {
        answer(p, a);
    }
}

static void go_on_copying(struct play *p)
{
    struct message m;

    if (!p->copy_has_read && draw(p, 8) == 1) { /* "cannot copy to view" */
        fail(p);
        return;
    }
    if (p->to_server.first == p->to_server.end) {
        return;
    }
    m = p->to_server.items[p->to_server.first++];
    p->copy_has_read = true;
    if (m.what == INFLIGHT_SYNC) {
        return;
    }
    if (m.is_local || (m.what != COPY_DATA && m.what != INFLIGHT_COPY_END)) {
        p->is_over = true; /* protocol synchronization was lost */
        return;
    }
    if (draw(p, 4) == 1) { /* wrong data, or CopyFail */
        fail(p);
        return;
    }
    if (m.what == INFLIGHT_COPY_END) {
        p->copies = false;
        answer(p, "C");
        if (p->running.what == INFLIGHT_QUERY) {
            run_query(p);
        }
    }
}

static void answer_or_fail(struct play *p, const char *types)
{
    if (draw(p, 6) == 1) {
        fail(p);
    } else {
        answer(p, types);
    }
}

static void serve(struct play *p)
{
    if (p->copies) {
        go_on_copying(p);
        return;
    }
    if (p->to_server.first == p->to_server.end) {
        return;
    }
    p->running = p->to_server.items[p->to_server.first++];
    if (p->running.is_local || (p->skips && p->running.what != INFLIGHT_SYNC)) {
        return;
    }
    switch (p->running.what) {
    case INFLIGHT_QUERY:
        run_query(p);
        break;
    case INFLIGHT_FUNCTION:
        answer_or_fail(p, "VZ");
        break;
    case INFLIGHT_SYNC:
        p->skips = false;
        answer_or_fail(p, "Z");
        break;
    case INFLIGHT_PARSE:
        answer_or_fail(p, "1");
        break;
    case INFLIGHT_BIND:
        answer_or_fail(p, "2");
        break;
    case INFLIGHT_DESCRIBE_STATEMENT:
        answer_or_fail(p, draw(p, 2) == 0 ? "tT" : "tn");
        break;
    case INFLIGHT_DESCRIBE_PORTAL:
        answer_or_fail(p, draw(p, 2) == 0 ? "T" : "n");
        break;
    case INFLIGHT_EXECUTE:
        run_execute(p);
        break;
    case INFLIGHT_CLOSE:
        answer_or_fail(p, "3");
        break;
    default: /* CopyData, CopyDone, CopyFail: ignored */
        break;
    }
}

/* --- the client and the pooler between --- */

static void request(struct play *p)
{
    unsigned kind = draw(p, COPY_DATA + 1);
    enum inflight_origin origin = INFLIGHT_OF_CLIENT;
    struct message m = {.what = (uint8_t)kind, .id = ++p->last_id};

    if (kind == INFLIGHT_PARSE || kind == INFLIGHT_CLOSE) {
        m.is_local = draw(p, 4) == 1;
        origin = m.is_local ? INFLIGHT_ANSWERED : INFLIGHT_INJECTED;
    }
    if (kind != COPY_DATA) {
        fatal_unless(inflight_push(
            &p->f, (enum inflight_kind)kind, origin,
            kind == INFLIGHT_PARSE || kind == INFLIGHT_CLOSE ? p->prepared : NULL, m.id));
    }
    put(&p->to_server, m);
    settle(p);
}

static void deliver(struct play *p)
{
    struct message m;
    const struct inflight_entry *head;

    if (p->to_client.first == p->to_client.end) {
        return;
    }
    m = p->to_client.items[p->to_client.first++];
    switch (inflight_step(&p->f, m.what)) {
    case INFLIGHT_GOES_ON:
    case INFLIGHT_COMPLETES:
    case INFLIGHT_FAILS:
        break;
    case INFLIGHT_NONE:
    case INFLIGHT_ABSURD:
        fatal_bug(__FILE__, __LINE__, "an answer that belongs to nothing");
    }
    head = inflight_head(&p->f);
    fatal_unless(head->server_id == m.id);
    if (m.what == 'E') {
        inflight_fail(&p->f, on_void, p);
    } else if (strchr("Z123ns", m.what) != NULL ||
               (m.what == 'T' && head->kind != INFLIGHT_QUERY) ||
               (strchr("CI", m.what) != NULL && head->kind == INFLIGHT_EXECUTE)) {
        inflight_pop(&p->f);
    }
    settle(p);
    p->is_over = p->is_over || inflight_is_doubtful(&p->f);
}

static void play_dialogue(struct play *p)
{
    while (p->data < p->end && !p->is_over && has_room(&p->to_server) && has_room(&p->to_client)) {
        switch (draw(p, 4)) {
        case 0:
        case 1:
            request(p);
            break;
        case 2:
            serve(p);
            break;
        default:
            deliver(p);
            break;
        }
        check_state(p);
    }
    /* Let everything come to its end. */
    while (!p->is_over && has_room(&p->to_client) && p->to_server.first < p->to_server.end) {
        serve(p);
    }
    while (!p->is_over && p->to_client.first < p->to_client.end) {
        deliver(p);
        check_state(p);
    }
    if (!p->is_over && has_room(&p->to_client)) {
        fatal_unless(inflight_is_empty(&p->f) != p->copies);
        fatal_unless(p->f.copy_in == p->copies && inflight_is_skipping(&p->f) == p->skips);
    }
}

static void make_noise(struct play *p)
{
    while (p->data < p->end) {
        uint32_t n = p->f.n;
        unsigned what = draw(p, 256);

        if (what < 128) {
            fatal_unless(inflight_push(&p->f, (enum inflight_kind)(what % INFLIGHT_KINDS),
                                       (enum inflight_origin)(what % 4),
                                       what % 3 == 0 ? p->prepared : NULL, what));
            fatal_unless(p->f.n == n || p->f.n == n + 1);
        } else {
            switch (inflight_step(&p->f, (uint8_t)draw(p, 128))) {
            case INFLIGHT_COMPLETES:
                inflight_pop(&p->f);
                fatal_unless(p->f.n < n);
                break;
            case INFLIGHT_FAILS:
                inflight_fail(&p->f, on_void, p);
                break;
            case INFLIGHT_GOES_ON:
            case INFLIGHT_NONE:
            case INFLIGHT_ABSURD:
                break;
            }
            fatal_unless(p->f.n <= n);
        }
        check_state(p);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static struct play p;
    struct stmt_table *t = stmt_table_new();
    struct stmt *stmt = stmt_intern(t, "select 1\0\0", 11);

    p.prepared = prepared_new("s", stmt);
    p.data = data;
    p.end = data + size;
    p.to_server.first = p.to_server.end = p.to_client.first = p.to_client.end = 0;
    p.last_id = 0;
    p.skips = p.copies = p.copy_has_read = p.is_over = false;
    inflight_init(&p.f);
    if (draw(&p, 4) == 3) {
        make_noise(&p);
    } else {
        play_dialogue(&p);
    }
    inflight_done(&p.f);
    fatal_unless(p.prepared->refs == 1);
    (void)prepared_unref(p.prepared);
    (void)stmt_unref(stmt);
    (void)stmt_table_free(t);
    return 0;
}
