/* SPDX-License-Identifier: ISC */
#include "daemon/admin.h"

#include "daemon/admin_internal.h"

#include "daemon/util/fatal.h"
#include "daemon/util/num.h"
#include "daemon/util/secret.h"
#include "protocol/frame.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define READ_MAX_BYTES ((size_t)64 * 1024) /* at a time */
/* What waits to be worked on: a message, and what one read brought behind it. */
#define IN_MAX_BYTES (ADMIN_TEXT_MAX_BYTES + READ_MAX_BYTES)
/* Messages in one turn of the loop. */
#define MESSAGES_PER_TURN 32U
#define HELP_MAX_BYTES ((size_t)8 * 1024)

#define LOOK_AGAIN_US USEC_PER_SEC /* at what waits: also how often a notice is sent */
#define SLOW_READER_LEAST_US (5 * USEC_PER_MSEC)
#define SLOW_READER_MOST_US (250 * USEC_PER_MSEC)

static void work_on(struct client *c);

/* --- answers --- */

/* Statements up to here count like those that a server answers: a ReadyForQuery ends one query and one transaction. */
static void put_ready(struct admin_session *a)
{
    struct pool_stats *stats = &a->c->server->console->stats;

    startup_put_ready(&a->out, 'I');
    if (a->began_us > 0) {
        usec_t took_us = clock_now_us() - a->began_us;

        stats->query_count++;
        stats->query_time_us += took_us;
        stats->xact_count++;
        stats->xact_time_us += took_us;
        a->began_us = 0;
    }
}

/* The statement is done: the session is ready for the next. */
static void put_complete(struct admin_session *a, const char *tag)
{
    size_t start = wire_begin(&a->out, 'C');

    wire_put_cstr(&a->out, tag);
    wire_end(&a->out, start);
    a->work = ADMIN_READY;
    if (a->protocol == ADMIN_SIMPLE) {
        put_ready(a);
    }
}

void admin_fail(struct admin_session *a, enum admin_protocol protocol, const struct pg_error *error)
{
    error_msg_put(&a->out, 'E', error);
    a->work = ADMIN_READY;
    if (protocol == ADMIN_SIMPLE) {
        put_ready(a);
    } else {
        a->skips = true;
    }
}

void admin_fail_text(struct admin_session *a, enum admin_protocol protocol, const char *sqlstate,
                     const char *text)
{
    struct pg_error error;

    admin_error_set(&error, sqlstate, "%s", text);
    admin_fail(a, protocol, &error);
}

static void put_notice(struct admin_session *a, const char *text, const char *detail)
{
    error_msg_put_text(&a->out, 'N', "NOTICE", "00000", text, detail, NULL);
}

/* Sends what has gathered. The session may be gone afterwards. */
static void flush(struct client *c)
{
    if (c->state == CLIENT_CONSOLE && (c->u.admin->out.len > 0 || !buf_ok(&c->u.admin->out))) {
        struct buf out = c->u.admin->out;

        c->u.admin->out = BUF_INIT(ADMIN_SLICE_MAX_BYTES);
        client_send_buf(c, &out);
    }
}

/* --- understanding --- */

/* SHOW word; of several words only the one that JDBC sends. */
static const struct admin_show_kind *find_show(const struct admin_statement *st)
{
    if (admin_statement_is(st, 1, "TRANSACTION") && admin_statement_is(st, 2, "ISOLATION") &&
        admin_statement_is(st, 3, "LEVEL") && st->n == 4) {
        return admin_show_find("transaction_isolation");
    }
    return st->n == 2 ? admin_show_find(st->tokens[1].text) : NULL;
}

bool admin_understand(const char *text, struct admin_statement *st, struct admin_meaning *ret,
                      struct pg_error *error)
{
    const char *why;

    *ret = (struct admin_meaning){.show = NULL};
    if (!admin_parse(text, st, &why)) {
        admin_error_set_invalid(error, text, why);
        return false;
    }
    if (st->n == 0) {
        return true;
    }
    if (admin_statement_is(st, 0, "SHOW")) {
        ret->show = find_show(st);
    } else {
        ret->command = admin_command_find(st);
    }
    if (ret->show == NULL && ret->command == NULL) {
        admin_error_set_invalid(error, text, "");
        admin_statement_done(st);
        return false;
    }
    return true;
}

