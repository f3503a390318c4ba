/* SPDX-License-Identifier: ISC */
/* From the proof of who the client is to its first ReadyForQuery. Its welcome tells what the server told when a
 * connection of the pool was opened, with the client's own start-up parameters in PostgreSQL's own spelling. What is not
 * known yet is asked from a server first: the client waits for a server connection, sets its parameters there and learns
 * how they are reported. PG15 protocol, "Start-up". */
#include "daemon/canon.h"
#include "daemon/client_relay.h"
#include "daemon/reload.h"

#include "daemon/util/fatal.h"
#include "daemon/util/log.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#define WELCOME_USUAL_BYTES 900 /* with some 15 parameters; malloc's quick sizes end at 1,032 */

/* --- limits --- */

static bool over(unsigned n, unsigned max)
{
    return max > 0 && n >= max;
}

static bool check_limits(struct client *c, struct database *db, struct pool_user *user)
{
    if (db->is_disabled) {
        client_close_text(c, SQLSTATE_CONNECTION_REJECTED, "database \"%s\" is disabled", db->name);
        return false;
    }
    if (over(db->n_clients, db->max_clients)) {
        client_close_text(c, SQLSTATE_TOO_MANY_CONNECTIONS,
                          "client connections exceeded (max_db_client_connections)");
        return false;
    }
    if (over(user->n_clients, user->max_clients)) {
        client_close_text(c, SQLSTATE_TOO_MANY_CONNECTIONS,
                          "client connections exceeded (max_user_client_connections)");
        return false;
    }
    return true;
}

/* --- what is to be in force --- */

/* PostgreSQL keeps application_name as it is when it is short and printable ASCII. */
static bool is_plain_name(const char *value)
{
    size_t len = strlen(value);

    for (size_t i = 0; i < len; i++) {
        if (value[i] < 0x20 || value[i] > 0x7e) {
            return false;
        }
    }
    return len < 64;
}

static const char *spelling(struct client *c, const char *name, const char *value)
{
    const char *usual = params_get(c->pool->defaults, name);

    if (usual != NULL && strcmp(usual, value) == 0) {
        return usual;
    }
    if (strcasecmp(name, "application_name") == 0 && is_plain_name(value)) {
        return value;
    }
    return canon_find(c->server->canon, c->pool->db, name, value);
}

/* The pool's defaults with the client's wishes; @known: only when each spelling is known. NULL: not known, or out of
 * memory. */
static struct params *compose(struct client *c, bool known)
{
    const struct client_login *l = c->u.login;
    struct params *p = params_ref(c->pool->defaults);

    for (unsigned i = 0; l->want != NULL && i < l->want->n; i++) {
        const struct param *w = &l->want->entries[i];
        const char *value = known ? spelling(c, w->name, w->value) : w->value;
        struct params *next;

        if (value == NULL) {
            return params_unref(p);
        }
        next = params_with(c->server->env->params, p, w->name, value);
        (void)params_unref(p);
        p = next;
        if (p == NULL) {
            return NULL;
        }
    }
    return p;
}

/* --- the welcome --- */

void client_welcome_forget(struct server *s)
{
    struct welcome *w = &s->welcome;

    w->reported = params_unref(w->reported);
    w->own = params_unref(w->own);
    buf_done(&w->text);
}

static void compose_welcome(const struct params *reported, const struct params *own,
                            struct buf *out)
{
    for (unsigned i = 0; i < reported->n; i++) {
        const char *value = params_get(own, reported->entries[i].name);

        startup_put_parameter(out, reported->entries[i].name,
                              value != NULL ? value : reported->entries[i].value);
    }
}

/* Clients come in swarms of one kind: what the last one was told is mostly right for the next. */
static void put_parameters(struct client *c, struct params *reported, struct buf *out)
{
    struct welcome *w = &c->server->welcome;

    if (w->reported != reported || w->own != c->params) {
        client_welcome_forget(c->server);
        w->reported = params_ref(reported);
        w->own = params_ref(c->params);
        buf_init(&w->text, out->max);
        compose_welcome(reported, c->params, &w->text);
    }
    if (LIKELY(buf_ok(&w->text))) {
        (void)buf_append(out, w->text.data, w->text.len); /* a failure sticks */
    } else {
        compose_welcome(reported, c->params, out);
    }
}

