/* SPDX-License-Identifier: ISC */
/* SCRAM-SHA-256 (RFC 5802, RFC 7677), both sides, without channel binding: enough for a bench where
 * both ends are ours. Texts go in and come out as C strings; no I/O. Keys are remembered for the last
 * (salt, iterations), so that a client's PBKDF2 does not drown what is measured. */
#ifndef BENCH_SCRAM_H
#define BENCH_SCRAM_H

#include <stdbool.h>
#include <stddef.h>

#define SCRAM_KEY_BYTES 32
#define SCRAM_TEXT_MAX 1024

struct scram_keys {
    unsigned char client[SCRAM_KEY_BYTES];
    unsigned char stored[SCRAM_KEY_BYTES];
    unsigned char server[SCRAM_KEY_BYTES];
};

/* One login; zeroed before the first call. Private. */
struct scram {
    char nonce[64];
    char client_first_bare[128];
    char server_first[256];
    unsigned char server_signature[SCRAM_KEY_BYTES];
};

/* Client: first message; final from the server's first (NULL: malformed); check of the server's final. */
const char *scram_client_first(struct scram *s);
const char *scram_client_final(struct scram *s, const char *password, const char *server_first);
bool scram_client_verify(const struct scram *s, const char *server_final);

/* Server: its first message from the client's; its final from the client's, NULL when the proof is wrong. */
const char *scram_server_first(struct scram *s, const char *client_first);
const char *scram_server_final(struct scram *s, const char *password, const char *client_final);

#endif
