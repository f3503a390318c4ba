/* SPDX-License-Identifier: ISC */
#include "config/userlist.h"

#include "config/text_file.h"

#include <stdlib.h>
#include <string.h>

#define MD5_SECRET_LEN 35
#define SCRAM_PREFIX "SCRAM-SHA-256$"
#define SHA256_BASE64_LEN 44 /* 32 bytes */

struct userlist {
    struct userlist_entry *entries; /* uthash */
};

/* ---- what a secret is ---- */

static bool is_base64(const char *p, size_t len)
{
    size_t n_padding = 0;

    if (len == 0 || len % 4 != 0) {
        return false;
    }
    while (n_padding < 2 && p[len - 1 - n_padding] == '=') {
        n_padding++;
    }
    for (size_t i = 0; i < len - n_padding; i++) {
        if (p[i] == '\0' ||
            strchr("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/", p[i]) ==
                NULL) {
            return false;
        }
    }
    return true;
}

/* The bytes from @p up to @stop, or to @end when @stop does not come. */
static size_t part_len(const char *p, const char *end, char stop)
{
    const char *found = memchr(p, stop, (size_t)(end - p));

    return (size_t)((found == NULL ? end : found) - p);
}

/* SCRAM-SHA-256$<iterations>:<salt>$<StoredKey>:<ServerKey>, RFC 5803 as PostgreSQL writes it. */
static bool is_scram(const char *data, size_t len)
{
    const char *end = data + len;
    const char *p = data + strlen(SCRAM_PREFIX);
    size_t n;

    if (len < strlen(SCRAM_PREFIX) || memcmp(data, SCRAM_PREFIX, strlen(SCRAM_PREFIX)) != 0) {
        return false;
    }
    n = part_len(p, end, ':');
    if (n == 0 || n > 10 || p + n == end) {
        return false;
    }
    for (size_t i = 0; i < n; i++) {
        if (p[i] < '0' || p[i] > '9') {
            return false;
        }
    }
    p += n + 1;
    n = part_len(p, end, '$');
    if (p + n == end || !is_base64(p, n)) {
        return false;
    }
    p += n + 1;
    n = part_len(p, end, ':');
    if (p + n == end || n != SHA256_BASE64_LEN || !is_base64(p, n)) {
        return false;
    }
    p += n + 1;
    return (size_t)(end - p) == SHA256_BASE64_LEN && is_base64(p, SHA256_BASE64_LEN);
}

static bool is_md5(const char *data, size_t len)
{
    if (len != MD5_SECRET_LEN || memcmp(data, "md5", 3) != 0) {
        return false;
    }
    for (size_t i = 3; i < len; i++) {
        if ((data[i] < '0' || data[i] > '9') && (data[i] < 'a' || data[i] > 'f')) {
            return false;
        }
    }
    return true;
}

enum secret_kind secret_kind_of(const char *data, size_t len)
{
    if (len == 0) {
        return SECRET_KIND_EMPTY;
    }
    if (is_md5(data, len)) {
        return SECRET_KIND_MD5;
    }
    return is_scram(data, len) ? SECRET_KIND_SCRAM : SECRET_KIND_PLAIN;
}

/* ---- reading ---- */

static void entry_free(struct userlist_entry *e)
{
    if (e != NULL) {
        secret_done(&e->secret);
        free(e->name);
        free(e);
    }
}

/* A later line for the same name takes the place of the earlier one. */
static bool add(struct userlist *u, const char *name, const char *secret)
{
    struct userlist_entry *e = calloc(1, sizeof(*e));
    struct userlist_entry *old;

    if (e != NULL) {
        e->name = strdup(name);
    }
    if (e == NULL || e->name == NULL || !secret_set(&e->secret, secret, strlen(secret))) {
        entry_free(e);
        return false;
    }
    e->kind = secret_kind_of(e->secret.data, e->secret.len);
    HASH_FIND(hh, u->entries, name, strlen(name), old);
    if (old != NULL) {
        HASH_DEL(u->entries, old);
        entry_free(old);
    }
    HASH_ADD_KEYPTR(hh, u->entries, e->name, strlen(e->name), e);
    if (e->hh.tbl == NULL) {
        entry_free(e);
        return false;
    }
    return true;
}

