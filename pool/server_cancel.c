/* SPDX-License-Identifier: ISC */
#include "pool/server_cancel.h"

#include "daemon/util/fatal.h"
#include "daemon/util/loop.h"
#include "daemon/util/num.h"
#include "protocol/wire.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#define CANCEL_REQUEST_CODE 80877102U /* PG15 protocol, "CancelRequest" */
#define CANCEL_HEADER_BYTES 12

enum cancel_state {
    CANCEL_CONNECTING,
    CANCEL_WRITING,
    CANCEL_WAITING, /* for the end of the stream */
    CANCEL_ENDED,
    CANCEL_STATES,
};

#define TO(state) BIT(CANCEL_##state)

static const unsigned next_states[CANCEL_STATES] = {
    [CANCEL_CONNECTING] = TO(WRITING) | TO(ENDED),
    [CANCEL_WRITING] = TO(WAITING) | TO(ENDED),
    [CANCEL_WAITING] = TO(ENDED),
    [CANCEL_ENDED] = 0,
};

struct server_cancel {
    struct loop *loop;
    server_cancel_fn fn;
    void *owner;
    enum cancel_state state;
    struct backend_connect *connect; /* NULL once connected */
    int fd;                          /* -1 until connected */
    struct tls *tls;
    struct loop_io io;
    struct loop_timer deadline;
    size_t sent;
    size_t len;
    uint8_t packet[CANCEL_HEADER_BYTES +
                   SERVER_CANCEL_KEY_MAX_BYTES]; /* wiped at the end: holds the key */
};

static void set_state(struct server_cancel *c, enum cancel_state to)
{
    fatal_unless((next_states[c->state] & BIT(to)) != 0);
    c->state = to;
}

static void let_go(struct server_cancel *c)
{
    c->connect = backend_connect_free(c->connect);
    loop_io_stop(c->loop, &c->io);
    loop_timer_stop(c->loop, &c->deadline);
    c->tls = tls_free(c->tls);
    if (c->fd >= 0) {
        (void)close(c->fd); /* one-way: nothing to lose */
        c->fd = -1;
    }
    explicit_bzero(c->packet, sizeof(c->packet));
}

static void end(struct server_cancel *c, enum server_cancel_status status, const char *error)
{
    char text[512];

    (void)snprintf(text, sizeof(text), "%s",
                   error); /* @error may live in what is freed now; a cut is harmless */
    set_state(c, CANCEL_ENDED);
    let_go(c);
    c->fn(c, c->owner, status, text); /* may free @c */
}

static enum tls_result write_some(struct server_cancel *c)
{
    ssize_t n;

    if (c->tls != NULL) {
        size_t done;
        enum tls_result result = tls_write(c->tls, c->packet + c->sent, c->len - c->sent, &done);

        c->sent += done;
        return result;
    }
    do {
        n = send(c->fd, c->packet + c->sent, c->len - c->sent, MSG_NOSIGNAL);
    } while (n < 0 && errno == EINTR);
    if (n < 0) {
        return errno == EAGAIN || errno == EWOULDBLOCK ? TLS_WANT_WRITE : TLS_ERROR;
    }
    c->sent += (size_t)n;
    return c->sent == c->len ? TLS_DONE : TLS_WANT_WRITE;
}

/* The server says nothing to a CancelRequest; should it, that is thrown away, a bounded amount
 * per turn. */
static enum tls_result read_some(struct server_cancel *c)
{
    uint8_t scrap[1024];
    ssize_t n;

    if (c->tls != NULL) {
        size_t done;

        return tls_read(c->tls, scrap, sizeof(scrap), &done);
    }
    do {
        n = recv(c->fd, scrap, sizeof(scrap), 0);
    } while (n < 0 && errno == EINTR);
    if (n < 0) {
        return errno == EAGAIN || errno == EWOULDBLOCK ? TLS_WANT_READ : TLS_ERROR;
    }
    return n == 0 ? TLS_CLOSED : TLS_DONE;
}

static void on_write(struct server_cancel *c)
{
    switch (write_some(c)) {
    case TLS_DONE:
        set_state(c, CANCEL_WAITING);
        loop_io_want(c->loop, &c->io, LOOP_READ);
        return;
    case TLS_WANT_READ:
        loop_io_want(c->loop, &c->io, LOOP_READ);
        return;
    case TLS_WANT_WRITE:
        loop_io_want(c->loop, &c->io, LOOP_WRITE);
        return;
    case TLS_CLOSED:
    case TLS_ERROR:
        end(c, SERVER_CANCEL_FAILED, "connection lost before the cancel request was sent");
        return;
    }
    unreachable();
}

