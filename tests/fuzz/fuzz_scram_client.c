/* SPDX-License-Identifier: ISC */
/* We log in to a server: one byte of choices, then server-first and server-final with a line
 * feed between them, a byte that neither may have. Nonce and keys are fixed, so the seed from a
 * real login goes all the way through. */
#include "daemon/util/buf.h"
#include "daemon/util/fatal.h"
#include "protocol/scram_client.h"

#include <stdint.h>
#include <string.h>

#define CHOICE_BINDING 3u       /* enum scram_client_binding; one value too many means the first */
#define CHOICE_BARE_KEYS BIT(2) /* keys that do not know their salt */

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* Of the password "pencil" and the salt of the seeds; derived once, for speed. */
static const struct scram_keys *keys_of_the_seeds(void)
{
    static const uint8_t bytes[] = {0xb1, 0x88, 0xd5, 0x26, 0xb2, 0x2b, 0x70, 0x9f,
                                    0xb9, 0xb9, 0x0b, 0x46, 0xb9, 0x17, 0x75, 0x1a};
    static struct scram_keys keys;
    struct scram_salt salt = {.bytes = bytes, .len = sizeof(bytes), .iterations = 4096};

    if (keys.iterations == 0) {
        fatal_unless(scram_keys_derive("pencil", 6, &salt, &keys) == SCRAM_OK);
    }
    return &keys;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    /* "v+OZXWBiD1QtJKjTOVkmuYw7" */
    static const uint8_t nonce[SCRAM_NONCE_BYTES] = {0xbf, 0xe3, 0x99, 0x5d, 0x60, 0x62,
                                                     0x0f, 0x54, 0x2d, 0x24, 0xa8, 0xd3,
                                                     0x39, 0x59, 0x26, 0xb9, 0x8c, 0x3b};
    static const uint8_t binding[32] = "certificate";
    struct scram_keys keys = *keys_of_the_seeds();
    struct scram_client_params p = {
        .nonce = nonce, .binding_data = binding, .binding_len = sizeof(binding)};
    struct scram_client *c;
    struct buf out = BUF_INIT(SCRAM_MESSAGE_MAX);
    const uint8_t *split;
    size_t first_len;
    unsigned choice;
    enum scram_verdict v;

    if (size == 0) {
        return 0;
    }
    choice = data[0] & CHOICE_BINDING;
    p.binding =
        choice <= SCRAM_CLIENT_BOUND ? (enum scram_client_binding)choice : SCRAM_CLIENT_UNABLE;
    if ((data[0] & CHOICE_BARE_KEYS) != 0) {
        keys.iterations = 0;
    }
    data++;
    size--;
    split = memchr(data, '\n', size);
    first_len = split != NULL ? (size_t)(split - data) : size;
    c = scram_client_new(&p);
    fatal_unless(c != NULL);
    fatal_unless(scram_client_first(c, &out) == SCRAM_OK);
    v = scram_client_challenge(c, data, first_len);
    buf_clear(&out);
    if (v == SCRAM_OK) {
        v = scram_client_final(c, &keys, &out);
        fatal_unless(v == SCRAM_OK || v == SCRAM_E_KEYS);
    }
    if (split != NULL) {
        enum scram_verdict last = scram_client_verify(c, split + 1, size - first_len - 1);

        fatal_unless(last != SCRAM_OK || v == SCRAM_OK);
        fatal_unless(scram_client_is_verified(c) == (last == SCRAM_OK));
        fatal_unless(strlen(scram_client_error(c)) < 128);
    }
    scram_client_free(c);
    buf_done(&out);
    return 0;
}
