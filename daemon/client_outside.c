/* SPDX-License-Identifier: ISC */
/* Logins whose password is checked outside of the loop: auth_type pam and ldap, and plain where only a SCRAM secret is known. The client sends its password
 * in clear text, auth_worker finds out about it, and the client is not read meanwhile. A right
 * password becomes what the server is logged in to with. */
#include "daemon/auth_worker.h"
#include "daemon/client_auth_internal.h"

#include "config/hba.h"
#include "daemon/util/log.h"
#include "protocol/scram_cache.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

/* The options of the rule, or else of auth_ldap_options. The rule may be gone when the password
 * comes. false: @c is closed. */
static bool keep_ldap_options(struct client *c)
{
    struct auth *a = c->u.login->auth;
    char why[CONFIG_WHY_SIZE];
    char *global = NULL;
    const char *options;
    bool ok;

    if (a->rule != NULL && *a->rule->ldap_options != '\0') {
        options = a->rule->ldap_options;
    } else {
        global = hba_ldap_options(client_auth_settings(c)->auth_ldap_options, why);
        options = global;
    }
    ok = options != NULL && secret_set(&a->ldap_options, options, strlen(options));
    if (global != NULL) {
        explicit_bzero(global, strlen(global));
    }
    free(global);
    if (!ok) {
        client_close_text(c, SQLSTATE_OUT_OF_MEMORY, "out of memory");
    }
    return ok;
}

void client_outside_start(struct client *c)
{
    if (c->u.login->auth->method == AUTH_TYPE_LDAP && !keep_ldap_options(c)) {
        return;
    }
    client_auth_send(c, AUTH_CLEARTEXT, NULL, 0);
}

static void on_verdict(void *owner, enum auth_verdict verdict, const char *why)
{
    struct client *c = owner;
    struct auth *a = c->u.login->auth;
    char text[AUTH_WORKER_WHY_SIZE * 2];

    if (verdict != AUTH_VERDICT_RIGHT) {
        static struct log_rate rate;

        if (log_rate_ok(&rate, 200)) {
            client_log(c, LOG_WARNING_LEVEL, "%s", log_escape(text, sizeof(text), why));
        }
    }
    a->check = auth_check_free(a->check); /* @why is gone */
    c->u.login->is_busy = false;
    switch (verdict) {
    case AUTH_VERDICT_RIGHT:
        a->is_mock = false;
        conn_want_read(&c->conn, c->server->loop, true);
        client_auth_accept(c);
        return;
    case AUTH_VERDICT_WRONG:
        client_auth_reject(c, "password authentication failed");
        return;
    case AUTH_VERDICT_FAILED:
        client_close_text(c, SQLSTATE_CONNECTION_FAILURE,
                          "the password cannot be checked at the moment");
        return;
    }
}

/* What is left of client_login_timeout. */
static usec_t time_left(const struct client *c)
{
    usec_t timeout_us = client_auth_settings(c)->client_login_timeout_us;
    usec_t age_us = clock_now_us() - c->connect_us;

    return timeout_us == 0 ? 0 : MAX(timeout_us - MIN(age_us, timeout_us), USEC_PER_SEC);
}

static int start_check(struct client *c, const char *password)
{
    struct server *s = c->server;
    struct auth *a = c->u.login->auth;
    char addr[CLIENT_ADDR_SIZE];
    struct auth_worker_request request = {
        .kind = a->method == AUTH_TYPE_PAM ? AUTH_WORKER_PAM : AUTH_WORKER_LDAP,
        .user = c->u.login->user,
        .password = password,
        .host = c->is_unix ? "[local]" : client_addr(c, addr),
        .ldap_options = secret_is_set(&a->ldap_options) ? a->ldap_options.data : "",
        .timeout_us = time_left(c),
    };

    if (s->auth_worker == NULL) {
        s->auth_worker = auth_worker_new(s->loop);
    }
    return s->auth_worker == NULL
               ? -ENOMEM
               : auth_check_start(s->auth_worker, &request, on_verdict, c, &a->check);
}

/* It cannot be asked about now. */
static void refuse(struct client *c, int error, const char *slow)
{
    if (error == AUTH_CHECK_E_FULL) {
        static struct log_rate rate;

        if (log_rate_ok(&rate, 1)) {
            log_warning("logins are refused: %d passwords wait to be checked already, %s",
                        AUTH_WORKER_QUEUE_MAX, slow);
        }
        client_close_text(c, SQLSTATE_TOO_MANY_CONNECTIONS,
                          "too many passwords are being checked, try again later");
    } else {
        client_close_text(c, SQLSTATE_OUT_OF_MEMORY, "out of memory");
    }
}

