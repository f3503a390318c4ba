/* SPDX-License-Identifier: ISC */
#include "daemon/util/log_json.h"

#include "daemon/util/fatal.h"

#include <stdio.h>
#include <string.h>

#define REPLACEMENT "\xef\xbf\xbd" /* U+FFFD */
#define CUT_MARK "...[cut]"
/* What has to fit behind a text that is cut: the mark, the quote, the brace and the newline. */
#define TAIL_BYTES (sizeof(CUT_MARK) - 1 + 3)
/* A name in front of the message may take this much, so that there is room for all of them. */
#define NAME_MAX_BYTES 200

struct json {
    char *at;
    char *end; /* nothing is written from here on */
};

static void put(struct json *j, const char *text, size_t len)
{
    fatal_unless(len <= (size_t)(j->end - j->at));
    memcpy(j->at, text, len);
    j->at += len;
}

static void put_text(struct json *j, const char *text)
{
    put(j, text, strlen(text));
}

/* One character as it stands in a JSON string; *ret_used: bytes of @text that it took. Returns its length. */
static size_t escape_char(char ret[8], const char *text, size_t *ret_used)
{
    uint8_t byte = (uint8_t)*text;
    size_t n = log_harmless_char((const uint8_t *)text);

    *ret_used = n > 0 ? n : 1;
    if (byte == '"' || byte == '\\') {
        ret[0] = '\\';
        ret[1] = (char)byte;
        return 2;
    }
    if (n > 0) {
        memcpy(ret, text, n);
        return n;
    }
    if (byte < 0x80) {
        return (size_t)snprintf(ret, 8, "\\u%04x", byte);
    }
    memcpy(ret, REPLACEMENT, sizeof(REPLACEMENT) - 1);
    return sizeof(REPLACEMENT) - 1;
}

/* The characters of a string, no more than @most bytes, cut between characters. */
static void put_string(struct json *j, const char *text, size_t most)
{
    const char *start = j->at;

    put(j, "\"", 1);
    while (*text != '\0') {
        char one[8];
        size_t used;
        size_t len = escape_char(one, text, &used);

        if ((size_t)(j->at - start) + len > most) {
            put_text(j, CUT_MARK);
            break;
        }
        put(j, one, len);
        text += used;
    }
    put(j, "\"", 1);
}

static void put_field(struct json *j, const char *name, const char *value)
{
    put_text(j, ",\"");
    put_text(j, name);
    put_text(j, "\":");
    put_string(j, value, NAME_MAX_BYTES);
}

static void put_who(struct json *j, const struct log_who *who)
{
    char text[64];

    (void)snprintf(text, sizeof(text), "%c-%p", who->kind, who->id);
    put_field(j, who->kind == 'S' ? "server" : "client", text);
    put_field(j, "database", who->database);
    put_field(j, "user", who->user);
    put_field(j, "addr", who->addr);
    (void)snprintf(text, sizeof(text), ",\"port\":%u", who->port);
    put_text(j, text);
}

size_t log_json_line(char *ret, size_t size, const struct log_json_event *e)
{
    struct json j = {.at = ret, .end = ret + size};
    char text[64];

    fatal_unless(size >= LOG_JSON_MIN_BYTES);
    put_text(&j, "{\"time\":");
    put_string(&j, e->time, NAME_MAX_BYTES);
    (void)snprintf(text, sizeof(text), ",\"pid\":%d", e->pid);
    put_text(&j, text);
    put_field(&j, "level", e->level);
    if (e->who != NULL) {
        put_who(&j, e->who);
    }
    put_text(&j, ",\"message\":");
    put_string(&j, e->message, (size_t)(j.end - j.at) - TAIL_BYTES);
    put_text(&j, "}\n");
    return (size_t)(j.at - ret);
}
