/* SPDX-License-Identifier: ISC */
/* The beginning of a client's connection: SSLRequest, GSSENCRequest, direct TLS, CancelRequest, StartupMessage. Until the
 * login is done everything is small: STARTUP_MAX_BYTES of start-up packet, client_login_timeout for the whole.
 * PG15 protocol, "Start-up", "SSL Session Encryption", "GSSAPI Session Encryption". */
#include "daemon/client.h"
#include "daemon/listener.h"

#include "daemon/util/fatal.h"
#include "daemon/util/log.h"
#include "protocol/frame.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

/* Read at once. Longer packets there are few, and malloc's quick sizes end at 1,032. */
#define STARTUP_USUAL_BYTES ((size_t)1000)
#define TLS_RECORD_HANDSHAKE 0x16 /* RFC 8446 section 5.1: what a ClientHello begins with */
/* A password message or SASL response; longer ones are nobody's password. */
#define AUTH_MAX_BYTES ((size_t)65536 + FRAME_HEADER_BYTES)

struct client_login *client_login_free(struct client_login *l)
{
    if (l == NULL) {
        return NULL;
    }
    login_turn_leave(&l->turn);
    l->auth = client_auth_free(l->auth);
    buf_done(&l->packet);
    buf_done(&l->reply);
    buf_done_secret(&l->message);
    free(l->database);
    free(l->user);
    l->want = params_unref(l->want);
    free(l);
    return NULL;
}

void client_startup_begin(struct client *c, struct listener *l)
{
    struct client_login *login = c->u.login;
    struct server *s = c->server;
    usec_t timeout_us = s->config->settings.client_login_timeout_us;

    login->client = c;
    login->listener = l;
    login->packet = BUF_INIT(STARTUP_MAX_BYTES);
    login->message = BUF_INIT(AUTH_MAX_BYTES);
    login->reply = BUF_INIT(64 * 1024);
    conn_set_rank(&c->conn, s->loop, LOOP_LATE);
    conn_want_read(&c->conn, s->loop, true);
    if (timeout_us > 0 && !loop_timer_is_set(&s->login_timer)) {
        loop_timer_set(s->loop, &s->login_timer, timeout_us);
    }
    if (l != NULL && l->is_proxied) {
        client_proxy_begin(c);
    }
}

void client_check_logins(struct loop_timer *timer)
{
    struct server *s = container_of(timer, struct server, login_timer);
    usec_t timeout_us = s->config->settings.client_login_timeout_us;
    struct client *c;

    if (timeout_us == 0) {
        return;
    }
    list_for_each(&s->logins, c, link) { /* oldest first */
        usec_t age_us = clock_now_us() - c->connect_us;

        if (age_us < timeout_us) {
            loop_timer_set(s->loop, timer, timeout_us - age_us + 1000);
            return;
        }
        if (c->state == CLIENT_CANCEL) {
            client_close_quiet(c, "cancel request timeout");
        } else {
            client_close_text(c, SQLSTATE_PROTOCOL_VIOLATION, "client_login_timeout");
        }
    }
}

void client_login_timeout_set(struct server *s)
{
    if (!list_is_empty(&s->logins)) {
        loop_timer_set(s->loop, &s->login_timer, 0); /* the check arms it anew */
    }
}

/* --- TLS --- */

static bool tls_is_offered(const struct client *c)
{
    return c->server->client_tls != NULL && !c->is_unix;
}

static void handshake(struct client *c)
{
    struct client_login *l = c->u.login;

    switch (conn_handshake(&c->conn, c->server->loop)) {
    case TLS_DONE:
        l->in_handshake = false;
        c->is_tls = true;
        return;
    case TLS_WANT_READ:
    case TLS_WANT_WRITE:
        return;
    case TLS_CLOSED:
        client_close_quiet(c, "client closed the connection during the TLS handshake");
        return;
    case TLS_ERROR: {
        char text[256];

        (void)log_escape(text, sizeof(text), tls_error(c->conn.tls));
        client_log(c, LOG_WARNING_LEVEL, "TLS handshake failed: %s", text);
        client_close_quiet(c, "TLS handshake failed");
        return;
    }
    }
}

static void begin_tls(struct client *c, enum tls_accept_kind kind, const void *early,
                      size_t n_early)
{
    struct client_login *l = c->u.login;
    struct tls *tls =
        tls_accept_new(c->server->client_tls, conn_fd(&c->conn), kind, early, n_early);

    if (tls == NULL) {
        client_close_quiet(c, "TLS setup failed: out of memory");
        return;
    }
    conn_set_tls(&c->conn, tls);
    l->tls_tried = true;
    l->in_handshake = true;
    buf_clear(&l->packet);
    handshake(c);
}

