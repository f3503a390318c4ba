/* SPDX-License-Identifier: ISC */
#include "null_session.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define ROW_BYTES 1024u            /* body of a big result's row */
#define BIG_HIGH_MARK (256u << 10) /* a big result pauses while this much is unsent */
#define MESSAGE_MAX (16u << 20)

static const char *const parameters[][2] = {
    {"server_version", "15.0 (null)"},
    {"server_encoding", "UTF8"},
    {"client_encoding", "UTF8"},
    {"DateStyle", "ISO, MDY"},
    {"TimeZone", "UTC"},
    {"IntervalStyle", "postgres"},
    {"integer_datetimes", "on"},
    {"is_superuser", "off"},
    {"session_authorization", "bench"},
    {"application_name", ""},
    {"in_hot_standby", "off"},
    {"default_transaction_read_only", "off"},
    {"standard_conforming_strings", "on"},
};

void session_init(struct session *s, uint32_t pid, const char *scram_password,
                  const struct session_hooks *hooks)
{
    *s = (struct session){.phase = SESSION_STARTUP,
                          .pid = pid,
                          .key = pid * 2654435761u,
                          .scram_password = scram_password,
                          .hooks = hooks,
                          .status = 'I'};
}

void session_done(struct session *s)
{
    bytes_done(&s->in);
    bytes_done(&s->out);
    free(s->names);
    s->names = NULL;
}

bool session_is_blocked(const struct session *s)
{
    return s->wake_us != 0 || s->big_left > 0;
}

bool session_listens(const struct session *s, const char *channel)
{
    unsigned i;

    for (i = 0; i < s->n_channels; i++) {
        if (strcmp(s->channels[i], channel) == 0) {
            return true;
        }
    }
    return false;
}

/* Answers. */

static void put_empty(struct session *s, char type)
{
    msg_end(&s->out, msg_begin(&s->out, type));
}

static void put_ready(struct session *s)
{
    size_t mark = msg_begin(&s->out, 'Z');

    bytes_put(&s->out, &s->status, 1);
    msg_end(&s->out, mark);
}

static void put_complete(struct session *s, const char *tag)
{
    size_t mark = msg_begin(&s->out, 'C');

    bytes_put_cstr(&s->out, tag);
    msg_end(&s->out, mark);
}

static void put_error(struct session *s, const char *sqlstate, const char *text)
{
    size_t mark = msg_begin(&s->out, 'E');

    bytes_put_cstr(&s->out, "SERROR");
    bytes_put_cstr(&s->out, "VERROR");
    bytes_put_u8(&s->out, 'C');
    bytes_put_cstr(&s->out, sqlstate);
    bytes_put_u8(&s->out, 'M');
    bytes_put_cstr(&s->out, text);
    bytes_put_u8(&s->out, 0);
    msg_end(&s->out, mark);
    if (s->status == 'T') {
        s->status = 'E';
    }
}

static void put_row_description(struct session *s)
{
    size_t mark = msg_begin(&s->out, 'T');

    bytes_put_u16(&s->out, 1);
    bytes_put_cstr(&s->out, "r");
    bytes_put_u32(&s->out, 0);  /* table */
    bytes_put_u16(&s->out, 0);  /* column */
    bytes_put_u32(&s->out, 25); /* text */
    bytes_put_u16(&s->out, 0xffff);
    bytes_put_u32(&s->out, 0xffffffff);
    bytes_put_u16(&s->out, 0);
    msg_end(&s->out, mark);
}

static void put_small_row(struct session *s)
{
    size_t mark = msg_begin(&s->out, 'D');

    bytes_put_u16(&s->out, 1);
    bytes_put_u32(&s->out, 1);
    bytes_put_u8(&s->out, '1');
    msg_end(&s->out, mark);
}

static void put_copy_response(struct session *s, char type)
{
    size_t mark = msg_begin(&s->out, type);

    bytes_put_u8(&s->out, 0);
    bytes_put_u16(&s->out, 1);
    bytes_put_u16(&s->out, 0);
    msg_end(&s->out, mark);
}

