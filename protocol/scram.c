/* SPDX-License-Identifier: ISC */
/* Keys and secrets; among the files of SCRAM the one that talks to OpenSSL. */
#include "protocol/scram.h"

#include "daemon/util/fatal.h"
#include "daemon/util/num.h"
#include "daemon/util/secret.h"
#include "protocol/saslprep.h"
#include "protocol/scram_internal.h"

#include <openssl/evp.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define SHA256_BLOCK_BYTES 64

static const char *const verdict_texts[SCRAM_VERDICTS] = {
    [SCRAM_OK] = "ok",
    [SCRAM_E_MALFORMED] = "malformed SCRAM message",
    [SCRAM_E_UNSUPPORTED] = "SCRAM message asks for something unsupported",
    [SCRAM_E_BINDING] = "SCRAM channel binding does not fit",
    [SCRAM_E_NONCE] = "SCRAM nonce does not match",
    [SCRAM_E_PROOF] = "wrong password",
    [SCRAM_E_ITERATIONS] = "SCRAM iteration count is out of bounds",
    [SCRAM_E_KEYS] = "SCRAM keys belong to another secret than the server's",
    [SCRAM_E_SIGNATURE] = "server did not prove that it knows the password",
    [SCRAM_E_REFUSED] = "server refused the SCRAM exchange",
    [SCRAM_E_INTERNAL] = "out of memory, or the cryptographic library failed",
};

const char *scram_verdict_text(enum scram_verdict v)
{
    fatal_unless(v < SCRAM_VERDICTS);
    return verdict_texts[v];
}

enum scram_mechanism scram_mechanism_by_name(const char *name)
{
    if (strcmp(name, SCRAM_MECHANISM) == 0) {
        return SCRAM_MECH_SHA_256;
    }
    return strcmp(name, SCRAM_MECHANISM_PLUS) == 0 ? SCRAM_MECH_SHA_256_PLUS : SCRAM_MECH_UNKNOWN;
}

/* What EVP_sha256() gives is looked up anew at each use, which costs more than the hash. This one is fetched once and kept;
 * any thread may be the first. */
static const EVP_MD *sha256(void)
{
    static _Atomic(EVP_MD *) kept;
    EVP_MD *md = atomic_load(&kept);
    EVP_MD *before = NULL;

    if (md != NULL) {
        return md;
    }
    md = EVP_MD_fetch(NULL, "SHA256", NULL);
    if (md != NULL && !atomic_compare_exchange_strong(&kept, &before, md)) {
        EVP_MD_free(md);
        md = before;
    }
    return md;
}

static bool hash_two(EVP_MD_CTX *ctx, const uint8_t block[SHA256_BLOCK_BYTES], const void *data,
                     size_t len, uint8_t ret[SCRAM_KEY_BYTES])
{
    return EVP_DigestInit_ex(ctx, sha256(), NULL) == 1 &&
           EVP_DigestUpdate(ctx, block, SHA256_BLOCK_BYTES) == 1 &&
           EVP_DigestUpdate(ctx, data, len) == 1 && EVP_DigestFinal_ex(ctx, ret, NULL) == 1;
}

/* RFC 2104. OpenSSL's HMAC() looks up its context and its hash by name: eight times the instructions. */
bool scram_hmac(const uint8_t key[SCRAM_KEY_BYTES], const void *data, size_t len,
                uint8_t ret[SCRAM_KEY_BYTES])
{
    EVP_MD_CTX *ctx = EVP_MD_CTX_new(); /* freeing it wipes its state */
    uint8_t block[SHA256_BLOCK_BYTES] = {0};
    uint8_t inner[SCRAM_KEY_BYTES];
    bool ok;

    memcpy(block, key, SCRAM_KEY_BYTES);
    for (size_t i = 0; i < sizeof(block); i++) {
        block[i] ^= 0x36;
    }
    ok = ctx != NULL && sha256() != NULL && hash_two(ctx, block, data, len, inner);
    for (size_t i = 0; i < sizeof(block); i++) {
        block[i] ^= 0x36 ^ 0x5c;
    }
    ok = ok && hash_two(ctx, block, inner, sizeof(inner), ret);
    EVP_MD_CTX_free(ctx);
    explicit_bzero(block, sizeof(block));
    explicit_bzero(inner, sizeof(inner));
    return ok;
}

bool scram_sha256(const void *data, size_t len, uint8_t ret[SCRAM_KEY_BYTES])
{
    return sha256() != NULL && EVP_Digest(data, len, ret, NULL, sha256(), NULL) == 1;
}

void scram_keys_wipe(struct scram_keys *keys)
{
    explicit_bzero(keys, sizeof(*keys));
}

bool scram_keys_fit(const struct scram_keys *keys, const uint8_t *salt, size_t salt_len,
                    uint32_t iterations)
{
    return keys->iterations == iterations && keys->salt_len == salt_len &&
           memcmp(keys->salt, salt, salt_len) == 0;
}

static void keys_set_salt(struct scram_keys *keys, const uint8_t *salt, size_t salt_len,
                          uint32_t iterations)
{
    memcpy(keys->salt, salt, salt_len);
    keys->salt_len = (uint8_t)salt_len; /* at most SCRAM_SALT_MAX */
    keys->iterations = iterations;
}

/* ---- secrets ---- */

/* Does @text look like a SCRAM secret, right or wrong? */
static bool secret_is(const char *text)
{
    return strncmp(text, SCRAM_MECHANISM "$", sizeof(SCRAM_MECHANISM)) == 0;
}