void client_welcome(struct client *c, struct params *reported)
{
    struct server *s = c->server;
    const char *message = s->config->settings.login_notify_message;
    struct buf out = c->u.login->reply;

    if (!client_cancel_make_key(c, c->u.login->version >= PROTOCOL_3_2)) {
        client_close_text(c, SQLSTATE_OUT_OF_MEMORY, "out of memory");
        return;
    }
    c->u.login->reply = BUF_INIT(0);
    (void)!buf_reserve(&out,
                       WELCOME_USUAL_BYTES); /* at once instead of in steps; a failure sticks */
    startup_put_auth_ok(&out);
    put_parameters(c, reported, &out);
    client_cancel_put_key(c, &out);
    if (*message != '\0') {
        error_msg_put_text(&out, 'N', "NOTICE", "00000", message, NULL, NULL);
    }
    startup_put_ready(&out, 'I');
    c->startup = params_ref(c->params);
    c->pool->db->stats.client_login_count++;
    histogram_add(&c->pool->metrics.latency[LATENCY_LOGIN], clock_now_us() - c->connect_us);
    list_remove(&s->logins, &c->link);
    list_add_tail(&c->pool->clients, &c->link);
    s->n_logged_in++;
    c->u.login = client_login_free(c->u.login);
    conn_expect_no_secrets(&c->conn);
    conn_set_rank(&c->conn, s->loop, LOOP_USUAL);
    client_set_state(c, CLIENT_IDLE);
    if (c->replication == REPLICATION_NONE) {
        lease_init(&c->lease, &client_lease_ops);
    } else {
        c->lease.startup = NULL; /* was the login's */
        c->lease.backend->owner_pid = c->vpid;
        client_set_state(c, CLIENT_ACTIVE);
    }
    c->lease.owner_pid = c->vpid;
    c->request_us = clock_now_us();
    if (c->pool->limits.client_idle_timeout_us > 0) {
        pool_wake_at(c->pool, c->request_us + c->pool->limits.client_idle_timeout_us);
    }
    client_send_buf(c, &out);
    if (c->state == CLIENT_IDLE && c->pool->n_backends < c->pool->limits.min_size) {
        pool_dispatch_later(c->pool);
    }
    relay_go_on(c);
}

/* --- asking a server --- */

static struct client *of(struct lease *l)
{
    return container_of(l, struct client, lease);
}

static void learn(struct client *c)
{
    const struct client_login *l = c->u.login;

    for (unsigned i = 0; l->want != NULL && i < l->want->n; i++) {
        const struct param *w = &l->want->entries[i];
        const char *now = params_get(c->params, w->name);

        if (now != NULL) {
            canon_learn(c->server->canon, c->pool->db, w->name, w->value, now);
        }
    }
}

static void finish_login(struct client *c)
{
    c->params = params_ref(c->lease.backend->params);
    learn(c);
    lease_release(&c->lease);
    if (c->state == CLIENT_LOGIN) {
        client_welcome(c, c->pool->welcome);
    }
}

static void on_granted(struct lease *l)
{
    struct client *c = of(l);
    struct backend *b = l->backend;
    struct params *want = compose(c, false);
    struct outvec out;
    bool is_open;

    if (want == NULL && errno != E2BIG) {
        client_close_text(c, SQLSTATE_OUT_OF_MEMORY, "out of memory");
        return;
    }
    if (want == NULL) {
        client_close_text(c, SQLSTATE_PROGRAM_LIMIT_EXCEEDED, "too many startup parameters");
        return;
    }
    outvec_init(&out, &b->conn, c->server->loop);
    is_open = backend_inject_params(b, &out, want);
    (void)params_unref(want);
    if (!is_open) {
        return;
    }
    if (inflight_is_empty(&b->inflight)) {
        finish_login(c);
    } else {
        (void)!backend_flush(b, &out); /* false: on_lost() was called */
    }
}

