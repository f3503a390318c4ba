/* SPDX-License-Identifier: ISC */
/* SCRAM-SHA-256 (RFC 5802, RFC 7677) as PostgreSQL speaks it: keys, stored secrets, verdicts.
 * The two ends of the exchange are scram_server.h (a client logs in to us) and scram_client.h
 * (we log in to a server); scram_cache.h keeps derived keys. Everything here is pure: no I/O, no
 * clock, no log; random bytes are handed in by the caller.
 *
 * PostgreSQL's dialect: the user name inside the messages is ignored (the StartupMessage has
 * it), the password goes through SASLprep, or is used byte for byte where SASLprep refuses it. */
#ifndef PGPOOLD_PROTOCOL_SCRAM_H
#define PGPOOLD_PROTOCOL_SCRAM_H

#include "daemon/util/macros.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define SCRAM_KEY_BYTES 32
#define SCRAM_NONCE_BYTES 18 /* random bytes that each of our ends puts in, as in PostgreSQL */
#define SCRAM_SALT_BYTES 16  /* of the salts that we make */
#define SCRAM_SALT_MAX 64    /* of the salts that we take */
#define SCRAM_ITERATIONS_MAX \
    INT32_MAX /* of a stored secret: checking a proof costs no iterations */
#define SCRAM_ITERATIONS_DERIVE_MAX 1000000 /* that we are ready to compute: about half a second */
#define SCRAM_BINDING_MAX 64                /* tls-server-end-point: a digest of the certificate */
#define SCRAM_MESSAGE_MAX 2048 /* of any message from a peer; the ones we build are shorter */

#define SCRAM_MECHANISM "SCRAM-SHA-256"
#define SCRAM_MECHANISM_PLUS "SCRAM-SHA-256-PLUS"

enum scram_verdict {
    SCRAM_OK,
    SCRAM_E_MALFORMED,   /* a message breaks the grammar or comes out of turn */
    SCRAM_E_UNSUPPORTED, /* authzid, mandatory extension, other binding type */
    SCRAM_E_BINDING, /* channel binding data or flags do not fit: downgrade or man in the middle */
    SCRAM_E_NONCE,   /* the peer did not repeat the nonce */
    SCRAM_E_PROOF,   /* wrong password, or no such user (mock keys) */
    SCRAM_E_ITERATIONS, /* more iterations than we are ready to compute */
    SCRAM_E_KEYS,       /* the keys at hand were made with another salt or iteration count */
    SCRAM_E_SIGNATURE,  /* the server does not know our password: not the server it claims to be */
    SCRAM_E_REFUSED,    /* the server answered e=...: scram_client_error() has its text */
    SCRAM_E_INTERNAL,   /* out of memory, or OpenSSL failed */
    SCRAM_VERDICTS,
};

/* What is known of one user's password. StoredKey and ServerKey let us check a client; ClientKey
 * and ServerKey let us log in to a server. All are bound to one salt and iteration count. Wipe
 * with scram_keys_wipe(). */
struct scram_keys {
    uint32_t iterations;
    uint8_t salt_len;
    bool has_client_key;
    bool is_mock; /* of an unknown user: the exchange runs and always ends in SCRAM_E_PROOF */
    uint8_t salt[SCRAM_SALT_MAX];
    uint8_t stored_key[SCRAM_KEY_BYTES];
    uint8_t server_key[SCRAM_KEY_BYTES];
    uint8_t client_key[SCRAM_KEY_BYTES];
};

enum scram_mechanism {
    SCRAM_MECH_UNKNOWN,
    SCRAM_MECH_SHA_256,
    SCRAM_MECH_SHA_256_PLUS,
};

/* By its SASL name; case matters, as in PostgreSQL. */
enum scram_mechanism scram_mechanism_by_name(const char *name);
/* For logs and errors; never tells more than the kind. */
const char *scram_verdict_text(enum scram_verdict v);

/* "SCRAM-SHA-256$<iterations>:<salt>$<StoredKey>:<ServerKey>" of pg_authid or a userlist. false:
 * malformed, or salt or iterations out of bounds. *ret is written on success only; it has no
 * ClientKey. */
MUSTCHECK bool scram_secret_parse(const char *text, struct scram_keys *ret);

/* With what a password is turned into keys; the server chose both. */
struct scram_salt {
    const uint8_t *bytes; /* borrowed during the call */
    size_t len;
    uint32_t iterations;
};

/* All keys from a password: PBKDF2, about 0.4 us per iteration, so go through scram_cache.h on
 * the loop. SCRAM_OK, SCRAM_E_ITERATIONS (0, or above SCRAM_ITERATIONS_DERIVE_MAX),
 * SCRAM_E_MALFORMED (length of the salt), SCRAM_E_INTERNAL. *ret is written on success only. */
MUSTCHECK enum scram_verdict scram_keys_derive(const char *password, size_t password_len,
                                               const struct scram_salt *salt,
                                               struct scram_keys *ret);

/* A salt of SCRAM_SALT_BYTES that is always the same for one user name and @process_key: for
 * users with a plain password, and for users that do not exist, so that asking twice tells a
 * prober nothing. Poolers that share one address should share @process_key too. false: OpenSSL
 * failed. */
MUSTCHECK bool scram_salt_of_user(const uint8_t process_key[SCRAM_KEY_BYTES], const char *user,
                                  uint8_t ret[SCRAM_SALT_BYTES]);
/* Keys for an unknown user: that salt, @iterations (give scram_iterations), and is_mock. Costs
 * no PBKDF2; where known users have plain passwords, whose first login does, see scram_cache.h
 * for a mock that costs the same. */
MUSTCHECK bool scram_keys_mock(const uint8_t process_key[SCRAM_KEY_BYTES], const char *user,
                               uint32_t iterations, struct scram_keys *ret);

void scram_keys_wipe(struct scram_keys *keys);

/* Were @keys made with this salt and iteration count? */
bool scram_keys_fit(const struct scram_keys *keys, const uint8_t *salt, size_t salt_len,
                    uint32_t iterations);

#endif
