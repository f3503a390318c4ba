/* SPDX-License-Identifier: ISC */
/* Who is it, and can it prove that? Takes the StartupMessage apart, finds how the client has to log in (auth_type or HBA
 * rules) and its secret (auth_file or auth_query), and runs the exchange. A user or database that does not exist goes
 * through the same exchange with a made-up secret, so that nobody can tell before a password is right.
 * PG15 protocol, "Start-up" and "SASL Authentication". */
#include "daemon/auth_query.h"
#include "daemon/client.h"
#include "daemon/listener.h"
#include "daemon/reload.h"

#include "daemon/util/fatal.h"
#include "daemon/util/log.h"
#include "daemon/util/num.h"
#include "protocol/md5.h"
#include "protocol/scram_cache.h"
#include "protocol/scram_server.h"

#include <netinet/in.h>
#include <pwd.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/socket.h>
#include <unistd.h>

#define NAME_MAX_BYTES 127 /* of a user or database; PostgreSQL's own limit is 63 */

enum {
    AUTH_CLEARTEXT = 3,
    AUTH_MD5 = 5,
    AUTH_SASL = 10,
    AUTH_SASL_CONTINUE = 11,
    AUTH_SASL_FINAL = 12,
};

struct auth {
    enum auth_type method;
    const struct hba_rule *rule; /* borrowed from the configuration; NULL: by auth_type. Used within one call only */
    bool is_mock;                /* the user does not exist */
    bool has_no_database;        /* nor does the database: told once the user has proved who it is */
    struct database *database;   /* NULL: does not exist; may not be used after a wait without looking it up again */
    struct secret secret;        /* what is known of the password */
    enum secret_kind kind;
    uint32_t mock_iterations;    /* of a made-up SCRAM secret */
    uint8_t salt[MD5_SALT_BYTES];
    struct scram_server *scram;
    struct scram_keys learnt;    /* what the client's proof gave away */
    bool expects_initial;        /* SASL: the mechanism is still to come */
    bool expects_first;          /* SASL: the mechanism came without data */
    struct auth_query *query;
};

struct auth *client_auth_free(struct auth *a)
{
    if (a == NULL) {
        return NULL;
    }
    a->query = auth_query_free(a->query);
    a->scram = scram_server_free(a->scram);
    scram_keys_wipe(&a->learnt);
    secret_done(&a->secret);
    free(a);
    return NULL;
}

static const struct settings *settings_of(const struct client *c)
{
    return &c->server->config->settings;
}

/* --- the StartupMessage --- */

struct wishes {
    struct client *c;
    struct param entries[PARAMS_MAX];
    char *owned[PARAMS_MAX]; /* texts that came out of "options" */
    unsigned n;
    unsigned n_owned;
};

static void add_wish(struct wishes *w, const char *name, const char *value)
{
    for (unsigned i = 0; i < w->n; i++) {
        if (strcasecmp(w->entries[i].name, name) == 0) {
            w->entries[i].value = value; /* the last one counts */
            return;
        }
    }
    if (w->n < PARAMS_MAX) {
        w->entries[w->n].name = name;
        w->entries[w->n].value = value;
        w->n++;
    }
}

static bool is_ignored(const struct client *c, const char *name)
{
    return option_list_has(settings_of(c)->ignore_startup_parameters, name);
}

static bool on_option(void *arg, const char *name, const char *value)
{
    struct wishes *w = arg;
    char *copy;
    size_t name_len = strlen(name) + 1;

    if (is_ignored(w->c, name)) {
        return true;
    }
    if (w->n_owned == PARAMS_MAX) {
        return false;
    }
    copy = malloc(name_len + strlen(value) + 1);
    if (copy == NULL) {
        return false;
    }
    memcpy(copy, name, name_len);
    memcpy(copy + name_len, value, strlen(value) + 1);
    w->owned[w->n_owned++] = copy;
    add_wish(w, copy, copy + name_len);
    return true;
}

