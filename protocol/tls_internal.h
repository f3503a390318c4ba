/* SPDX-License-Identifier: ISC */
/* What the parts of the TLS door share: tls.c (connections), tls_context.c (certificates, rules,
 * words) and tls_key.c (the private key). */
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

/* The private key in @file for the certificate that @ctx has. */
MUSTCHECK bool tls_use_key(SSL_CTX *ctx, const char *file, struct tls_error *err);

#endif
