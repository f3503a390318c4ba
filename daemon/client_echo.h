/* SPDX-License-Identifier: ISC */
/* echo and log_min_duration: statements in the log, with the time they took, parameters if that is asked for; a statement that has
 * "password" in it is named but not shown. Costs a look at two settings of the pool where it is off. */
#ifndef PGPOOLD_DAEMON_CLIENT_ECHO_H
#define PGPOOLD_DAEMON_CLIENT_ECHO_H

#include "daemon/client.h"

struct client_echo;
struct client_echo *client_echo_free(struct client_echo *e);

/* A statement is sent for @c; @len bytes of its text are at @text, a NUL ends it early. */
void client_echo_note(struct client *c, const void *text, size_t len);
/* The rest of a Bind behind its names, of which @len bytes are there: the parameters of the statement noted last. */
void client_echo_parameters(struct client *c, const uint8_t *bind, size_t len);
/* A ReadyForQuery: what was noted is over. */
void client_echo_ready(struct client *c);

static inline bool client_echo_is_on(const struct client *c)
{
    return c->pool->limits.echo || c->pool->limits.log_min_duration_us > 0;
}

#endif