/* PostgreSQL takes anything here that is a parameter at all; what is none is refused by the server, with its own text. */
static bool collect_wishes(struct client *c, struct wishes *w)
{
    const struct startup *s = &c->u.login->startup;

    for (unsigned i = 0; i < s->n_params; i++) {
        const char *name = s->params[i].name;
        const char *value = s->params[i].value;

        if (strcmp(name, "user") == 0 || strcmp(name, "database") == 0 || strcmp(name, "replication") == 0 ||
            strncmp(name, "_pq_.", 5) == 0 || is_ignored(c, name)) {
            continue;
        }
        if (strcmp(name, "options") != 0) {
            add_wish(w, name, value);
        } else if (!startup_split_options(value, on_option, w)) {
            client_close_text(c, SQLSTATE_PROTOCOL_VIOLATION,
                              "unsupported options startup parameter: only '-c config=val' and '--config=val' are allowed");
            return false;
        }
    }
    return true;
}

static void add_host_to_name(struct client *c, struct wishes *w, char *text, size_t size)
{
    char addr[CLIENT_ADDR_SIZE];
    const char *name = "";

    for (unsigned i = 0; i < w->n; i++) {
        if (strcasecmp(w->entries[i].name, "application_name") == 0) {
            name = w->entries[i].value;
        }
    }
    (void)snprintf(text, size, "%.63s%s%s:%u", name, *name != '\0' ? " - " : "", client_addr(c, addr), c->port);
    text[MIN(size - 1, (size_t)63)] = '\0'; /* as PostgreSQL would cut it */
    add_wish(w, "application_name", text);
}

static bool read_startup(struct client *c)
{
    struct client_login *l = c->u.login;
    const char *user = startup_find(&l->startup, "user");
    const char *database = startup_find(&l->startup, "database");
    struct wishes w = {.c = c};
    char app_name[256];
    bool ok;

    if (user == NULL || *user == '\0') {
        client_close_text(c, SQLSTATE_INVALID_AUTHORIZATION, "no PostgreSQL user name specified in startup packet");
        return false;
    }
    if (database == NULL || *database == '\0') {
        database = user;
    }
    if (strlen(user) > NAME_MAX_BYTES || strlen(database) > NAME_MAX_BYTES) {
        client_close_text(c, SQLSTATE_PROTOCOL_VIOLATION, "user or database name is longer than %d bytes", NAME_MAX_BYTES);
        return false;
    }
    l->user = strdup(user);
    l->database = strdup(database);
    ok = collect_wishes(c, &w);
    if (ok && settings_of(c)->application_name_add_host) {
        add_host_to_name(c, &w, app_name, sizeof(app_name));
    }
    if (ok) {
        l->want = params_intern(c->server->env->params, w.entries, w.n);
        ok = l->want != NULL && l->user != NULL && l->database != NULL;
        if (!ok) {
            client_close_text(c, SQLSTATE_PROGRAM_LIMIT_EXCEEDED, "startup parameters are too long");
        }
    }
    for (unsigned i = 0; i < w.n_owned; i++) {
        free(w.owned[i]);
    }
    return ok;
}

/* --- sending --- */

static void send_auth(struct client *c, uint32_t kind, const void *data, size_t len)
{
    struct buf msg = BUF_INIT(8192);
    size_t start = wire_begin(&msg, 'R');

    wire_put_u32(&msg, kind);
    wire_put_bytes(&msg, data, len);
    wire_end(&msg, start);
    client_send_buf(c, &msg);
}

/* --- the end of it --- */

static void reject(struct client *c, const char *text)
{
    client_close_text(c, SQLSTATE_INVALID_PASSWORD, "%s", text);
}

/* Keeps what the proof gave away, so that a server connection can be opened with it. */
static void keep_credentials(struct client *c, struct auth *a)
{
    struct credentials *known = &c->user->credentials;

    if (a->learnt.has_client_key) {
        known->scram = a->learnt;
    }
    if (a->kind == SECRET_KIND_PLAIN && secret_is_set(&a->secret) &&
        !secret_equals(&known->password, a->secret.data, a->secret.len)) {
        (void)!secret_set(&known->password, a->secret.data, a->secret.len); /* not kept: the login will say so */
    }
    if (a->kind == SECRET_KIND_MD5 && a->secret.len == MD5_TEXT_BYTES) {
        memcpy(known->md5, a->secret.data, MD5_TEXT_SIZE);
    }
}

