/* SPDX-License-Identifier: ISC */
/* Logins whose password is checked outside: auth_type pam and ldap. The client sends its password
 * in clear text, auth_worker finds out about it, and the client is not read meanwhile. A right
 * password becomes what the server is logged in to with. */
#include "daemon/auth_worker.h"
#include "daemon/client_auth_internal.h"

#include "config/hba.h"
#include "daemon/util/log.h"

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
    if (error == AUTH_CHECK_E_FULL) {
        static struct log_rate rate;

        if (log_rate_ok(&rate, 1)) {
            log_warning("logins are refused: %d passwords wait to be checked already, the %s is "
                        "slow or does not answer",
                        AUTH_WORKER_QUEUE_MAX,
                        a->method == AUTH_TYPE_PAM ? "PAM service" : "LDAP server");
        }
        client_close_text(c, SQLSTATE_TOO_MANY_CONNECTIONS,
                          "too many passwords are being checked, try again later");
        return;
    }
    if (error != 0) {
        client_close_text(c, SQLSTATE_OUT_OF_MEMORY, "out of memory");
        return;
    }
    c->u.login->is_busy = true;
}
