/* SPDX-License-Identifier: ISC */
/* Logging in to a server: everything from the first Authentication message to the first ReadyForQuery. Works with a plain
 * password, the SCRAM keys that a client's own login gave away, or an md5 secret; never sends a password in clear over
 * an unencrypted TCP connection. PG15 protocol, "Start-up" and "SASL Authentication". */
#include "pool/backend.h"
#include "pool/pool.h"

#include "daemon/util/fatal.h"
#include "protocol/md5.h"
#include "protocol/scram_client.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct backend_login {
    struct scram_client *scram;           /* NULL: no SASL exchange yet */
    struct server_auth_progress progress; /* of the server's question */
    bool authenticated;
    struct param reported[PARAMS_MAX]; /* owned texts, in the order they came */
    unsigned n_reported;
};

bool backend_login_start(struct backend *b)
{
    b->login = calloc(1, sizeof(*b->login));
    return b->login != NULL;
}

struct backend_login *backend_login_free(struct backend_login *l)
{
    if (l == NULL) {
        return NULL;
    }
    l->scram = scram_client_free(l->scram);
    for (unsigned i = 0; i < l->n_reported; i++) {
        free((char *)l->reported[i].name);
        free((char *)l->reported[i].value);
    }
    free(l);
    return NULL;
}

static void fail(struct backend *b, const char *sqlstate, const char *text)
{
    struct pg_error e;

    pg_error_set(&e, sqlstate, "%s", text);
    backend_open_failed(b, &e, false);
}

static void fail_auth(struct backend *b, const char *text)
{
    struct pg_error e;

    pg_error_set(&e, SQLSTATE_INVALID_PASSWORD, "server login failed: %s", text);
    backend_open_failed(b, &e, true);
}

static void send_message(struct backend *b, uint8_t type, const void *body, size_t len)
{
    struct buf msg = BUF_INIT(4096);
    size_t start = wire_begin(&msg, type);

    wire_put_bytes(&msg, body, len);
    wire_end(&msg, start);
    if (!buf_ok(&msg) || !conn_send(&b->conn, b->pool->env->loop, msg.data, msg.len)) {
        fail(b, SQLSTATE_OUT_OF_MEMORY, "out of memory");
    }
    buf_done_secret(&msg);
}

static bool is_private(const struct backend *b)
{
    return b->conn.tls != NULL || b->peer.family == AF_UNIX;
}

static void answer_cleartext(struct backend *b)
{
    const struct secret *password = &b->pool->credentials->password;

    if (!is_private(b)) {
        fail_auth(b, "the server asks for a clear-text password over an unencrypted connection");
    } else if (!secret_is_set(password)) {
        fail_auth(b,
                  "wrong password type: the server asks for a clear-text password, none is known");
    } else {
        b->login->progress.has_proved = true;
        send_message(b, 'p', password->data, password->len + 1);
    }
}

static void answer_md5(struct backend *b, const uint8_t *salt)
{
    const struct credentials *known = b->pool->credentials;
    char secret[MD5_TEXT_SIZE];
    char response[MD5_TEXT_SIZE];
    enum md5_verdict verdict = MD5_OK;

    if (secret_is_set(&known->password)) {
        verdict =
            md5_secret_make(known->password.data, known->password.len, b->pool->user->name, secret);
    } else if (known->md5[0] != '\0') {
        memcpy(secret, known->md5, sizeof(secret));
    } else {
        fail_auth(b, "wrong password type: the server asks for an md5 password, neither a password "
                     "nor its md5 secret is known");
        return;
    }
    if (verdict == MD5_OK) {
        verdict = md5_response_make(secret, salt, response);
    }
    if (verdict != MD5_OK) {
        fail_auth(b, "md5 is not available");
    } else {
        b->login->progress.has_proved = true;
        send_message(b, 'p', response, sizeof(response));
    }
    explicit_bzero(secret, sizeof(secret));
    explicit_bzero(response, sizeof(response));
}