void client_outside_password(struct client *c, const uint8_t *body, size_t len)
{
    struct auth *a = c->u.login->auth;
    const char *password = (const char *)body;
    int error;

    if (len == 0 || body[len - 1] != '\0' || strlen(password) + 1 != len) {
        client_close_text(c, SQLSTATE_PROTOCOL_VIOLATION, "invalid password packet");
        return;
    }
    if (*password == '\0') { /* LDAP servers let in everybody who binds without one */
        client_auth_reject(c, "password authentication failed");
        return;
    }
    a->kind = SECRET_KIND_PLAIN;
    error = secret_set(&a->secret, password, len - 1) ? start_check(c, password) : -ENOMEM;
    if (error != 0) {
        refuse(c, error,
               a->method == AUTH_TYPE_PAM ? "the PAM service is slow or does not answer"
                                          : "the LDAP server is slow or does not answer");
        return;
    }
    c->u.login->is_busy = true;
}

/* --- against a SCRAM secret --- */

static struct scram_cache_query query_of(const struct client *c, const char *password,
                                         const struct scram_keys *keys)
{
    return (struct scram_cache_query){.user = c->u.login->user,
                                      .password = password,
                                      .password_len = strlen(password),
                                      .salt = keys->salt,
                                      .salt_len = keys->salt_len,
                                      .iterations = keys->iterations};
}

/* @password: with its NUL. */
static void end_derive(struct client *c, const struct secret *password, bool is_right)
{
    struct auth *a = c->u.login->auth;

    if (is_right) { /* now the password itself is known */
        (void)!secret_set(&a->secret, password->data, password->len - 1); /* or the login says so */
        a->kind = SECRET_KIND_PLAIN;
        client_auth_accept(c);
    } else if (!client_secret_find_again(c, password->data, password->len)) {
        client_auth_reject(c, "password authentication failed");
    }
}

static void on_derived(void *owner, enum auth_verdict verdict, const char *why)
{
    struct client *c = owner;
    struct auth *a = c->u.login->auth;
    struct secret password = a->answer;

    a->answer = (struct secret){.data = NULL};
    if (verdict == AUTH_VERDICT_FAILED) {
        client_log(c, LOG_WARNING_LEVEL, "%s", why);
    }
    if (verdict == AUTH_VERDICT_RIGHT) {
        struct scram_cache_query q;

        a->learnt = *auth_check_keys(a->check);
        q = query_of(c, password.data, &a->learnt);
        scram_cache_put(c->server->env->scram_cache, &q, &a->learnt);
    }
    a->check = auth_check_free(a->check); /* @why is gone */
    c->u.login->is_busy = false;
    conn_want_read(&c->conn, c->server->loop, true);
    end_derive(c, &password, verdict == AUTH_VERDICT_RIGHT);
    secret_done(&password);
}

static int start_derive(struct client *c, const struct scram_keys *keys)
{
    struct server *s = c->server;
    struct auth *a = c->u.login->auth;
    struct auth_worker_request request = {.kind = AUTH_WORKER_SCRAM,
                                          .user = c->u.login->user,
                                          .password = a->answer.data,
                                          .host = "",
                                          .ldap_options = "",
                                          .scram = keys,
                                          .timeout_us = time_left(c)};

    if (s->key_worker == NULL) {
        s->key_worker = auth_worker_new(s->loop);
    }
    return s->key_worker == NULL
               ? -ENOMEM
               : auth_check_start(s->key_worker, &request, on_derived, c, &a->check);
}

void client_outside_derive(struct client *c, const char *password, size_t len)
{
    struct auth *a = c->u.login->auth;
    struct scram_keys keys;
    struct scram_cache_query q;
    int error;

    if (!client_scram_keys(c, &keys)) {
        client_auth_reject(c, "password authentication failed");
        return;
    }
    q = query_of(c, password, &keys);
    if (!secret_set(&a->answer, password, len)) {
        client_close_text(c, SQLSTATE_OUT_OF_MEMORY, "out of memory");
    } else if (!keys.is_mock && scram_cache_has(c->server->env->scram_cache, &q)) {
        struct secret answer = a->answer; /* without a derivation */

        a->answer = (struct secret){.data = NULL};
        end_derive(c, &answer,
                   scram_cache_check(c->server->env->scram_cache, c->u.login->user, answer.data,
                                     &keys, &a->learnt) == SCRAM_OK);
        secret_done(&answer);
    } else {
        error = start_derive(c, &keys);
        if (error != 0) {
            refuse(c, error, "somebody is guessing, or many users log in at once");
        } else {
            c->u.login->is_busy = true;
        }
    }
    scram_keys_wipe(&keys);
}
