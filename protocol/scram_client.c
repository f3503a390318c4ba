/* SPDX-License-Identifier: ISC */
#include "protocol/scram_client.h"

#include "daemon/util/fatal.h"
#include "daemon/util/num.h"
#include "daemon/util/secret.h"
#include "protocol/scram_internal.h"

#include <stdlib.h>
#include <string.h>

#define ERROR_TEXT_SIZE 80

enum client_state {
    CLIENT_START,      /* client-first to be built */
    CLIENT_ASKED,      /* wants server-first */
    CLIENT_CHALLENGED, /* client-final to be built */
    CLIENT_PROVED,     /* wants server-final */
    CLIENT_VERIFIED,
    CLIENT_FAILED,
    CLIENT_STATES,
};

struct scram_client {
    enum client_state state;
    enum scram_client_binding binding;
    uint8_t binding_data[SCRAM_BINDING_MAX];
    size_t binding_len;
    char nonce_text[SCRAM_NONCE_TEXT_BYTES + 1];
    uint8_t salt[SCRAM_SALT_MAX];
    size_t salt_len;
    uint32_t iterations;
    uint8_t server_signature[SCRAM_KEY_BYTES]; /* expected */
    struct buf nonce;                          /* both halves */
    struct buf auth;                           /* AuthMessage, as far as it is known */
    char error[ERROR_TEXT_SIZE];
};

static const char *const gs2_headers[] = {
    [SCRAM_CLIENT_UNABLE] = "n,,",
    [SCRAM_CLIENT_ABLE] = "y,,",
    [SCRAM_CLIENT_BOUND] = "p=" SCRAM_BINDING_TYPE ",,",
};

struct scram_client *scram_client_new(const struct scram_client_params *p)
{
    struct scram_client *c = calloc(1, sizeof(*c));

    if (c == NULL) {
        return NULL;
    }
    c->binding = p->binding;
    if (p->binding == SCRAM_CLIENT_BOUND) {
        fatal_unless(p->binding_len > 0 && p->binding_len <= SCRAM_BINDING_MAX);
        memcpy(c->binding_data, p->binding_data, p->binding_len);
        c->binding_len = p->binding_len;
    }
    scram_base64_encode(p->nonce, SCRAM_NONCE_BYTES, c->nonce_text);
    buf_init(&c->nonce, SCRAM_NONCE_TEXT_MAX);
    buf_init(&c->auth, SCRAM_AUTH_MESSAGE_MAX);
    return c;
}

struct scram_client *scram_client_free(struct scram_client *c)
{
    if (c == NULL) {
        return NULL;
    }
    buf_done(&c->nonce);
    buf_done(&c->auth);
    explicit_bzero(c, sizeof(*c));
    free(c);
    return NULL;
}

/* The one place that moves the state: on success to @next, else to the end. */
static enum scram_verdict client_end_step(struct scram_client *c, enum scram_verdict v,
                                          enum client_state next)
{
    c->state = v == SCRAM_OK ? next : CLIENT_FAILED;
    return v;
}

const char *scram_client_mechanism(const struct scram_client *c)
{
    return c->binding == SCRAM_CLIENT_BOUND ? SCRAM_MECHANISM_PLUS : SCRAM_MECHANISM;
}

static enum scram_verdict client_first(struct scram_client *c, struct buf *out)
{
    if (c->state != CLIENT_START) {
        return SCRAM_E_MALFORMED;
    }
    /* The user name stays empty, as libpq has it: the server takes it from the StartupMessage. */
    buf_append_fmt(out, "%sn=,r=%s", gs2_headers[c->binding], c->nonce_text);
    buf_append_fmt(&c->auth, "n=,r=%s,", c->nonce_text);
    return buf_ok(out) && buf_ok(&c->auth) ? SCRAM_OK : SCRAM_E_INTERNAL;
}

enum scram_verdict scram_client_first(struct scram_client *c, struct buf *out)
{
    return client_end_step(c, client_first(c, out), CLIENT_ASKED);
}

/* The server's nonce must be ours and something more. */
static enum scram_verdict take_nonce(struct scram_client *c, const struct scram_attr *r)
{
    if (!scram_nonce_is_valid(r->value, r->len)) {
        return SCRAM_E_MALFORMED;
    }
    if (r->len <= SCRAM_NONCE_TEXT_BYTES ||
        memcmp(r->value, c->nonce_text, SCRAM_NONCE_TEXT_BYTES) != 0) {
        return SCRAM_E_NONCE;
    }
    return buf_append(&c->nonce, r->value, r->len) ? SCRAM_OK : SCRAM_E_INTERNAL;
}

static enum scram_verdict take_iterations(struct scram_client *c, const struct scram_attr *i)
{
    char number[16];
    uint64_t iterations;

    if (i->len >= sizeof(number)) {
        return SCRAM_E_MALFORMED;
    }
    memcpy(number, i->value, i->len);
    number[i->len] = '\0';
    if (!num_parse_u64(number, SCRAM_ITERATIONS_MAX, &iterations) || iterations == 0) {
        return SCRAM_E_MALFORMED;
    }
    c->iterations = (uint32_t)iterations;
    return SCRAM_OK;
}

static enum scram_verdict client_challenge(struct scram_client *c, const void *msg, size_t len)
{
    struct scram_reader r;
    struct scram_attr a;
    enum scram_verdict v;

