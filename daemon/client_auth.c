/* SPDX-License-Identifier: ISC */
/* Who is it, and can it prove that? Takes the StartupMessage apart, finds how the client has to log
 * in (auth_type or HBA rules), and runs the exchange. A user or database that does not exist goes
 * through the same exchange with a made-up secret, so that nobody can tell before a password is
 * right. PG15 protocol, "Start-up". */
#include "daemon/auth_worker.h"
#include "daemon/client_auth_internal.h"
#include "daemon/listener.h"
#include "daemon/reload.h"

#include "daemon/util/fatal.h"
#include "protocol/scram_cache.h"

#include <errno.h>
#include <netinet/in.h>
#include <pwd.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/socket.h>
#include <unistd.h>

#define NAME_MAX_BYTES 127 /* of a user or database; PostgreSQL's own limit is 63 */

struct auth *client_auth_free(struct auth *a)
{
    if (a == NULL) {
        return NULL;
    }
    a->query = auth_query_free(a->query);
    a->check = auth_check_free(a->check);
    a->scram = scram_server_free(a->scram);
    secret_done(&a->secret);
    secret_done(&a->ldap_options);
    secret_done(&a->answer);
    return secret_free(a, sizeof(*a));
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
    return option_list_has(client_auth_settings(c)->ignore_startup_parameters, name);
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

/* PostgreSQL takes anything here that is a parameter at all; what is none is refused by the server,
 * with its own text. */
static bool collect_wishes(struct client *c, const struct startup *s, struct wishes *w)
{
    for (unsigned i = 0; i < s->n_params; i++) {
        const char *name = s->params[i].name;
        const char *value = s->params[i].value;

        if (strcmp(name, "user") == 0 || strcmp(name, "database") == 0 ||
            strcmp(name, "replication") == 0 || strncmp(name, "_pq_.", 5) == 0 ||
            is_ignored(c, name)) {
            continue;
        }
        if (strcmp(name, "options") != 0) {
            add_wish(w, name, value);
        } else if (!startup_split_options(value, on_option, w)) {
            client_close_text(c, SQLSTATE_PROTOCOL_VIOLATION,
                              "unsupported options startup parameter: only '-c config=val' and "
                              "'--config=val' are allowed");
            return false;
        }
    }
    return true;
}

static void add_host_to_name(struct client *c, struct wishes *w, char *text, size_t size)
{
    char addr[CLIENT_ADDR_SIZE];
    const char *name = "app"; /* as PgBouncer calls those without a name */
    char unix_of[CLIENT_ADDR_SIZE];

    for (unsigned i = 0; i < w->n; i++) {
        if (strcasecmp(w->entries[i].name, "application_name") == 0) {
            name = w->entries[i].value;
        }
    }
    if (client_unix_pid(c) > 0 && gethostname(unix_of, sizeof(unix_of)) == 0) {
        unix_of[sizeof(unix_of) - 1] = '\0';
        (void)snprintf(addr, sizeof(addr), "unix(%d@%.40s)", client_unix_pid(c), unix_of);
    } else {
        (void)client_addr(c, addr);
    }
    (void)snprintf(text, size, "%.63s - %s:%u", name, addr, c->port);
    text[MIN(size - 1, (size_t)63)] = '\0'; /* as PostgreSQL would cut it */
    add_wish(w, "application_name", text);
}

static bool read_startup(struct client *c, const struct startup *s)
{
    struct client_login *l = c->u.login;
    const char *user = startup_find(s, "user");
    const char *database = startup_find(s, "database");
    struct wishes w; /* not an initialiser: it would clear two kilobytes */
    char app_name[256];
    bool ok;

    w.c = c;
    w.n = 0;
    w.n_owned = 0;
    if (user == NULL || *user == '\0') {
        client_close_text(c, SQLSTATE_INVALID_AUTHORIZATION,
                          "no PostgreSQL user name specified in startup packet");
        return false;
    }
    if (database == NULL || *database == '\0') {
        database = user;
    }
    if (strlen(user) > NAME_MAX_BYTES || strlen(database) > NAME_MAX_BYTES) {
        client_close_text(c, SQLSTATE_PROTOCOL_VIOLATION,
                          "user or database name is longer than %d bytes", NAME_MAX_BYTES);
        return false;
    }
    l->user = strdup(user);
    l->database = strdup(database);
    ok = collect_wishes(c, s, &w);
    if (ok && client_auth_settings(c)->application_name_add_host) {
        add_host_to_name(c, &w, app_name, sizeof(app_name));
    }
    if (ok) {
        l->want = params_intern(c->server->env->params, w.entries, w.n);
        ok = l->want != NULL && l->user != NULL && l->database != NULL;
        if (l->want == NULL && errno == E2BIG) {
            client_close_text(c, SQLSTATE_PROGRAM_LIMIT_EXCEEDED,
                              "startup parameters are too long");
        } else if (!ok) {
            client_close_text(c, SQLSTATE_OUT_OF_MEMORY, "out of memory");
        }
    }
    for (unsigned i = 0; i < w.n_owned; i++) {
        free(w.owned[i]);
    }
    return ok;
}

/* --- sending --- */

void client_auth_send(struct client *c, uint32_t kind, const void *data, size_t len)
{
    struct buf msg = BUF_INIT(8192);
    size_t start = wire_begin(&msg, 'R');

    wire_put_u32(&msg, kind);
    wire_put_bytes(&msg, data, len);
    wire_end(&msg, start);
    client_send_buf(c, &msg);
}

/* --- the end of it --- */

void client_auth_reject(struct client *c, const char *text)
{
    client_close_text(c, SQLSTATE_INVALID_PASSWORD, "%s", text);
}

/* Keeps what the proof gave away, so that a server connection can be opened with it. */
static void keep_credentials(struct client *c, struct auth *a)
{
    struct credentials *known = c->user->credentials;

    if (a->learnt.has_client_key) {
        known->scram = a->learnt;
    }
    if (a->kind == SECRET_KIND_PLAIN && secret_is_set(&a->secret) &&
        !secret_equals(&known->password, a->secret.data, a->secret.len)) {
        (void)!secret_set(&known->password, a->secret.data,
                          a->secret.len); /* not kept: the login will say so */
    }
    if (a->kind == SECRET_KIND_MD5 && a->secret.len == MD5_TEXT_BYTES) {
        memcpy(known->md5, a->secret.data, MD5_TEXT_SIZE);
    }
}

static bool may_use_console(const struct client *c)
{
    const struct settings *set = client_auth_settings(c);
    const char *user = c->u.login->user;

    return set->auth_type == AUTH_TYPE_ANY || option_list_has(set->admin_users, user) ||
           option_list_has(set->stats_users, user);
}

static void accept_console(struct client *c)
{
    struct buf msg = c->u.login->reply;
    struct server *s = c->server;
    bool is_admin = c->u.login->is_own_uid ||
                    option_list_has(client_auth_settings(c)->admin_users, c->u.login->user);

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
    client_log_attempt(c);
    list_remove(&s->logins, &c->link);
    list_add_tail(&s->consoles, &c->link);
    c->params = params_ref(c->u.login->want); /* for its application_name */
    c->u.login = client_login_free(c->u.login);
    client_set_state(c, CLIENT_CONSOLE);
    conn_set_rank(&c->conn, s->loop, LOOP_USUAL);
    c->is_admin = is_admin;
    client_send_buf(c, &msg);
    if (c->state == CLIENT_CONSOLE) {
        admin_session_begin(c);
    }
}

void client_auth_accept(struct client *c)
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
        char database[256];
        char user[256];

