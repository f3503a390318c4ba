/* SPDX-License-Identifier: ISC */
/* TLS over a non-blocking socket: the OpenSSL door for byte streams. A struct tls_context holds
 * the certificates and rules of the listening side and is shared by its connections (a RELOAD
 * makes a new one and frees the old, living connections keep what they need of theirs). A struct tls is one
 * connection: accepted by us, or adopted from libpq once libpq has done the handshake. It never
 * owns the descriptor, never blocks, never aborts on what a peer sends, and never logs. */
#ifndef PGPOOLD_PROTOCOL_TLS_H
#define PGPOOLD_PROTOCOL_TLS_H

#include "daemon/util/macros.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum tls_sslmode {
    TLS_DISABLE,
    TLS_ALLOW,
    TLS_PREFER,
    TLS_REQUIRE,
    TLS_VERIFY_CA,
    TLS_VERIFY_FULL,
    TLS_SSLMODES,
};

enum tls_result {
    TLS_DONE,       /* it worked; for reads and writes *ret_n bytes moved */
    TLS_WANT_READ,  /* again once the socket is readable */
    TLS_WANT_WRITE, /* again once the socket is writable */
    TLS_CLOSED,     /* the peer has ended the stream, with or without a close_notify */
    TLS_ERROR,      /* broken for good: tls_error() says why */
};

enum tls_accept_kind {
    TLS_AFTER_SSLREQUEST, /* ALPN "postgresql" is selected when offered */
    TLS_DIRECT,           /* ALPN "postgresql" is required */
};

enum tls_certificate {
    TLS_OWN_CERTIFICATE,
    TLS_PEER_CERTIFICATE,
};

/* Bits of tls_protocols_parse(). */
enum tls_protocol {
    TLS_1_0 = 1,
    TLS_1_1 = 2,
    TLS_1_2 = 4,
    TLS_1_3 = 8,
};

#define TLS_END_POINT_MAX_BYTES 64 /* the longest tls-server-end-point hash */

/* Text for people; never a secret in it. */
struct tls_error {
    char text[512];
};

/* All texts are borrowed during the call; NULL or "" means not set. */
struct tls_settings {
    /* a client certificate is asked for, and required, from TLS_VERIFY_CA on */
    enum tls_sslmode sslmode;
    const char *key_file;
    const char *cert_file; /* PEM, our certificate first, then its chain */
    const char *ca_file;   /* PEM, who signs client certificates */
    /* "secure" (default: 1.2 and 1.3), "all", "legacy", or a list: "tlsv1.2,tlsv1.3",
     * "all,!tlsv1.0" */
    const char *protocols;
    /* up to TLS 1.2: "default" and its synonyms, "compat", "legacy", "all", or OpenSSL's syntax */
    const char *ciphers;
    const char *tls13_ciphers; /* OpenSSL's list of cipher suites */
    const char *dheparams;     /* "auto" (default), "none", "legacy" */
    /* "auto" (default), "none", or a curve's name, or a list of them with ':' */
    const char *ecdhcurve;
};

struct tls_context;
struct tls;

/* Once, before anything else of OpenSSL runs: private keys will be in no core dump. */
void tls_global_init(void);

/* -- the listening side's rules -- */

/* NULL: @err names the file or setting and OpenSSL's reason. */
MUSTCHECK struct tls_context *tls_context_new(const struct tls_settings *s, struct tls_error *err);
/* Would these do for the connecting side? Key and certificate where both are set, the CA, the ciphers.
 * false: @err as above. */
MUSTCHECK bool tls_check_connecting(const struct tls_settings *s, struct tls_error *err);
/* Its connections may live on. */
struct tls_context *tls_context_free(struct tls_context *ctx);

/* -- life of a connection -- */

/* A server-side connection on @fd. @early: bytes that the caller has already read from the
 * socket, at most 64 KiB (the ClientHello of direct TLS; NULL and 0 if none: after an SSLRequest
 * there must be none, refuse such a peer). Takes a reference on the SSL_CTX in @ctx, not on @ctx: nothing that a handshake
 * still needs may lie in the struct itself. NULL: out of memory. */
MUSTCHECK struct tls *tls_accept_new(struct tls_context *ctx, int fd, enum tls_accept_kind kind,
                                     const void *early, size_t n_early);