/* --- running --- */

static void put_help(struct admin_session *a)
{
    struct buf text = BUF_INIT(HELP_MAX_BYTES);
    const struct admin_show_kind *kind;
    const struct admin_command *command;

    /* failures: a shorter help */
    for (unsigned i = 0; (kind = admin_show_at(i)) != NULL; i++) {
        (void)buf_append_fmt(&text, "%s%s", kind->begins_line ? "\n\tSHOW " : "|", kind->name);
    }
    for (unsigned i = 0; (command = admin_command_at(i)) != NULL; i++) {
        (void)buf_append_fmt(&text, "\n\t%s", command->usage);
    }
    put_notice(a, "Console usage", buf_cstr(&text));
    buf_done(&text);
}

static void start_show(struct admin_session *a, const struct admin_show_kind *kind)
{
    const struct admin_prepared *portal = a->portal;

    if (kind->right == ADMIN_FOR_ADMINS && !a->c->is_admin) {
        admin_fail_text(a, a->protocol, "42501", "admin access needed");
        return;
    }
    if (admin_show_has_fds(kind) && (a->c->conn.tls != NULL || !client_is_own_uid(a->c))) {
        admin_fail_text(a, a->protocol, "42501",
                        "descriptors are handed to the daemon's own system user only, over the "
                        "Unix socket, without TLS");
        return;
    }
    if (kind == &admin_show_help) {
        put_help(a);
    } else if (a->protocol == ADMIN_SIMPLE) {
        admin_show_describe(kind, 0, &a->out);
    }
    admin_show_begin(&a->show, kind, portal != NULL ? portal->binary : 0);
    admin_show_limit(&a->show, portal != NULL ? portal->limit : 0);
    admin_show_send_to(&a->show, &a->c->conn);
    a->pause_us = SLOW_READER_LEAST_US;
    a->work = ADMIN_SHOWS;
}

static void set_timer(struct admin_session *a, usec_t after_us)
{
    loop_timer_set(a->c->server->loop, &a->timer, after_us);
}

static void start_waiting(struct admin_session *a, const char *tag)
{
    a->work = ADMIN_IS_WAITING;
    a->tag = tag;
    a->told_left = 0;
    list_add_tail(&a->c->server->waiters, &a->waiter.link);
    set_timer(a, LOOK_AGAIN_US);
}

static void stop_waiting(struct admin_session *a)
{
    struct server *s = a->c->server;

    if (list_node_is_linked(&a->waiter.link)) {
        list_remove(&s->waiters, &a->waiter.link);
    }
    loop_timer_stop(s->loop, &a->timer);
    admin_wait_done(&a->wait);
}

/* The tag of a SET has what was set, as PgBouncer's; a text too long for that is left out. */
static void put_done(struct admin_session *a, const struct admin_command *command,
                     const struct admin_statement *st)
{
    char tag[1024];

    if (command != admin_command_set) {
        put_complete(a, command->name);
        return;
    }
    if (option_find(OPTION_GLOBAL, st->tokens[1].text) == NULL) { /* of a session: not ours */
        put_notice(a, "SET ignored", NULL);
        put_complete(a, "SET");
        return;
    }
    if (snprintf(tag, sizeof(tag), "SET %s=%s", st->tokens[1].text, st->tokens[3].text) >=
        (int)sizeof(tag)) {
        put_complete(a, "SET");
        return;
    }
    put_complete(a, tag);
}

static void run_command(struct admin_session *a, const struct admin_command *command,
                        const struct admin_statement *st)
{
    struct client *c = a->c;
    struct pg_error error;

    switch (admin_command_run(command, c, st, &a->wait, &error)) {
    case ADMIN_DONE:
        put_done(a, command, st);
        return;
    case ADMIN_WAITS:
        start_waiting(a, command->name);
        return;
    case ADMIN_FAILED:
        admin_fail(a, a->protocol, &error);
        return;
    case ADMIN_GONE:
        return;
    }
    unreachable();
}