        client_log_attempt(c);
        client_log_stranger(c, "login failed: db=%s user=%s",
                            log_escape(database, sizeof(database), l->database),
                            log_escape(user, sizeof(user), l->user));
        client_close_text(c, SQLSTATE_INVALID_CATALOG_NAME, "no such database: %s", l->database);
        return;
    }
    if (a->is_mock) { /* a method without a secret lets a made-up user this far */
        client_auth_reject(c, a->method == AUTH_TYPE_TRUST ? "\"trust\" authentication failed"
                                                           : "password authentication failed");
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
    client_auth_send(c, AUTH_MD5, a->salt, sizeof(a->salt));
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

    if (!ok) {
        client_log_stranger(c, name == NULL ? "TLS client certificate required"
                                            : "TLS certificate name mismatch");
    }
    free(name);
    return ok;
}

void client_auth_exchange(struct client *c)
{
    struct auth *a = c->u.login->auth;
    const char *map = a->rule != NULL ? a->rule->map : "";

    switch (a->method) {
    case AUTH_TYPE_ANY:
        a->is_mock = false;
        client_auth_accept(c);
        return;
    case AUTH_TYPE_TRUST:
        if (a->is_mock && !c->u.login->is_console) {
            client_auth_reject(c, "\"trust\" authentication failed");
            return;
        }
        client_auth_accept(c);
        return;
    case AUTH_TYPE_PLAIN:
        client_auth_send(c, AUTH_CLEARTEXT, NULL, 0);
        return;
    case AUTH_TYPE_MD5:
        /* As PgBouncer and PostgreSQL do: who has a SCRAM secret logs in by SCRAM. */
        if (a->kind == SECRET_KIND_SCRAM) {
            a->method = AUTH_TYPE_SCRAM;
            client_scram_start(c);
        } else {
            start_md5(c);
        }
        return;
    case AUTH_TYPE_SCRAM:
        client_scram_start(c);
        return;
    case AUTH_TYPE_CERT:
        if (certificate_is(c, map)) {
            a->is_mock = false;
            client_auth_accept(c);
        } else {
            client_auth_reject(c, "certificate authentication failed");
        }
        return;
    case AUTH_TYPE_PEER:
        if (peer_is(c, map)) {
            a->is_mock = false;
            client_auth_accept(c);
        } else {
            client_auth_reject(c, "unix socket login rejected");
        }
        return;
    case AUTH_TYPE_REJECT:
        client_auth_reject(c, "login rejected");
        return;
    case AUTH_TYPE_PAM:
    case AUTH_TYPE_LDAP:
        client_outside_start(c);
        return;
    case AUTH_TYPE_HBA:
        break;
    }
    unreachable();
}

