/* SPDX-License-Identifier: ISC */
#include "protocol/startup.h"

#include "protocol/wire.h"

#include <stdlib.h>
#include <string.h>

#define CODE_CANCEL 80877102U
#define CODE_SSL 80877103U
#define CODE_GSSENC 80877104U

static enum startup_verdict parse_params(struct wire_reader *r, struct startup *s)
{
    for (;;) {
        const char *name = wire_get_cstr(r);
        const char *value;

        if (!wire_ok(r)) {
            return STARTUP_BAD_LAYOUT;
        }
        if (*name == '\0') {
            break;
        }
        value = wire_get_cstr(r);
        if (!wire_ok(r)) {
            return STARTUP_BAD_LAYOUT;
        }
        if (s->n_params == STARTUP_MAX_PARAMS) {
            return STARTUP_TOO_MANY;
        }
        s->params[s->n_params].name = name;
        s->params[s->n_params].value = value;
        s->n_params++;
        if (strncmp(name, "_pq_.", 5) == 0) {
            s->n_unknown_pq++;
        }
    }
    return wire_at_end(r) ? STARTUP_OK : STARTUP_BAD_LAYOUT;
}

static enum startup_verdict parse_cancel(struct wire_reader *r, struct startup *s)
{
    s->kind = STARTUP_CANCEL_REQUEST;
    s->cancel_pid = wire_get_u32(r);
    s->cancel_key_len = wire_left(r);
    s->cancel_key = wire_get_bytes(r, s->cancel_key_len);
    if (!wire_ok(r) || s->cancel_key_len < 4 || s->cancel_key_len > CANCEL_KEY_MAX_BYTES) {
        return STARTUP_BAD_LAYOUT;
    }
    return STARTUP_OK;
}

enum startup_verdict startup_parse(const void *data, size_t len, struct startup *ret)
{
    struct wire_reader r;
    uint32_t total;
    uint32_t code;

    if (len < 4) {
        return STARTUP_PARTIAL;
    }
    total = wire_load_u32(data);
    if (total < STARTUP_HEADER_BYTES || total > STARTUP_MAX_BYTES) {
        return STARTUP_BAD_LENGTH;
    }
    if (len < total) {
        return STARTUP_PARTIAL;
    }
    wire_reader_init(&r, data, total);
    (void)wire_get_u32(&r); /* the length, read above */
    code = wire_get_u32(&r);
    ret->total = total; /* field by field: the parameters are a kilobyte */
    ret->version = code;
    ret->n_params = 0;
    ret->n_unknown_pq = 0;
    ret->cancel_pid = 0;
    ret->cancel_key = NULL;
    ret->cancel_key_len = 0;
    switch (code) {
    case CODE_SSL:
        ret->kind = STARTUP_SSL_REQUEST;
        return wire_at_end(&r) ? STARTUP_OK : STARTUP_BAD_LAYOUT;
    case CODE_GSSENC:
        ret->kind = STARTUP_GSSENC_REQUEST;
        return wire_at_end(&r) ? STARTUP_OK : STARTUP_BAD_LAYOUT;
    case CODE_CANCEL:
        return parse_cancel(&r, ret);
    default:
        break;
    }
    if (code >> 16 != PROTOCOL_3_0 >> 16) {
        return STARTUP_BAD_VERSION;
    }
    ret->kind = STARTUP_MESSAGE;
    return parse_params(&r, ret);
}

const char *startup_find(const struct startup *s, const char *name)
{
    for (unsigned i = s->n_params; i > 0; i--) {
        if (strcmp(s->params[i - 1].name, name) == 0) {
            return s->params[i - 1].value;
        }
    }
    return NULL;
}

static bool is_blank(char c)
{
    return c == ' ' || c == '\t' || c == '\n' || c == '\r' || c == '\f' || c == '\v';
}

/* Takes the next word off *@at into @word, as pg_split_opts() does. false: none left. */
static bool next_word(const char **at, char *word)
{
    const char *p = *at;
    char *out = word;

    while (is_blank(*p)) {
        p++;
    }
    if (*p == '\0') {
        return false;
    }
    while (*p != '\0' && !is_blank(*p)) {
        if (*p == '\\' && *++p == '\0') {
            break; /* it escapes nothing, and is dropped */
        }
        *out++ = *p++;
    }
    *out = '\0';
    *at = p;
    return true;
}

static bool give_setting(char *setting, startup_option_fn fn, void *arg)
{
    char *equals = strchr(setting, '=');

    if (equals == NULL || equals == setting) {
        return false;
    }
    *equals = '\0';
    for (char *p = setting; *p != '\0'; p++) {
        if (*p == '-') {
            *p = '_';
        }
    }
    return fn(arg, setting, equals + 1);
}

bool startup_split_options(const char *options, startup_option_fn fn, void *arg)
{
    char *word = malloc(strlen(options) + 1);
    const char *at = options;
    bool ok = word != NULL;

    while (ok && next_word(&at, word)) {
        if (strcmp(word, "-c") == 0) {
            ok = next_word(&at, word) && give_setting(word, fn, arg);
        } else if (strncmp(word, "-c", 2) == 0 || strncmp(word, "--", 2) == 0) {
            ok = give_setting(word + 2, fn, arg);
        } else {
            ok = false;
        }
    }
    free(word);
    return ok;
}

void startup_put_negotiate(struct buf *b, const struct startup *s, uint32_t newest)
{
    size_t start = wire_begin(b, 'v');

    wire_put_u32(b, newest);
    wire_put_u32(b, s->n_unknown_pq);
    for (unsigned i = 0; i < s->n_params; i++) {
        if (strncmp(s->params[i].name, "_pq_.", 5) == 0) {
            wire_put_cstr(b, s->params[i].name);
        }
    }
    wire_end(b, start);
}

void startup_put_key(struct buf *b, uint32_t pid, const void *key, size_t key_len)
{
    size_t start = wire_begin(b, 'K');

    wire_put_u32(b, pid);
    wire_put_bytes(b, key, key_len);
    wire_end(b, start);
}

void startup_put_parameter(struct buf *b, const char *name, const char *value)
{
    size_t start = wire_begin(b, 'S');

    wire_put_cstr(b, name);
    wire_put_cstr(b, value);
    wire_end(b, start);
}

void startup_put_ready(struct buf *b, uint8_t status)
{
    size_t start = wire_begin(b, 'Z');

    wire_put_u8(b, status);
    wire_end(b, start);
}

void startup_put_auth_ok(struct buf *b)
{
    size_t start = wire_begin(b, 'R');

    wire_put_u32(b, 0);
    wire_end(b, start);
}
