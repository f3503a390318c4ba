/* SPDX-License-Identifier: ISC */
/* A client logs in to us: one byte of choices, then client-first and client-final with a line
 * feed between them, a byte that neither may have. Nonce and keys are fixed, so the seed from a
 * real login goes all the way through. */
#include "daemon/util/buf.h"
#include "daemon/util/fatal.h"
#include "protocol/scram_server.h"

#include <stdint.h>
#include <string.h>

#define CHOICE_PLUS BIT(0)    /* the client chose -PLUS */
#define CHOICE_OFFERED BIT(1) /* we offered it */
#define CHOICE_MOCK BIT(2)
#define SECRET                                                        \
    "SCRAM-SHA-256$4096:sYjVJrIrcJ+5uQtGuRd1Gg==$pw2PPkohLYlE+TrgUd/" \
    "fuqExXY18bJWJThRuQ6ZR+0o=:IkNN9+"                                \
    "How5NNovWsaQ+DEJFrnKEcu+7djW/F3wCa2eY="

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    /* "1nQ0BPrabTqDdee4Ldg8vtOb" */
    static const uint8_t nonce[SCRAM_NONCE_BYTES] = {0xd6, 0x74, 0x34, 0x04, 0xfa, 0xda,
                                                     0x6d, 0x3a, 0x83, 0x75, 0xe7, 0xb8,
                                                     0x2d, 0xd8, 0x3c, 0xbe, 0xd3, 0x9b};
    static const uint8_t binding[32] = "certificate";
    struct scram_keys keys;
    struct scram_server_params p = {.keys = &keys, .nonce = nonce, .binding_len = sizeof(binding)};
    struct scram_server *s;
    struct buf out = BUF_INIT(SCRAM_MESSAGE_MAX);
    const uint8_t *split;
    size_t first_len;
    enum scram_verdict v;

    if (size == 0 || !scram_secret_parse(SECRET, &keys)) {
        return 0;
    }
    keys.is_mock = (data[0] & CHOICE_MOCK) != 0;
    p.mechanism = (data[0] & CHOICE_PLUS) != 0 ? SCRAM_MECH_SHA_256_PLUS : SCRAM_MECH_SHA_256;
    p.binding = (data[0] & CHOICE_OFFERED) != 0 ? binding : NULL;
    data++;
    size--;
    split = memchr(data, '\n', size);
    first_len = split != NULL ? (size_t)(split - data) : size;
    s = scram_server_new(&p);
    fatal_unless(s != NULL);
    v = scram_server_first(s, data, first_len, &out);
    fatal_unless((v == SCRAM_OK) == (out.len > 0));
    buf_clear(&out);
    if (split != NULL) {
        enum scram_verdict last = scram_server_final(s, split + 1, size - first_len - 1, &out);

        fatal_unless((last == SCRAM_OK) == (out.len > 0));
        fatal_unless(last != SCRAM_OK || (v == SCRAM_OK && !keys.is_mock));
        fatal_unless(scram_server_keys(s, &keys) == (last == SCRAM_OK));
    }
    scram_server_free(s);
    buf_done(&out);
    return 0;
}