/* Takes one "quoted" field off *@pos, in place; a doubled quote is one. NULL: there is none, or it
 * has no end. */
static char *take_field(char **pos)
{
    char *start = *pos + strspn(*pos, " \t");
    char *to = start;

    if (*start != '"') {
        return NULL;
    }
    for (char *p = start + 1; *p != '\0'; p++) {
        if (*p == '"') {
            if (p[1] != '"') {
                *to = '\0';
                *pos = p + 1;
                return start;
            }
            p++;
        }
        *to++ = *p;
    }
    return NULL;
}

/* What stands behind the second field is not looked at, as in PgBouncer. */
static void read_line(struct userlist *u, struct text_file *in, char *line)
{
    char *pos = line;
    char *name = take_field(&pos);
    char *secret = name == NULL ? NULL : take_field(&pos);

    if (name == NULL || secret == NULL) {
        text_file_fault(in,
                        "the %s is missing or its quote has no end: \"user\" \"secret\", and \"\" "
                        "for a quote inside",
                        name == NULL ? "user" : "secret");
        return;
    }
    if (*name == '\0' || strlen(name) > USERLIST_NAME_MAX) {
        text_file_fault(in, "user name of %zu bytes: 1 to %d", strlen(name), USERLIST_NAME_MAX);
        return;
    }
    if (strlen(secret) > USERLIST_SECRET_MAX) {
        text_file_fault(in, "secret of %zu bytes: at most %d", strlen(secret), USERLIST_SECRET_MAX);
        return;
    }
    if (!add(u, name, secret)) {
        text_file_fault(in, "out of memory");
    }
}

/* Consumes @in. */
static struct userlist *read_all(struct text_file *in, struct config_errors *errors,
                                 unsigned n_before)
{
    struct userlist *u = calloc(1, sizeof(*u));
    char *line;

    if (u == NULL) {
        config_errors_add(errors, in->name, 0, "out of memory");
    }
    while (u != NULL && (line = text_file_next(in)) != NULL) {
        line += strspn(line, " \t");
        if (*line != '\0' && *line != ';' && *line != '#') {
            read_line(u, in, line);
        }
    }
    text_file_done(in);
    return config_errors_count(errors) == n_before ? u : userlist_free(u);
}

struct userlist *userlist_load(const char *path, struct config_errors *errors)
{
    unsigned n_before = config_errors_count(errors);
    struct text_file in;

    return text_file_open(&in, path, "", 0, errors) ? read_all(&in, errors, n_before) : NULL;
}

struct userlist *userlist_load_stream(FILE *stream, const char *name, struct config_errors *errors)
{
    unsigned n_before = config_errors_count(errors);
    struct text_file in;

    return text_file_wrap(&in, stream, name, errors) ? read_all(&in, errors, n_before) : NULL;
}

struct userlist *userlist_free(struct userlist *u)
{
    struct userlist_entry *e;
    struct userlist_entry *next;

    if (u != NULL) {
        HASH_ITER(hh, u->entries, e, next) {
            HASH_DEL(u->entries, e);
            entry_free(e);
        }
        free(u);
    }
    return NULL;
}

/* ---- questions ---- */

const struct userlist_entry *userlist_find(const struct userlist *u, const char *name)
{
    struct userlist_entry *e = NULL;

    if (u != NULL) {
        HASH_FIND(hh, u->entries, name, strlen(name), e);
    }
    return e;
}

unsigned userlist_count(const struct userlist *u)
{
    return u == NULL ? 0 : HASH_COUNT(u->entries);
}

const struct userlist_entry *userlist_next(const struct userlist *u,
                                           const struct userlist_entry *prev)
{
    if (u == NULL) {
        return NULL;
    }
    return prev == NULL ? u->entries : prev->hh.next;
}