static void begin_statement(struct admin_session *a, struct admin_prepared *portal)
{
    a->protocol = portal != NULL ? ADMIN_EXTENDED : ADMIN_SIMPLE;
    a->portal = portal;
    a->c->request_us = clock_now_us();
    if (a->began_us == 0) {
        a->began_us = clock_now_us();
    }
}

void admin_run_on(struct admin_session *a, struct admin_prepared *portal)
{
    begin_statement(a, portal);
    if (portal->state == ADMIN_PORTAL_DONE) { /* as PostgreSQL: no more rows, no error */
        put_complete(a, "SHOW");
        return;
    }
    a->show = portal->show; /* moved */
    portal->show = (struct admin_show){.kind = NULL};
    admin_show_limit(&a->show, portal->limit);
    a->work = ADMIN_SHOWS;
}

void admin_run(struct admin_session *a, const char *text, struct admin_prepared *portal)
{
    struct admin_statement st;
    struct admin_meaning meaning;
    struct pg_error error;

    begin_statement(a, portal);
    if (!admin_understand(text, &st, &meaning, &error)) {
        admin_fail(a, a->protocol, &error);
        return;
    }
    if (meaning.show != NULL) {
        start_show(a, meaning.show);
    } else if (meaning.command != NULL) {
        run_command(a, meaning.command, &st); /* the session may be gone now */
    } else {
        wire_end(&a->out, wire_begin(&a->out, 'I'));
        if (portal == NULL) {
            put_ready(a);
        }
    }
    admin_statement_done(&st);
}

/* --- SHOW, slice by slice --- */

static void go_on_later(struct client *c)
{
    loop_io_again(c->server->loop, &c->conn.io);
}

/* PG15 protocol, "Extended Query": PortalSuspended; another Execute goes on. */
static void suspend_portal(struct admin_session *a)
{
    a->portal->state = ADMIN_PORTAL_SUSPENDED;
    a->portal->show = a->show; /* moved */
    a->show = (struct admin_show){.kind = NULL};
    wire_end(&a->out, wire_begin(&a->out, 's'));
    a->work = ADMIN_READY;
}

static void pause_showing(struct admin_session *a)
{
    set_timer(a, a->pause_us);
    a->pause_us = MIN(2 * a->pause_us, SLOW_READER_MOST_US);
}

/* The next slice. false: not now; it was seen to that work_on() comes again. */
static bool go_on_showing(struct client *c)
{
    struct admin_session *a = c->u.admin;

    if (admin_show_has_fds(a->show.kind)) { /* what goes before those rows */
        flush(c);
        if (c->state != CLIENT_CONSOLE) {
            return false;
        }
    }
    if (conn_queued(&c->conn) > CONN_LOW_BYTES) {
        pause_showing(a);
        return false;
    }
    switch (admin_show_step(&a->show, c->server, &a->out)) {
    case ADMIN_SHOW_MORE:
        a->pause_us = SLOW_READER_LEAST_US;
        go_on_later(c);
        return false;
    case ADMIN_SHOW_STUCK:
        pause_showing(a);
        return false;
    case ADMIN_SHOW_DONE:
        admin_show_done(&a->show);
        if (a->portal != NULL) {
            a->portal->state = ADMIN_PORTAL_DONE;
        }
        put_complete(a, "SHOW");
        return true;
    case ADMIN_SHOW_LIMIT:
        suspend_portal(a);
        return true;
    case ADMIN_SHOW_NO_MEMORY:
        client_close_quiet(c, "out of memory");
        return false;
    }
    unreachable();
}

/* --- waiting --- */

