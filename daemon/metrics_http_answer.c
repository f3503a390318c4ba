/* SPDX-License-Identifier: ISC */
/* What is at which path. Short answers are written at once; metrics come piece by piece out of the figures of the moment
 * in which they were asked for. */
#include "daemon/metrics_http_internal.h"

#include "daemon/health.h"
#include "daemon/metrics.h"
#include "daemon/util/secret.h"

#include <microhttpd.h>

#include <stdlib.h>
#include <string.h>

#define REPORT_MAX_BYTES ((size_t)4 << 20)
#define PIECE_MAX_BYTES (HTTP_PIECE_BYTES + (size_t)16 * 1024) /* one family's row is far shorter */

#define TYPE_TEXT "text/plain; charset=utf-8"
#define POLICY_NOTHING "default-src 'none'; frame-ancestors 'none'"

/* --- answers --- */

static void put_header(struct MHD_Response *r, const char *name, const char *value)
{
    (void)MHD_add_response_header(
        r, name, value); /* without memory it lacks; the answer is right all the same */
}

static void put_headers(struct MHD_Response *r, const char *type, const char *policy)
{
    put_header(r, "Content-Type", type);
    put_header(r, "Content-Security-Policy", policy);
    put_header(r, "X-Content-Type-Options", "nosniff");
    put_header(r, "Referrer-Policy", "no-referrer");
    put_header(r, "Cache-Control", "no-store");
}

static int queue(struct MHD_Connection *connection, unsigned status, struct MHD_Response *r)
{
    enum MHD_Result ok = MHD_queue_response(connection, status, r);

    MHD_destroy_response(r);
    return ok == MHD_YES;
}

static int answer_text(struct MHD_Connection *connection, unsigned status, const char *text)
{
    struct MHD_Response *r = MHD_create_response_from_buffer(strlen(text), (void *)(uintptr_t)text,
                                                             MHD_RESPMEM_MUST_COPY);

    if (r == NULL) {
        return 0;
    }
    put_headers(r, TYPE_TEXT, POLICY_NOTHING);
    if (status == MHD_HTTP_METHOD_NOT_ALLOWED) {
        put_header(r, "Allow", "GET, HEAD");
    }
    return queue(connection, status, r);
}

/* --- who may see it --- */

/* Takes as long for every password of this length. */
static bool is_password(const struct secret *secret, const char *given)
{
    size_t len = strlen(given);
    unsigned differs = secret->len != len || len == 0;

    for (size_t i = 0; i < len; i++) {
        differs |= (unsigned)(given[i] ^ (secret->len > 0 ? secret->data[i % secret->len] : 0));
    }
    return differs == 0;
}

static bool is_welcome(const struct metrics_http *h, struct MHD_Connection *connection)
{
    static const struct secret nobodys = {0};
    const struct userlist *users = h->server->config->http_users;
    const struct userlist_entry *entry;
    char *password = NULL;
    char *user;
    bool ok = false;

    if (users == NULL) {
        return true;
    }
    user = MHD_basic_auth_get_username_password(connection, &password);
    if (user != NULL && password != NULL) {
        entry = userlist_find(users, user);
        ok = is_password(entry != NULL ? &entry->secret : &nobodys, password);
    }
    if (password != NULL) {
        explicit_bzero(password, strlen(password));
    }
    MHD_free(user);
    MHD_free(password);
    return ok;
}

static int answer_stranger(struct MHD_Connection *connection)
{
    static const char text[] = "name and password, please\n";
    struct MHD_Response *r = MHD_create_response_from_buffer(
        sizeof(text) - 1, (void *)(uintptr_t)text, MHD_RESPMEM_PERSISTENT);
    enum MHD_Result ok;

    if (r == NULL) {
        return 0;
    }
    put_headers(r, TYPE_TEXT, POLICY_NOTHING);
    ok = MHD_queue_basic_auth_fail_response(connection, "pgpoold", r);
    MHD_destroy_response(r);
    return ok == MHD_YES;
}

/* --- metrics --- */

struct metrics_answer {
    struct metrics *figures;
    struct metrics_text text;
    struct buf piece;
    size_t sent; /* of the piece */
};

