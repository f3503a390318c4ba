/* SPDX-License-Identifier: ISC */
/* What the two halves of the TLS door share: tls.c (connections) and tls_context.c
 * (certificates, rules, words). */
#ifndef PGPOOLD_PROTOCOL_TLS_INTERNAL_H
#define PGPOOLD_PROTOCOL_TLS_INTERNAL_H

#include "protocol/tls.h"

#include <openssl/ssl.h>

#define TLS_ALPN_WIRE "\x0apostgresql" /* length byte and name, as in RFC 7301 */

struct tls_context {
    SSL_CTX *ssl_ctx;
};

/* The reason of the oldest error that OpenSSL has queued, for people; the queue is empty
 * afterwards. */
const char *tls_queued_reason(char *ret, size_t size);

#endif