/* Is @name one of the mechanisms in the body of AuthenticationSASL? */
static bool offers(const uint8_t *list, size_t len, const char *name)
{
    struct wire_reader r;

    wire_reader_init(&r, list, len);
    for (;;) {
        const char *mechanism = wire_get_cstr(&r);

        if (!wire_ok(&r) || *mechanism == '\0') {
            return false;
        }
        if (strcmp(mechanism, name) == 0) {
            return true;
        }
    }
}

static void start_scram(struct backend *b, const uint8_t *list, size_t len)
{
    const struct credentials *known = b->pool->credentials;
    uint8_t nonce[SCRAM_NONCE_BYTES];
    uint8_t binding[TLS_END_POINT_MAX_BYTES];
    struct scram_client_params p = {.nonce = nonce, .binding = SCRAM_CLIENT_UNABLE};
    struct buf first = BUF_INIT(SCRAM_MESSAGE_MAX);
    struct buf body = BUF_INIT(SCRAM_MESSAGE_MAX + 64);
    enum channel_binding want = b->target->auth.binding;

    if (!secret_is_set(&known->password) && !known->scram.has_client_key) {
        fail_auth(b, "wrong password type: the server asks for SCRAM, neither a password nor SCRAM "
                     "keys are known for the user");
        return;
    }
    if (b->login->scram != NULL) {
        fail(b, SQLSTATE_PROTOCOL_VIOLATION, "duplicate SASL authentication request");
        return;
    }
    if (want == CHANNEL_BINDING_REQUIRE && b->conn.tls == NULL) {
        fail_auth(b, "channel binding required, but SSL not in use");
        return;
    }
    if (b->conn.tls == NULL && offers(list, len, SCRAM_MECHANISM_PLUS)) {
        /* not sane: perhaps somebody in between has stripped the TLS */
        fail_auth(b, "server offered SCRAM-SHA-256-PLUS authentication over a non-SSL connection");
        return;
    }
    if (b->conn.tls != NULL && want != CHANNEL_BINDING_DISABLE) {
        bool bound = offers(list, len, SCRAM_MECHANISM_PLUS) &&
                     tls_end_point(b->conn.tls, TLS_PEER_CERTIFICATE, binding, &p.binding_len);

        p.binding = bound ? SCRAM_CLIENT_BOUND : SCRAM_CLIENT_ABLE;
        p.binding_data = bound ? binding : NULL;
    }
    if (want == CHANNEL_BINDING_REQUIRE && p.binding != SCRAM_CLIENT_BOUND) {
        fail_auth(b, "channel binding is required, but server did not offer an authentication "
                     "method that supports channel binding");
        return;
    }
    if (p.binding != SCRAM_CLIENT_BOUND && !offers(list, len, SCRAM_MECHANISM)) {
        fail_auth(b, "the server offers no SASL mechanism that we know");
        return;
    }
    if (p.binding == SCRAM_CLIENT_ABLE && offers(list, len, SCRAM_MECHANISM_PLUS)) {
        p.binding = SCRAM_CLIENT_UNABLE; /* its certificate defines no hash to bind to */
    }
    secret_random(nonce, sizeof(nonce));
    b->login->scram = scram_client_new(&p);
    if (b->login->scram == NULL || scram_client_first(b->login->scram, &first) != SCRAM_OK) {
        fail(b, SQLSTATE_OUT_OF_MEMORY, "out of memory");
    } else {
        wire_put_cstr(&body, scram_client_mechanism(b->login->scram));
        wire_put_u32(&body, num_u32(first.len));
        wire_put_bytes(&body, first.data, first.len);
        send_message(b, 'p', body.data, body.len);
    }
    buf_done(&first);
    buf_done(&body);
}

static enum scram_verdict find_keys(struct backend *b, struct scram_keys *ret)
{
    const struct credentials *known = b->pool->credentials;
    struct backend_login *l = b->login;
    struct scram_cache_query q = {.user = b->pool->user->name,
                                  .password = known->password.data,
                                  .password_len = known->password.len,
                                  .iterations = scram_client_iterations(l->scram)};