static void put_big_piece(struct session *s, size_t n)
{
    static unsigned char row[ROW_BYTES];
    size_t mark = msg_begin(&s->out, s->big_type);

    if (row[0] == 0) {
        memset(row, 'x', sizeof row);
        row[sizeof row - 1] = '\n';
    }
    if (s->big_type == 'D') {
        bytes_put_u16(&s->out, 1);
        bytes_put_u32(&s->out, (uint32_t)n);
    }
    bytes_put(&s->out, row, n);
    msg_end(&s->out, mark);
}

void session_notify(struct session *s, uint32_t pid, const struct plan *notify)
{
    size_t mark = msg_begin(&s->out, 'A');

    bytes_put_u32(&s->out, pid);
    bytes_put_cstr(&s->out, notify->name);
    bytes_put_cstr(&s->out, notify->payload);
    msg_end(&s->out, mark);
}

void session_fill(struct session *s)
{
    while (s->big_left > 0 && bytes_left(&s->out) < BIG_HIGH_MARK) {
        size_t n = s->big_left < ROW_BYTES ? (size_t)s->big_left : ROW_BYTES;

        put_big_piece(s, n);
        s->big_left -= n;
        if (s->big_left == 0) {
            if (s->big_type == 'd') {
                put_empty(s, 'c');
            }
            put_complete(s, s->big_type == 'd' ? "COPY 0" : "SELECT 0");
            if (s->by == BY_SIMPLE) {
                put_ready(s);
            }
        }
    }
}

void session_cancel(struct session *s)
{
    if (s->wake_us == 0) {
        return;
    }
    bytes_take(&s->out, bytes_left(&s->out));
    put_error(s, "57014", "canceling statement due to user request");
    if (s->by == BY_SIMPLE) {
        put_ready(s);
    }
    s->failed = s->by == BY_EXTENDED;
    s->wake_us = 1; /* long past: due at once */
}

/* Statements. */

static void channels_listen(struct session *s, const char *name)
{
    if (!session_listens(s, name) && s->n_channels < SESSION_CHANNELS) {
        (void)snprintf(s->channels[s->n_channels++], PLAN_WORD_MAX, "%s", name);
    }
}

static void channels_unlisten(struct session *s, const char *name)
{
    unsigned i = 0;

    while (i < s->n_channels) {
        if (strcmp(name, "*") == 0 || strcmp(s->channels[i], name) == 0) {
            memmove(s->channels[i], s->channels[--s->n_channels], PLAN_WORD_MAX);
        } else {
            i++;
        }
    }
}

static bool plan_has_rows(const struct plan *p)
{
    return p->kind == PLAN_SELECT || p->kind == PLAN_DELAY || p->kind == PLAN_BIG;
}

static void start_big(struct session *s, const struct plan *p, char type)
{
    s->big_type = type;
    s->big_left = p->number == 0 ? 1 : p->number;
}

/* Runs what changes the session and answers with a tag alone. */
static void run_command(struct session *s, const struct plan *p)
{
    const char *tag = p->tag;

    if (p->kind == PLAN_BEGIN && s->status == 'I') {
        s->status = 'T';
    } else if (p->kind == PLAN_COMMIT || p->kind == PLAN_ROLLBACK) {
        tag = s->status == 'E' ? "ROLLBACK" : tag;
        s->status = 'I';
    } else if (p->kind == PLAN_LISTEN) {
        channels_listen(s, p->name);
    } else if (p->kind == PLAN_UNLISTEN) {
        channels_unlisten(s, p->name);
    } else if (p->kind == PLAN_DISCARD) {
        s->n_names = 0;
        s->n_channels = 0;
    }
    put_complete(s, tag);
    if (p->kind == PLAN_NOTIFY) {
        s->hooks->broadcast(s, p);
    }
}

