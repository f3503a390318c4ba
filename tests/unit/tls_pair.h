/* SPDX-License-Identifier: ISC */
/* What the tests of TLS share: one connection with both ends in this process, ours and OpenSSL's
 * own client, over a socketpair. */
#ifndef PGPOOLD_TESTS_UNIT_TLS_PAIR_H
#define PGPOOLD_TESTS_UNIT_TLS_PAIR_H

#include "protocol/tls.h"

#include "tests/unit/certs.h"

#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>
#include <openssl/err.h>
#include <openssl/ssl.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

struct pair {
    int fds[2];
    struct tls_context *ctx; /* NULL: the test's */
    struct tls *server;
    SSL_CTX *client_ctx;
    SSL *client;
};

static struct certs *certs; /* made in main() */

static inline struct tls_settings settings(void)
{
    struct tls_settings s = {
        .sslmode = TLS_REQUIRE, .key_file = certs->server_key, .cert_file = certs->server_cert};

    return s;
}

static inline struct tls_context *context(const struct tls_settings *s)
{
    struct tls_error err = {""};
    struct tls_context *ctx = tls_context_new(s, &err);

    if (ctx == NULL) {
        fail_msg("%s", err.text);
    }
    return ctx;
}

/* @ctx stays the caller's. */
static inline void pair_open_with(struct pair *p, struct tls_context *ctx,
                                  enum tls_accept_kind kind)
{
    memset(p, 0, sizeof(*p));
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, p->fds), 0);
    p->server = tls_accept_new(ctx, p->fds[0], kind, NULL, 0);
    assert_non_null(p->server);
    p->client_ctx = SSL_CTX_new(TLS_client_method());
    p->client = SSL_new(p->client_ctx);
    SSL_set_fd(p->client, p->fds[1]);
    SSL_set_connect_state(p->client);
}

static inline void pair_open(struct pair *p, const struct tls_settings *s)
{
    struct tls_context *ctx = context(s);

    pair_open_with(p, ctx, TLS_AFTER_SSLREQUEST);
    p->ctx = ctx;
}

static inline void pair_close(struct pair *p)
{
    SSL_free(p->client);
    SSL_CTX_free(p->client_ctx);
    p->server = tls_free(p->server);
    p->ctx = tls_context_free(p->ctx);
    for (unsigned i = 0; i < 2; i++) {
        if (p->fds[i] >= 0) {
            close(p->fds[i]);
        }
    }
}

static inline void pair_use_client_cert(struct pair *p)
{
    assert_int_equal(SSL_use_certificate_file(p->client, certs->client_cert, SSL_FILETYPE_PEM), 1);
    assert_int_equal(SSL_use_PrivateKey_file(p->client, certs->client_key, SSL_FILETYPE_PEM), 1);
}

/* Runs both sides until the server has a verdict. */
static inline enum tls_result shake(struct pair *p)
{
    enum tls_result result = TLS_WANT_READ;

    for (unsigned i = 0; i < 50 && (result == TLS_WANT_READ || result == TLS_WANT_WRITE); i++) {
        ERR_clear_error();
        (void)SSL_do_handshake(p->client);
        result = tls_handshake(p->server);
    }
    ERR_clear_error();
    (void)SSL_do_handshake(p->client);
    return result;
}

#endif
