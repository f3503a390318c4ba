/* SPDX-License-Identifier: ISC */
/* PostgreSQL's md5 passwords: the stored secret "md5" + hex(md5(password || user)) and the
 * answer to a salt, "md5" + hex(md5(hex of the secret || salt)). Weak by today's measure, kept
 * for old clients and servers. Pure. OpenSSL in FIPS mode has no MD5: then everything here says
 * MD5_E_UNAVAILABLE. */
#ifndef PGPOOLD_PROTOCOL_MD5_H
#define PGPOOLD_PROTOCOL_MD5_H

#include "daemon/util/macros.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define MD5_SALT_BYTES 4
#define MD5_TEXT_BYTES 35                  /* "md5" and 32 hex digits */
#define MD5_TEXT_SIZE (MD5_TEXT_BYTES + 1) /* with the NUL */

enum md5_verdict {
    MD5_OK,
    MD5_E_MISMATCH,    /* wrong password */
    MD5_E_UNAVAILABLE, /* OpenSSL has no MD5, or no memory */
    MD5_VERDICTS,
};

/* Is @text a stored md5 secret: "md5" and 32 hex digits? */
bool md5_secret_is(const char *text);

/* The stored secret of a password. */
MUSTCHECK enum md5_verdict md5_secret_make(const char *password, size_t password_len,
                                           const char *user, char ret[MD5_TEXT_SIZE]);
/* What a client sends in PasswordMessage. @secret: as md5_secret_make() or a userlist gives it. */
MUSTCHECK enum md5_verdict md5_response_make(const char *secret, const uint8_t salt[MD5_SALT_BYTES],
                                             char ret[MD5_TEXT_SIZE]);
/* Checks a PasswordMessage in constant time. */
MUSTCHECK enum md5_verdict md5_response_check(const char *secret,
                                              const uint8_t salt[MD5_SALT_BYTES],
                                              const char *response);
/* Is this the password behind @secret? For methods where the client sends it in clear. Constant
 * time. */
MUSTCHECK enum md5_verdict md5_password_check(const char *secret, const char *password,
                                              const char *user);

#endif