static bool may_use_console(const struct client *c)
{
    const struct settings *set = settings_of(c);
    const char *user = c->u.login->user;

    return set->auth_type == AUTH_TYPE_ANY || option_list_has(set->admin_users, user) ||
           option_list_has(set->stats_users, user);
}

static void accept_console(struct client *c)
{
    struct buf msg = c->u.login->reply;
    struct server *s = c->server;
    /* With auth_type = any everybody may look, and nobody has proved to be an admin. */
    bool is_admin = c->u.login->is_own_uid || (settings_of(c)->auth_type != AUTH_TYPE_ANY &&
                                               option_list_has(settings_of(c)->admin_users, c->u.login->user));

    if (!c->u.login->is_own_uid && !may_use_console(c)) {
        client_close_text(c, SQLSTATE_INVALID_AUTHORIZATION, "not allowed");
        return;
    }
    c->user = reload_find_user(s, c->u.login->user);
    if (c->user == NULL) {
        client_close_text(c, SQLSTATE_OUT_OF_MEMORY, "out of memory");
        return;
    }
    c->u.login->reply = BUF_INIT(0);
    startup_put_auth_ok(&msg);
    if (s->config->settings.log_connections) {
        client_log(c, LOG_LOG_LEVEL, "login attempt: db=%s user=%s tls=%s", c->u.login->database, c->u.login->user,
                   c->is_tls ? "yes" : "no");
    }
    list_remove(&s->logins, &c->link);
    list_add_tail(&s->consoles, &c->link);
    c->u.login = client_login_free(c->u.login);
    client_set_state(c, CLIENT_CONSOLE);
    c->is_admin = is_admin;
    client_send_buf(c, &msg);
    if (c->state == CLIENT_CONSOLE) {
        admin_session_begin(c);
    }
}

static void accept_client(struct client *c)
{
    struct client_login *l = c->u.login;
    struct auth *a = l->auth;
    struct server *s = c->server;

    if (l->is_console) {
        accept_console(c);
        return;
    }
    c->database = reload_find_database(s, l->database);
    if (c->database == NULL) {
        client_close_text(c, SQLSTATE_INVALID_CATALOG_NAME, "no such database: %s", l->database);
        return;
    }
    if (a->is_mock) { /* a method without a secret lets a made-up user this far */
        reject(c, a->method == AUTH_TYPE_TRUST ? "\"trust\" authentication failed" : "password authentication failed");
        return;
    }
    c->user = reload_find_user(s, l->user);
    if (c->user == NULL) {
        client_close_text(c, SQLSTATE_OUT_OF_MEMORY, "out of memory");
        return;
    }
    keep_credentials(c, a);
    l->auth = client_auth_free(a);
    client_login_begin(c);
}

/* --- the methods --- */

static void start_md5(struct client *c)
{
    struct auth *a = c->u.login->auth;

    secret_random(a->salt, sizeof(a->salt));
    send_auth(c, AUTH_MD5, a->salt, sizeof(a->salt));
}

static bool offers_plus(const struct client *c)
{
    uint8_t digest[TLS_END_POINT_MAX_BYTES];
    size_t len;

    return c->is_tls && tls_end_point(c->conn.tls, TLS_OWN_CERTIFICATE, digest, &len);
}

static void start_scram(struct client *c)
{
    static const char with_plus[] = SCRAM_MECHANISM_PLUS "\0" SCRAM_MECHANISM "\0"; /* and the literal's own NUL */
    static const char without[] = SCRAM_MECHANISM "\0";

    c->u.login->auth->expects_initial = true;
    if (offers_plus(c)) {
        send_auth(c, AUTH_SASL, with_plus, sizeof(with_plus));
    } else {
        send_auth(c, AUTH_SASL, without, sizeof(without));
    }
}

