/* SPDX-License-Identifier: ISC */
#include "protocol/md5.h"

#include "daemon/util/secret.h"

#include <openssl/evp.h>
#include <string.h>

#define DIGEST_BYTES 16
#define HEX_BYTES 32
#define PREFIX "md5"
#define PREFIX_BYTES 3

/* "md5" + hex(md5(a || b)). EVP and not MD5(): the latter answers even where FIPS mode forbids
 * it. */
static enum md5_verdict md5_text(const void *a, size_t a_len, const void *b, size_t b_len,
                                 char ret[MD5_TEXT_SIZE])
{
    static const char digits[] = "0123456789abcdef";
    uint8_t digest[DIGEST_BYTES];
    EVP_MD_CTX *ctx = EVP_MD_CTX_new(); /* freeing it wipes its state */
    bool ok = ctx != NULL && EVP_DigestInit_ex(ctx, EVP_md5(), NULL) == 1 &&
              EVP_DigestUpdate(ctx, a, a_len) == 1 && EVP_DigestUpdate(ctx, b, b_len) == 1 &&
              EVP_DigestFinal_ex(ctx, digest, NULL) == 1;

    EVP_MD_CTX_free(ctx);
    if (!ok) {
        return MD5_E_UNAVAILABLE;
    }
    memcpy(ret, PREFIX, PREFIX_BYTES);
    for (size_t i = 0; i < DIGEST_BYTES; i++) {
        ret[PREFIX_BYTES + 2 * i] = digits[digest[i] >> 4];
        ret[PREFIX_BYTES + 2 * i + 1] = digits[digest[i] & 15];
    }
    ret[MD5_TEXT_BYTES] = '\0';
    explicit_bzero(digest, sizeof(digest));
    return MD5_OK;
}

bool md5_secret_is(const char *text)
{
    return strncmp(text, PREFIX, PREFIX_BYTES) == 0 && strlen(text) == MD5_TEXT_BYTES &&
           strspn(text + PREFIX_BYTES, "0123456789abcdefABCDEF") == HEX_BYTES;
}

enum md5_verdict md5_secret_make(const char *password, size_t password_len, const char *user,
                                 char ret[MD5_TEXT_SIZE])
{
    return md5_text(password, password_len, user, strlen(user), ret);
}

/* The hex digits of @secret as PostgreSQL computes with them: lower case. */
static bool secret_digits(const char *secret, char ret[HEX_BYTES])
{
    if (!md5_secret_is(secret)) {
        return false;
    }
    for (size_t i = 0; i < HEX_BYTES; i++) {
        char c = secret[PREFIX_BYTES + i];

        ret[i] = c >= 'A' && c <= 'F' ? (char)(c - 'A' + 'a') : c;
    }
    return true;
}

enum md5_verdict md5_response_make(const char *secret, const uint8_t salt[MD5_SALT_BYTES],
                                   char ret[MD5_TEXT_SIZE])
{
    char hex[HEX_BYTES];
    enum md5_verdict v;

    if (!secret_digits(secret, hex)) {
        return MD5_E_MISMATCH;
    }
    v = md5_text(hex, sizeof(hex), salt, MD5_SALT_BYTES, ret);
    explicit_bzero(hex, sizeof(hex));
    return v;
}

/* The length of an md5 text is no secret. */
static enum md5_verdict compare(const char *expected, const char *got)
{
    if (strlen(got) != MD5_TEXT_BYTES || !secret_bytes_equal(expected, got, MD5_TEXT_BYTES)) {
        return MD5_E_MISMATCH;
    }
    return MD5_OK;
}

enum md5_verdict md5_response_check(const char *secret, const uint8_t salt[MD5_SALT_BYTES],
                                    const char *response)
{
    char expected[MD5_TEXT_SIZE];
    enum md5_verdict v = md5_response_make(secret, salt, expected);

    if (v != MD5_OK) {
        return v;
    }
    v = compare(expected, response);
    explicit_bzero(expected, sizeof(expected));
    return v;
}

enum md5_verdict md5_password_check(const char *secret, const char *password, const char *user)
{
    char stored[MD5_TEXT_SIZE] = PREFIX;
    char made[MD5_TEXT_SIZE];
    enum md5_verdict v;

    if (!secret_digits(secret, stored + PREFIX_BYTES)) {
        return MD5_E_MISMATCH;
    }
    v = md5_secret_make(password, strlen(password), user, made);
    if (v == MD5_OK) {
        v = compare(stored, made);
        explicit_bzero(made, sizeof(made));
    }
    explicit_bzero(stored, sizeof(stored));
    return v;
}
