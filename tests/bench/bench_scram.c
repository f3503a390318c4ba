/* SPDX-License-Identifier: ISC */
#include "bench_scram.h"

#include "bench_util.h"

#include <openssl/evp.h>
#include <openssl/hmac.h>
#include <openssl/rand.h>
#include <openssl/sha.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define ITERATIONS 4096
#define SERVER_SALT "YmVuY2gtc2FsdC0wMTIzNA==" /* "bench-salt-01234" */

static char reply[SCRAM_TEXT_MAX]; /* the answer of the last call; one thread, used at once */

static void hmac(const unsigned char *key, const char *text, unsigned char *ret)
{
    if (HMAC(EVP_sha256(), key, SCRAM_KEY_BYTES, (const unsigned char *)text, strlen(text), ret,
             NULL) == NULL) {
        die("HMAC failed");
    }
}

static void base64(const unsigned char *data, size_t len, char *ret)
{
    (void)EVP_EncodeBlock((unsigned char *)ret, data, (int)len);
}

/* Decoded length, or -1. @ret needs 3/4 of the text. */
static int unbase64(const char *text, unsigned char *ret, size_t size)
{
    size_t len = strlen(text);
    int n;

    if (len == 0 || len % 4 != 0 || len / 4 * 3 > size) {
        return -1;
    }
    n = EVP_DecodeBlock(ret, (const unsigned char *)text, (int)len);
    if (n > 0 && text[len - 1] == '=') {
        n -= text[len - 2] == '=' ? 2 : 1;
    }
    return n;
}

static void random_nonce(char *ret)
{
    unsigned char raw[18];

    if (RAND_bytes(raw, sizeof raw) != 1) {
        die("no random bytes");
    }
    base64(raw, sizeof raw, ret);
}

static const struct scram_keys *keys_for(const char *password, const char *salt64, int iterations)
{
    static struct scram_keys keys;
    static char last_salt[128];
    static int last_iterations;
    unsigned char salt[96], salted[SCRAM_KEY_BYTES];
    int n_salt;

    if (iterations == last_iterations && strcmp(salt64, last_salt) == 0) {
        return &keys;
    }
    n_salt = unbase64(salt64, salt, sizeof salt);
    if (n_salt <= 0 || PKCS5_PBKDF2_HMAC(password, (int)strlen(password), salt, n_salt, iterations,
                                         EVP_sha256(), sizeof salted, salted) != 1) {
        return NULL;
    }
    hmac(salted, "Client Key", keys.client);
    hmac(salted, "Server Key", keys.server);
    (void)SHA256(keys.client, sizeof keys.client, keys.stored);
    (void)snprintf(last_salt, sizeof last_salt, "%s", salt64);
    last_iterations = iterations;
    return &keys;
}

/* Copies the value of "k=..." out of a comma list. */
static bool attribute(const char *text, char key, char *ret, size_t size)
{
    const char *at = text;
    size_t len;

    while (at[0] != key || at[1] != '=') {
        at = strchr(at, ',');
        if (at == NULL) {
            return false;
        }
        at++;
    }
    len = strcspn(at + 2, ",");
    if (len >= size) {
        return false;
    }
    memcpy(ret, at + 2, len);
    ret[len] = '\0';
    return true;
}

static void auth_message(const struct scram *s, const char *final_bare, char *ret, size_t size)
{
    (void)snprintf(ret, size, "%s,%s,%s", s->client_first_bare, s->server_first, final_bare);
}

const char *scram_client_first(struct scram *s)
{
    random_nonce(s->nonce);
    (void)snprintf(s->client_first_bare, sizeof s->client_first_bare, "n=,r=%s", s->nonce);
    (void)snprintf(reply, sizeof reply, "n,,%s", s->client_first_bare);
    return reply;
}

const char *scram_client_final(struct scram *s, const char *password, const char *server_first)
{
    char nonce[128], salt[128], count[16], bare[192], whole[SCRAM_TEXT_MAX], proof64[64];
    unsigned char proof[SCRAM_KEY_BYTES];
    const struct scram_keys *keys;
    size_t i;

    if (!attribute(server_first, 'r', nonce, sizeof nonce) ||
        !attribute(server_first, 's', salt, sizeof salt) ||
        !attribute(server_first, 'i', count, sizeof count) ||
        strncmp(nonce, s->nonce, strlen(s->nonce)) != 0 ||
        strlen(server_first) >= sizeof s->server_first) {
        return NULL;
    }
    keys = keys_for(password, salt, (int)number_arg("iterations", count, 1000000));
    if (keys == NULL) {
        return NULL;
    }
    (void)snprintf(s->server_first, sizeof s->server_first, "%s", server_first);
    (void)snprintf(bare, sizeof bare, "c=biws,r=%s", nonce);
    auth_message(s, bare, whole, sizeof whole);
    hmac(keys->stored, whole, proof);
    for (i = 0; i < sizeof proof; i++) {
        proof[i] ^= keys->client[i];
    }
    hmac(keys->server, whole, s->server_signature);
    base64(proof, sizeof proof, proof64);
    (void)snprintf(reply, sizeof reply, "%s,p=%s", bare, proof64);
    return reply;
}

bool scram_client_verify(const struct scram *s, const char *server_final)
{
    unsigned char signature[48];
    char text[64];

    return attribute(server_final, 'v', text, sizeof text) &&
           unbase64(text, signature, sizeof signature) == SCRAM_KEY_BYTES &&
           memcmp(signature, s->server_signature, SCRAM_KEY_BYTES) == 0;
}

const char *scram_server_first(struct scram *s, const char *client_first)
{
    const char *bare = strstr(client_first, "n=");
    char client_nonce[64], own[32];

    if (bare == NULL || strlen(bare) >= sizeof s->client_first_bare ||
        !attribute(bare, 'r', client_nonce, sizeof client_nonce - sizeof own)) {
        return NULL;
    }
    random_nonce(own);
    (void)snprintf(s->client_first_bare, sizeof s->client_first_bare, "%s", bare);
    (void)snprintf(s->server_first, sizeof s->server_first, "r=%s%s,s=%s,i=%d", client_nonce, own,
                   SERVER_SALT, ITERATIONS);
    return s->server_first;
}

const char *scram_server_final(struct scram *s, const char *password, const char *client_final)
{
    char bare[192], whole[SCRAM_TEXT_MAX], proof64[64], signature64[64];
    unsigned char proof[48], signature[SCRAM_KEY_BYTES], stored[SCRAM_KEY_BYTES];
    const char *proof_at = strstr(client_final, ",p=");
    const struct scram_keys *keys = keys_for(password, SERVER_SALT, ITERATIONS);
    size_t i;

    if (keys == NULL || proof_at == NULL || (size_t)(proof_at - client_final) >= sizeof bare ||
        !attribute(client_final, 'p', proof64, sizeof proof64) ||
        unbase64(proof64, proof, sizeof proof) != SCRAM_KEY_BYTES) {
        return NULL;
    }
    (void)snprintf(bare, sizeof bare, "%.*s", (int)(proof_at - client_final), client_final);
    auth_message(s, bare, whole, sizeof whole);
    hmac(keys->stored, whole, signature);
    for (i = 0; i < SCRAM_KEY_BYTES; i++) {
        proof[i] ^= signature[i];
    }
    (void)SHA256(proof, SCRAM_KEY_BYTES, stored);
    if (memcmp(stored, keys->stored, sizeof stored) != 0) {
        return NULL;
    }
    hmac(keys->server, whole, signature);
    base64(signature, sizeof signature, signature64);
    (void)snprintf(reply, sizeof reply, "v=%s", signature64);
    return reply;
}
