/* SPDX-License-Identifier: ISC */
#include "loadgen.h"

#include <errno.h>
#include <openssl/err.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#define READ_BYTES (256u << 10)
#define BODY_MAX (64u << 10)

static unsigned char scratch[READ_BYTES]; /* what was just read; one thread */

static void watch(struct lg *lg, struct lg_client *c, int op, uint32_t events)
{
    struct epoll_event ev = {.events = events, .data.ptr = c};

    if (epoll_ctl(lg->epoll_fd, op, c->fd, &ev) != 0) {
        die("epoll_ctl: %s", strerror(errno));
    }
}

static void want_write(struct lg *lg, struct lg_client *c, bool want)
{
    if (c->want_write != want) {
        c->want_write = want;
        watch(lg, c, EPOLL_CTL_MOD, EPOLLIN | (want ? EPOLLOUT : 0u));
    }
}

__attribute__((noreturn)) static void lost(const struct lg_client *c, const char *why)
{
    static const char *const names[CL_STATES] = {"new",   "connecting", "ssl answer", "handshake",
                                                 "login", "setup",      "ready",      "busy"};

    die("client %u lost while %s: %s", c->index, names[c->state], why);
}

/* Life. */

/* Each client keeps its own: a server may accept a session only once. */
static int remember_session(SSL *ssl, SSL_SESSION *session)
{
    struct lg_client *c = SSL_get_app_data(ssl);

    SSL_SESSION_free(c->session);
    c->session = session;
    return 1; /* the reference is ours now */
}

void tls_prepare(struct lg *lg)
{
    lg->tls = SSL_CTX_new(TLS_client_method());
    if (lg->tls == NULL) {
        die("SSL_CTX_new failed");
    }
    (void)SSL_CTX_set_mode(lg->tls, SSL_MODE_ENABLE_PARTIAL_WRITE |
                                        SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER |
                                        SSL_MODE_RELEASE_BUFFERS);
    if (lg->opt.tls == TLS_RESUME) {
        (void)SSL_CTX_set_session_cache_mode(lg->tls, SSL_SESS_CACHE_CLIENT |
                                                          SSL_SESS_CACHE_NO_INTERNAL_STORE);
        SSL_CTX_sess_set_new_cb(lg->tls, remember_session);
    }
}

void client_open(struct lg *lg, struct lg_client *c)
{
    c->fd = connect_to(lg->opt.host, lg->opt.port, c->index);
    c->state = CL_CONNECTING;
    c->n_head = 0;
    c->skip = 0;
    c->body_missing = 0;
    c->want_write = true;
    memset(&c->scram, 0, sizeof c->scram);
    watch(lg, c, EPOLL_CTL_ADD, EPOLLIN | EPOLLOUT);
}

void client_close(struct lg *lg, struct lg_client *c)
{
    client_send(lg, c, "X\0\0\0\4", 5);
    if (c->ssl != NULL) {
        (void)SSL_shutdown(c->ssl); /* one way, as libpq does */
        SSL_free(c->ssl);
        c->ssl = NULL;
    }
    close(c->fd);
    c->fd = -1;
    c->state = CL_NEW;
    bytes_take(&c->out, bytes_left(&c->out));
}

/* Bytes. */

/* >0 bytes, 0 the peer closed, -1 would block. */
static ssize_t tls_result(const struct lg_client *c, int n)
{
    int error = n > 0 ? SSL_ERROR_NONE : SSL_get_error(c->ssl, n);

    if (error == SSL_ERROR_NONE) {
        return n;
    }
    if (error == SSL_ERROR_WANT_READ || error == SSL_ERROR_WANT_WRITE) {
        return -1;
    }
    return 0;
}

static ssize_t socket_result(ssize_t n)
{
    if (n < 0) {
        return errno == EAGAIN || errno == EINTR ? -1 : 0;
    }
    return n;
}

static ssize_t write_some(struct lg_client *c, const void *data, size_t len)
{
    if (c->ssl != NULL && c->state >= CL_LOGIN) {
        return tls_result(c, SSL_write(c->ssl, data, (int)len));
    }
    return socket_result(send(c->fd, data, len, MSG_NOSIGNAL));
}

static ssize_t read_some(struct lg_client *c)
{
    size_t most = c->state == CL_SSL_ANSWER ? 1 : sizeof scratch;

    if (c->ssl != NULL && c->state >= CL_LOGIN) {
        return tls_result(c, SSL_read(c->ssl, scratch, (int)most));
    }
    return socket_result(recv(c->fd, scratch, most, 0));
}