/* Takes @ssl (an SSL * whose handshake libpq has finished) over, from now on over @fd, a
 * duplicate of libpq's descriptor: the caller then frees its PGconn with PQfinish(), which says
 * nothing to the server, and calls tls_adopt_finish(). NULL: out of memory, @ssl is still
 * libpq's. */
MUSTCHECK struct tls *tls_adopt(void *ssl, int fd);
void tls_adopt_finish(struct tls *tls);
/* Says nothing to the peer; for that see tls_shutdown(). Does not close the descriptor. */
struct tls *tls_free(struct tls *tls);

/* -- use -- */

/* Until TLS_DONE; nothing else may be called before. */
MUSTCHECK enum tls_result tls_handshake(struct tls *tls);
/* Reads up to @len bytes. TLS_DONE: *ret_n >= 1 bytes. Anything else: none, and *ret_n is 0.
 * TLS_WANT_WRITE is possible (key update). */
MUSTCHECK enum tls_result tls_read(struct tls *tls, void *buf, size_t len, size_t *ret_n);
/* Writes as much as goes. TLS_DONE: all of it. TLS_WANT_*: *ret_n bytes went (0 is possible);
 * the next call must begin with the first byte that did not, at any address, and must not offer
 * less than was left now. */
MUSTCHECK enum tls_result tls_write(struct tls *tls, const void *buf, size_t len, size_t *ret_n);
/* A connection that was accepted wipes what it has decrypted, for passwords come that way, and with it its buffer at each
 * release. So the buffer holds one record, until this is called: from now on no secrets are expected, nothing is wiped, and a
 * read may fetch many records. */
void tls_expect_no_secrets(struct tls *tls);
/* Wipes again what is decrypted; also for one that was adopted. */
void tls_expect_secrets(struct tls *tls);
/* Best effort, one try: tells the peer that no more will come. */
void tls_shutdown(struct tls *tls);

/* As tls_read on an SSL * that still is libpq's: at most one record, and the bytes stay unread. */
MUSTCHECK enum tls_result tls_peek_foreign(void *ssl, void *buf, size_t len, size_t *ret_n);
/* Frees one; takes NULL. */
void tls_free_foreign(void *ssl);

/* -- questions -- */

/* Bytes have left the socket but not been read yet, or the end was found behind those that were: call tls_read() again
 * before sleeping on the descriptor, which may have nothing more to tell. */
bool tls_pending(const struct tls *tls);
/* Why the last call gave TLS_ERROR; "" if none did. Valid until tls_free(). */
const char *tls_error(const struct tls *tls);
/* As SHOW prints it: "TLSv1.3/TLS_AES_256_GCM_SHA384/ECDH=X25519". Returns @ret. */
const char *tls_info(const struct tls *tls, char *ret, size_t size);
/* The peer certificate's common name; verified only if the context says verify-ca or verify-full.
 * To be freed. NULL: no certificate, no such part, a NUL inside, out of memory. */
char *tls_peer_common_name(const struct tls *tls);
/* The channel binding "tls-server-end-point" (RFC 5929): hash of @which certificate. @ret holds
 * TLS_END_POINT_MAX_BYTES. false: no certificate, or one whose signature defines no hash. */
MUSTCHECK bool tls_end_point(const struct tls *tls, enum tls_certificate which, uint8_t *ret,
                             size_t *ret_len);

/* -- words -- */

const char *tls_sslmode_name(enum tls_sslmode mode); /* as libpq spells it */
/* *ret: a set of enum tls_protocol, never empty. */
MUSTCHECK bool tls_protocols_parse(const char *text, unsigned *ret);
/* The lowest and the highest protocol of a set, as libpq spells them ("TLSv1.2"). */
const char *tls_protocols_min(unsigned protocols);
const char *tls_protocols_max(unsigned protocols);
/* libpq has no option for ciphers. Sets those that SSL contexts not made here (that is, libpq's)
 * start with from now on; same syntax as in struct tls_settings. Contexts made by
 * tls_context_new() do not care. */
MUSTCHECK bool tls_set_libpq_ciphers(const char *ciphers, const char *tls13_ciphers,
                                     struct tls_error *err);

#endif
