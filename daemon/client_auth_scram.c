/* SPDX-License-Identifier: ISC */
/* A login by SCRAM-SHA-256, on the side of the server. PG15 protocol, "SASL Authentication". */
#include "daemon/client_auth_internal.h"

#include "protocol/scram_cache.h"

#include <string.h>

static bool offers_plus(const struct client *c)
{
    uint8_t digest[TLS_END_POINT_MAX_BYTES];
    size_t len;

    return c->is_tls && tls_end_point(c->conn.tls, TLS_OWN_CERTIFICATE, digest, &len);
}

void client_scram_start(struct client *c)
{
    static const char with_plus[] =
        SCRAM_MECHANISM_PLUS "\0" SCRAM_MECHANISM "\0"; /* and the literal's own NUL */
    static const char without[] = SCRAM_MECHANISM "\0";

    c->u.login->auth->expects_initial = true;
    if (offers_plus(c)) {
        client_auth_send(c, AUTH_SASL, with_plus, sizeof(with_plus));
    } else {
        client_auth_send(c, AUTH_SASL, without, sizeof(without));
    }
}

bool client_scram_keys(struct client *c, struct scram_keys *ret)
{
    struct auth *a = c->u.login->auth;
    struct server *s = c->server;
    uint32_t iterations = (uint32_t)client_auth_settings(c)->scram_iterations;
    uint8_t salt[SCRAM_SALT_BYTES];
    struct scram_cache_query q = {
        .user = c->u.login->user, .salt = salt, .salt_len = sizeof(salt), .iterations = iterations};
    bool ok;

    if (a->kind ==
        SECRET_KIND_SCRAM) { /* no derivation: neither for those who exist nor for others */
        return a->is_mock
                   ? scram_keys_mock(s->process_key, c->u.login->user, a->mock_iterations, ret)
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

static bool make_scram(struct client *c, enum scram_mechanism mechanism)
{
    struct auth *a = c->u.login->auth;
    uint8_t nonce[SCRAM_NONCE_BYTES];
    uint8_t binding[TLS_END_POINT_MAX_BYTES];
    struct scram_keys keys;
    struct scram_server_params p = {.keys = &keys, .mechanism = mechanism, .nonce = nonce};

    if (!client_scram_keys(c, &keys)) {
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

static void refuse(struct client *c, enum scram_verdict verdict)
{
    if (verdict == SCRAM_E_INTERNAL) {
        client_close_text(c, SQLSTATE_OUT_OF_MEMORY, "out of memory");
    } else {
        client_auth_reject(c, "SASL authentication failed");
    }
}

static void on_client_first(struct client *c, const void *msg, size_t len)
{
    struct buf out = BUF_INIT(SCRAM_MESSAGE_MAX);
    enum scram_verdict verdict = scram_server_first(c->u.login->auth->scram, msg, len, &out);

    if (verdict != SCRAM_OK) {
        refuse(c, verdict);
    } else {
        client_auth_send(c, AUTH_SASL_CONTINUE, out.data, out.len);
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
        client_close_text(c, SQLSTATE_PROTOCOL_VIOLATION,
                          "client selected an invalid SASL authentication mechanism");
        return;
    }
    a->expects_initial = false;
    if (!make_scram(c, mechanism)) {
        client_close_text(c, SQLSTATE_OUT_OF_MEMORY, "out of memory");
    } else if (data == NULL) {
        client_auth_send(c, AUTH_SASL_CONTINUE, NULL, 0);
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
    enum scram_verdict verdict = scram_server_final(a->scram, body, len, &out);

    if (verdict != SCRAM_OK || a->is_mock) {
        buf_done(&out);
        (void)!client_secret_find_again(c, NULL, 0); /* its proof was for the old one's salt */
        refuse(c, verdict);
        return;
    }
    (void)!scram_server_keys(a->scram, &a->learnt); /* none: then it is not passed through */
    start = wire_begin(reply, 'R');                 /* leaves with the welcome, in one go */
    wire_put_u32(reply, AUTH_SASL_FINAL);
    wire_put_bytes(reply, out.data, out.len);
    wire_end(reply, start);
    buf_done(&out);
    client_auth_accept(c);
}

void client_scram_message(struct client *c, const uint8_t *body, size_t len)
{
    struct auth *a = c->u.login->auth;

    if (a->expects_initial) {
        on_sasl_initial(c, body, len);
    } else if (a->expects_first) {
        a->expects_first = false;
        on_client_first(c, body, len);
    } else {
        on_client_final(c, body, len);
    }
}
