/* SPDX-License-Identifier: ISC */
/* Between the files of a login: client_auth.c (StartupMessage, method, clear-text and MD5
 * passwords, the end of it), client_auth_scram.c (the SCRAM exchange), client_outside.c (PAM, LDAP)
 * and client_secret.c (what is known of a user's password). */
#ifndef PGPOOLD_DAEMON_CLIENT_AUTH_INTERNAL_H
#define PGPOOLD_DAEMON_CLIENT_AUTH_INTERNAL_H

#include "daemon/auth_query.h"
#include "daemon/client.h"
#include "protocol/md5.h"
#include "protocol/scram_server.h"

enum {
    AUTH_CLEARTEXT = 3,
    AUTH_MD5 = 5,
    AUTH_SASL = 10,
    AUTH_SASL_CONTINUE = 11,
    AUTH_SASL_FINAL = 12,
};

/* From secret_alloc(). */
struct auth {
    enum auth_type method;
    const struct hba_rule
        *rule; /* borrowed from the configuration; NULL: by auth_type. Used within one call only */
    bool is_mock;         /* the user does not exist */
    bool has_no_database; /* nor does the database: told once the user has proved who it is */
    struct database *
        database; /* NULL: does not exist; may not be used after a wait without looking it up again */
    struct secret secret; /* what is known of the password */
    enum secret_kind kind;
    uint32_t mock_iterations; /* of a made-up SCRAM secret */
    uint8_t salt[MD5_SALT_BYTES];
    struct scram_server *scram;
    struct scram_keys learnt; /* what the client's proof gave away */
    bool expects_initial;     /* SASL: the mechanism is still to come */
    bool expects_first;       /* SASL: the mechanism came without data */
    struct auth_query *query;
    bool is_from_cache; /* the secret was found some time ago: see auth_cache.h */
    struct secret
        answer; /* the client's, while something has to be found out before it can be judged */
    struct auth_check *check;
    struct secret ldap_options; /* PAM and LDAP: see client_outside.c */
};

static inline const struct settings *client_auth_settings(const struct client *c)
{
    return &c->server->config->settings;
}

/* --- client_auth.c --- */

/* Sends an Authentication message. */
void client_auth_send(struct client *c, uint32_t kind, const void *data, size_t len);
/* The ends of it: each may close @c, so nothing of its login may be used afterwards. */
void client_auth_reject(struct client *c, const char *text);
void client_auth_accept(struct client *c);
/* The secret is known: what the client has to send for its method, or the verdict where it need not
 * send anything. */
void client_auth_exchange(struct client *c);

/* --- client_auth_scram.c --- */

void client_scram_start(struct client *c);
void client_scram_message(struct client *c, const uint8_t *body, size_t len);
/* What the user's password comes to, or something made up. */
bool client_scram_keys(struct client *c, struct scram_keys *ret);

/* --- client_outside.c --- */

void client_outside_start(struct client *c);
void client_outside_password(struct client *c, const uint8_t *body, size_t len);
/* A password in clear text, NUL included in @len, against a SCRAM secret: the verdict comes now or later. */
void client_outside_derive(struct client *c, const char *password, size_t len);

/* --- client_secret.c --- */

/* Finds what is known of the user's password, now or later; then client_auth_exchange() goes on. */
void client_secret_find(struct client *c);
/* The client has failed with what is known. true: that was from the cache, and is looked up anew; then @answer is given to
 * client_auth_message() again. @answer NULL: it cannot be judged again, the next login will ask. */
MUSTCHECK bool client_secret_find_again(struct client *c, const void *answer, size_t len);

#endif