static void look_at_wait(struct admin_session *a)
{
    struct pg_error error;
    unsigned left;

    switch (admin_wait_look(&a->wait, a->c->server, &left, &error)) {
    case ADMIN_DONE:
        stop_waiting(a);
        put_complete(a, a->tag);
        break;
    case ADMIN_FAILED:
        stop_waiting(a);
        admin_fail(a, a->protocol, &error);
        break;
    case ADMIN_WAITS:
        return;
    case ADMIN_GONE:
        unreachable();
    }
    go_on_later(a->c); /* with what came in the meantime; not from within whatever has changed */
    flush(a->c);
}

static void on_changed(struct server_waiter *w)
{
    look_at_wait(container_of(w, struct admin_session, waiter));
}

static void tell_progress(struct admin_session *a)
{
    struct pg_error error;
    char text[128];
    unsigned left;

    if (admin_wait_look(&a->wait, a->c->server, &left, &error) != ADMIN_WAITS ||
        left == a->told_left) {
        return;
    }
    a->told_left = left;
    (void)snprintf(text, sizeof(text), "%s waits for %u connection%s", a->tag, left,
                   left == 1 ? "" : "s");
    put_notice(a, text, NULL);
    flush(a->c);
}

static void on_timer(struct loop_timer *timer)
{
    struct admin_session *a = container_of(timer, struct admin_session, timer);
    struct client *c = a->c;

    if (a->work == ADMIN_IS_WAITING) {
        look_at_wait(a);
        if (c->state != CLIENT_CONSOLE || a->work != ADMIN_IS_WAITING) {
            return;
        }
        set_timer(a, LOOK_AGAIN_US);
        tell_progress(a);
        return;
    }
    work_on(c);
}

void admin_session_cancel(struct client *c)
{
    struct admin_session *a = c->u.admin;

    switch (a->work) {
    case ADMIN_READY:
        return;
    case ADMIN_SHOWS:
        admin_show_done(&a->show);
        break;
    case ADMIN_IS_WAITING:
        stop_waiting(a);
        break;
    }
    admin_fail_text(a, a->protocol, SQLSTATE_QUERY_CANCELED,
                    "canceling statement due to user request");
    go_on_later(c);
    flush(c);
}

/* --- messages --- */

/* What was answered before goes out before the last word. */
static void refuse(struct client *c, const char *sqlstate, const char *text)
{
    flush(c);
    client_close_text(c, sqlstate, "%s", text);
}

static void on_query(struct admin_session *a, const uint8_t *body, size_t len)
{
    struct wire_reader r;
    const char *text;

    wire_reader_init(&r, body, len);
    text = wire_get_cstr(&r);
    if (!wire_at_end(&r)) {
        refuse(a->c, SQLSTATE_PROTOCOL_VIOLATION, "malformed Query message");
        return;
    }
    admin_run(a, text, NULL);
}

static void on_message(struct admin_session *a, uint8_t type, const uint8_t *body, size_t len)
{
    switch (type) {
    case 'Q':
        a->skips = false;
        on_query(a, body, len);
        return;
    case 'S':
        a->skips = false;
        admin_extended_sync(a);
        put_ready(a);
        return;
    case 'P':
    case 'B':
    case 'D':
    case 'E':
    case 'C':
        if (!a->skips) {
            admin_extended_message(a, type, body, len);
        }
        return;
    case 'H': /* everything leaves at the end of the turn anyhow */
        return;
    case 'd': /* left over from a COPY that there never was: PostgreSQL ignores these, too */
    case 'c':
    case 'f':
        return;
    case 'X':
        client_close_quiet(a->c, "client close request");
        return;
    default:
        refuse(a->c, SQLSTATE_PROTOCOL_VIOLATION,
               "a message of this type is not understood on the console");
        return;
    }
}

enum took {
    TOOK_ONE,
    TOOK_NONE, /* there is no whole one */
    TOOK_LAST, /* the session is gone */
};

static enum took take_message(struct client *c)
{
    struct admin_session *a = c->u.admin;
    struct frame f;