/* --- answers --- */

static bool plain_is_right(const struct client *c, const char *password)
{
    const struct auth *a = c->u.login->auth;

    switch (a->kind) {
    case SECRET_KIND_PLAIN:
        return secret_equals(&a->secret, password, strlen(password));
    case SECRET_KIND_MD5:
        return md5_password_check(a->secret.data, password, c->u.login->user) == MD5_OK;
    case SECRET_KIND_SCRAM: /* client_outside_derive() has it */
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
    if (a->method == AUTH_TYPE_PLAIN && *password == '\0') {
        client_auth_reject(c, "empty password returned by client"); /* PostgreSQL's text, too */
        return;
    }
    if (a->is_mock && (a->method != AUTH_TYPE_PLAIN || a->kind != SECRET_KIND_SCRAM)) {
        client_auth_reject(c, "password authentication failed");
        return;
    }
    if (a->method == AUTH_TYPE_PLAIN && a->kind == SECRET_KIND_SCRAM) {
        client_outside_derive(c, password, len); /* takes its time for made-up users, too */
        return;
    }
    if (a->method == AUTH_TYPE_PLAIN) {
        right = plain_is_right(c, password);
        if (right && a->kind != SECRET_KIND_PLAIN) {          /* now the password itself is known */
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
    if (right) {
        client_auth_accept(c);
    } else if (!client_secret_find_again(c, body, len)) {
        client_auth_reject(c, "password authentication failed");
    }
}

void client_auth_message(struct client *c, const uint8_t *body, size_t len)
{
    enum auth_type method = c->u.login->auth->method;

    if (method == AUTH_TYPE_SCRAM) {
        client_scram_message(c, body, len);
    } else if (method == AUTH_TYPE_PAM || method == AUTH_TYPE_LDAP) {
        client_outside_password(c, body, len);
    } else {
        on_password(c, body, len);
    }
}

/* --- how --- */

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
    struct hba_login login = {.tls = c->is_tls,
                              .database = c->u.login->database,
                              .user = c->u.login->user,
                              .is_replication = c->replication == REPLICATION_PHYSICAL};

    a->method = client_auth_settings(c)->auth_type;
    if (a->method != AUTH_TYPE_HBA) {
        return true;
    }
    make_sockaddr(c, &addr);
    login.addr = (struct sockaddr *)&addr;
    a->rule = hba_match(c->server->config->hba, &login);
    if (a->rule == NULL) {
        client_auth_reject(c, "no authentication method is found");
        return false;
    }
    a->method = a->rule->method;
    return true;
}

bool client_is_own_uid(const struct client *c)
{
    struct ucred cred;
    socklen_t len = sizeof(cred);

    return c->is_unix && getsockopt(conn_fd(&c->conn), SOL_SOCKET, SO_PEERCRED, &cred, &len) == 0 &&
           cred.uid == geteuid();
}

/* The daemon's own user may always use the console over the Unix socket. */
static bool is_console_owner(const struct client *c)
{
    const char *user = c->u.login->user;

    return (strcmp(user, "pgbouncer") == 0 || strcmp(user, "pgpoold") == 0) && client_is_own_uid(c);
}

static bool read_replication(struct client *c, const struct startup *startup)
{
    const char *value = startup_find(startup, "replication");
    enum replication kind = REPLICATION_NONE;

    if (value != NULL && !replication_parse(value, &kind)) {
        client_close_text(c, "22023", /* invalid_parameter_value */
                          "invalid value for parameter \"replication\": \"%s\"", value);
        return false;
    }
    if (kind != REPLICATION_NONE && c->u.login->is_console) {
        client_close_text(c, SQLSTATE_FEATURE_NOT_SUPPORTED, "the console does not replicate");
        return false;
    }
    c->replication = (uint8_t)kind;
    return true;
}

void client_auth_begin(struct client *c, const struct startup *startup)
{
    struct server *s = c->server;
    struct client_login *l = c->u.login;

    if (!read_startup(c, startup)) {
        return;
    }
    l->is_console = config_name_is_console(l->database);
    if (!read_replication(c, startup)) {
        return;
    }
    l->auth = secret_alloc(sizeof(*l->auth));
    if (l->auth == NULL) {
        client_close_text(c, SQLSTATE_OUT_OF_MEMORY, "out of memory");
        return;
    }
    if (s->state != SERVER_RUNS && s->state != SERVER_SUSPENDED && !l->is_console &&
        !server_lets_in(s, c)) {
        client_close_text(c, SQLSTATE_CANNOT_CONNECT_NOW, "pooler is shutting down");
        return;
    }
    if (!l->is_console && s->n_clients > (unsigned)client_auth_settings(c)->max_client_conn) {
        client_close_text(c, SQLSTATE_TOO_MANY_CONNECTIONS,
                          "no more connections allowed (max_client_conn)");
        return;
    }
    if (l->is_console && is_console_owner(c)) {
        l->is_own_uid = true;
        accept_console(c);
        return;
    }
    if (!choose_method(c)) {
        return;
    }
    /* Nothing is created for a client that has proved nothing: an auto-database comes with its first login. */
    l->auth->has_no_database = !l->is_console && config_database(s->config, l->database) == NULL &&
                               s->config->autodb == NULL;
    client_secret_find(c);
}