static void flush(struct lg *lg, struct lg_client *c)
{
    while (bytes_left(&c->out) > 0) {
        ssize_t n = write_some(c, c->out.data + c->out.pos, bytes_left(&c->out));

        if (n == 0) {
            lost(c, "could not send");
        }
        if (n < 0) {
            want_write(lg, c, true);
            return;
        }
        bytes_take(&c->out, (size_t)n);
    }
    want_write(lg, c, false);
}

void client_send(struct lg *lg, struct lg_client *c, const void *data, size_t len)
{
    ssize_t n = bytes_left(&c->out) == 0 ? write_some(c, data, len) : -1;

    if (n == 0) {
        lost(c, "could not send");
    }
    if (n < 0) {
        n = 0;
    }
    if ((size_t)n < len) {
        bytes_put(&c->out, (const unsigned char *)data + n, len - (size_t)n);
        flush(lg, c);
    }
}

/* Login. */

static void send_startup(struct lg *lg, struct lg_client *c)
{
    c->state = CL_LOGIN;
    client_send(lg, c, lg->work.startup.data, lg->work.startup.len);
}

static void handshake(struct lg *lg, struct lg_client *c)
{
    int n = SSL_connect(c->ssl);
    int error = n == 1 ? SSL_ERROR_NONE : SSL_get_error(c->ssl, n);

    if (error == SSL_ERROR_WANT_READ || error == SSL_ERROR_WANT_WRITE) {
        want_write(lg, c, error == SSL_ERROR_WANT_WRITE);
        return;
    }
    if (error != SSL_ERROR_NONE) {
        lost(c, ERR_reason_error_string(ERR_get_error()));
    }
    lg->stats.resumed += SSL_session_reused(c->ssl) ? 1 : 0;
    want_write(lg, c, false);
    send_startup(lg, c);
}

static void start_tls(struct lg *lg, struct lg_client *c)
{
    if (scratch[0] != 'S') {
        lost(c, "the server does no TLS");
    }
    c->ssl = SSL_new(lg->tls);
    if (c->ssl == NULL || SSL_set_fd(c->ssl, c->fd) != 1) {
        die("SSL_new failed");
    }
    (void)SSL_set_app_data(c->ssl, c);
    if (lg->opt.tls == TLS_RESUME && c->session != NULL) {
        (void)SSL_set_session(c->ssl, c->session);
    }
    c->state = CL_HANDSHAKE;
    handshake(lg, c);
}

static void connected(struct lg *lg, struct lg_client *c)
{
    int error = 0;
    socklen_t len = sizeof error;
    struct bytes request = {0};

    if (getsockopt(c->fd, SOL_SOCKET, SO_ERROR, &error, &len) != 0 || error != 0) {
        lost(c, strerror(error));
    }
    want_write(lg, c, false);
    if (lg->opt.tls == TLS_OFF) {
        send_startup(lg, c);
        return;
    }
    bytes_put_u32(&request, 8);
    bytes_put_u32(&request, PG_SSL_REQUEST);
    c->state = CL_SSL_ANSWER;
    client_send(lg, c, request.data, request.len);
    bytes_done(&request);
}

static void send_sasl(struct lg *lg, struct lg_client *c, const char *mechanism, const char *text)
{
    struct bytes b = {0};
    size_t mark;

    if (text == NULL) {
        lost(c, "bad SCRAM message");
    }
    mark = msg_begin(&b, 'p');
    if (mechanism != NULL) {
        bytes_put_cstr(&b, mechanism);
        bytes_put_u32(&b, (uint32_t)strlen(text));
    }
    bytes_put(&b, text, strlen(text));
    msg_end(&b, mark);
    client_send(lg, c, b.data, b.len);
    bytes_done(&b);
}

static void authentication(struct lg *lg, struct lg_client *c, const unsigned char *body,
                           size_t len)
{
    char text[SCRAM_TEXT_MAX];

    if (len < 4 || len - 4 >= sizeof text) {
        lost(c, "bad authentication message");
    }
    memcpy(text, body + 4, len - 4);
    text[len - 4] = '\0';
    switch (get_u32(body)) {
    case 0:
        break;
    case 10:
        send_sasl(lg, c, "SCRAM-SHA-256", scram_client_first(&c->scram));
        break;
    case 11:
        send_sasl(lg, c, NULL, scram_client_final(&c->scram, lg->opt.password, text));
        break;
    case 12:
        if (!scram_client_verify(&c->scram, text)) {
            lost(c, "the server does not know the password");
        }
        break;
    default:
        lost(c, "an authentication method we do not speak");
    }
}

