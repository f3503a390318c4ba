/* SPDX-License-Identifier: ISC */
/* The server's end of a SCRAM exchange: a client logs in to us. One object per login, owned by
 * the caller; bytes in, bytes and verdict out. After any verdict but SCRAM_OK the exchange is
 * over and every further call is refused.
 *
 *     SASLInitialResponse(client-first) -> scram_server_first() -> AuthenticationSASLContinue
 *     SASLResponse(client-final)        -> scram_server_final() -> AuthenticationSASLFinal
 *
 * A SASLInitialResponse without data (length -1) is legal: answer it with an empty
 * AuthenticationSASLContinue, and take the client-first from the SASLResponse that follows. */
#ifndef PGPOOLD_PROTOCOL_SCRAM_SERVER_H
#define PGPOOLD_PROTOCOL_SCRAM_SERVER_H

#include "daemon/util/buf.h"
#include "protocol/scram.h"

struct scram_server;

struct scram_server_params {
    const struct scram_keys *keys;  /* copied; mock keys for an unknown user */
    enum scram_mechanism mechanism; /* that the client chose */
    const uint8_t *nonce;           /* SCRAM_NONCE_BYTES fresh random bytes, copied */
    const uint8_t
        *binding; /* tls-server-end-point of our certificate, copied; NULL: -PLUS was not offered */
    size_t binding_len;
};

/* NULL: out of memory, or OpenSSL failed. */
MUSTCHECK struct scram_server *scram_server_new(const struct scram_server_params *p);
struct scram_server *scram_server_free(struct scram_server *s);

/* Takes client-first, appends server-first to @out. */
MUSTCHECK enum scram_verdict scram_server_first(struct scram_server *s, const void *msg, size_t len,
                                                struct buf *out);
/* Takes client-final and checks the proof; on SCRAM_OK the client is who it says, and
 * server-final is in @out. Any other verdict must look the same to the client: "SASL
 * authentication failed" or the like, without a reason. */
MUSTCHECK enum scram_verdict scram_server_final(struct scram_server *s, const void *msg, size_t len,
                                                struct buf *out);

/* After scram_server_final() said SCRAM_OK: all keys, with the ClientKey that the proof gave
 * away, so that we can log in to a server that keeps the same secret. false: not (yet)
 * successful. */
MUSTCHECK bool scram_server_keys(const struct scram_server *s, struct scram_keys *ret);

#endif
