/* SPDX-License-Identifier: ISC */
/* libmicrohttpd on our loop. Its epoll descriptor is one more descriptor for us: when that is readable it runs once, and
 * a timer runs it when it has said that it wants to. Connections are accepted by us and given to it, so that they are
 * counted before they cost anything, and their sockets are shut down by us when they take too long: its own time-out begins
 * anew with each byte. */
#include "daemon/metrics_http.h"

#include "daemon/metrics_http_internal.h"
#include "daemon/util/log.h"
#include "protocol/tls.h"

#include <microhttpd.h>

#include <errno.h>
#include <netinet/in.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define PEM_MAX_BYTES ((size_t)1024 * 1024)
#define SWEEP_US (250 * USEC_PER_MSEC)
#define CONNECTIONS_MOST 10001U /* never reached: ours is lower */
#define TLS_RULES "NORMAL:-VERS-ALL:+VERS-TLS1.3:+VERS-TLS1.2"

/* --- turns --- */

static void run(struct metrics_http *h)
{
    MHD_UNSIGNED_LONG_LONG wait_ms = 0;

    (void)MHD_run(h->engine.mhd); /* what goes wrong concerns one connection, which it closes */
    if (MHD_get_timeout(h->engine.mhd, &wait_ms) == MHD_YES) {
        loop_timer_set(h->server->loop, &h->timer, (usec_t)wait_ms * USEC_PER_MSEC);
    } else {
        loop_timer_stop(h->server->loop, &h->timer);
    }
}

static void on_epoll(struct loop_io *io, unsigned events)
{
    (void)events;
    run(container_of(io, struct metrics_http, io));
}

static void on_timer(struct loop_timer *timer)
{
    run(container_of(timer, struct metrics_http, timer));
}

static void on_sweep(struct loop_timer *timer)
{
    struct metrics_http *h = container_of(timer, struct metrics_http, sweep);
    struct http_connection *c;

    list_for_each(&h->connections, c, link) {
        if (clock_now_us() - c->since_us >= h->timeout_us) {
            (void)shutdown(c->fd, SHUT_RDWR); /* it sees the end and closes */
        }
    }
    if (!list_is_empty(&h->connections)) {
        loop_timer_set(h->server->loop, &h->sweep, SWEEP_US);
    }
}

/* --- what libmicrohttpd tells --- */

static void on_connection(void *arg, struct MHD_Connection *connection, void **own,
                          enum MHD_ConnectionNotificationCode what)
{
    struct metrics_http *h = arg;
    struct http_connection *c = *own;
    const union MHD_ConnectionInfo *info;

    if (what == MHD_CONNECTION_NOTIFY_CLOSED) {
        if (c != NULL) {
            list_remove(&h->connections, &c->link);
            free(c);
            *own = NULL;
        }
        return;
    }
    info = MHD_get_connection_info(connection, MHD_CONNECTION_INFO_CONNECTION_FD);
    c = calloc(1, sizeof(*c));
    if (c == NULL || info == NULL) {
        if (info != NULL) {
            (void)shutdown(info->connect_fd, SHUT_RDWR); /* without a record it would have no end */
        }
        free(c);
        return;
    }
    c->http = h;
    c->fd = info->connect_fd;
    c->since_us = clock_now_us();
    list_add_tail(&h->connections, &c->link);
    *own = c;
    if (!loop_timer_is_set(&h->sweep)) {
        loop_timer_set(h->server->loop, &h->sweep, SWEEP_US);
    }
}

static void on_completed(void *arg, struct MHD_Connection *connection, void **own,
                         enum MHD_RequestTerminationCode how)
{
    const union MHD_ConnectionInfo *info =
        MHD_get_connection_info(connection, MHD_CONNECTION_INFO_SOCKET_CONTEXT);
    struct http_connection *c = info != NULL ? info->socket_context : NULL;

    (void)arg;
    (void)own;
    (void)how;
    if (c != NULL) {
        c->since_us = clock_now_us();
    }
}