static bool peer_is(const struct client *c, const char *map)
{
    struct ucred cred;
    socklen_t len = sizeof(cred);
    char text[4096];
    struct passwd pw;
    struct passwd *found = NULL;

    return c->is_unix && getsockopt(conn_fd(&c->conn), SOL_SOCKET, SO_PEERCRED, &cred, &len) == 0 &&
           getpwuid_r(cred.uid, &pw, text, sizeof(text), &found) == 0 && found != NULL &&
           ident_match(c->server->config->ident, map, found->pw_name, c->u.login->user);
}

static bool certificate_is(const struct client *c, const char *map)
{
    char *name = c->is_tls ? tls_peer_common_name(c->conn.tls) : NULL;
    bool ok = name != NULL && ident_match(c->server->config->ident, map, name, c->u.login->user);

    free(name);
    return ok;
}

/* What the client has to send for its method, or the verdict where it need not send anything. */
static void start_exchange(struct client *c)
{
    struct auth *a = c->u.login->auth;
    const char *map = a->rule != NULL ? a->rule->map : "";

    switch (a->method) {
    case AUTH_TYPE_ANY:
        a->is_mock = false;
        accept_client(c);
        return;
    case AUTH_TYPE_TRUST:
        if (a->is_mock && !c->u.login->is_console) {
            reject(c, "\"trust\" authentication failed");
            return;
        }
        accept_client(c);
        return;
    case AUTH_TYPE_PLAIN:
        send_auth(c, AUTH_CLEARTEXT, NULL, 0);
        return;
    case AUTH_TYPE_MD5:
        /* As PgBouncer and PostgreSQL do: who has a SCRAM secret logs in by SCRAM. */
        if (a->kind == SECRET_KIND_SCRAM) {
            a->method = AUTH_TYPE_SCRAM;
            start_scram(c);
        } else {
            start_md5(c);
        }
        return;
    case AUTH_TYPE_SCRAM:
        start_scram(c);
        return;
    case AUTH_TYPE_CERT:
        if (certificate_is(c, map)) {
            a->is_mock = false;
            accept_client(c);
        } else {
            reject(c, "TLS certificate name mismatch");
        }
        return;
    case AUTH_TYPE_PEER:
        if (peer_is(c, map)) {
            a->is_mock = false;
            accept_client(c);
        } else {
            reject(c, "unix socket login rejected");
        }
        return;
    case AUTH_TYPE_REJECT:
        reject(c, "login rejected");
        return;
    case AUTH_TYPE_PAM:
    case AUTH_TYPE_LDAP:
        send_auth(c, AUTH_CLEARTEXT, NULL, 0);
        return;
    case AUTH_TYPE_HBA:
        break;
    }
    unreachable();
}

/* --- answers --- */

static bool find_scram_keys(struct client *c, struct scram_keys *ret)
{
    struct auth *a = c->u.login->auth;
    struct server *s = c->server;
    uint32_t iterations = (uint32_t)settings_of(c)->scram_iterations;
    uint8_t salt[SCRAM_SALT_BYTES];
    struct scram_cache_query q = {.user = c->u.login->user, .salt = salt, .salt_len = sizeof(salt),
                                  .iterations = iterations};
    bool ok;

    if (a->kind == SECRET_KIND_SCRAM) { /* no derivation: neither for those who exist nor for others */
        return a->is_mock ? scram_keys_mock(s->process_key, c->u.login->user, a->mock_iterations, ret)
                          : scram_secret_parse(a->secret.data, ret);
    }
    if (!scram_salt_of_user(s->process_key, c->u.login->user, salt)) {
        return false;
    }
    if (!a->is_mock && a->kind == SECRET_KIND_PLAIN) {
        q.password = a->secret.data;
        q.password_len = a->secret.len;
        return scram_cache_derive(s->env->scram_cache, &q, ret) == SCRAM_OK;
    }
    /* Costs as much as the first login of a user with a plain password, and ends in the same words. */
    q.password = "";
    ok = scram_cache_derive(s->mock_cache, &q, ret) == SCRAM_OK;
    ret->is_mock = true;
    return ok;
}