static void on_ssl_request(struct client *c)
{
    struct client_login *l = c->u.login;

    if (l->tls_tried || c->is_tls) {
        client_close_text(c, SQLSTATE_PROTOCOL_VIOLATION, "SSL req inside SSL");
        return;
    }
    if (l->packet.len > STARTUP_HEADER_BYTES) {
        /* CVE-2021-23214: bytes sent before the encryption must not be taken for encrypted ones. */
        client_close_text(c, SQLSTATE_PROTOCOL_VIOLATION,
                          "received unencrypted data after SSL request");
        return;
    }
    buf_clear(&l->packet);
    if (!tls_is_offered(c)) {
        l->tls_tried = true;
        client_send(c, "N", 1);
        return;
    }
    client_send(c, "S", 1);
    if (c->state != CLIENT_CLOSED) {
        begin_tls(c, TLS_AFTER_SSLREQUEST, NULL, 0);
    }
}

static void on_gssenc_request(struct client *c)
{
    struct client_login *l = c->u.login;

    if (l->gss_tried || c->is_tls || l->packet.len > STARTUP_HEADER_BYTES) {
        client_close_text(c, SQLSTATE_PROTOCOL_VIOLATION, "bad GSSAPI encryption request");
        return;
    }
    l->gss_tried = true;
    buf_clear(&l->packet);
    client_send(c, "N", 1);
}

/* --- the StartupMessage --- */

static void on_startup_message(struct client *c, const struct startup *s)
{
    struct client_login *l = c->u.login;
    enum sslmode mode = c->server->config->settings.client_tls_sslmode;

    if (l->packet.len != s->total) {
        client_close_text(c, SQLSTATE_PROTOCOL_VIOLATION, "bytes behind the startup packet");
        return;
    }
    if (!c->is_tls && !c->is_unix && mode >= SSLMODE_REQUIRE) {
        client_close_text(c, SQLSTATE_INVALID_AUTHORIZATION, "SSL required");
        return;
    }
    l->version = s->version;
    if (s->version != PROTOCOL_3_0 || s->n_unknown_pq > 0) {
        struct buf msg = BUF_INIT(STARTUP_MAX_BYTES);

        if (s->version > PROTOCOL_3_2 || s->version == PROTOCOL_3_0 + 1 || s->n_unknown_pq > 0) {
            startup_put_negotiate(&msg, s,
                                  s->version >= PROTOCOL_3_2 ? PROTOCOL_3_2 : PROTOCOL_3_0);
            client_send_buf(c, &msg);
        }
        if (c->state == CLIENT_CLOSED) {
            return;
        }
    }
    client_set_state(c, CLIENT_AUTH);
    client_auth_begin(c, s);
}

static void on_packet(struct client *c)
{
    const struct buf *packet = &c->u.login->packet;
    struct startup startup; /* borrows from the packet */

    switch (startup_parse(packet->data, packet->len, &startup)) {
    case STARTUP_PARTIAL:
        return;
    case STARTUP_BAD_LENGTH:
        client_close_text(c, SQLSTATE_PROTOCOL_VIOLATION, "bad packet header");
        return;
    case STARTUP_BAD_VERSION:
        client_close_text(c, SQLSTATE_FEATURE_NOT_SUPPORTED, "unsupported frontend protocol %u.%u",
                          startup.version >> 16, startup.version & 0xffff);
        return;
    case STARTUP_BAD_LAYOUT:
        client_close_text(c, SQLSTATE_PROTOCOL_VIOLATION, "invalid startup packet layout");
        return;
    case STARTUP_TOO_MANY:
        client_close_text(c, SQLSTATE_PROTOCOL_VIOLATION,
                          "too many startup parameters: at most %d are allowed",
                          STARTUP_MAX_PARAMS);
        return;
    case STARTUP_OK:
        break;
    }
    switch (startup.kind) {
    case STARTUP_SSL_REQUEST:
        on_ssl_request(c);
        return;
    case STARTUP_GSSENC_REQUEST:
        on_gssenc_request(c);
        return;
    case STARTUP_CANCEL_REQUEST:
        client_cancel_begin(c, &startup);
        return;
    case STARTUP_MESSAGE:
        on_startup_message(c, &startup);
        return;
    }
    unreachable();
}

/* --- reading --- */

