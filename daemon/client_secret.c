/* SPDX-License-Identifier: ISC */
/* What is known of a user's password: from auth_file, from auth_query, or made up for users that do
 * not exist. */
#include "daemon/auth_cache.h"
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

static void set_secret(struct client *c, enum secret_kind kind, const char *data, size_t len)
{
    struct auth *a = c->u.login->auth;

    a->kind = kind;
    if (!secret_set(&a->secret, data, len)) {
        client_close_text(c, SQLSTATE_OUT_OF_MEMORY, "out of memory");
    }
}

/* The answer of a client whose secret was looked up anew; else its login begins. */
static void go_on(struct client *c)
{
    struct auth *a = c->u.login->auth;
    struct secret answer = a->answer;

    a->answer = (struct secret){.data = NULL};
    if (secret_is_set(&answer)) {
        client_auth_message(c, (const uint8_t *)answer.data, answer.len);
        secret_done(&answer);
    } else {
        client_auth_exchange(c);
    }
}

static const char *first_set(const char *a, const char *b)
{
    return *a != '\0' ? a : b;
}

/* Where auth_query is asked for this client. */
struct place {
    struct auth_cache_key key;
    const char *auth_dbname; /* as configured: may be "" */
};

/* false: nowhere. The texts are borrowed from the configuration and the login. */
static bool find_place(const struct client *c, struct place *ret)
{
    const struct server *s = c->server;
    const struct settings *set = client_auth_settings(c);
    const struct database_config *dc = config_database(s->config, c->u.login->database);

    if (dc == NULL) {
        dc = s->config->autodb;
    }
    ret->auth_dbname = first_set(dc != NULL ? dc->auth_dbname : "", set->auth_dbname);
    ret->key = (struct auth_cache_key){
        .database = first_set(ret->auth_dbname, c->u.login->database),
        .auth_user = first_set(dc != NULL ? dc->auth_user : "", set->auth_user),
        .query = first_set(dc != NULL ? dc->auth_query : "", set->auth_query),
        .user = c->u.login->user,
    };
    return *ret->key.auth_user != '\0';
}

/* What auth_query has told is as good as known for a while. */
static void keep_for_a_while(struct client *c, const struct secret *secret)
{
    struct place place;

    if (client_auth_settings(c)->auth_query_cache_us > 0 && find_place(c, &place)) {
        auth_cache_put(c->server->auth_cache, &place.key, secret);
    }
}

/* That the server is away, is full or does not have the database is for the client to know; that auth_user cannot log in, or
 * that the query is wrong, is not. */
static void auth_query_failed(struct client *c, enum auth_query_result result,
                              const struct pg_error *error)
{
    struct pg_error e = *error; /* it lies in what is freed now */
    char text[256];

    client_log(c, LOG_WARNING_LEVEL, "auth_query failed: %s",
               log_escape(text, sizeof(text), e.message));
    if (result == AUTH_QUERY_NO_SERVER && strncmp(e.sqlstate, "28", 2) != 0) {
        client_close(c, &e);
    } else {
        client_close_text(c, SQLSTATE_CONNECTION_FAILURE, "bouncer config error");
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
        set_secret(c, secret_kind_of(secret->data, secret->len), secret->data, secret->len);
        if (c->state != CLIENT_CLOSED && secret->len > 0) {
            c->server->queried_kind = a->kind;
            keep_for_a_while(c, secret);
        }
        break;
    case AUTH_QUERY_NONE:
        make_up_queried_user(c);
        break;
    case AUTH_QUERY_NO_SERVER:
    case AUTH_QUERY_FAILED:
        auth_query_failed(c, result, error);
        return;
    }
    a->query = auth_query_free(a->query);
    if (c->state != CLIENT_CLOSED) {
        conn_want_read(&c->conn, c->server->loop, true);
        a->rule = NULL;
        go_on(c);
    }
}

static bool take_from_cache(struct client *c, const struct auth_cache_key *key)
{
    struct auth *a = c->u.login->auth;
    usec_t max_age_us = client_auth_settings(c)->auth_query_cache_us;

    if (max_age_us == 0 || !auth_cache_get(c->server->auth_cache, key, max_age_us, &a->secret)) {
        return false;
    }
    a->kind = secret_kind_of(a->secret.data, a->secret.len);
    a->is_from_cache = true;
    return true;
}

enum lookup {
    LOOKUP_NOT,   /* auth_query is not for this client */
    LOOKUP_ASKS,  /* on_auth_query() goes on later */
    LOOKUP_KNOWN, /* it was found some time ago */
    LOOKUP_LAST,  /* the client is closed */
};

static enum lookup ask(struct client *c, const struct place *place)
{
    struct server *s = c->server;
    struct auth *a = c->u.login->auth;
    struct database *auth_db = reload_find_database(s, place->key.database);
    struct pool *pool;

    if (auth_db == NULL) {
        client_close_text(c, SQLSTATE_PROTOCOL_VIOLATION,
                          "authentication database \"%s\" is not configured", place->auth_dbname);
        return LOOKUP_LAST;
    }
    if (auth_db->is_disabled) {
        client_close_text(c, SQLSTATE_PROTOCOL_VIOLATION,
                          "authentication database \"%s\" is disabled", auth_db->name);
        return LOOKUP_LAST;
    }
    pool = reload_get_auth_pool(s, auth_db, place->key.auth_user);
    a->query = pool != NULL
                   ? auth_query_start(pool, place->key.query, place->key.user, on_auth_query, c)
                   : NULL;
    if (a->query == NULL) {
        client_close_text(c, SQLSTATE_OUT_OF_MEMORY, "out of memory");
        return LOOKUP_LAST;
    }
    c->u.login->is_busy = true;
    return LOOKUP_ASKS;
}

/* Looks the user up by auth_query. */
static enum lookup look_up(struct client *c)
{
    struct place place;

    if (!find_place(c, &place)) {
        return LOOKUP_NOT;
    }
    if (config_name_is_console(place.auth_dbname)) {
        client_close_text(c, SQLSTATE_PROTOCOL_VIOLATION,
                          "cannot use the reserved \"%s\" database as an auth_dbname",
                          place.auth_dbname);
        return LOOKUP_LAST;
    }
    return take_from_cache(c, &place.key) ? LOOKUP_KNOWN : ask(c, &place);
}

bool client_secret_find_again(struct client *c, const void *answer, size_t len)
{
    struct auth *a = c->u.login->auth;
    struct place place;

    if (!a->is_from_cache || !find_place(c, &place)) {
        return false;
    }
    auth_cache_drop(c->server->auth_cache, &place.key);
    a->is_from_cache = false;
    if (answer == NULL || !secret_set(&a->answer, answer, len)) {
        return false;
    }
    (void)ask(c, &place); /* or the client is closed now */
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
        set_secret(c, e->kind, e->secret.data, e->secret.len);
    } else if (e != NULL) {
        make_up_user(c); /* nobody can log in with an empty secret */
    } else if (a->method == AUTH_TYPE_TRUST || wants_secret(a->method)) {
        enum lookup lookup = c->u.login->is_console || a->has_no_database ? LOOKUP_NOT : look_up(c);

        if (lookup == LOOKUP_ASKS || lookup == LOOKUP_LAST) { /* @a may be gone */
            return;
        }
        if (lookup == LOOKUP_NOT) {
            char text[256];

            client_log_stranger(c, "no such user: %s",
                                log_escape(text, sizeof(text), c->u.login->user));
            make_up_user(c);
        }
    }
    if (c->state != CLIENT_CLOSED) {
        client_auth_exchange(c);
    }
}