    switch (frame_peek(msg_from_client, a->in.data, a->in.len, &f)) {
    case FRAME_PARTIAL:
        return TOOK_NONE;
    case FRAME_BAD:
        refuse(c, SQLSTATE_PROTOCOL_VIOLATION, "malformed message");
        return TOOK_LAST;
    case FRAME_OK:
        break;
    }
    if (f.total > ADMIN_TEXT_MAX_BYTES) {
        refuse(c, SQLSTATE_PROGRAM_LIMIT_EXCEEDED,
               "a message to the console is longer than 64 KiB");
        return TOOK_LAST;
    }
    if (a->in.len < f.total) {
        return TOOK_NONE;
    }
    on_message(a, f.type, a->in.data + FRAME_HEADER_BYTES, f.total - FRAME_HEADER_BYTES);
    if (c->state != CLIENT_CONSOLE) {
        return TOOK_LAST;
    }
    buf_consume(&a->in, f.total);
    if (a->in.len == 0) {
        buf_done(&a->in);
    }
    return TOOK_ONE;
}

/* Goes on with what runs, then with what waits, until there is nothing left to do now. */
static void work_on(struct client *c)
{
    for (unsigned n = 0; c->state == CLIENT_CONSOLE; n++) {
        struct admin_session *a = c->u.admin;

        if (n == MESSAGES_PER_TURN) {
            go_on_later(c);
            break;
        }
        if (a->work == ADMIN_IS_WAITING || (a->work == ADMIN_SHOWS && !go_on_showing(c))) {
            break;
        }
        if (c->state != CLIENT_CONSOLE || take_message(c) != TOOK_ONE) {
            break;
        }
    }
    flush(c);
}

/* --- life --- */

static void put_welcome(struct client *c, struct buf *out)
{
    const char *message = c->server->config->settings.login_notify_message;
    const char *name = params_get(c->params, "application_name");
    const struct admin_parameter *p;

    for (unsigned i = 0; (p = admin_parameter_at(i)) != NULL; i++) {
        if (p->is_reported) {
            startup_put_parameter(out, p->name, p->value);
        }
    }
    startup_put_parameter(out, "application_name", name != NULL ? name : "");
    startup_put_parameter(out, "session_authorization", client_user_name(c));
    client_cancel_put_key(c, out);
    if (*message != '\0') {
        error_msg_put_text(out, 'N', "NOTICE", "00000", message, NULL, NULL);
    }
    startup_put_ready(out, 'I');
}

void admin_session_begin(struct client *c)
{
    struct admin_session *a = calloc(1, sizeof(*a));

    if (a == NULL || !client_cancel_make_key(c, false)) {
        free(a);
        client_close_text(c, SQLSTATE_OUT_OF_MEMORY, "out of memory");
        return;
    }
    a->c = c;
    buf_init(&a->in, IN_MAX_BYTES);
    buf_init(&a->out, ADMIN_SLICE_MAX_BYTES);
    list_init(&a->statements);
    list_init(&a->portals);
    loop_timer_init(&a->timer, on_timer);
    a->waiter.fn = on_changed;
    c->u.admin = a;
    c->server->console->stats.client_login_count++;
    put_welcome(c, &a->out);
    flush(c);
}

struct admin_session *admin_session_free(struct admin_session *a)
{
    if (a == NULL) {
        return NULL;
    }
    stop_waiting(a);
    admin_show_done(&a->show);
    admin_prepared_drop_all(&a->statements);
    admin_prepared_drop_all(&a->portals);
    buf_done(&a->in);
    buf_done(&a->out);
    free(a);
    return NULL;
}

void admin_session_readable(struct client *c)
{
    struct server *s = c->server;
    struct admin_session *a = c->u.admin;
    ssize_t n = conn_read(&c->conn, s->loop, s->env->scratch, READ_MAX_BYTES);

    if (n < 0) {
        client_close_quiet(c, "client unexpected eof");
        return;
    }
    s->console->stats.bytes_received += (uint64_t)n;
    if (n > 0 && !buf_append(&a->in, s->env->scratch, (size_t)n)) {
        refuse(c, SQLSTATE_PROGRAM_LIMIT_EXCEEDED,
               "more than 128 KiB of messages wait for the console");
        return;
    }
    if (conn_has_pending(&c->conn)) {
        go_on_later(c);
    }
    work_on(c);
}
