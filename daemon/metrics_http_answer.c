/* SPDX-License-Identifier: ISC */
/* What is at which path. Short answers are written at once; metrics come piece by piece out of the figures of the moment
 * in which they were asked for. */
#include "daemon/metrics_http_internal.h"

#include "daemon/health.h"
#include "daemon/metrics.h"
#include "daemon/status_json.h"
#include "daemon/status_page.h"
#include "daemon/util/secret.h"

#include <microhttpd.h>

#include <stdlib.h>
#include <string.h>

#define REPORT_MAX_BYTES ((size_t)4 << 20)
#define PIECE_MAX_BYTES (HTTP_PIECE_BYTES + (size_t)16 * 1024) /* one family's row is far shorter */

#define STATUS_PIECE_MAX_BYTES ((size_t)2 * 1024 * 1024) /* its head is one piece */

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

/* Where a password is asked for, a foreign page has none to give. */
static bool is_rebound(const struct metrics_http *h, struct MHD_Connection *connection)
{
    const char *host =
        MHD_lookup_connection_value(connection, MHD_HEADER_KIND, MHD_HTTP_HEADER_HOST);

    return h->is_local && h->server->config->http_users == NULL && host != NULL &&
           !http_host_is_local(host);
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

/* --- long answers --- */

/* What is said piece by piece: a text of metrics, or the figures of the status page. */
struct long_answer {
    struct metrics *figures;
    struct metrics_text text;
    struct status_json *status; /* NULL: it is the metrics */
    struct buf piece;
    size_t sent; /* of the piece */
};

static void long_answer_free(void *arg)
{
    struct long_answer *a = arg;

    metrics_free(a->figures);
    status_json_free(a->status);
    buf_done(&a->piece);
    free(a);
}

static void next_piece(struct long_answer *a)
{
    buf_clear(&a->piece);
    a->sent = 0;
    if (a->status != NULL) {
        status_json_step(a->status, &a->piece, HTTP_PIECE_BYTES);
    } else {
        metrics_text_step(&a->text, &a->piece, HTTP_PIECE_BYTES);
    }
}

static ssize_t long_answer_read(void *arg, uint64_t pos, char *to, size_t room)
{
    struct long_answer *a = arg;
    size_t n;

    (void)pos;
    if (a->sent == a->piece.len) {
        next_piece(a);
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

static int answer_memory(struct MHD_Connection *connection)
{
    return answer_text(connection, MHD_HTTP_SERVICE_UNAVAILABLE, "out of memory\n");
}

/* Owns @a from now on. */
static int answer_long(struct MHD_Connection *connection, struct long_answer *a, const char *type)
{
    struct MHD_Response *r = MHD_create_response_from_callback(
        MHD_SIZE_UNKNOWN, HTTP_PIECE_BYTES, long_answer_read, a, long_answer_free);

    if (r == NULL) {
        long_answer_free(a);
        return answer_memory(connection);
    }
    put_headers(r, type, POLICY_NOTHING);
    return queue(connection, MHD_HTTP_OK, r);
}

static struct long_answer *long_answer_new(size_t most)
{
    struct long_answer *a = calloc(1, sizeof(*a));

    if (a != NULL) {
        a->piece = BUF_INIT(most);
    }
    return a;
}

static int answer_metrics(struct metrics_http *h, struct MHD_Connection *connection)
{
    const char *accept =
        MHD_lookup_connection_value(connection, MHD_HEADER_KIND, MHD_HTTP_HEADER_ACCEPT);
    struct long_answer *a = long_answer_new(PIECE_MAX_BYTES);

    if (a == NULL) {
        return answer_memory(connection);
    }
    a->figures = metrics_take(h->server);
    if (a->figures == NULL) {
        long_answer_free(a);
        return answer_memory(connection);
    }
    a->text.m = a->figures;
    a->text.format = metrics_format_of(accept);
    return answer_long(connection, a, metrics_format_type(a->text.format));
}

/* --- the status page --- */

static int answer_status(struct metrics_http *h, struct MHD_Connection *connection)
{
    struct long_answer *a = long_answer_new(STATUS_PIECE_MAX_BYTES);

    if (a == NULL) {
        return answer_memory(connection);
    }
    a->status = status_json_new(h->server);
    if (a->status == NULL) {
        long_answer_free(a);
        return answer_memory(connection);
    }
    return answer_long(connection, a, "application/json");
}

static int answer_page(struct metrics_http *h, struct MHD_Connection *connection)
{
    struct buf page = BUF_INIT(STATUS_PAGE_MAX_BYTES);
    char policy[STATUS_PAGE_POLICY_BYTES];
    struct MHD_Response *r = NULL;

    (void)h; /* its script asks for the figures */
    status_page_write(&page, policy);
    if (buf_ok(&page)) {
        r = MHD_create_response_from_buffer(page.len, page.data, MHD_RESPMEM_MUST_COPY);
    }
    buf_done(&page);
    if (r == NULL) {
        return answer_memory(connection);
    }
    put_headers(r, "text/html; charset=utf-8", policy);
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
    {"/", false, answer_page},           {"/status.json", false, answer_status},
    {"/metrics", false, answer_metrics}, {"/healthz", true, answer_alive},
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
        if (!paths[i].is_open && is_rebound(h, connection)) {
            return answer_text(connection, MHD_HTTP_MISDIRECTED_REQUEST,
                               "ask by address or as localhost, or set http_auth_file\n");
        }
        if (!paths[i].is_open && !is_welcome(h, connection)) {
            return answer_stranger(connection);
        }
        return paths[i].answer(h, connection);
    }
    return answer_text(connection, MHD_HTTP_NOT_FOUND,
                       "there are /, /metrics, /status.json, /healthz and /readyz\n");
}