    q.salt = scram_client_salt(l->scram, &q.salt_len);
    if (known->scram.has_client_key &&
        scram_keys_fit(&known->scram, q.salt, q.salt_len, q.iterations)) {
        *ret = known->scram;
        return SCRAM_OK;
    }
    if (!secret_is_set(&known->password)) {
        return SCRAM_E_KEYS;
    }
    return scram_cache_derive(b->pool->env->scram_cache, &q, ret);
}

static void go_on_with_scram(struct backend *b, const uint8_t *msg, size_t len)
{
    struct backend_login *l = b->login;
    struct buf final = BUF_INIT(SCRAM_MESSAGE_MAX);
    struct scram_keys keys;
    enum scram_verdict verdict;

    if (l->scram == NULL) {
        fail(b, SQLSTATE_PROTOCOL_VIOLATION,
             "the server goes on with a SASL exchange that was not begun");
        return;
    }
    verdict = scram_client_challenge(l->scram, msg, len);
    if (verdict == SCRAM_OK) {
        verdict = find_keys(b, &keys);
    }
    if (verdict == SCRAM_OK) {
        verdict = scram_client_final(l->scram, &keys, &final);
    }
    if (verdict == SCRAM_OK) {
        send_message(b, 'p', final.data, final.len);
    } else {
        fail_auth(b,
                  verdict == SCRAM_E_KEYS
                      ? "the SCRAM keys that are known belong to another secret than the server's"
                      : scram_verdict_text(verdict));
    }
    buf_done_secret(&final);
    scram_keys_wipe(&keys);
}

static void finish_scram(struct backend *b, const uint8_t *msg, size_t len)
{
    enum scram_verdict verdict = b->login->scram == NULL
                                     ? SCRAM_E_MALFORMED
                                     : scram_client_verify(b->login->scram, msg, len);

    if (verdict == SCRAM_E_REFUSED) {
        char text[256];

        (void)snprintf(text, sizeof(text), "%s: %s", scram_verdict_text(verdict),
                       scram_client_error(b->login->scram));
        fail_auth(b, text);
        return;
    }
    if (verdict != SCRAM_OK) {
        fail_auth(b, scram_verdict_text(verdict));
        return;
    }
    b->login->progress = (struct server_auth_progress){
        .has_proved = true,
        .is_bound = strcmp(scram_client_mechanism(b->login->scram), SCRAM_MECHANISM_PLUS) == 0};
}

static void on_authentication(struct backend *b, const uint8_t *body, size_t len)
{
    struct wire_reader r;
    uint32_t kind;
    size_t rest;
    const uint8_t *data;
    char why[256];

    wire_reader_init(&r, body, len);
    kind = wire_get_u32(&r);
    rest = wire_left(&r);
    data = wire_get_bytes(&r, rest);
    if (!server_auth_allows(&b->target->auth, kind, b->login->progress, why, sizeof(why))) {
        fail_auth(b, why);
        return;
    }
    switch (kind) {
    case SERVER_AUTH_OK:
        if (b->login->scram != NULL && !scram_client_is_verified(b->login->scram)) {
            fail_auth(b, "the server did not prove that it knows the password");
            return;
        }
        b->login->authenticated = true;
        return;
    case SERVER_AUTH_CLEARTEXT:
        answer_cleartext(b);
        return;
    case SERVER_AUTH_MD5:
        if (rest != MD5_SALT_BYTES) {
            fail(b, SQLSTATE_PROTOCOL_VIOLATION, "the server's md5 salt has a wrong length");
            return;
        }
        answer_md5(b, data);
        return;
    case SERVER_AUTH_SASL:
        start_scram(b, data, rest);
        return;
    case SERVER_AUTH_SASL_CONTINUE:
        go_on_with_scram(b, data, rest);
        return;
    case SERVER_AUTH_SASL_FINAL:
        finish_scram(b, data, rest);
        return;
    default:
        fail_auth(b, "the server asks for an authentication method that we do not speak");
        return;
    }
}

