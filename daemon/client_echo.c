/* SPDX-License-Identifier: ISC */
#include "daemon/client_echo.h"

#include "daemon/util/log.h"
#include "protocol/sql_lexer.h"

#include <stdlib.h>
#include <string.h>

/* Of the statements between two ReadyForQuery; the rest is cut. */
#define ECHO_MAX_BYTES ((size_t)2048)

struct client_echo {
    usec_t since_us;
    unsigned n; /* statements */
    size_t len;
    char text[ECHO_MAX_BYTES + 1];
};

struct client_echo *client_echo_free(struct client_echo *e)
{
    if (e != NULL) {
        explicit_bzero(e, sizeof(*e));
        free(e);
    }
    return NULL;
}

static void append(struct client_echo *e, const char *text, size_t len)
{
    len = MIN(len, ECHO_MAX_BYTES - e->len);
    memcpy(e->text + e->len, text, len);
    e->len += len;
    e->text[e->len] = '\0';
}

void client_echo_note(struct client *c, const void *text, size_t len)
{
    struct client_echo *e = c->echo;

    len = strnlen(text, len);
    if (e == NULL) {
        e = calloc(1, sizeof(*e));
        if (e == NULL) {
            return; /* a line less in the log */
        }
        e->since_us = clock_now_us();
        c->echo = e;
    }
    if (e->n++ > 0) {
        append(e, "; ", 2);
    }
    if (sql_might_contain(text, len, "password")) {
        static const char hidden[] = "<statement with a password>";

        append(e, hidden, sizeof(hidden) - 1);
    } else {
        append(e, text, len);
    }
}

void client_echo_ready(struct client *c)
{
    struct client_echo *e = c->echo;
    const struct pool_limits *lim = &c->pool->limits;
    char text[ECHO_MAX_BYTES + 512];
    usec_t took_us;

    if (e == NULL) {
        return;
    }
    took_us = clock_now_us() - e->since_us;
    if (lim->echo || (lim->log_min_duration_us > 0 && took_us >= lim->log_min_duration_us)) {
        client_log(c, LOG_LOG_LEVEL, "statement (duration=%llu.%03llu ms): %s",
                   (unsigned long long)(took_us / 1000), (unsigned long long)(took_us % 1000),
                   log_escape(text, sizeof(text), e->text));
    }
    c->echo = client_echo_free(e);
}
