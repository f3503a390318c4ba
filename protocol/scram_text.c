/* SPDX-License-Identifier: ISC */
/* The grammar of SCRAM's messages (RFC 5802 section 7) and base64, no cryptography. */
#include "protocol/scram_internal.h"

#include <string.h>

static const char alphabet[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

void scram_base64_encode(const uint8_t *data, size_t len, char *ret)
{
    for (size_t i = 0; i < len; i += 3) {
        size_t n = MIN(len - i, (size_t)3);
        uint32_t v = (uint32_t)data[i] << 16;

        v |= n > 1 ? (uint32_t)data[i + 1] << 8 : 0;
        v |= n > 2 ? (uint32_t)data[i + 2] : 0;
        ret[0] = alphabet[v >> 18];
        ret[1] = alphabet[v >> 12 & 63];
        ret[2] = n > 1 ? alphabet[v >> 6 & 63] : '=';
        ret[3] = n > 2 ? alphabet[v & 63] : '=';
        ret += 4;
    }
    *ret = '\0';
}

static int base64_value(char c)
{
    if (c >= 'A' && c <= 'Z') {
        return c - 'A';
    }
    if (c >= 'a' && c <= 'z') {
        return c - 'a' + 26;
    }
    if (c >= '0' && c <= '9') {
        return c - '0' + 52;
    }
    if (c == '+') {
        return 62;
    }
    return c == '/' ? 63 : -1;
}

bool scram_base64_decode(const char *text, size_t len, uint8_t *ret, size_t max, size_t *ret_len)
{
    size_t n_pad = 0;
    size_t out_len;
    uint32_t bits = 0;
    unsigned n_bits = 0;
    size_t n = 0;

    if (len == 0 || len % 4 != 0) {
        return false;
    }
    while (n_pad < 2 && text[len - 1 - n_pad] == '=') {
        n_pad++;
    }
    out_len = len / 4 * 3 - n_pad;
    if (out_len > max) {
        return false;
    }
    for (size_t i = 0; i < len - n_pad; i++) {
        int v = base64_value(text[i]);

        if (v < 0) {
            return false;
        }
        bits = bits << 6 | (uint32_t)v;
        n_bits += 6;
        if (n_bits >= 8) {
            n_bits -= 8;
            ret[n++] = (uint8_t)(bits >> n_bits);
            bits &= (1U << n_bits) - 1;
        }
    }
    if (bits != 0) {
        return false; /* two texts for the same bytes: nobody honest writes the second */
    }
    *ret_len = out_len;
    return true;
}

bool scram_reader_init(struct scram_reader *r, const void *msg, size_t len)
{
    const char *text = msg;

    if (len == 0 || len > SCRAM_MESSAGE_MAX) {
        return false;
    }
    for (size_t i = 0; i < len; i++) {
        if ((uint8_t)text[i] < 0x20 || text[i] == 0x7f) {
            return false;
        }
    }
    r->pos = text;
    r->end = text + len;
    return true;
}

bool scram_read_attr(struct scram_reader *r, struct scram_attr *ret)
{
    const char *comma;
    struct scram_attr a;

    if (r->end - r->pos < 2 || r->pos[1] != '=') {
        return false;
    }
    a.name = r->pos[0];
    if (!((a.name >= 'a' && a.name <= 'z') || (a.name >= 'A' && a.name <= 'Z'))) {
        return false;
    }
    a.value = r->pos + 2;
    comma = memchr(a.value, ',', (size_t)(r->end - a.value));
    a.len = (size_t)((comma != NULL ? comma : r->end) - a.value);
    if (comma != NULL && comma + 1 == r->end) {
        return false;
    }
    r->pos = comma != NULL ? comma + 1 : r->end;
    *ret = a;
    return true;
}

enum scram_verdict scram_read_named(struct scram_reader *r, char name, struct scram_attr *ret)
{
    struct scram_attr a;

    if (!scram_read_attr(r, &a)) {
        return SCRAM_E_MALFORMED;
    }
    if (a.name != name) {
        return a.name == 'm' ? SCRAM_E_UNSUPPORTED : SCRAM_E_MALFORMED;
    }
    *ret = a;
    return SCRAM_OK;
}

enum scram_verdict scram_read_rest(struct scram_reader *r)
{
    while (!scram_reader_at_end(r)) {
        struct scram_attr a;

        if (!scram_read_attr(r, &a)) {
            return SCRAM_E_MALFORMED;
        }
        if (a.name == 'm') {
            return SCRAM_E_UNSUPPORTED;
        }
    }
    return SCRAM_OK;
}

bool scram_nonce_is_valid(const char *nonce, size_t len)
{
    if (len == 0 || len > SCRAM_NONCE_TEXT_MAX) {
        return false;
    }
    for (size_t i = 0; i < len; i++) {
        if (nonce[i] <= 0x20 || nonce[i] >= 0x7f || nonce[i] == ',') {
            return false;
        }
    }
    return true;
}