/* Everything between RowDescription and ReadyForQuery. False after an error. */
static bool run_plan(struct session *s, const struct plan *p, enum protocol_kind by)
{
    s->by = by;
    if (p->kind == PLAN_FAIL ||
        (s->status == 'E' && p->kind != PLAN_COMMIT && p->kind != PLAN_ROLLBACK)) {
        put_error(s, p->kind == PLAN_FAIL ? "P0001" : "25P02", "the null server was told to fail");
        return false;
    }
    switch (p->kind) {
    case PLAN_EMPTY:
        put_empty(s, 'I');
        break;
    case PLAN_DELAY:
        s->wake_us = now_us() + p->number;
        put_small_row(s);
        put_complete(s, p->tag);
        break;
    case PLAN_SELECT:
        put_small_row(s);
        put_complete(s, p->tag);
        break;
    case PLAN_BIG:
        start_big(s, p, 'D');
        break;
    case PLAN_COPY_OUT:
        put_copy_response(s, 'H');
        start_big(s, p, 'd');
        break;
    case PLAN_COPY_IN:
        put_copy_response(s, 'G');
        s->phase = SESSION_COPY_IN;
        break;
    case PLAN_TAG:
    case PLAN_BEGIN:
    case PLAN_COMMIT:
    case PLAN_ROLLBACK:
    case PLAN_DISCARD:
    case PLAN_LISTEN:
    case PLAN_UNLISTEN:
    case PLAN_NOTIFY:
    case PLAN_FAIL:
    case PLAN_KINDS:
        run_command(s, p);
        break;
    }
    return true;
}

static void simple_query(struct session *s, const char *text)
{
    struct plan p;
    bool ok = true;

    while (text != NULL && ok) {
        text = plan_parse(text, &p);
        if (plan_has_rows(&p) && s->status != 'E') {
            put_row_description(s);
        }
        ok = run_plan(s, &p, BY_SIMPLE);
    }
    /* A big result or COPY FROM sends its ReadyForQuery when it is through. */
    if (s->big_left == 0 && s->phase == SESSION_READY) {
        put_ready(s);
    }
}

/* Extended protocol. */

static struct named_plan *find_name(struct session *s, char kind, const char *name)
{
    size_t i;

    for (i = 0; i < s->n_names; i++) {
        if (s->names[i].kind == kind && strcmp(s->names[i].name, name) == 0) {
            return &s->names[i];
        }
    }
    return NULL;
}

static void store_name(struct session *s, char kind, const char *name, const struct plan *plan)
{
    struct plan copy = *plan; /* @plan may lie in the array that is about to move */
    struct named_plan *n = find_name(s, kind, name);

    if (n == NULL) {
        s->names = realloc(s->names, (s->n_names + 1) * sizeof *s->names);
        if (s->names == NULL) {
            die("out of memory");
        }
        n = &s->names[s->n_names++];
        n->kind = kind;
        (void)snprintf(n->name, sizeof n->name, "%s", name);
    }
    n->plan = copy;
}

static void extended_error(struct session *s, const char *sqlstate, const char *text)
{
    put_error(s, sqlstate, text);
    s->failed = true;
}

/* The plan of a statement or portal; when there is none, an error was answered and NULL returned. */
static const struct plan *need_plan(struct session *s, char kind, const char *name)
{
    static const struct plan one_row = {.kind = PLAN_SELECT, .tag = "SELECT 1"};
    const struct named_plan *n = find_name(s, kind, name);

    if (n != NULL) {
        return &n->plan;
    }
    if (s->lax) {
        return &one_row;
    }
    extended_error(s, kind == 'S' ? "26000" : "34000", "no such statement or portal");
    return NULL;
}

static void parse_statement(struct session *s, const char *name, const char *query)
{
    struct plan p;

    if (name[0] != '\0' && !s->lax && find_name(s, 'S', name) != NULL) {
        extended_error(s, "42P05", "prepared statement already exists");
        return;
    }
    (void)plan_parse(query, &p);
    store_name(s, 'S', name, &p);
    put_empty(s, '1');
}