/* Messages. */

__attribute__((noreturn)) static void server_error(const struct lg_client *c, const char *body,
                                                   size_t len)
{
    const char *message = "no message";
    const char *at = body, *end = body + len;

    while (at < end && *at != '\0') {
        if (*at == 'M') {
            message = at + 1;
        }
        at += strnlen(at, (size_t)(end - at)) + 1;
    }
    lost(c, message);
}

static void ready_for_query(struct lg *lg, struct lg_client *c)
{
    if (c->state == CL_LOGIN) {
        work_logged_in(lg, c);
    } else {
        work_ready_for_query(lg, c);
    }
}

static bool is_looked_into(unsigned char type)
{
    return type == 'R' || type == 'E';
}

/* @body is NULL for the types nobody looks into. */
static void one_message(struct lg *lg, struct lg_client *c, const unsigned char *body, size_t len)
{
    switch (c->head[0]) {
    case 'R':
        authentication(lg, c, body, len);
        break;
    case 'E':
        server_error(c, (const char *)body, len);
    case 'G':
        c->copy_left = lg->opt.size;
        work_copy_pump(lg, c);
        break;
    case 'A':
        work_notification(lg, c);
        break;
    case 'D':
    case 'd':
        lg->stats.bytes += len;
        break;
    case 'Z':
        ready_for_query(lg, c);
        break;
    default:
        break;
    }
}

/* Puts @n bytes behind what is known of the message in the making; returns how many it used. */
static size_t feed_once(struct lg *lg, struct lg_client *c, const unsigned char *data, size_t n)
{
    size_t len;

    if (c->skip > 0) {
        size_t used = c->skip < n ? c->skip : n;

        c->skip -= used;
        if (c->skip == 0 && c->head[0] == 'Z') {
            ready_for_query(lg, c); /* only once its last byte is here: the answer may close us */
        }
        return used;
    }
    if (c->body_missing > 0) {
        size_t used = c->body_missing < n ? c->body_missing : n;

        bytes_put(&c->body, data, used);
        c->body_missing -= used;
        if (c->body_missing == 0) {
            one_message(lg, c, c->body.data, c->body.len);
            c->body.len = 0;
        }
        return used;
    }
    c->head[c->n_head++] = data[0];
    if (c->n_head < sizeof c->head) {
        return 1;
    }
    c->n_head = 0;
    len = get_u32(c->head + 1);
    if (len < 4 || (is_looked_into(c->head[0]) && len > BODY_MAX)) {
        lost(c, "bad message length");
    }
    len -= 4;
    if (is_looked_into(c->head[0])) {
        c->body_missing = len;
        return 1;
    }
    c->skip = len;
    if (c->head[0] != 'Z') {
        one_message(lg, c, NULL, len);
    }
    return 1;
}

/* A closed or reopened client drops what was left of the read: it belongs to the old connection. */
static void feed(struct lg *lg, struct lg_client *c, size_t n)
{
    int fd = c->fd;
    size_t at = 0;

    while (at < n && c->fd == fd && c->state >= CL_LOGIN) {
        at += feed_once(lg, c, scratch + at, n - at);
    }
}

static void readable(struct lg *lg, struct lg_client *c)
{
    ssize_t n;

    do {
        n = read_some(c);
        if (n == 0) {
            lost(c, "the server closed the connection");
        }
        if (n < 0) {
            return;
        }
        if (c->state == CL_SSL_ANSWER) {
            start_tls(lg, c);
            return;
        }
        feed(lg, c, (size_t)n);
        /* TLS may hold a decrypted rest that no event will announce */
    } while (c->ssl != NULL && c->state >= CL_LOGIN);
}

void client_event(struct lg *lg, struct lg_client *c, uint32_t events)
{
    if (c->state == CL_NEW) {
        return; /* closed earlier in this batch of events */
    }
    if (c->state == CL_CONNECTING) {
        if (events & (EPOLLOUT | EPOLLERR | EPOLLHUP)) {
            connected(lg, c);
        }
        return;
    }
    if (c->state == CL_HANDSHAKE) {
        handshake(lg, c);
        return;
    }
    if (events & EPOLLOUT) {
        flush(lg, c);
        work_copy_pump(lg, c);
    }
    if (events & (EPOLLIN | EPOLLHUP | EPOLLERR)) {
        readable(lg, c);
    }
}