/* One field that ends at @until, which is skipped. */
static bool take_field(const char **pos, char until, const char **ret, size_t *ret_len)
{
    const char *end = strchrnul(*pos, until);

    if (*end != until) {
        return false;
    }
    *ret = *pos;
    *ret_len = (size_t)(end - *pos);
    *pos = until != '\0' ? end + 1 : end;
    return true;
}

static bool take_key(const char **pos, char until, uint8_t ret[SCRAM_KEY_BYTES])
{
    const char *text;
    size_t len;
    size_t n;

    return take_field(pos, until, &text, &len) &&
           scram_base64_decode(text, len, ret, SCRAM_KEY_BYTES, &n) && n == SCRAM_KEY_BYTES;
}

static bool secret_parse(const char *text, struct scram_keys *keys)
{
    const char *field;
    size_t len;
    size_t salt_len;
    char number[16];
    uint64_t iterations;

    if (!secret_is(text)) {
        return false;
    }
    text += sizeof(SCRAM_MECHANISM);
    if (!take_field(&text, ':', &field, &len) || len >= sizeof(number)) {
        return false;
    }
    memcpy(number, field, len);
    number[len] = '\0';
    if (!num_parse_u64(number, SCRAM_ITERATIONS_MAX, &iterations) || iterations == 0) {
        return false;
    }
    keys->iterations = (uint32_t)iterations;
    if (!take_field(&text, '$', &field, &len) ||
        !scram_base64_decode(field, len, keys->salt, sizeof(keys->salt), &salt_len)) {
        return false;
    }
    keys->salt_len = (uint8_t)salt_len; /* at most SCRAM_SALT_MAX */
    return take_key(&text, ':', keys->stored_key) && take_key(&text, '\0', keys->server_key);
}

bool scram_secret_parse(const char *text, struct scram_keys *ret)
{
    struct scram_keys keys = {0};
    bool ok = secret_parse(text, &keys);

    if (ok) {
        *ret = keys;
    }
    scram_keys_wipe(&keys);
    return ok;
}

/* ---- derivation ---- */

static bool keys_from_salted(const uint8_t salted[SCRAM_KEY_BYTES], struct scram_keys *keys)
{
    return scram_hmac(salted, "Client Key", 10, keys->client_key) &&
           scram_sha256(keys->client_key, SCRAM_KEY_BYTES, keys->stored_key) &&
           scram_hmac(salted, "Server Key", 10, keys->server_key);
}

enum scram_verdict scram_keys_derive(const char *password, size_t password_len,
                                     const struct scram_salt *salt, struct scram_keys *ret)
{
    struct secret prepared = {0};
    struct scram_keys keys = {.has_client_key = true};
    uint8_t salted[SCRAM_KEY_BYTES];
    bool ok;

    if (salt->iterations == 0 || salt->iterations > SCRAM_ITERATIONS_DERIVE_MAX) {
        return SCRAM_E_ITERATIONS;
    }
    if (salt->len == 0 || salt->len > SCRAM_SALT_MAX) {
        return SCRAM_E_MALFORMED;
    }
    if (!saslprep_password(password, password_len, &prepared)) {
        return SCRAM_E_INTERNAL;
    }
    ok = PKCS5_PBKDF2_HMAC(prepared.data, num_int(prepared.len), salt->bytes, num_int(salt->len),
                           (int)salt->iterations, EVP_sha256(), SCRAM_KEY_BYTES, salted) == 1 &&
         keys_from_salted(salted, &keys);
    if (ok) {
        keys_set_salt(&keys, salt->bytes, salt->len, salt->iterations);
        *ret = keys;
    }
    secret_done(&prepared);
    explicit_bzero(salted, sizeof(salted));
    scram_keys_wipe(&keys);
    return ok ? SCRAM_OK : SCRAM_E_INTERNAL;
}

/* ---- unknown users ---- */

/* A value that is fixed per user and @process_key; @what keeps the kinds apart. */
static bool mock_value(const uint8_t process_key[SCRAM_KEY_BYTES], char what, const char *user,
                       uint8_t ret[SCRAM_KEY_BYTES])
{
    struct buf text = BUF_INIT(SIZE_MAX); /* names are bounded by the StartupMessage */
    bool ok;

    buf_append_u8(&text, (uint8_t)what);
    buf_append_str(&text, user);
    ok = buf_ok(&text) && scram_hmac(process_key, text.data, text.len, ret);
    buf_done(&text);
    return ok;
}

bool scram_salt_of_user(const uint8_t process_key[SCRAM_KEY_BYTES], const char *user,
                        uint8_t ret[SCRAM_SALT_BYTES])
{
    uint8_t value[SCRAM_KEY_BYTES];

    if (!mock_value(process_key, 'a', user, value)) {
        return false;
    }
    memcpy(ret, value, SCRAM_SALT_BYTES);
    return true;
}

bool scram_keys_mock(const uint8_t process_key[SCRAM_KEY_BYTES], const char *user,
                     uint32_t iterations, struct scram_keys *ret)
{
    struct scram_keys keys = {.is_mock = true};
    uint8_t salt[SCRAM_SALT_BYTES];

    if (!scram_salt_of_user(process_key, user, salt) ||
        !mock_value(process_key, 'b', user, keys.stored_key) ||
        !mock_value(process_key, 'c', user, keys.server_key)) {
        return false;
    }
    keys_set_salt(&keys, salt, sizeof(salt), iterations);
    *ret = keys;
    scram_keys_wipe(&keys);
    return true;
}
