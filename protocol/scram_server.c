/* SPDX-License-Identifier: ISC */
#include "protocol/scram_server.h"

#include "daemon/util/fatal.h"
#include "daemon/util/secret.h"
#include "protocol/scram_internal.h"

#include <stdlib.h>
#include <string.h>

enum server_state {
    SERVER_START,      /* wants client-first */
    SERVER_CHALLENGED, /* wants client-final */
    SERVER_DONE,
    SERVER_FAILED,
    SERVER_STATES,
};

struct scram_server {
    enum server_state state;
    enum scram_mechanism mechanism;
    struct scram_keys keys;
    char nonce_text[SCRAM_NONCE_TEXT_BYTES + 1];
    bool plus_offered;
    uint8_t binding[SCRAM_BINDING_MAX];
    size_t binding_len;
    struct buf
        expected_c;   /* what "c=" of client-final must decode to: gs2 header and binding data */
    struct buf nonce; /* both halves */
    struct buf auth;  /* AuthMessage, as far as it is known */
};

struct scram_server *scram_server_new(const struct scram_server_params *p)
{
    struct scram_server *s = secret_alloc(sizeof(*s));

    if (s == NULL) {
        return NULL;
    }
    fatal_unless(p->binding == NULL || (p->binding_len > 0 && p->binding_len <= SCRAM_BINDING_MAX));
    fatal_unless(p->keys->iterations > 0 && p->keys->salt_len > 0);
    s->mechanism = p->mechanism;
    s->keys = *p->keys;
    s->keys.has_client_key = false; /* the only way to it is the client's proof */
    scram_base64_encode(p->nonce, SCRAM_NONCE_BYTES, s->nonce_text);
    if (p->binding != NULL) {
        s->plus_offered = true;
        memcpy(s->binding, p->binding, p->binding_len);
        s->binding_len = p->binding_len;
    }
    buf_init(&s->expected_c, SCRAM_MESSAGE_MAX);
    buf_init(&s->nonce, SCRAM_NONCE_TEXT_MAX + SCRAM_NONCE_TEXT_BYTES);
    buf_init(&s->auth, SCRAM_AUTH_MESSAGE_MAX);
    return s;
}

struct scram_server *scram_server_free(struct scram_server *s)
{
    if (s == NULL) {
        return NULL;
    }
    buf_done(&s->expected_c);
    buf_done(&s->nonce);
    buf_done(&s->auth);
    return secret_free(s, sizeof(*s));
}

/* The one place that moves the state: on success to @next, else to the end. */
static enum scram_verdict server_end_step(struct scram_server *s, enum scram_verdict v,
                                          enum server_state next)
{
    s->state = v == SCRAM_OK ? next : SERVER_FAILED;
    return v;
}

/* gs2-cbind-flag and its comma (RFC 5802 section 7), then PostgreSQL's rules on what goes with
 * which mechanism. */
static enum scram_verdict read_cbind_flag(const struct scram_server *s, struct scram_reader *r)
{
    static const char bound[] = "p=" SCRAM_BINDING_TYPE ",";
    char flag = *r->pos;

    if (flag == 'p') {
        if (s->mechanism != SCRAM_MECH_SHA_256_PLUS || !s->plus_offered || r->end - r->pos < 2 ||
            r->pos[1] != '=') {
            return SCRAM_E_MALFORMED;
        }
        if ((size_t)(r->end - r->pos) < sizeof(bound) - 1 ||
            memcmp(r->pos, bound, sizeof(bound) - 1) != 0) {
            return SCRAM_E_UNSUPPORTED;
        }
        r->pos += sizeof(bound) - 1;
        return SCRAM_OK;
    }
    if ((flag != 'n' && flag != 'y') || s->mechanism != SCRAM_MECH_SHA_256 || r->end - r->pos < 2 ||
        r->pos[1] != ',') {
        return SCRAM_E_MALFORMED;
    }
    if (flag == 'y' && s->plus_offered) {
        return SCRAM_E_BINDING; /* somebody between us took -PLUS off our list */
    }
    r->pos += 2;
    return SCRAM_OK;
}