static void on_read(struct server_cancel *c)
{
    switch (read_some(c)) {
    case TLS_DONE:
    case TLS_WANT_READ:
        loop_io_want(c->loop, &c->io, LOOP_READ);
        return;
    case TLS_WANT_WRITE:
        loop_io_want(c->loop, &c->io, LOOP_WRITE);
        return;
    case TLS_CLOSED:
    case TLS_ERROR: /* a reset is an end as well: the server closed with something unread */
        end(c, SERVER_CANCEL_DONE, "");
        return;
    }
    unreachable();
}

static void on_io(struct loop_io *io, unsigned events)
{
    struct server_cancel *c = container_of(io, struct server_cancel, io);

    (void)events;
    if (c->state == CANCEL_WRITING) {
        on_write(c);
    } else {
        on_read(c);
    }
}

static void on_connected(struct backend_connect *connect, void *owner,
                         const struct backend_connect_result *r)
{
    struct server_cancel *c = owner;

    (void)connect; /* freed with c->connect */
    if (r->status != BACKEND_CONNECT_OK) {
        end(c, r->status == BACKEND_CONNECT_TIMEOUT ? SERVER_CANCEL_TIMEOUT : SERVER_CANCEL_FAILED,
            r->error);
        return;
    }
    c->fd = r->fd;
    c->tls = r->tls;
    c->connect = backend_connect_free(c->connect);
    loop_io_set_fd(c->loop, &c->io, c->fd);
    set_state(c, CANCEL_WRITING);
    on_write(c);
}

static void on_deadline(struct loop_timer *timer)
{
    struct server_cancel *c = container_of(timer, struct server_cancel, deadline);

    end(c, SERVER_CANCEL_TIMEOUT,
        c->state == CANCEL_WAITING ? "timed out while waiting for the server to close"
                                   : "timed out while sending the cancel request");
}

static void build_packet(struct server_cancel *c, const struct server_cancel_params *p)
{
    fatal_unless(p->key_len > 0 && p->key_len <= SERVER_CANCEL_KEY_MAX_BYTES);
    c->len = CANCEL_HEADER_BYTES + p->key_len;
    wire_store_u32(&c->packet[0], num_u32(c->len));
    wire_store_u32(&c->packet[4], CANCEL_REQUEST_CODE);
    wire_store_u32(&c->packet[8], p->pid);
    memcpy(&c->packet[CANCEL_HEADER_BYTES], p->key, p->key_len);
}

struct server_cancel *server_cancel_new(struct loop *loop, const struct server_cancel_params *p,
                                        server_cancel_fn fn, void *owner)
{
    struct server_cancel *c = calloc(1, sizeof(*c));
    struct backend_connect_params connect = p->connect;

    if (c == NULL) {
        return NULL;
    }
    c->loop = loop;
    c->fn = fn;
    c->owner = owner;
    c->fd = -1;
    loop_io_init(&c->io, -1, on_io);
    loop_timer_init(&c->deadline, on_deadline);
    build_packet(c, p);
    connect.until = BACKEND_CONNECT_BARE;
    connect.timeout_us = 0; /* ours counts for the whole */
    if (!p->use_tls) {
        connect.sslmode = TLS_DISABLE;
    } else if (connect.sslmode < TLS_REQUIRE) {
        connect.sslmode = TLS_REQUIRE;
    }
    connect.user = NULL;
    connect.options = NULL;
    connect.n_extra = 0;
    c->connect = backend_connect_new(loop, &connect, on_connected, c);
    if (c->connect == NULL) {
        return server_cancel_free(c);
    }
    if (p->connect.timeout_us > 0) {
        loop_timer_set(loop, &c->deadline, p->connect.timeout_us);
    }
    return c;
}

struct server_cancel *server_cancel_free(struct server_cancel *c)
{
    if (c == NULL) {
        return NULL;
    }
    let_go(c);
    free(c);
    return NULL;
}

bool server_cancel_is_connecting(const struct server_cancel *c)
{
    return c->state == CANCEL_CONNECTING;
}