static bool plain_is_right(struct client *c, const char *password)
{
    struct auth *a = c->u.login->auth;
    struct scram_keys keys;
    bool right = false;

    switch (a->kind) {
    case SECRET_KIND_PLAIN:
        return secret_equals(&a->secret, password, strlen(password));
    case SECRET_KIND_MD5:
        return md5_password_check(a->secret.data, password, c->u.login->user) == MD5_OK;
    case SECRET_KIND_SCRAM:
        if (find_scram_keys(c, &keys)) {
            right = scram_cache_check(c->server->env->scram_cache, c->u.login->user, password, &keys, &a->learnt) ==
                    SCRAM_OK;
        }
        scram_keys_wipe(&keys);
        return right;
    case SECRET_KIND_EMPTY:
        return false;
    }
    unreachable();
}

static void on_password(struct client *c, const uint8_t *body, size_t len)
{
    struct auth *a = c->u.login->auth;
    const char *password = (const char *)body;
    bool right = false;

    if (len == 0 || body[len - 1] != '\0' || strlen(password) + 1 != len) {
        client_close_text(c, SQLSTATE_PROTOCOL_VIOLATION, "invalid password packet");
        return;
    }
    if (a->is_mock && (a->method != AUTH_TYPE_PLAIN || a->kind != SECRET_KIND_SCRAM)) {
        reject(c, "password authentication failed");
        return;
    }
    if (a->method == AUTH_TYPE_PLAIN) {
        right = plain_is_right(c, password) && !a->is_mock; /* the derivation takes its time for both */
        if (right && a->kind != SECRET_KIND_PLAIN) { /* now the password itself is known */
            (void)!secret_set(&a->secret, password, len - 1); /* not kept: the login will say so */
            a->kind = SECRET_KIND_PLAIN;
        }
    } else if (a->method == AUTH_TYPE_MD5) {
        char md5[MD5_TEXT_SIZE];
        const char *stored = a->secret.data;

        right = a->kind == SECRET_KIND_MD5;
        if (a->kind == SECRET_KIND_PLAIN) {
            right = md5_secret_make(a->secret.data, a->secret.len, c->u.login->user, md5) == MD5_OK;
            stored = md5;
        }
        right = right && md5_response_check(stored, a->salt, password) == MD5_OK;
        explicit_bzero(md5, sizeof(md5));
    }
    if (!right) {
        reject(c, "password authentication failed");
        return;
    }
    accept_client(c);
}

static bool make_scram(struct client *c, enum scram_mechanism mechanism)
{
    struct auth *a = c->u.login->auth;
    uint8_t nonce[SCRAM_NONCE_BYTES];
    uint8_t binding[TLS_END_POINT_MAX_BYTES];
    struct scram_keys keys;
    struct scram_server_params p = {.keys = &keys, .mechanism = mechanism, .nonce = nonce};

    if (!find_scram_keys(c, &keys)) {
        return false;
    }
    secret_random(nonce, sizeof(nonce));
    if (c->is_tls && tls_end_point(c->conn.tls, TLS_OWN_CERTIFICATE, binding, &p.binding_len)) {
        p.binding = binding;
    }
    a->scram = scram_server_new(&p);
    scram_keys_wipe(&keys);
    return a->scram != NULL;
}

static void on_client_first(struct client *c, const void *msg, size_t len)
{
    struct buf out = BUF_INIT(SCRAM_MESSAGE_MAX);

    if (scram_server_first(c->u.login->auth->scram, msg, len, &out) != SCRAM_OK) {
        reject(c, "SASL authentication failed");
    } else {
        send_auth(c, AUTH_SASL_CONTINUE, out.data, out.len);
    }
    buf_done(&out);
}