    if (c->state != CLIENT_ASKED || !scram_reader_init(&r, msg, len)) {
        return SCRAM_E_MALFORMED;
    }
    v = scram_read_named(&r, 'r', &a);
    if (v == SCRAM_OK) {
        v = take_nonce(c, &a);
    }
    if (v == SCRAM_OK) {
        v = scram_read_named(&r, 's', &a);
    }
    if (v == SCRAM_OK &&
        !scram_base64_decode(a.value, a.len, c->salt, sizeof(c->salt), &c->salt_len)) {
        v = SCRAM_E_MALFORMED;
    }
    if (v == SCRAM_OK) {
        v = scram_read_named(&r, 'i', &a);
    }
    if (v == SCRAM_OK) {
        v = take_iterations(c, &a);
    }
    if (v == SCRAM_OK) {
        v = scram_read_rest(&r);
    }
    if (v == SCRAM_OK && !buf_append(&c->auth, msg, len)) {
        v = SCRAM_E_INTERNAL;
    }
    return v;
}

enum scram_verdict scram_client_challenge(struct scram_client *c, const void *msg, size_t len)
{
    return client_end_step(c, client_challenge(c, msg, len), CLIENT_CHALLENGED);
}

/* client-final-message-without-proof to @out, and to the end of AuthMessage. */
static bool build_without_proof(struct scram_client *c, struct buf *out)
{
    uint8_t bound[sizeof("p=" SCRAM_BINDING_TYPE ",,") + SCRAM_BINDING_MAX];
    char text[BASE64_BYTES(sizeof(bound)) + 1];
    size_t header_len = strlen(gs2_headers[c->binding]);
    size_t start = out->len;

    memcpy(bound, gs2_headers[c->binding], header_len);
    memcpy(bound + header_len, c->binding_data, c->binding_len);
    scram_base64_encode(bound, header_len + c->binding_len, text);
    buf_append_fmt(out, "c=%s,r=", text);
    buf_append(out, c->nonce.data, c->nonce.len);
    if (!buf_ok(out)) {
        return false;
    }
    buf_append_u8(&c->auth, ',');
    return buf_append(&c->auth, out->data + start, out->len - start);
}

static enum scram_verdict client_final(struct scram_client *c, const struct scram_keys *keys,
                                       struct buf *out)
{
    uint8_t proof[SCRAM_KEY_BYTES];
    char text[BASE64_BYTES(SCRAM_KEY_BYTES) + 1];

    if (c->state != CLIENT_CHALLENGED) {
        return SCRAM_E_MALFORMED;
    }
    if (!keys->has_client_key || !scram_keys_fit(keys, c->salt, c->salt_len, c->iterations)) {
        return SCRAM_E_KEYS;
    }
    if (!build_without_proof(c, out) ||
        !scram_hmac(keys->stored_key, c->auth.data, c->auth.len, proof) ||
        !scram_hmac(keys->server_key, c->auth.data, c->auth.len, c->server_signature)) {
        return SCRAM_E_INTERNAL;
    }
    for (size_t i = 0; i < SCRAM_KEY_BYTES; i++) {
        proof[i] ^= keys->client_key[i];
    }
    scram_base64_encode(proof, sizeof(proof), text);
    return buf_append_fmt(out, ",p=%s", text) ? SCRAM_OK : SCRAM_E_INTERNAL;
}

enum scram_verdict scram_client_final(struct scram_client *c, const struct scram_keys *keys,
                                      struct buf *out)
{
    return client_end_step(c, client_final(c, keys, out), CLIENT_PROVED);
}

static void keep_error(struct scram_client *c, const struct scram_attr *e)
{
    size_t n = MIN(e->len, sizeof(c->error) - 1);

    for (size_t i = 0; i < n; i++) {
        char ch = e->value[i];

        c->error[i] = ch >= 0x20 && ch < 0x7f ? ch : '?';
    }
    c->error[n] = '\0';
}

static enum scram_verdict client_verify(struct scram_client *c, const void *msg, size_t len)
{
    struct scram_reader r;
    struct scram_attr a;
    uint8_t signature[SCRAM_KEY_BYTES];
    size_t n;

    if (c->state != CLIENT_PROVED || !scram_reader_init(&r, msg, len) || !scram_read_attr(&r, &a)) {
        return SCRAM_E_MALFORMED;
    }
    if (a.name == 'e') {
        keep_error(c, &a);
        return SCRAM_E_REFUSED;
    }
    if (a.name != 'v' || !scram_base64_decode(a.value, a.len, signature, sizeof(signature), &n) ||
        n != sizeof(signature)) {
        return a.name == 'm' ? SCRAM_E_UNSUPPORTED : SCRAM_E_MALFORMED;
    }
    if (!secret_bytes_equal(signature, c->server_signature, sizeof(signature))) {
        return SCRAM_E_SIGNATURE;
    }
    return scram_read_rest(&r);
}

enum scram_verdict scram_client_verify(struct scram_client *c, const void *msg, size_t len)
{
    return client_end_step(c, client_verify(c, msg, len), CLIENT_VERIFIED);
}

const uint8_t *scram_client_salt(const struct scram_client *c, size_t *ret_len)
{
    *ret_len = c->salt_len;
    return c->salt;
}

uint32_t scram_client_iterations(const struct scram_client *c)
{
    return c->iterations;
}

bool scram_client_is_verified(const struct scram_client *c)
{
    return c->state == CLIENT_VERIFIED;
}

const char *scram_client_error(const struct scram_client *c)
{
    return c->error;
}
