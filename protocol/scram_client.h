/* SPDX-License-Identifier: ISC */
/* The client's end of a SCRAM exchange: we log in to a server. One object per login, owned by
 * the caller; bytes in, bytes and verdict out. After any verdict but SCRAM_OK the exchange is
 * over and every further call is refused.
 *
 *     scram_client_first()       -> SASLInitialResponse(scram_client_mechanism(), client-first)
 *     AuthenticationSASLContinue -> scram_client_challenge(). Then the caller finds the keys for
 *                                   scram_client_salt() and scram_client_iterations(): in the
 *                                   cache (a password), or from a client's login (pass-through)
 *                                -> scram_client_final() -> SASLResponse(client-final)
 *     AuthenticationSASLFinal    -> scram_client_verify(): only this SCRAM_OK is a login
 *
 * A server that skips AuthenticationSASLFinal and says AuthenticationOk has not proved itself:
 * refuse it, ask scram_client_is_verified(). */
#ifndef PGPOOLD_PROTOCOL_SCRAM_CLIENT_H
#define PGPOOLD_PROTOCOL_SCRAM_CLIENT_H

#include "daemon/util/buf.h"
#include "protocol/scram.h"

struct scram_client;

enum scram_client_binding {
    SCRAM_CLIENT_UNABLE, /* "n": no TLS, or channel_binding=disable */
    SCRAM_CLIENT_ABLE,  /* "y": TLS without an offer of -PLUS; the server objects if it did offer */
    SCRAM_CLIENT_BOUND, /* "p": SCRAM-SHA-256-PLUS with the digest of the server's certificate */
};

struct scram_client_params {
    const uint8_t *nonce; /* SCRAM_NONCE_BYTES fresh random bytes, copied */
    enum scram_client_binding binding;
    /* tls-server-end-point of the server's certificate, for SCRAM_CLIENT_BOUND; copied */
    const uint8_t *binding_data;
    size_t binding_len;
};

/* NULL: out of memory. */
MUSTCHECK struct scram_client *scram_client_new(const struct scram_client_params *p);
struct scram_client *scram_client_free(struct scram_client *c);

/* The name for SASLInitialResponse. */
const char *scram_client_mechanism(const struct scram_client *c);

/* Appends client-first to @out. */
MUSTCHECK enum scram_verdict scram_client_first(struct scram_client *c, struct buf *out);
/* Takes server-first. SCRAM_OK: salt and iterations are there. Iterations above
 * SCRAM_ITERATIONS_DERIVE_MAX pass here, since ready keys do not care; scram_keys_derive()
 * refuses them. */
MUSTCHECK enum scram_verdict scram_client_challenge(struct scram_client *c, const void *msg,
                                                    size_t len);
/* Appends client-final to @out. @keys are not kept. SCRAM_E_KEYS: they have no ClientKey, or
 * were made with another salt or iteration count, so the server would refuse them: its secret is
 * not the one we know. */
MUSTCHECK enum scram_verdict scram_client_final(struct scram_client *c,
                                                const struct scram_keys *keys, struct buf *out);
/* Takes server-final and checks the server's signature. */
MUSTCHECK enum scram_verdict scram_client_verify(struct scram_client *c, const void *msg,
                                                 size_t len);

/* After scram_client_challenge(); borrowed. */
const uint8_t *scram_client_salt(const struct scram_client *c, size_t *ret_len);
uint32_t scram_client_iterations(const struct scram_client *c);
bool scram_client_is_verified(const struct scram_client *c);
/* After SCRAM_E_REFUSED: what the server said, printable, bounded; else "". */
const char *scram_client_error(const struct scram_client *c);

#endif