static void bind_portal(struct session *s, const char *portal, const char *statement)
{
    const struct plan *p = need_plan(s, 'S', statement);

    if (p != NULL) {
        store_name(s, 'P', portal, p);
        put_empty(s, '2');
    }
}

static void describe(struct session *s, char kind, const char *name)
{
    const struct plan *p = need_plan(s, kind, name);

    if (p == NULL) {
        return;
    }
    if (kind == 'S') {
        size_t mark = msg_begin(&s->out, 't');

        bytes_put_u16(&s->out, 0);
        msg_end(&s->out, mark);
    }
    if (plan_has_rows(p)) {
        put_row_description(s);
    } else {
        put_empty(s, 'n');
    }
}

static void execute(struct session *s, const char *portal)
{
    const struct plan *p = need_plan(s, 'P', portal);

    if (p != NULL && !run_plan(s, p, BY_EXTENDED)) {
        s->failed = true;
    }
}

static void close_name(struct session *s, char kind, const char *name)
{
    struct named_plan *n = find_name(s, kind, name);

    if (n != NULL) {
        *n = s->names[--s->n_names];
    }
    put_empty(s, '3');
}

/* @body ends in a zero byte of ours, so that every string in it ends. */
static void ready_message(struct session *s, char type, const char *body, size_t len)
{
    const char *second = len > 0 ? body + strnlen(body, len - 1) + 1 : body;

    if (s->failed && type != 'S' && type != 'X') {
        return;
    }
    switch (type) {
    case 'Q':
        simple_query(s, body);
        break;
    case 'P':
        parse_statement(s, body, second);
        break;
    case 'B':
        bind_portal(s, body, second);
        break;
    case 'D':
        describe(s, body[0], body + 1);
        break;
    case 'E':
        execute(s, body);
        break;
    case 'C':
        close_name(s, body[0], body + 1);
        break;
    case 'S':
        s->failed = false;
        put_ready(s);
        break;
    case 'H':
    case 'c':
    case 'd':
    case 'f': /* Flush: we always flush. Copy leftovers: ignored */
        break;
    case 'X':
        s->phase = SESSION_CLOSED;
        break;
    default:
        put_error(s, "08P01", "unknown message");
        s->phase = SESSION_CLOSED;
    }
}

static void copy_message(struct session *s, char type)
{
    if (type == 'H' || type == 'S') {
        return; /* PG15 protocol, "COPY Operations": ignored while copying in */
    }
    s->phase = SESSION_READY;
    if (type == 'c') {
        put_complete(s, "COPY 0");
    } else {
        put_error(s, "57014", "COPY failed");
        s->failed = s->by == BY_EXTENDED;
    }
    if (s->by == BY_SIMPLE) {
        put_ready(s);
    }
}

/* Login. */

static void put_auth(struct session *s, uint32_t code, const char *text, size_t len)
{
    size_t mark = msg_begin(&s->out, 'R');

    bytes_put_u32(&s->out, code);
    bytes_put(&s->out, text, len);
    msg_end(&s->out, mark);
}

static void welcome(struct session *s)
{
    size_t i, mark;

    put_auth(s, 0, "", 0);
    for (i = 0; i < sizeof parameters / sizeof parameters[0]; i++) {
        mark = msg_begin(&s->out, 'S');
        bytes_put_cstr(&s->out, parameters[i][0]);
        bytes_put_cstr(&s->out, parameters[i][1]);
        msg_end(&s->out, mark);
    }
    mark = msg_begin(&s->out, 'K');
    bytes_put_u32(&s->out, s->pid);
    bytes_put_u32(&s->out, s->key);
    msg_end(&s->out, mark);
    put_ready(s);
    s->phase = SESSION_READY;
}

static void refuse(struct session *s, const char *text)
{
    put_error(s, "28000", text);
    s->phase = SESSION_CLOSED;
}

