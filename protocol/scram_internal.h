/* SPDX-License-Identifier: ISC */
/* What the files of SCRAM share: the few primitives (scram.c) and the text of the messages
 * (scram_text.c). Included by scram*.c only. */
#ifndef PGPOOLD_PROTOCOL_SCRAM_INTERNAL_H
#define PGPOOLD_PROTOCOL_SCRAM_INTERNAL_H

#include "daemon/util/buf.h"
#include "protocol/scram.h"

#define SCRAM_BINDING_TYPE "tls-server-end-point"
#define SCRAM_NONCE_TEXT_MAX 512  /* of a peer; ours has 24 characters */
#define SCRAM_NONCE_TEXT_BYTES 24 /* base64 of SCRAM_NONCE_BYTES */
#define SCRAM_AUTH_MESSAGE_MAX (3 * SCRAM_MESSAGE_MAX)

/* Bytes of base64 for @n bytes, without a NUL. */
#define BASE64_BYTES(n) (((n) + 2) / 3 * 4)

/* false: OpenSSL failed. */
MUSTCHECK bool scram_hmac(const uint8_t key[SCRAM_KEY_BYTES], const void *data, size_t len,
                          uint8_t ret[SCRAM_KEY_BYTES]);
MUSTCHECK bool scram_sha256(const void *data, size_t len, uint8_t ret[SCRAM_KEY_BYTES]);

/* Writes BASE64_BYTES(len) characters and a NUL. */
void scram_base64_encode(const uint8_t *data, size_t len, char *ret);
/* Strict: only the alphabet, padding as it must be, no bits left over, 1 to @max bytes. */
MUSTCHECK bool scram_base64_decode(const char *text, size_t len, uint8_t *ret, size_t max,
                                   size_t *ret_len);

/* A message as "x=value,y=value": next to read is @pos. */
struct scram_reader {
    const char *pos;
    const char *end;
};
struct scram_attr {
    char name;
    const char *value; /* borrowed from the message, no NUL behind it */
    size_t len;
};

/* false: empty, too long, or bytes that no SCRAM message has (control characters, NUL). */
MUSTCHECK bool scram_reader_init(struct scram_reader *r, const void *msg, size_t len);
/* One attribute with the comma behind it. false: none left, not "letter=", or a comma with
 * nothing behind it. */
MUSTCHECK bool scram_read_attr(struct scram_reader *r, struct scram_attr *ret);
/* The next attribute must be called @name. SCRAM_E_UNSUPPORTED: it is the mandatory extension
 * 'm'. */
MUSTCHECK enum scram_verdict scram_read_named(struct scram_reader *r, char name,
                                              struct scram_attr *ret);
/* Reads what is left, unknown and optional. SCRAM_E_UNSUPPORTED as above. */
MUSTCHECK enum scram_verdict scram_read_rest(struct scram_reader *r);
/* Printable, no blank, not empty, of bounded length. */
bool scram_nonce_is_valid(const char *nonce, size_t len);

static inline bool scram_reader_at_end(const struct scram_reader *r)
{
    return r->pos == r->end;
}

#endif