static void on_sasl_initial(struct client *c, const uint8_t *body, size_t len)
{
    struct auth *a = c->u.login->auth;
    struct wire_reader r;
    const char *name;
    uint32_t data_len;
    const uint8_t *data;
    enum scram_mechanism mechanism;

    wire_reader_init(&r, body, len);
    name = wire_get_cstr(&r);
    data_len = wire_get_u32(&r);
    data = data_len == UINT32_MAX ? NULL : wire_get_bytes(&r, data_len);
    mechanism = scram_mechanism_by_name(name);
    if (!wire_at_end(&r) || mechanism == SCRAM_MECH_UNKNOWN ||
        (mechanism == SCRAM_MECH_SHA_256_PLUS && !offers_plus(c))) {
        client_close_text(c, SQLSTATE_PROTOCOL_VIOLATION, "client selected an invalid SASL authentication mechanism");
        return;
    }
    a->expects_initial = false;
    if (!make_scram(c, mechanism)) {
        reject(c, "SASL authentication failed");
    } else if (data == NULL) {
        send_auth(c, AUTH_SASL_CONTINUE, NULL, 0);
        a->expects_first = true;
    } else {
        on_client_first(c, data, data_len);
    }
}

static void on_client_final(struct client *c, const uint8_t *body, size_t len)
{
    struct auth *a = c->u.login->auth;
    struct buf out = BUF_INIT(SCRAM_MESSAGE_MAX);
    struct buf *reply = &c->u.login->reply;
    size_t start;

    if (scram_server_final(a->scram, body, len, &out) != SCRAM_OK || a->is_mock) {
        buf_done(&out);
        reject(c, "SASL authentication failed");
        return;
    }
    (void)!scram_server_keys(a->scram, &a->learnt); /* none: then it is not passed through */
    start = wire_begin(reply, 'R'); /* leaves with the welcome, in one go */
    wire_put_u32(reply, AUTH_SASL_FINAL);
    wire_put_bytes(reply, out.data, out.len);
    wire_end(reply, start);
    buf_done(&out);
    accept_client(c);
}

void client_auth_message(struct client *c, const uint8_t *body, size_t len)
{
    struct auth *a = c->u.login->auth;

    if (a->method != AUTH_TYPE_SCRAM) {
        on_password(c, body, len);
    } else if (a->expects_initial) {
        on_sasl_initial(c, body, len);
    } else if (a->expects_first) {
        a->expects_first = false;
        on_client_first(c, body, len);
    } else {
        on_client_final(c, body, len);
    }
}

/* --- how, and with which secret --- */

/* A number that is always the same for one user and says nothing to others. */
static uint32_t draw_of_user(const struct client *c)
{
    uint8_t salt[SCRAM_SALT_BYTES];

    return scram_salt_of_user(c->server->process_key, c->u.login->user, salt) ? wire_load_u32(salt) : 0;
}

/* A user that does not exist is as one of auth_file's: the exchange and its cost depend on the kind of the secret, and
 * must not tell the two apart. */
static void make_up_user(struct client *c)
{
    struct auth *a = c->u.login->auth;
    const struct userlist *list = c->server->config->userlist;
    unsigned n = userlist_count(list);
    unsigned skip = n == 0 ? 0 : draw_of_user(c) % n;
    const struct userlist_entry *e = userlist_next(list, NULL);
    struct scram_keys keys;

    while (e != NULL && skip-- > 0) {
        e = userlist_next(list, e);
    }
    a->is_mock = true;
    a->kind = e == NULL || e->kind == SECRET_KIND_EMPTY ? SECRET_KIND_SCRAM : e->kind;
    a->mock_iterations = (uint32_t)settings_of(c)->scram_iterations;
    if (e != NULL && e->kind == SECRET_KIND_SCRAM && scram_secret_parse(e->secret.data, &keys)) {
        a->mock_iterations = keys.iterations;
        scram_keys_wipe(&keys);
    }
}

/* The same where auth_query was asked: as those that it finds. */
static void make_up_queried_user(struct client *c)
{
    struct auth *a = c->u.login->auth;

    a->is_mock = true;
    a->kind = c->server->queried_kind;
    a->mock_iterations = (uint32_t)settings_of(c)->scram_iterations;
}