static void on_parameter(struct backend *b, const uint8_t *body, size_t len)
{
    struct backend_login *l = b->login;
    struct wire_reader r;
    const char *name;
    const char *value;
    struct param *p = &l->reported[l->n_reported];

    wire_reader_init(&r, body, len);
    name = wire_get_cstr(&r);
    value = wire_get_cstr(&r);
    if (!wire_at_end(&r) || l->n_reported == PARAMS_MAX) {
        fail(b, SQLSTATE_PROTOCOL_VIOLATION, "bad ParameterStatus from the server");
        return;
    }
    for (unsigned i = 0; i < l->n_reported; i++) {
        if (strcmp(l->reported[i].name, name) == 0) { /* reported twice: the later one counts */
            char *copy = strdup(value);

            if (copy != NULL) {
                free((char *)l->reported[i].value);
                l->reported[i].value = copy;
            }
            return;
        }
    }
    p->name = strdup(name);
    p->value = strdup(value);
    if (p->name == NULL || p->value == NULL) {
        free((char *)p->name);
        free((char *)p->value);
        fail(b, SQLSTATE_OUT_OF_MEMORY, "out of memory");
        return;
    }
    l->n_reported++;
}

static void on_key(struct backend *b, const uint8_t *body, size_t len)
{
    struct wire_reader r;

    wire_reader_init(&r, body, len);
    b->pid = wire_get_u32(&r);
    b->key_len = wire_left(&r);
    if (b->key_len > sizeof(b->key)) {
        fail(b, SQLSTATE_PROTOCOL_VIOLATION, "the server's cancel key is too long");
        return;
    }
    memcpy(b->key, body + 4, b->key_len);
}

static void on_ready(struct backend *b)
{
    struct backend_login *l = b->login;
    struct pool *pool = b->pool;
    struct param tracked[PARAMS_MAX];
    unsigned n = 0;
    struct params *welcome;

    if (!l->authenticated) {
        fail(b, SQLSTATE_PROTOCOL_VIOLATION, "the server is ready before it has authenticated us");
        return;
    }
    for (unsigned i = 0; i < l->n_reported; i++) {
        (void)server_role_note(&b->role, l->reported[i].name, l->reported[i].value);
        if (pool_env_is_tracked(pool->env, l->reported[i].name)) {
            tracked[n++] = l->reported[i];
        }
    }
    if (backend_role_judge(b) == BACKEND_ROLE_MISFIT) {
        backend_role_leave(b);
        return;
    }
    b->params = params_intern(pool->env->params, tracked, n);
    welcome = params_intern(pool->env->params, l->reported, l->n_reported);
    if (b->params == NULL || welcome == NULL) {
        (void)params_unref(welcome);
        fail(b, SQLSTATE_OUT_OF_MEMORY, "out of memory");
        return;
    }
    if (b->replication !=
        REPLICATION_NONE) { /* the client's own startup parameters: nobody else's defaults */
        b->reported = welcome;
        backend_login_done(b);
        return;
    }
    (void)params_unref(pool->welcome);
    pool->welcome = welcome;
    (void)params_unref(pool->defaults);
    pool->defaults = params_ref(b->params);
    backend_login_done(b);
}

static void on_error(struct backend *b, const uint8_t *body, size_t len)
{
    struct pg_error e;

    if (!error_msg_parse(body, len, &e)) {
        fail(b, SQLSTATE_PROTOCOL_VIOLATION, "malformed ErrorResponse from the server");
        return;
    }
    (void)snprintf(e.severity, sizeof(e.severity), "FATAL");
    if (strcmp(e.sqlstate, SQLSTATE_CANNOT_CONNECT_NOW) == 0) {
        backend_leave_host(b, &e, true);
    } else {
        backend_open_failed(b, &e, true);
    }
}

void backend_login_message(struct backend *b, uint8_t type, const uint8_t *body, size_t len)
{
    switch (type) {
    case 'R':
        on_authentication(b, body, len);
        return;
    case 'S':
        on_parameter(b, body, len);
        return;
    case 'K':
        on_key(b, body, len);
        return;
    case 'Z':
        on_ready(b);
        return;
    case 'E':
        on_error(b, body, len);
        return;
    case 'N':
    case 'v': /* we ask for nothing beyond 3.0 */
        return;
    default:
        fail(b, SQLSTATE_PROTOCOL_VIOLATION, "unexpected response from login query");
        return;
    }
}