static bool names_lax_database(const char *pairs, size_t len)
{
    const char *end = pairs + len;

    while (pairs < end && *pairs != '\0') {
        const char *value = pairs + strlen(pairs) + 1;
        size_t n = value < end ? strlen(value) : 0;

        if (strcmp(pairs, "database") == 0) {
            return n >= 4 && strcmp(value + n - 4, "_lax") == 0;
        }
        pairs = value + n + 1;
    }
    return false;
}

static void startup_packet(struct session *s, const char *body, size_t len)
{
    uint32_t code = len >= 4 ? get_u32((const unsigned char *)body) : 0;

    if (code == PG_SSL_REQUEST || code == PG_GSSENC_REQUEST) {
        bytes_put_u8(&s->out, 'N');
    } else if (code == PG_CANCEL_REQUEST && len == 12) {
        s->hooks->cancel(get_u32((const unsigned char *)body + 4),
                         get_u32((const unsigned char *)body + 8));
        s->phase = SESSION_CLOSED;
    } else if (code != PG_PROTOCOL_3) {
        refuse(s, "unknown startup packet");
    } else {
        s->lax = names_lax_database(body + 4, len - 4);
        if (s->scram_password == NULL) {
            welcome(s);
        } else {
            put_auth(s, 10, "SCRAM-SHA-256\0", sizeof "SCRAM-SHA-256\0");
            s->phase = SESSION_SASL_FIRST;
        }
    }
}

static void sasl_message(struct session *s, char type, const char *body, size_t len)
{
    size_t mechanism =
        strnlen(body, len) + 1 + 4; /* SASLInitialResponse: name, length of the rest */
    const char *answer;

    if (type != 'p' || (s->phase == SESSION_SASL_FIRST && mechanism >= len)) {
        refuse(s, "expected a SASL message");
        return;
    }
    if (s->phase == SESSION_SASL_FIRST) {
        answer = scram_server_first(&s->scram, body + mechanism);
    } else {
        answer = scram_server_final(&s->scram, s->scram_password, body);
    }
    if (answer == NULL) {
        refuse(s, "SCRAM failed");
    } else if (s->phase == SESSION_SASL_FIRST) {
        put_auth(s, 11, answer, strlen(answer));
        s->phase = SESSION_SASL_FINAL;
    } else {
        put_auth(s, 12, answer, strlen(answer));
        welcome(s);
    }
}

static void one_message(struct session *s, char type, char *body, size_t len)
{
    char after = body[len]; /* first byte of the next message, or room past the end */

    body[len] = '\0';
    switch (s->phase) {
    case SESSION_STARTUP:
        startup_packet(s, body, len);
        break;
    case SESSION_SASL_FIRST:
    case SESSION_SASL_FINAL:
        sasl_message(s, type, body, len);
        break;
    case SESSION_READY:
        ready_message(s, type, body, len);
        break;
    case SESSION_COPY_IN:
        copy_message(s, type);
        break;
    case SESSION_CLOSED:
    case SESSION_PHASES:
        break;
    }
    body[len] = after;
}

void session_run(struct session *s)
{
    (void)bytes_room(&s->in, 1); /* for the zero byte past the last message */
    while (!session_is_blocked(s) && s->phase != SESSION_CLOSED && bytes_left(&s->in) > 0) {
        size_t have = bytes_left(&s->in);
        size_t head = s->phase == SESSION_STARTUP ? 4 : 5;
        unsigned char *at = s->in.data + s->in.pos;
        uint32_t len;

        if (s->skip > 0) {
            size_t n = s->skip < have ? s->skip : have;

            bytes_take(&s->in, n);
            s->skip -= n;
            continue;
        }
        if (have < head) {
            break;
        }
        len = get_u32(at + head - 4);
        if (len < 4 || len > MESSAGE_MAX) {
            refuse(s, "bad message length");
            break;
        }
        if (s->phase == SESSION_COPY_IN && at[0] == 'd') {
            s->skip = (size_t)len + 1;
            continue;
        }
        if (have < head - 4 + len) {
            break;
        }
        one_message(s, (char)at[0], (char *)at + head, len - 4);
        bytes_take(&s->in, head - 4 + len);
    }
    session_fill(s);
}