static void read_packet(struct client *c)
{
    struct client_login *l = c->u.login;
    size_t most =
        l->packet.len == 0 ? STARTUP_USUAL_BYTES : (size_t)STARTUP_MAX_BYTES - l->packet.len;
    uint8_t *room;
    ssize_t n;

    if (l->packet.len == STARTUP_MAX_BYTES) {
        client_close_text(c, SQLSTATE_PROTOCOL_VIOLATION, "startup packet is too long");
        return;
    }
    room = buf_reserve(&l->packet, most);
    if (room == NULL) {
        client_close_quiet(c, "out of memory");
        return;
    }
    n = conn_read(&c->conn, c->server->loop, room, most);
    if (n == CONN_AGAIN) {
        return;
    }
    if (n < 0) {
        l->is_probe = true; /* nothing that anybody wants to read about */
        client_close_quiet(c, "client unexpected eof");
        return;
    }
    buf_commit(&l->packet, (size_t)n);
    if (l->expects_proxy && (!client_proxy_header(c) || l->packet.len == 0)) {
        return;
    }
    if (l->packet.data[0] == TLS_RECORD_HANDSHAKE &&
        !c->is_tls) { /* PostgreSQL 17's sslnegotiation=direct */
        struct buf early = l->packet;

        if (!tls_is_offered(c) || l->tls_tried) {
            client_close_quiet(c, "direct TLS, but TLS is not offered");
            return;
        }
        l->packet = BUF_INIT(STARTUP_MAX_BYTES);
        begin_tls(c, TLS_DIRECT, early.data, early.len);
        buf_done(&early);
        return;
    }
    on_packet(c);
}

static void read_auth(struct client *c)
{
    struct client_login *l = c->u.login;
    struct frame f = {.total = FRAME_HEADER_BYTES};
    enum frame_verdict verdict;
    uint8_t *room;
    ssize_t n;

    (void)frame_peek(msg_from_client, l->message.data, l->message.len,
                     &f); /* not whole: f says five bytes */
    /* Not a byte more than this message: what comes after the login belongs to somebody else. */
    room = buf_reserve(&l->message, f.total - l->message.len);
    if (room == NULL) {
        client_close_quiet(c, "out of memory");
        return;
    }
    n = conn_read(&c->conn, c->server->loop, room, f.total - l->message.len);
    if (n == CONN_AGAIN) {
        return;
    }
    if (n < 0) {
        client_close_quiet(c, "client unexpected eof");
        return;
    }
    buf_commit(&l->message, (size_t)n);
    verdict = frame_peek(msg_from_client, l->message.data, l->message.len, &f);
    if (verdict == FRAME_BAD || (verdict == FRAME_OK && f.type != 'p' && f.type != 'X')) {
        client_close_text(c, SQLSTATE_PROTOCOL_VIOLATION, "expected a password message");
        return;
    }
    if (verdict == FRAME_OK && f.type == 'X') {
        client_close_quiet(c, "client close request");
        return;
    }
    if (verdict == FRAME_PARTIAL || l->message.len < f.total) {
        loop_io_again(c->server->loop, &c->conn.io); /* the rest may wait in the socket already */
        return;
    }
    struct buf whole = l->message;

    l->message = BUF_INIT(AUTH_MAX_BYTES);
    client_auth_message(c, whole.data + FRAME_HEADER_BYTES, whole.len - FRAME_HEADER_BYTES);
    buf_done_secret(&whole);
}

static void expect_end(struct client *c)
{
    uint8_t byte;
    ssize_t n = conn_read(&c->conn, c->server->loop, &byte, sizeof(byte));

    if (n != CONN_AGAIN) {
        client_close_quiet(c, "client close request");
    }
}

/* One step of its login. The StartupMessage often comes with the end of the handshake. */
static void step(struct client *c)
{
    if (c->state == CLIENT_STARTUP) {
        do {
            if (c->u.login->in_handshake) {
                handshake(c);
            } else {
                read_packet(c);
            }
        } while (c->state == CLIENT_STARTUP && !c->u.login->in_handshake &&
                 conn_has_pending(&c->conn));
    } else if (c->u.login->is_busy) {
        conn_want_read(&c->conn, c->server->loop, false); /* an answer is being looked up: later */
    } else {
        read_auth(c);
    }
}

void client_startup_readable(struct client *c)
{
    struct login_queue *q = &c->server->login_queue;

    if (c->state == CLIENT_CANCEL) {
        expect_end(c);
        return;
    }
    if (login_turn_waits(&c->u.login->turn)) {
        return;
    }
    if (!login_queue_is_open(q) && !c->u.login->is_busy) {
        if (login_queue_is_long(q)) {
            conn_want_read(&c->conn, c->server->loop, false);
        }
        login_queue_add(q, &c->u.login->turn);
        return;
    }
    login_queue_begin(q);
    step(c);
    login_queue_end(q);
}

void client_startup_turn(struct login_turn *turn)
{
    struct client *c = container_of(turn, struct client_login, turn)->client;

    if (c->hold != HOLD_TAKEOVER) { /* thawing it lets it be read */
        conn_want_read(&c->conn, c->server->loop, true);
        step(c);
    }
}
