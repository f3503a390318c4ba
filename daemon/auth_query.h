/* SPDX-License-Identifier: ISC */
/* Asks a database for a user's secret: runs auth_query on a server connection of auth_user. The one who asks gets one
 * answer, from the loop, unless he gives up before. Nothing that a client has sent but the user name, as a bound
 * parameter, has any influence on it. */
#ifndef PGPOOLD_DAEMON_AUTH_QUERY_H
#define PGPOOLD_DAEMON_AUTH_QUERY_H

#include "daemon/util/secret.h"
#include "pool/pool.h"
#include "protocol/error_msg.h"

enum auth_query_result {
    AUTH_QUERY_FOUND,     /* secret is what the server keeps; may be empty */
    AUTH_QUERY_NONE,      /* no such user, or its password has expired (NULL) */
    AUTH_QUERY_NO_SERVER, /* it could not be asked: error is the pooler's or the server's */
    AUTH_QUERY_FAILED,    /* no answer: error says why */
};

struct auth_query;
typedef void (*auth_query_fn)(void *owner, enum auth_query_result result,
                              const struct secret *secret, const struct pg_error *error);

/* @pool: of auth_user. @fn never before this function has returned. NULL: out of memory. */
MUSTCHECK struct auth_query *auth_query_start(struct pool *pool, const char *sql, const char *user,
                                              auth_query_fn fn, void *owner);
/* Gives up. NULL is fine; returns NULL. */
struct auth_query *auth_query_free(struct auth_query *q);

#endif
