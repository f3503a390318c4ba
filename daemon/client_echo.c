/* SPDX-License-Identifier: ISC */
#include "daemon/client_echo.h"

#include "daemon/util/log.h"
#include "protocol/sql_lexer.h"
#include "protocol/wire.h"

#include <stdlib.h>
#include <string.h>

/* Of the statements between two ReadyForQuery; the rest is cut. */
#define ECHO_MAX_BYTES ((size_t)2048)

struct client_echo {
    usec_t since_us;
    unsigned n;      /* statements */
    bool hides_last; /* the last statement has a password in it */
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
    e->hides_last = sql_might_contain(text, len, "password");
    if (e->hides_last) {
        static const char hidden[] = "<statement with a password>";

        append(e, hidden, sizeof(hidden) - 1);
    } else {
        append(e, text, len);
    }
}

/* As SQL would have it, or the bytes of a binary value. Cut where the text ends. */
static void append_value(struct client_echo *e, const uint8_t *value, size_t len, bool is_binary)
{
    static const char digits[] = "0123456789abcdef";

    append(e, is_binary ? "'\\x" : "'", is_binary ? 3 : 1);
    for (size_t i = 0; i < len && e->len < ECHO_MAX_BYTES; i++) {
        char hex[2] = {digits[value[i] >> 4], digits[value[i] & 15]};

        if (is_binary) {
            append(e, hex, 2);
        } else {
            append(e, (const char *)&value[i], 1);
            append(e, "'", value[i] == '\'');
        }
    }
    append(e, "'", 1);
}

/* PG15 protocol, "Bind": formats, then values. */
void client_echo_parameters(struct client *c, const uint8_t *bind, size_t len)
{
    struct client_echo *e = c->echo;
    struct wire_reader formats;
    struct wire_reader r;
    unsigned n_formats;
    unsigned n;
    bool is_binary = false;

    if (e == NULL || e->hides_last || !c->pool->limits.echo_parameters) {
        return;
    }
    wire_reader_init(&r, bind, len);
    n_formats = wire_get_u16(&r);
    formats = r;
    (void)wire_get_bytes(&r, (size_t)n_formats * 2);
    n = wire_get_u16(&r);
    for (unsigned i = 0; i < n; i++) {
        int32_t size = (int32_t)wire_get_u32(&r);
        const uint8_t *value = size > 0 ? wire_get_bytes(&r, (size_t)size) : NULL;

        if (!wire_ok(&r)) {
            append(e, " ...",
                   4); /* longer than what is looked at, or malformed: the server will tell */
            return;
        }
        if (i < n_formats) { /* one format is for all of them */
            is_binary = wire_get_u16(&formats) == 1;
        }
        append(e, i == 0 ? " (" : ", ", 2);
        if (size < 0) {
            append(e, "NULL", 4);
        } else {
            append_value(e, value, (size_t)size, is_binary);
        }
    }
    append(e, ")", n > 0);
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