/* The rest of the gs2 header; leaves @r at client-first-message-bare. */
static enum scram_verdict read_gs2_header(struct scram_server *s, struct scram_reader *r)
{
    const char *start = r->pos;
    enum scram_verdict v = read_cbind_flag(s, r);

    if (v != SCRAM_OK) {
        return v;
    }
    if (scram_reader_at_end(r)) {
        return SCRAM_E_MALFORMED;
    }
    if (*r->pos != ',') {
        return *r->pos == 'a' ? SCRAM_E_UNSUPPORTED
                              : SCRAM_E_MALFORMED; /* an authzid, or rubbish */
    }
    r->pos++;
    buf_append(&s->expected_c, start, (size_t)(r->pos - start));
    if (*start == 'p') {
        buf_append(&s->expected_c, s->binding, s->binding_len);
    }
    return buf_ok(&s->expected_c) ? SCRAM_OK : SCRAM_E_INTERNAL;
}

/* @user is not looked at: the StartupMessage told it. PostgreSQL's clients send an empty one. */
static enum scram_verdict read_first_bare(struct scram_server *s, struct scram_reader *r)
{
    const char *start = r->pos;
    struct scram_attr user;
    struct scram_attr nonce;
    enum scram_verdict v = scram_read_named(r, 'n', &user);

    if (v != SCRAM_OK) {
        return v;
    }
    v = scram_read_named(r, 'r', &nonce);
    if (v != SCRAM_OK) {
        return v;
    }
    if (!scram_nonce_is_valid(nonce.value, nonce.len)) {
        return SCRAM_E_MALFORMED;
    }
    v = scram_read_rest(r);
    if (v != SCRAM_OK) {
        return v;
    }
    buf_append(&s->nonce, nonce.value, nonce.len);
    buf_append_str(&s->nonce, s->nonce_text);
    buf_append(&s->auth, start, (size_t)(r->end - start));
    buf_append_u8(&s->auth, ',');
    return buf_ok(&s->nonce) && buf_ok(&s->auth) ? SCRAM_OK : SCRAM_E_INTERNAL;
}

static enum scram_verdict build_first(struct scram_server *s, struct buf *out)
{
    char salt[BASE64_BYTES(SCRAM_SALT_MAX) + 1];
    size_t start = s->auth.len;

    scram_base64_encode(s->keys.salt, s->keys.salt_len, salt);
    buf_append_str(&s->auth, "r=");
    buf_append(&s->auth, s->nonce.data, s->nonce.len);
    buf_append_fmt(&s->auth, ",s=%s,i=%u", salt, (unsigned)s->keys.iterations);
    if (!buf_ok(&s->auth) || !buf_append(out, s->auth.data + start, s->auth.len - start)) {
        return SCRAM_E_INTERNAL;
    }
    return SCRAM_OK;
}

static enum scram_verdict server_first(struct scram_server *s, const void *msg, size_t len,
                                       struct buf *out)
{
    struct scram_reader r;
    enum scram_verdict v;

    if (s->state != SERVER_START || !scram_reader_init(&r, msg, len)) {
        return SCRAM_E_MALFORMED;
    }
    v = read_gs2_header(s, &r);
    if (v != SCRAM_OK) {
        return v;
    }
    v = read_first_bare(s, &r);
    if (v != SCRAM_OK) {
        return v;
    }
    return build_first(s, out);
}

enum scram_verdict scram_server_first(struct scram_server *s, const void *msg, size_t len,
                                      struct buf *out)
{
    return server_end_step(s, server_first(s, msg, len, out), SERVER_CHALLENGED);
}

static enum scram_verdict check_binding(const struct scram_server *s, const struct scram_attr *c)
{
    uint8_t data[SCRAM_MESSAGE_MAX];
    size_t len;

    if (!scram_base64_decode(c->value, c->len, data, sizeof(data), &len)) {
        return SCRAM_E_MALFORMED;
    }
    if (len != s->expected_c.len || !secret_bytes_equal(data, s->expected_c.data, len)) {
        return SCRAM_E_BINDING;
    }
    return SCRAM_OK;
}

