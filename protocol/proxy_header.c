/* SPDX-License-Identifier: ISC */
#include "protocol/proxy_header.h"

#include "daemon/util/num.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <string.h>

/* --- version 1: PROXY TCP4 192.0.2.1 198.51.100.7 56324 443\r\n --- */

#define V1_BEGIN "PROXY "

/* The next word up to one blank, or up to the end of the line. false: empty or too long. */
static bool take_word(const char **at, char *ret, size_t size)
{
    size_t n = strcspn(*at, " ");

    if (n == 0 || n >= size) {
        return false;
    }
    memcpy(ret, *at, n);
    ret[n] = '\0';
    *at += n;
    if (**at == ' ') {
        (*at)++;
    }
    return true;
}

static bool take_address(const char **at, int family, void *ret)
{
    char text[INET6_ADDRSTRLEN];

    return take_word(at, text, sizeof(text)) && inet_pton(family, text, ret) == 1;
}

static bool take_port(const char **at, in_port_t *ret)
{
    char text[6];
    uint64_t port;

    if (!take_word(at, text, sizeof(text)) || (text[0] == '0' && text[1] != '\0') ||
        !num_parse_u64(text, UINT16_MAX, &port)) {
        return false;
    }
    *ret = htons((uint16_t)port);
    return true;
}

/* @line: without CR LF and without the word PROXY. */
static bool parse_line(const char *line, struct proxy_header *h)
{
    struct sockaddr_in *v4 = (void *)&h->addr;
    struct sockaddr_in6 *v6 = (void *)&h->addr;
    uint8_t destination[16];
    in_port_t ignored;
    bool is_v4 = strncmp(line, "TCP4 ", 5) == 0;
    int family = is_v4 ? AF_INET : AF_INET6;
    const char *at = line + 5;

    if (strcmp(line, "UNKNOWN") == 0 || strncmp(line, "UNKNOWN ", 8) == 0) {
        return true; /* what follows the word is not looked at; section 2.1 */
    }
    if (!is_v4 && strncmp(line, "TCP6 ", 5) != 0) {
        return false;
    }
    h->addr.ss_family = (sa_family_t)family;
    h->has_address = true;
    return take_address(&at, family, is_v4 ? (void *)&v4->sin_addr : (void *)&v6->sin6_addr) &&
           take_address(&at, family, destination) &&
           take_port(&at, is_v4 ? &v4->sin_port : &v6->sin6_port) && take_port(&at, &ignored) &&
           *at == '\0' && at[-1] != ' ';
}

static enum proxy_verdict parse_v1(const uint8_t *data, size_t len, struct proxy_header *ret)
{
    struct proxy_header h = {0};
    char line[PROXY_V1_MAX_BYTES + 1];
    const uint8_t *end = memchr(data, '\n', MIN(len, PROXY_V1_MAX_BYTES));
    size_t n;

    if (end == NULL) {
        return len < PROXY_V1_MAX_BYTES ? PROXY_PARTIAL : PROXY_BAD;
    }
    n = (size_t)(end - data);
    if (end[-1] != '\r' || memchr(data, '\0', n) != NULL || n < sizeof(V1_BEGIN)) {
        return PROXY_BAD;
    }
    memcpy(line, data, n - 1);
    line[n - 1] = '\0';
    if (!parse_line(line + sizeof(V1_BEGIN) - 1, &h)) {
        return PROXY_BAD;
    }
    h.len = n + 1;
    *ret = h;
    return PROXY_OK;
}

/* --- version 2 --- */

static const uint8_t signature[12] = "\r\n\r\n\0\r\nQUIT\n";

#define V2_FIXED_BYTES 16U

enum { V2_LOCAL = 0x20, V2_PROXY = 0x21 };
enum { V2_UNSPEC = 0x00, V2_TCP4 = 0x11, V2_TCP6 = 0x21, V2_UNIX_STREAM = 0x31 };
enum { V2_TLV_CRC32C = 0x03 };

static size_t v2_address_bytes(uint8_t family)
{
    switch (family) {
    case V2_TCP4:
        return 12;
    case V2_TCP6:
        return 36;
    case V2_UNIX_STREAM:
        return 216;
    default:
        return 0;
    }
}

