/* SPDX-License-Identifier: ISC */
#include "tests/unit/scram_login.h"

#include "protocol/scram_internal.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

const uint8_t scram_certificate[SCRAM_CERTIFICATE_BYTES] = "the digest of a certificate ....";

struct fixed_nonce nonce_of(const char *text)
{
    struct fixed_nonce n;
    size_t len;

    assert_true(scram_base64_decode(text, strlen(text), n.bytes, sizeof(n.bytes), &len));
    assert_int_equal(len, SCRAM_NONCE_BYTES);
    return n;
}

struct scram_keys keys_of(const char *secret)
{
    struct scram_keys keys;

    assert_true(scram_secret_parse(secret, &keys));
    return keys;
}

struct scram_keys derive(const char *password, const struct scram_keys *like)
{
    struct scram_salt salt = {like->salt, like->salt_len, like->iterations};
    struct scram_keys keys;

    assert_int_equal(scram_keys_derive(password, strlen(password), &salt, &keys), SCRAM_OK);
    return keys;
}

struct scram_server *server_with(const struct scram_keys *keys, enum scram_mechanism mechanism,
                                 enum offer offer)
{
    struct fixed_nonce n = nonce_of(T_SERVER_NONCE);
    struct scram_server_params p = {
        .keys = keys,
        .mechanism = mechanism,
        .nonce = n.bytes,
        .binding = offer == OFFER_PLUS ? scram_certificate : NULL,
        .binding_len = SCRAM_CERTIFICATE_BYTES,
    };
    struct scram_server *s = scram_server_new(&p);

    assert_non_null(s);
    return s;
}

struct scram_client *client_with(enum scram_client_binding binding)
{
    struct fixed_nonce n = nonce_of(T_CLIENT_NONCE);
    struct scram_client_params p = {
        .nonce = n.bytes,
        .binding = binding,
        .binding_data = scram_certificate,
        .binding_len = SCRAM_CERTIFICATE_BYTES,
    };
    struct scram_client *c = scram_client_new(&p);

    assert_non_null(c);
    return c;
}
