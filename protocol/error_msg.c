/* SPDX-License-Identifier: ISC */
#include "protocol/error_msg.h"

#include "protocol/wire.h"

#include <stdio.h>
#include <string.h>

void pg_error_set(struct pg_error *ret, const char *sqlstate, const char *fmt, ...)
{
    va_list args;

    *ret = (struct pg_error){.severity = "FATAL"};
    (void)snprintf(ret->sqlstate, sizeof(ret->sqlstate), "%s", sqlstate);
    va_start(args, fmt);
    (void)vsnprintf(ret->message, sizeof(ret->message), fmt, args); /* cut is meant */
    va_end(args);
}

static void keep(char *to, size_t size, const char *text)
{
    (void)snprintf(to, size, "%s", text); /* cut is meant */
}

bool error_msg_parse(const void *body, size_t len, struct pg_error *ret)
{
    struct wire_reader r;
    struct pg_error e = {.severity = ""};
    bool plain_severity = false;

    wire_reader_init(&r, body, len);
    for (;;) {
        uint8_t field = wire_get_u8(&r);
        const char *text;

        if (field == 0) {
            break;
        }
        text = wire_get_cstr(&r);
        switch (field) {
        case 'V': /* never localised, so it wins over 'S' */
            keep(e.severity, sizeof(e.severity), text);
            plain_severity = true;
            break;
        case 'S':
            if (!plain_severity) {
                keep(e.severity, sizeof(e.severity), text);
            }
            break;
        case 'C':
            keep(e.sqlstate, sizeof(e.sqlstate), text);
            break;
        case 'M':
            keep(e.message, sizeof(e.message), text);
            break;
        case 'D':
            keep(e.detail, sizeof(e.detail), text);
            break;
        case 'H':
            keep(e.hint, sizeof(e.hint), text);
            break;
        default:
            break; /* "frontends should silently ignore fields of unrecognized type" */
        }
    }
    if (!wire_at_end(&r)) {
        return false;
    }
    *ret = e;
    return true;
}

static void put_field(struct buf *b, uint8_t field, const char *text)
{
    if (text != NULL && *text != '\0') {
        wire_put_u8(b, field);
        wire_put_cstr(b, text);
    }
}

/* NOLINTNEXTLINE(readability-function-size): one parameter for each field of the message */
void error_msg_put_text(struct buf *b, uint8_t type, const char *severity, const char *sqlstate,
                        const char *message, const char *detail, const char *hint)
{
    size_t start = wire_begin(b, type);

    put_field(b, 'S', severity);
    put_field(b, 'V', severity);
    put_field(b, 'C', sqlstate);
    put_field(b, 'M', message);
    put_field(b, 'D', detail);
    put_field(b, 'H', hint);
    wire_put_u8(b, 0);
    wire_end(b, start);
}

void error_msg_put(struct buf *b, uint8_t type, const struct pg_error *e)
{
    error_msg_put_text(b, type, e->severity, e->sqlstate, e->message, e->detail, e->hint);
}
