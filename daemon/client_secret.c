/* SPDX-License-Identifier: ISC */
/* What is known of a user's password: from auth_file, from auth_query, or made up for users that do
 * not exist. */
#include "daemon/client_auth_internal.h"
#include "daemon/reload.h"

#include "daemon/util/log.h"

/* A number that is always the same for one user and says nothing to others. */
static uint32_t draw_of_user(const struct client *c)
{
    uint8_t salt[SCRAM_SALT_BYTES];

    return scram_salt_of_user(c->server->process_key, c->u.login->user, salt) ? wire_load_u32(salt)
                                                                              : 0;
}

/* A user that does not exist is as one of auth_file's: the exchange and its cost depend on the kind
 * of the secret, and must not tell the two apart. */
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
    a->mock_iterations = (uint32_t)client_auth_settings(c)->scram_iterations;
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
    a->mock_iterations = (uint32_t)client_auth_settings(c)->scram_iterations;
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

        client_log(c, LOG_WARNING_LEVEL, "auth_query failed: %s",
                   log_escape(text, sizeof(text), error->message));
        client_close_text(c, SQLSTATE_CONNECTION_FAILURE, "bouncer config error");
        return;
    }
    }
    a->query = auth_query_free(a->query);
    if (c->state != CLIENT_CLOSED) {
        conn_want_read(&c->conn, c->server->loop, true);
        a->rule = NULL;
        client_auth_exchange(c);
    }
}

static const char *first_set(const char *a, const char *b)
{
    return *a != '\0' ? a : b;
}

/* Looks the user up by auth_query. false: there is none for this database, or it cannot be started
 * (c is closed then). */
static bool start_auth_query(struct client *c)
{
    struct server *s = c->server;
    const struct settings *set = client_auth_settings(c);
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
        client_close_text(c, SQLSTATE_PROTOCOL_VIOLATION,
                          "cannot use the reserved \"%s\" database as an auth_dbname", auth_dbname);
        return false;
    }
    auth_db = reload_find_database(s, first_set(auth_dbname, c->u.login->database));
    if (auth_db == NULL) {
        client_close_text(c, SQLSTATE_PROTOCOL_VIOLATION,
                          "authentication database \"%s\" is not configured", auth_dbname);
        return false;
    }
    if (auth_db->is_disabled) {
        client_close_text(c, SQLSTATE_PROTOCOL_VIOLATION,
                          "authentication database \"%s\" is disabled", auth_db->name);
        return false;
    }
    pool = reload_get_auth_pool(s, auth_db, auth_user);
    c->u.login->auth->query =
        pool != NULL ? auth_query_start(pool, sql, c->u.login->user, on_auth_query, c) : NULL;
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

/* A user that comes from auth_user's own login must be in auth_file, or it would ask for itself for
 * ever. */
void client_secret_find(struct client *c)
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
        client_auth_exchange(c);
    }
}