static void on_failed(struct lease *l, const struct pg_error *e)
{
    client_close(of(l), e);
}

static void on_lost(struct lease *l, const struct pg_error *e, bool told)
{
    (void)told; /* a client that is logging in is told nothing by a server directly */
    client_close(of(l), e);
}

static void on_waiting(struct lease *l)
{
    (void)l; /* before AuthenticationOk there is no place for a notice */
}

static struct conn *on_sink(struct lease *l)
{
    (void)l;
    return NULL;
}

static void on_ready(struct lease *l, uint8_t status)
{
    (void)l;
    (void)status;
    unreachable(); /* nothing is sent in its own name */
}

static enum lease_ready before_ready(struct lease *l, uint8_t status, struct outvec *out)
{
    (void)l;
    (void)out;
    (void)status;
    return LEASE_READY_HOLD;
}

static bool on_parameter(struct lease *l, const char *name, const char *value)
{
    (void)l;
    (void)name;
    (void)value;
    return false;
}

static void on_resumed(struct lease *l)
{
    struct client *c = of(l);

    if (backend_is_quiet(l->backend) && c->state == CLIENT_LOGIN) {
        finish_login(c);
    }
}

static void on_inject_failed(struct lease *l, const struct pg_error *e)
{
    struct client *c = of(l);
    struct pg_error why;

    if (e != NULL) {
        why = *e;
    } else {
        pg_error_set(&why, SQLSTATE_PROTOCOL_VIOLATION,
                     "startup parameters were refused by the server");
    }
    lease_release(l);
    client_close(c, &why);
}

static void on_expired(struct lease *l, const struct pg_error *e)
{
    client_close(of(l), e);
}

const struct lease_ops client_login_ops = {
    .granted = on_granted,
    .failed = on_failed,
    .waiting = on_waiting,
    .expired = on_expired,
    .lost = on_lost,
    .sink = on_sink,
    .ready = on_ready,
    .before_ready = before_ready,
    .parameter = on_parameter,
    .resumed = on_resumed,
    .inject_failed = on_inject_failed,
};

static void ask_server(struct client *c)
{
    struct pg_error e;

    lease_init(&c->lease, &client_login_ops);
    c->lease.is_login = true;
    switch (lease_request(&c->lease, c->pool, &e)) {
    case LEASE_GRANTED:
        on_granted(&c->lease);
        return;
    case LEASE_QUEUED:
        return;
    case LEASE_REFUSED:
        client_close(c, &e);
        return;
    }
    unreachable();
}

void client_login_begin(struct client *c)
{
    struct server *s = c->server;
    struct client_login *l = c->u.login;
    struct database *db = c->database;

    if (s->state == SERVER_SUSPENDED) {
        l->is_suspended = true;
        l->is_busy = true;
        return;
    }
    if (!check_limits(c, db, c->user)) {
        return;
    }
    c->pool = reload_get_pool(s, db, c->user->name);
    if (c->pool == NULL) {
        client_close_text(c, SQLSTATE_OUT_OF_MEMORY, "out of memory");
        return;
    }
    db->n_clients++;
    c->user->n_clients++;
    c->counted = true;
    client_set_state(c, CLIENT_LOGIN);
    client_log_attempt(c);
    if (c->replication != REPLICATION_NONE) {
        client_replication_begin(c);
        return;
    }
    client_login_go_on(c);
}

void client_login_go_on(struct client *c)
{
    c->params = c->pool->welcome != NULL ? compose(c, true) : NULL;
    if (c->params != NULL) {
        client_welcome(c, c->pool->welcome);
    } else {
        ask_server(c);
    }
}

void client_login_resume(struct server *s)
{
    struct client *c;

    list_for_each(&s->logins, c, link) {
        struct client_login *l = c->state == CLIENT_AUTH ? c->u.login : NULL;

        if (l != NULL && l->is_suspended) {
            l->is_suspended = false;
            l->is_busy = false;
            conn_want_read(&c->conn, s->loop, true);
            client_login_begin(c);
        }
    }
}