static bool has_body(struct MHD_Connection *connection)
{
    const char *length =
        MHD_lookup_connection_value(connection, MHD_HEADER_KIND, MHD_HTTP_HEADER_CONTENT_LENGTH);

    return (length != NULL && strcmp(length, "0") != 0) ||
           MHD_lookup_connection_value(connection, MHD_HEADER_KIND,
                                       MHD_HTTP_HEADER_TRANSFER_ENCODING) != NULL;
}

/* Called with the header of a request, and once more at its end. An answer to the first call ends the connection, which
 * is right where a body would follow: nobody wants to read it. */
/* NOLINTNEXTLINE(readability-function-size): libmicrohttpd wants these parameters */
static enum MHD_Result on_request(void *arg, struct MHD_Connection *connection, const char *url,
                                  const char *method, const char *version, const char *upload,
                                  size_t *upload_len, void **own)
{
    static char seen;

    (void)version;
    (void)upload;
    (void)upload_len;
    if (*own == NULL && !has_body(connection)) {
        *own = &seen;
        return MHD_YES;
    }
    return http_answer(arg, connection, url, method) != 0 ? MHD_YES : MHD_NO;
}

PRINTF_LIKE(2, 0) static void on_log(void *arg, const char *fmt, va_list args)
{
    struct metrics_http *h = arg;
    static struct log_rate rate;
    char shown[512];

    (void)vsnprintf(h->said, sizeof(h->said), fmt, args); /* cut is meant */
    h->said[strcspn(h->said, "\n")] = '\0';
    if (log_is_on(LOG_DEBUG_LEVEL) && log_rate_ok(&rate, 20)) {
        log_debug("http: %s", log_escape(shown, sizeof(shown), h->said));
    }
}

/* --- the engine --- */

static void engine_done(struct http_engine *e)
{
    if (e->mhd != NULL) {
        MHD_stop_daemon(e->mhd);
        e->mhd = NULL;
    }
    buf_done_secret(&e->key);
    buf_done(&e->cert);
}

static bool read_file(const char *path, struct buf *ret, struct config_errors *errors)
{
    FILE *f = fopen(path, "re");
    char piece[4096];
    size_t n;
    bool ok = f != NULL;

    buf_init(ret, PEM_MAX_BYTES);
    while (ok && (n = fread(piece, 1, sizeof(piece), f)) > 0) {
        ok = buf_append(ret, piece, n);
        errno = EFBIG;
    }
    ok = ok && ferror(f) == 0;
    if (!ok) {
        config_errors_add(errors, NULL, 0, "%s: cannot be read: %s", path, strerror(errno));
    }
    if (f != NULL) {
        (void)fclose(f); /* was only read */
    }
    explicit_bzero(piece, sizeof(piece));
    return ok;
}

/* OpenSSL looks at the pair first: what it says of a wrong one helps more than what libmicrohttpd says. */
static bool check_pair(const struct settings *set, struct config_errors *errors)
{
    struct tls_settings t = {.sslmode = TLS_REQUIRE,
                             .key_file = set->http_tls_key_file,
                             .cert_file = set->http_tls_cert_file};
    struct tls_error why;
    struct tls_context *ctx = tls_context_new(&t, &why);

    if (ctx == NULL) {
        config_errors_add(errors, NULL, 0, "http_tls_key_file, http_tls_cert_file: %s", why.text);
        return false;
    }
    tls_context_free(ctx);
    return true;
}

static bool engine_read(struct http_engine *e, const struct settings *set,
                        struct config_errors *errors)
{
    *e = (struct http_engine){.key = BUF_INIT(PEM_MAX_BYTES), .cert = BUF_INIT(PEM_MAX_BYTES)};
    if (*set->http_tls_key_file == '\0') {
        return true;
    }
    return check_pair(set, errors) && read_file(set->http_tls_key_file, &e->key, errors) &&
           read_file(set->http_tls_cert_file, &e->cert, errors);
}