static uint32_t load_u32(const uint8_t *p)
{
    return ((uint32_t)p[0] << 24) | ((uint32_t)p[1] << 16) | ((uint32_t)p[2] << 8) | p[3];
}

/* CRC-32C (RFC 3309), of the header with the four bytes at @hole taken as 0. */
static uint32_t checksum(const uint8_t *data, size_t len, size_t hole)
{
    uint32_t crc = UINT32_MAX;

    for (size_t i = 0; i < len; i++) {
        crc ^= i >= hole && i - hole < 4 ? 0 : data[i];
        for (unsigned bit = 0; bit < 8; bit++) {
            crc = (crc >> 1) ^ ((crc & 1) != 0 ? 0x82f63b78U : 0);
        }
    }
    return ~crc;
}

/* The extra fields, from @at on. Only the checksum means something to us; section 2.2.3: a wrong one ends it. */
static bool check_tlvs(const uint8_t *data, size_t at, size_t len)
{
    while (at < len) {
        size_t size;

        if (len - at < 3) {
            return false;
        }
        size = (size_t)data[at + 1] << 8 | data[at + 2];
        if (len - at - 3 < size) {
            return false;
        }
        if (data[at] == V2_TLV_CRC32C &&
            (size != 4 || checksum(data, len, at + 3) != load_u32(data + at + 3))) {
            return false;
        }
        at += 3 + size;
    }
    return true;
}

static void take_v2_address(const uint8_t *p, uint8_t family, struct proxy_header *h)
{
    if (family == V2_TCP4) {
        struct sockaddr_in *v4 = (void *)&h->addr;

        v4->sin_family = AF_INET;
        memcpy(&v4->sin_addr, p, 4);
        memcpy(&v4->sin_port, p + 8, 2);
        h->has_address = true;
    } else if (family == V2_TCP6) {
        struct sockaddr_in6 *v6 = (void *)&h->addr;

        v6->sin6_family = AF_INET6;
        memcpy(&v6->sin6_addr, p, 16);
        memcpy(&v6->sin6_port, p + 32, 2);
        h->has_address = true;
    }
}

static enum proxy_verdict parse_v2(const uint8_t *data, size_t len, struct proxy_header *ret)
{
    struct proxy_header h = {0};
    size_t size;
    size_t address_bytes;

    if (len < V2_FIXED_BYTES) {
        return len > sizeof(signature) && data[12] != V2_LOCAL && data[12] != V2_PROXY
                   ? PROXY_BAD
                   : PROXY_PARTIAL;
    }
    size = (size_t)data[14] << 8 | data[15];
    if ((data[12] != V2_LOCAL && data[12] != V2_PROXY) ||
        size > PROXY_HEADER_MAX_BYTES - V2_FIXED_BYTES) {
        return PROXY_BAD;
    }
    address_bytes = v2_address_bytes(data[13]);
    if (data[12] == V2_PROXY && size < address_bytes) {
        return PROXY_BAD;
    }
    if (len < V2_FIXED_BYTES + size) {
        return PROXY_PARTIAL;
    }
    h.len = V2_FIXED_BYTES + size;
    /* LOCAL, and families that are not ours: the whole is skipped; section 2.2. */
    if (data[12] == V2_PROXY && address_bytes > 0) {
        if (!check_tlvs(data, V2_FIXED_BYTES + address_bytes, h.len)) {
            return PROXY_BAD;
        }
        take_v2_address(data + V2_FIXED_BYTES, data[13], &h);
    }
    *ret = h;
    return PROXY_OK;
}

static bool begins(const uint8_t *data, size_t len, const void *with, size_t with_len)
{
    return memcmp(data, with, MIN(len, with_len)) == 0;
}

enum proxy_verdict proxy_header_parse(const uint8_t *data, size_t len, struct proxy_header *ret)
{
    if (len == 0) {
        return PROXY_PARTIAL;
    }
    if (begins(data, len, signature, sizeof(signature))) {
        return parse_v2(data, len, ret);
    }
    if (begins(data, len, V1_BEGIN, sizeof(V1_BEGIN) - 1)) {
        return parse_v1(data, len, ret);
    }
    return PROXY_BAD;
}