/* Reads client-final and completes AuthMessage. */
static enum scram_verdict read_final(struct scram_server *s, struct scram_reader *r,
                                     uint8_t ret_proof[SCRAM_KEY_BYTES])
{
    const char *start = r->pos;
    const char *before_proof;
    struct scram_attr a;
    size_t len;
    enum scram_verdict v = scram_read_named(r, 'c', &a);

    if (v == SCRAM_OK) {
        v = check_binding(s, &a);
    }
    if (v == SCRAM_OK) {
        v = scram_read_named(r, 'r', &a);
    }
    if (v != SCRAM_OK) {
        return v;
    }
    if (a.len != s->nonce.len || !secret_bytes_equal(a.value, s->nonce.data, a.len)) {
        return SCRAM_E_NONCE;
    }
    do { /* optional extensions, then the proof, which comes last */
        before_proof = r->pos - 1;
        if (!scram_read_attr(r, &a)) {
            return SCRAM_E_MALFORMED;
        }
        if (a.name == 'm') {
            return SCRAM_E_UNSUPPORTED;
        }
    } while (a.name != 'p');
    if (!scram_reader_at_end(r) ||
        !scram_base64_decode(a.value, a.len, ret_proof, SCRAM_KEY_BYTES, &len) ||
        len != SCRAM_KEY_BYTES) {
        return SCRAM_E_MALFORMED;
    }
    buf_append_u8(&s->auth, ',');
    buf_append(&s->auth, start, (size_t)(before_proof - start));
    return buf_ok(&s->auth) ? SCRAM_OK : SCRAM_E_INTERNAL;
}

/* RFC 5802 section 3: ClientKey = ClientProof XOR ClientSignature, and H(ClientKey) must be
 * StoredKey. */
static enum scram_verdict check_proof(struct scram_server *s, const uint8_t proof[SCRAM_KEY_BYTES])
{
    uint8_t client_key[SCRAM_KEY_BYTES];
    uint8_t hashed[SCRAM_KEY_BYTES];
    bool right;

    if (!scram_hmac(s->keys.stored_key, s->auth.data, s->auth.len, client_key)) {
        return SCRAM_E_INTERNAL;
    }
    for (size_t i = 0; i < SCRAM_KEY_BYTES; i++) {
        client_key[i] ^= proof[i];
    }
    if (!scram_sha256(client_key, sizeof(client_key), hashed)) {
        return SCRAM_E_INTERNAL;
    }
    right = secret_bytes_equal(hashed, s->keys.stored_key, sizeof(hashed)) && !s->keys.is_mock;
    if (right) {
        memcpy(s->keys.client_key, client_key, sizeof(client_key));
        s->keys.has_client_key = true;
    }
    explicit_bzero(client_key, sizeof(client_key));
    explicit_bzero(hashed, sizeof(hashed));
    return right ? SCRAM_OK : SCRAM_E_PROOF;
}

static enum scram_verdict server_final(struct scram_server *s, const void *msg, size_t len,
                                       struct buf *out)
{
    struct scram_reader r;
    uint8_t proof[SCRAM_KEY_BYTES];
    uint8_t signature[SCRAM_KEY_BYTES];
    char text[BASE64_BYTES(SCRAM_KEY_BYTES) + 1];
    enum scram_verdict v;

    if (s->state != SERVER_CHALLENGED || !scram_reader_init(&r, msg, len)) {
        return SCRAM_E_MALFORMED;
    }
    v = read_final(s, &r, proof);
    if (v != SCRAM_OK) {
        return v;
    }
    v = check_proof(s, proof);
    explicit_bzero(proof, sizeof(proof));
    if (v != SCRAM_OK) {
        return v;
    }
    if (!scram_hmac(s->keys.server_key, s->auth.data, s->auth.len, signature)) {
        return SCRAM_E_INTERNAL;
    }
    scram_base64_encode(signature, sizeof(signature), text);
    return buf_append_fmt(out, "v=%s", text) ? SCRAM_OK : SCRAM_E_INTERNAL;
}

enum scram_verdict scram_server_final(struct scram_server *s, const void *msg, size_t len,
                                      struct buf *out)
{
    return server_end_step(s, server_final(s, msg, len, out), SERVER_DONE);
}

bool scram_server_keys(const struct scram_server *s, struct scram_keys *ret)
{
    if (s->state != SERVER_DONE) {
        return false;
    }
    *ret = s->keys;
    return true;
}