static void metrics_answer_free(void *arg)
{
    struct metrics_answer *a = arg;

    metrics_free(a->figures);
    buf_done(&a->piece);
    free(a);
}

static ssize_t metrics_answer_read(void *arg, uint64_t pos, char *to, size_t room)
{
    struct metrics_answer *a = arg;
    size_t n;

    (void)pos;
    if (a->sent == a->piece.len) {
        buf_clear(&a->piece);
        a->sent = 0;
        metrics_text_step(&a->text, &a->piece, HTTP_PIECE_BYTES);
    }
    if (!buf_ok(&a->piece)) {
        return MHD_CONTENT_READER_END_WITH_ERROR;
    }
    if (a->piece.len == 0) {
        return MHD_CONTENT_READER_END_OF_STREAM;
    }
    n = MIN(room, a->piece.len - a->sent);
    memcpy(to, a->piece.data + a->sent, n);
    a->sent += n;
    return (ssize_t)n;
}

static int answer_metrics(struct metrics_http *h, struct MHD_Connection *connection)
{
    const char *accept =
        MHD_lookup_connection_value(connection, MHD_HEADER_KIND, MHD_HTTP_HEADER_ACCEPT);
    struct metrics_answer *a = calloc(1, sizeof(*a));
    struct MHD_Response *r = NULL;

    if (a != NULL) {
        a->figures = metrics_take(h->server);
        a->text.m = a->figures;
        a->text.format = metrics_format_of(accept);
        a->piece = BUF_INIT(PIECE_MAX_BYTES);
    }
    if (a != NULL && a->figures != NULL) {
        r = MHD_create_response_from_callback(MHD_SIZE_UNKNOWN, HTTP_PIECE_BYTES,
                                              metrics_answer_read, a, metrics_answer_free);
    }
    if (r == NULL) {
        if (a != NULL) {
            metrics_answer_free(a);
        }
        return answer_text(connection, MHD_HTTP_SERVICE_UNAVAILABLE, "out of memory\n");
    }
    put_headers(r, metrics_format_type(a->text.format), POLICY_NOTHING);
    return queue(connection, MHD_HTTP_OK, r);
}

/* --- health --- */

static int answer_alive(struct metrics_http *h, struct MHD_Connection *connection)
{
    (void)h; /* that the loop turns is what was asked */
    return answer_text(connection, MHD_HTTP_OK, "ok\n");
}

/* The status is for everybody, the names of databases are not. */
static int answer_ready(struct metrics_http *h, struct MHD_Connection *connection)
{
    const char *name = MHD_lookup_connection_value(connection, MHD_GET_ARGUMENT_KIND, "database");
    struct buf report = BUF_INIT(REPORT_MAX_BYTES);
    unsigned status = health_report(h->server, name, &report);
    int ok;

    if (!is_welcome(h, connection)) {
        ok = answer_text(connection, status, status == MHD_HTTP_OK ? "ok\n" : "not ready\n");
    } else {
        ok = answer_text(connection, status, report.len > 0 ? buf_cstr(&report) : "ok\n");
    }
    buf_done(&report);
    return ok;
}

/* --- paths --- */

static const struct {
    const char *path;
    bool is_open; /* also for who has no password */
    int (*answer)(struct metrics_http *h, struct MHD_Connection *connection);
} paths[] = {
    {"/metrics", false, answer_metrics},
    {"/healthz", true, answer_alive},
    {"/readyz", true, answer_ready},
};

int http_answer(struct metrics_http *h, struct MHD_Connection *connection, const char *path,
                const char *method)
{
    if (strcmp(method, MHD_HTTP_METHOD_GET) != 0 && strcmp(method, MHD_HTTP_METHOD_HEAD) != 0) {
        return answer_text(connection, MHD_HTTP_METHOD_NOT_ALLOWED, "only GET and HEAD\n");
    }
    for (size_t i = 0; i < ARRAY_LEN(paths); i++) {
        if (strcmp(paths[i].path, path) != 0) {
            continue;
        }
        if (!paths[i].is_open && !is_welcome(h, connection)) {
            return answer_stranger(connection);
        }
        return paths[i].answer(h, connection);
    }
    return answer_text(connection, MHD_HTTP_NOT_FOUND,
                       "there are /, /metrics, /status.json, /healthz and /readyz\n");
}