static void set_secret(struct client *c, const char *data, size_t len)
{
    struct auth *a = c->u.login->auth;

    a->kind = secret_kind_of(data, len);
    if (!secret_set(&a->secret, data, len)) {
        client_close_text(c, SQLSTATE_OUT_OF_MEMORY, "out of memory");
    }
}

static void on_auth_query(void *owner, enum auth_query_result result, const struct secret *secret,
                          const struct pg_error *error)
{
    struct client *c = owner;
    struct auth *a = c->u.login->auth;

    c->u.login->is_busy = false;
    switch (result) {
    case AUTH_QUERY_FOUND:
        if (secret->len == 0 && a->method != AUTH_TYPE_TRUST) { /* nobody can log in with it */
            make_up_queried_user(c);
            break;
        }
        set_secret(c, secret->data, secret->len);
        if (c->state != CLIENT_CLOSED && secret->len > 0) {
            c->server->queried_kind = a->kind;
        }
        break;
    case AUTH_QUERY_NONE:
        make_up_queried_user(c);
        break;
    case AUTH_QUERY_FAILED: {
        char text[256];

        client_log(c, LOG_WARNING_LEVEL, "auth_query failed: %s", log_escape(text, sizeof(text), error->message));
        client_close_text(c, SQLSTATE_CONNECTION_FAILURE, "bouncer config error");
        return;
    }
    }
    a->query = auth_query_free(a->query);
    if (c->state != CLIENT_CLOSED) {
        conn_want_read(&c->conn, c->server->loop, true);
        a->rule = NULL;
        start_exchange(c);
    }
}

static const char *first_set(const char *a, const char *b)
{
    return *a != '\0' ? a : b;
}

/* Looks the user up by auth_query. false: there is none for this database, or it cannot be started (c is closed then). */
static bool start_auth_query(struct client *c)
{
    struct server *s = c->server;
    const struct settings *set = settings_of(c);
    const struct database_config *dc = config_database(s->config, c->u.login->database);
    const char *auth_user;
    const char *auth_dbname;
    const char *sql;
    struct database *auth_db;
    struct pool *pool;

    if (dc == NULL) {
        dc = s->config->autodb;
    }
    auth_user = first_set(dc != NULL ? dc->auth_user : "", set->auth_user);
    auth_dbname = first_set(dc != NULL ? dc->auth_dbname : "", set->auth_dbname);
    sql = first_set(dc != NULL ? dc->auth_query : "", set->auth_query);
    if (*auth_user == '\0') {
        return false;
    }
    if (config_name_is_console(auth_dbname)) {
        client_close_text(c, SQLSTATE_PROTOCOL_VIOLATION, "cannot use the reserved \"%s\" database as an auth_dbname",
                          auth_dbname);
        return false;
    }
    auth_db = reload_find_database(s, first_set(auth_dbname, c->u.login->database));
    if (auth_db == NULL) {
        client_close_text(c, SQLSTATE_PROTOCOL_VIOLATION, "authentication database \"%s\" is not configured",
                          auth_dbname);
        return false;
    }
    if (auth_db->is_disabled) {
        client_close_text(c, SQLSTATE_PROTOCOL_VIOLATION, "authentication database \"%s\" is disabled", auth_db->name);
        return false;
    }
    pool = reload_get_auth_pool(s, auth_db, auth_user);
    c->u.login->auth->query = pool != NULL ? auth_query_start(pool, sql, c->u.login->user, on_auth_query, c) : NULL;
    if (c->u.login->auth->query == NULL) {
        client_close_text(c, SQLSTATE_OUT_OF_MEMORY, "out of memory");
        return false;
    }
    c->u.login->is_busy = true;
    return true;
}

static bool wants_secret(enum auth_type method)
{
    return method == AUTH_TYPE_PLAIN || method == AUTH_TYPE_MD5 || method == AUTH_TYPE_SCRAM;
}