static bool engine_start(struct metrics_http *h, struct http_engine *e,
                         struct config_errors *errors)
{
    struct MHD_OptionItem tls[] = {
        {MHD_OPTION_HTTPS_MEM_KEY, 0, (void *)(uintptr_t)buf_cstr(&e->key)},
        {MHD_OPTION_HTTPS_MEM_CERT, 0, (void *)(uintptr_t)buf_cstr(&e->cert)},
        {MHD_OPTION_HTTPS_PRIORITIES, 0, (void *)(uintptr_t)TLS_RULES},
        {MHD_OPTION_END, 0, NULL},
    };
    bool has_tls = e->key.len > 0;
    unsigned flags = (unsigned)MHD_USE_EPOLL | (unsigned)MHD_USE_NO_LISTEN_SOCKET |
                     (unsigned)MHD_USE_ERROR_LOG | (has_tls ? (unsigned)MHD_USE_TLS : 0U);

    h->said[0] = '\0';
    e->mhd = MHD_start_daemon(flags, 0, NULL, NULL, on_request, h, MHD_OPTION_EXTERNAL_LOGGER,
                              on_log, (void *)h, MHD_OPTION_CONNECTION_MEMORY_LIMIT,
                              (size_t)HTTP_REQUEST_MAX_BYTES, MHD_OPTION_CONNECTION_LIMIT,
                              CONNECTIONS_MOST, MHD_OPTION_CONNECTION_TIMEOUT, 0U,
                              MHD_OPTION_NOTIFY_COMPLETED, on_completed, (void *)h,
                              MHD_OPTION_NOTIFY_CONNECTION, on_connection, (void *)h,
                              MHD_OPTION_STRICT_FOR_CLIENT, 1, MHD_OPTION_SIGPIPE_HANDLED_BY_APP, 1,
                              MHD_OPTION_ARRAY, has_tls ? tls : &tls[3], MHD_OPTION_END);
    if (e->mhd == NULL) {
        config_errors_add(errors, NULL, 0, "http_port: libmicrohttpd does not start: %s",
                          h->said[0] != '\0' ? h->said : "it does not say why");
        return false;
    }
    return true;
}

static void watch_engine(struct metrics_http *h)
{
    const union MHD_DaemonInfo *info = MHD_get_daemon_info(h->engine.mhd, MHD_DAEMON_INFO_EPOLL_FD);

    loop_io_init(&h->io, info->epoll_fd, on_epoll);
    loop_io_want(h->server->loop, &h->io, LOOP_READ);
}

static void unwatch_engine(struct metrics_http *h)
{
    loop_io_stop(h->server->loop, &h->io);
    loop_timer_stop(h->server->loop, &h->timer);
}

/* --- connections --- */

void http_accepted(struct metrics_http *h, int fd, const struct sockaddr *addr, socklen_t len)
{
    if (h->connections.n >= h->max_connections) {
        static struct log_rate rate;

        h->n_refused++;
        if (log_rate_ok(&rate, 1)) {
            log_warning("HTTP connection refused: %u are open (http_max_connections)",
                        h->connections.n);
        }
        (void)close(fd);
        return;
    }
    if (MHD_add_connection(h->engine.mhd, fd, addr, len) == MHD_YES) { /* it closes fd if not */
        run(h);
    }
}

/* --- life --- */

static bool is_loopback_only(const struct settings *set)
{
    const char *at = set->http_addr;
    const char *word;
    size_t len;

    while ((word = option_list_next(&at, &len)) != NULL) {
        if (strncmp(word, "127.", 4) != 0 && !(len == 3 && strncmp(word, "::1", 3) == 0)) {
            return false;
        }
    }
    return true;
}

bool metrics_http_open(const struct settings *set, bool takes_over, struct metrics_http **ret,
                       struct config_errors *errors)
{
    struct metrics_http *h;

