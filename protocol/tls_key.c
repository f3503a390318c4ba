/* SPDX-License-Identifier: ISC */
/* The private key of our certificate. OpenSSL keeps pieces of it in many objects, so its whole allocator is ours: what is
 * allocated while a key is loaded lies where secrets do, on pages that no core dump contains, and is wiped when it is freed.
 * Everything else, nearly always, comes from malloc() as before. (OpenSSL's own secure heap would take the keys of each
 * handshake too, and these fail when it is full.) */
#include "daemon/util/secret.h"
#include "protocol/tls_internal.h"

#include <openssl/err.h>
#include <openssl/pem.h>

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define KEY_FILE_MAX_BYTES ((size_t)256 * 1024)

static __thread bool takes_secrets;

/* What is too large to be a piece of a key comes from malloc(), as does what finds no room. */
static void *take(size_t size, const char *file, int line)
{
    void *at = NULL;

    (void)file;
    (void)line;
    if (UNLIKELY(takes_secrets)) {
        at = secret_alloc_sized(size);
    }
    return at != NULL ? at : malloc(size);
}

static void give(void *at, const char *file, int line)
{
    (void)file;
    (void)line;
    if (UNLIKELY(secret_owns(at))) {
        secret_free_sized(at);
    } else {
        free(at);
    }
}

static void *resize(void *at, size_t size, const char *file, int line)
{
    void *fresh;

    if (LIKELY(!takes_secrets && !secret_owns(at))) {
        return realloc(at, size);
    }
    if (size == 0) {
        give(at, file, line);
        return NULL;
    }
    if (at != NULL && !secret_owns(at)) {
        return realloc(at, size); /* from before the key */
    }
    fresh = secret_alloc_sized(size);
    fresh = fresh != NULL ? fresh : malloc(size);
    if (fresh != NULL && at != NULL) {
        memcpy(fresh, at, MIN(size, secret_size(at)));
        secret_free_sized(at);
    }
    return fresh;
}

void tls_global_init(void)
{
    (void)CRYPTO_set_mem_functions(take, resize, give); /* no: a core has the key, nothing else */
}

/* Reads the file, without a buffer of stdio's. false: errno says why. */
static bool read_file(const char *name, struct secret *ret)
{
    int fd = open(name, O_RDONLY | O_CLOEXEC);
    char *room = secret_alloc(KEY_FILE_MAX_BYTES);
    size_t len = 0;
    ssize_t n = -1;
    bool ok;

    if (room == NULL) {
        errno = ENOMEM;
    }
    while (fd >= 0 && room != NULL && len < KEY_FILE_MAX_BYTES) {
        n = read(fd, room + len, KEY_FILE_MAX_BYTES - len);
        if (n <= 0) {
            break;
        }
        len += (size_t)n;
    }
    if (n > 0) {
        errno = EFBIG;
    }
    ok = n == 0 && secret_set(ret, room, len);
    (void)secret_free(room, KEY_FILE_MAX_BYTES);
    if (fd >= 0) {
        (void)close(fd); /* only read from; errno is not asked for when it worked */
    }
    return ok;
}

/* An encrypted key must not stop the daemon at a prompt. */
static int no_passphrase(char *buf, int size, int rwflag, void *arg)
{
    (void)buf;
    (void)size;
    (void)rwflag;
    (void)arg;
    return -1;
}

/* RSA copies its primes at the first signature, for its arithmetic. That has to happen here. */
static void sign_once(EVP_PKEY *key)
{
    EVP_MD_CTX *md = EVP_MD_CTX_new();
    uint8_t signature[4096];
    size_t len = sizeof(signature);

    if (md != NULL && EVP_DigestSignInit(md, NULL, EVP_sha256(), NULL, key) == 1) {
        (void)EVP_DigestSign(md, signature, &len, (const uint8_t *)"", 0); /* no: see above */
    }
    EVP_MD_CTX_free(md);
    ERR_clear_error();
}

static bool use_text(SSL_CTX *ctx, const struct secret *pem)
{
    BIO *bio = BIO_new_mem_buf(pem->data, (int)pem->len); /* KEY_FILE_MAX_BYTES */
    EVP_PKEY *key = bio == NULL ? NULL : PEM_read_bio_PrivateKey(bio, NULL, no_passphrase, NULL);
    bool ok =
        key != NULL && SSL_CTX_use_PrivateKey(ctx, key) == 1 && SSL_CTX_check_private_key(ctx) == 1;

    if (ok && (EVP_PKEY_is_a(key, "RSA") == 1 || EVP_PKEY_is_a(key, "RSA-PSS") == 1)) {
        sign_once(key);
    }
    EVP_PKEY_free(key);
    BIO_free(bio);
    return ok;
}

bool tls_use_key(SSL_CTX *ctx, const char *file, struct tls_error *err)
{
    struct secret pem = {0};
    char reason[256];
    bool ok;

    ERR_clear_error();
    if (!read_file(file, &pem)) {
        (void)snprintf(reason, sizeof(reason), "%s", strerror(errno)); /* a cut is harmless */
        ok = false;
    } else {
        takes_secrets = true;
        ok = use_text(ctx, &pem);
        takes_secrets = false;
        if (!ok) {
            (void)tls_queued_reason(reason, sizeof(reason));
        }
    }
    secret_done(&pem);
    if (!ok) {
        (void)snprintf(err->text, sizeof(err->text), "key file \"%s\": %s", file, reason);
    }
    return ok;
}