/* A user that comes from auth_user's own login must be in auth_file, or it would ask for itself for ever. */
static void find_secret(struct client *c)
{
    struct auth *a = c->u.login->auth;
    const struct userlist *list = c->server->config->userlist;
    const struct userlist_entry *e = list != NULL ? userlist_find(list, c->u.login->user) : NULL;

    if (e != NULL && (e->kind != SECRET_KIND_EMPTY || !wants_secret(a->method))) {
        set_secret(c, e->secret.data, e->secret.len);
    } else if (e != NULL) {
        make_up_user(c); /* nobody can log in with an empty secret */
    } else if (a->method == AUTH_TYPE_TRUST || wants_secret(a->method)) {
        if (!c->u.login->is_console && !a->has_no_database && start_auth_query(c)) {
            return;
        }
        if (c->state == CLIENT_CLOSED) {
            return; /* and @a is gone */
        }
        make_up_user(c);
    }
    if (c->state != CLIENT_CLOSED) {
        start_exchange(c);
    }
}

static void make_sockaddr(const struct client *c, struct sockaddr_storage *ret)
{
    *ret = (struct sockaddr_storage){.ss_family = (sa_family_t)c->family};
    if (c->family == AF_INET) {
        memcpy(&((struct sockaddr_in *)(void *)ret)->sin_addr, c->addr, 4);
    } else if (c->family == AF_INET6) {
        memcpy(&((struct sockaddr_in6 *)(void *)ret)->sin6_addr, c->addr, 16);
    }
}

static bool choose_method(struct client *c)
{
    struct auth *a = c->u.login->auth;
    struct sockaddr_storage addr;
    struct hba_login login = {.tls = c->is_tls, .database = c->u.login->database, .user = c->u.login->user};

    a->method = settings_of(c)->auth_type;
    if (a->method != AUTH_TYPE_HBA) {
        return true;
    }
    make_sockaddr(c, &addr);
    login.addr = (struct sockaddr *)&addr;
    a->rule = hba_match(c->server->config->hba, &login);
    if (a->rule == NULL) {
        reject(c, "no authentication method configured for this login (auth_hba_file)");
        return false;
    }
    a->method = a->rule->method;
    return true;
}

/* The daemon's own user may always use the console over the Unix socket. */
static bool is_own_uid(const struct client *c)
{
    struct ucred cred;
    socklen_t len = sizeof(cred);
    const char *user = c->u.login->user;

    return c->is_unix && (strcmp(user, "pgbouncer") == 0 || strcmp(user, "pgpoold") == 0) &&
           getsockopt(conn_fd(&c->conn), SOL_SOCKET, SO_PEERCRED, &cred, &len) == 0 && cred.uid == geteuid();
}

void client_auth_begin(struct client *c)
{
    struct server *s = c->server;
    struct client_login *l = c->u.login;
    const char *replication = startup_find(&l->startup, "replication");

    if (!read_startup(c)) {
        return;
    }
    l->is_console = config_name_is_console(l->database);
    l->auth = calloc(1, sizeof(*l->auth));
    if (l->auth == NULL) {
        client_close_text(c, SQLSTATE_OUT_OF_MEMORY, "out of memory");
        return;
    }
    if (s->state != SERVER_RUNS && s->state != SERVER_SUSPENDED && !l->is_console) {
        client_close_text(c, SQLSTATE_CANNOT_CONNECT_NOW, "pooler is shutting down");
        return;
    }
    if (!l->is_console && s->n_clients > (unsigned)settings_of(c)->max_client_conn) {
        client_close_text(c, SQLSTATE_TOO_MANY_CONNECTIONS, "no more connections allowed (max_client_conn)");
        return;
    }
    if (replication != NULL && strcmp(replication, "false") != 0 && strcmp(replication, "0") != 0) {
        client_close_text(c, SQLSTATE_FEATURE_NOT_SUPPORTED, "replication connections are not pooled");
        return;
    }
    if (l->is_console && is_own_uid(c)) {
        l->is_own_uid = true;
        accept_console(c);
        return;
    }
    if (!choose_method(c)) {
        return;
    }
    /* Nothing is created for a client that has proved nothing: an auto-database comes with its first login. */
    l->auth->has_no_database =
        !l->is_console && config_database(s->config, l->database) == NULL && s->config->autodb == NULL;
    find_secret(c);
}