    *ret = NULL;
    if (set->http_port == 0) {
        return true;
    }
    h = calloc(1, sizeof(*h));
    if (h == NULL) {
        config_errors_add(errors, NULL, 0, "out of memory");
        return false;
    }
    list_init(&h->listeners);
    list_init(&h->connections);
    loop_timer_init(&h->timer, on_timer);
    loop_timer_init(&h->sweep, on_sweep);
    loop_timer_init(&h->retry, http_listeners_retry);
    h->takes_over = takes_over;
    if (!http_listeners_open(h, set, errors)) {
        metrics_http_free(h);
        return false;
    }
    *ret = h;
    return true;
}

bool metrics_http_start(struct metrics_http *h, struct server *s, struct config_errors *errors)
{
    const struct settings *set = &s->config->settings;

    h->server = s;
    h->timeout_us = set->http_timeout_us;
    h->max_connections = (unsigned)set->http_max_connections;
    if (!engine_read(&h->engine, set, errors) || !engine_start(h, &h->engine, errors)) {
        return false;
    }
    watch_engine(h);
    history_start(&h->history, s);
    log_observe(incidents_note, &h->incidents);
    h->is_local = is_loopback_only(set);
    if (!h->is_local && *set->http_auth_file == '\0') {
        log_warning("http_addr = %s: whoever reaches it sees metrics and status page: set "
                    "http_auth_file, or have a firewall",
                    set->http_addr);
    }
    return http_listeners_start(h, errors);
}

struct metrics_http *metrics_http_free(struct metrics_http *h)
{
    if (h == NULL) {
        return NULL;
    }
    http_listeners_close(h);
    if (h->engine.mhd != NULL) {
        unwatch_engine(h);
    }
    engine_done(&h->engine);
    engine_done(&h->next);
    if (h->server != NULL) {
        loop_timer_stop(h->server->loop, &h->sweep);
        history_stop(&h->history);
        log_observe(NULL, NULL);
    }
    free(h);
    return NULL;
}

/* --- reload --- */

static bool same_bytes(const struct buf *a, const struct buf *b)
{
    return a->len == b->len && (a->len == 0 || memcmp(a->data, b->data, a->len) == 0);
}

bool metrics_http_prepare(struct metrics_http *h, const struct settings *set,
                          struct config_errors *errors)
{
    if (h == NULL || h->server == NULL) {
        return true; /* the start reads everything itself */
    }
    engine_done(&h->next); /* of a reload that failed later on */
    if (!engine_read(&h->next, set, errors)) {
        engine_done(&h->next);
        return false;
    }
    if (same_bytes(&h->next.key, &h->engine.key) && same_bytes(&h->next.cert, &h->engine.cert)) {
        engine_done(&h->next);
        return true;
    }
    return engine_start(h, &h->next, errors);
}

void metrics_http_commit(struct metrics_http *h)
{
    if (h == NULL || h->server == NULL) {
        return;
    }
    h->timeout_us = h->server->config->settings.http_timeout_us;
    h->max_connections = (unsigned)h->server->config->settings.http_max_connections;
    if (h->next.mhd != NULL) {
        unwatch_engine(h);
        engine_done(
            &h->engine); /* answers under way end here; the next scrape comes with the new certificate */
        h->engine = h->next;
        h->next = (struct http_engine){0};
        watch_engine(h);
        log_info("HTTP: certificate and key read anew");
    }
}

void metrics_http_close_listeners(struct metrics_http *h)
{
    if (h != NULL) {
        http_listeners_close(h);
    }
}

/* --- questions --- */

uint64_t metrics_http_count(const struct metrics_http *h)
{
    return h != NULL ? h->connections.n : 0;
}

uint64_t metrics_http_refused(const struct metrics_http *h)
{
    return h != NULL ? h->n_refused : 0;
}

const struct history *metrics_http_history(const struct metrics_http *h)
{
    return &h->history;
}

const struct incidents *metrics_http_incidents(const struct metrics_http *h)
{
    return &h->incidents;
}
