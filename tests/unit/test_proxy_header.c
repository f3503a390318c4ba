/* SPDX-License-Identifier: ISC */
#include "protocol/proxy_header.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define BYTES(text) text, sizeof(text) - 1
#define SIG "\r\n\r\n\0\r\nQUIT\n"
#define V4 "\xc0\x00\x02\x01\x0a\x00\x00\x01\xdc\x04\x15\x38" /* 192.0.2.1:56324 -> 10.0.0.1:5432 */
#define V6                                       \
    "\x20\x01\x0d\xb8\0\0\0\0\0\0\0\0\0\0\0\x05" \
    "\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\x01"         \
    "\xdc\x04\x15\x38"
#define UNIX108                                                    \
    "123456789012345678901234567890123456789012345678901234567890" \
    "123456789012345678901234567890123456789012345678"

static const struct {
    const char *name;
    const char *data;
    size_t len;
    enum proxy_verdict verdict;
    const char *client; /* "": no address */
} cases[] = {
    /* version 1 */
    {"v1 IPv4", BYTES("PROXY TCP4 192.0.2.1 10.0.0.1 56324 5432\r\n"), PROXY_OK, "192.0.2.1:56324"},
    {"v1 IPv6", BYTES("PROXY TCP6 2001:db8::5 ::1 56324 5432\r\n"), PROXY_OK, "2001:db8::5:56324"},
    {"v1 mapped", BYTES("PROXY TCP6 ::ffff:192.0.2.1 ::1 1 2\r\n"), PROXY_OK, "::ffff:192.0.2.1:1"},
    {"v1 unknown", BYTES("PROXY UNKNOWN\r\n"), PROXY_OK, ""},
    {"v1 unknown with a tail", BYTES("PROXY UNKNOWN ffff::1 ffff::2 1 2\r\n"), PROXY_OK, ""},
    {"v1 longest",
     BYTES("PROXY UNKNOWN ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff "
           "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff 65535 65535\r\n"),
     PROXY_OK, ""},
    {"v1 port 0", BYTES("PROXY TCP4 192.0.2.1 10.0.0.1 0 0\r\n"), PROXY_OK, "192.0.2.1:0"},
    {"v1 port 65535", BYTES("PROXY TCP4 192.0.2.1 10.0.0.1 65535 1\r\n"), PROXY_OK,
     "192.0.2.1:65535"},
    {"v1 port 65536", BYTES("PROXY TCP4 192.0.2.1 10.0.0.1 65536 1\r\n"), PROXY_BAD, ""},
    {"v1 port 080", BYTES("PROXY TCP4 192.0.2.1 10.0.0.1 080 1\r\n"), PROXY_BAD, ""},
    {"v1 port -1", BYTES("PROXY TCP4 192.0.2.1 10.0.0.1 -1 1\r\n"), PROXY_BAD, ""},
    {"v1 no port", BYTES("PROXY TCP4 192.0.2.1 10.0.0.1\r\n"), PROXY_BAD, ""},
    {"v1 one port", BYTES("PROXY TCP4 192.0.2.1 10.0.0.1 1\r\n"), PROXY_BAD, ""},
    {"v1 one word more", BYTES("PROXY TCP4 192.0.2.1 10.0.0.1 1 2 3\r\n"), PROXY_BAD, ""},
    {"v1 a blank more", BYTES("PROXY TCP4 192.0.2.1 10.0.0.1 1 2 \r\n"), PROXY_BAD, ""},
    {"v1 two blanks", BYTES("PROXY TCP4  192.0.2.1 10.0.0.1 1 2\r\n"), PROXY_BAD, ""},
    {"v1 wrong family", BYTES("PROXY TCP4 2001:db8::5 ::1 1 2\r\n"), PROXY_BAD, ""},
    {"v1 a name", BYTES("PROXY TCP4 localhost 10.0.0.1 1 2\r\n"), PROXY_BAD, ""},
    {"v1 UDP", BYTES("PROXY UDP4 192.0.2.1 10.0.0.1 1 2\r\n"), PROXY_BAD, ""},
    {"v1 unknown word", BYTES("PROXY UNKNOWNS\r\n"), PROXY_BAD, ""},
    {"v1 nothing", BYTES("PROXY \r\n"), PROXY_BAD, ""},
    {"v1 line feed alone", BYTES("PROXY TCP4 192.0.2.1 10.0.0.1 1 2\n"), PROXY_BAD, ""},
    {"v1 a NUL", BYTES("PROXY TCP4 192.0.2.1\0 10.0.0.1 1 2\r\n"), PROXY_BAD, ""},
    {"v1 lower case", BYTES("proxy TCP4 192.0.2.1 10.0.0.1 1 2\r\n"), PROXY_BAD, ""},
    {"v1 without end",
     BYTES("PROXY UNKNOWN ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff "
           "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff 65535 655350\r\n"),
     PROXY_BAD, ""},
    /* version 2 */
    {"v2 IPv4", BYTES(SIG "\x21\x11\0\x0c" V4), PROXY_OK, "192.0.2.1:56324"},
    {"v2 IPv6", BYTES(SIG "\x21\x21\0\x24" V6), PROXY_OK, "2001:db8::5:56324"},
    {"v2 local", BYTES(SIG "\x20\0\0\0"), PROXY_OK, ""},
    {"v2 local with an address", BYTES(SIG "\x20\x11\0\x0c" V4), PROXY_OK, ""},
    {"v2 unspecified", BYTES(SIG "\x21\0\0\x02xy"), PROXY_OK, ""},
    {"v2 UDP", BYTES(SIG "\x21\x12\0\x0c" V4), PROXY_OK, ""},
    {"v2 Unix", BYTES(SIG "\x21\x31\0\xd8" UNIX108 UNIX108), PROXY_OK, ""},
    {"v2 Unix, short", BYTES(SIG "\x21\x31\0\x0c" V4), PROXY_BAD, ""},
    {"v2 IPv4, short", BYTES(SIG "\x21\x11\0\x0b" V4), PROXY_BAD, ""},
    {"v2 with a field", BYTES(SIG "\x21\x11\0\x11" V4 "\xee\0\2ab"), PROXY_OK, "192.0.2.1:56324"},
    {"v2 an empty field", BYTES(SIG "\x21\x11\0\x0f" V4 "\4\0\0"), PROXY_OK, "192.0.2.1:56324"},
    {"v2 a field too long", BYTES(SIG "\x21\x11\0\x11" V4 "\xee\0\3ab"), PROXY_BAD, ""},
    {"v2 half a field", BYTES(SIG "\x21\x11\0\x0e" V4 "\xee\0"), PROXY_BAD, ""},
    {"v2 checksum", BYTES(SIG "\x21\x11\0\x13" V4 "\3\0\4\xe0\xd5\x46\xb7"), PROXY_OK,
     "192.0.2.1:56324"},
    {"v2 wrong checksum", BYTES(SIG "\x21\x11\0\x13" V4 "\3\0\4\1\2\3\4"), PROXY_BAD, ""},
    {"v2 short checksum", BYTES(SIG "\x21\x11\0\x12" V4 "\3\0\3\1\2\3"), PROXY_BAD, ""},
    {"v2 unknown command", BYTES(SIG "\x22\x11\0\x0c" V4), PROXY_BAD, ""},
    {"v2 version 3", BYTES(SIG "\x31\x11\0\x0c" V4), PROXY_BAD, ""},
    {"v2 too long", BYTES(SIG "\x21\x11\xff\xff" V4), PROXY_BAD, ""},
    /* neither */
    {"a startup packet", BYTES("\0\0\0\x08\x04\xd2\x16\x2f"), PROXY_BAD, ""},
    {"TLS", BYTES("\x16\3\1"), PROXY_BAD, ""},
    {"HTTP", BYTES("GET / HTTP/1.1\r\n\r\n"), PROXY_BAD, ""},
    {"a broken signature", BYTES("\r\n\r\n\0\r\nQUIX\n"), PROXY_BAD, ""},
};

static const char *address(const struct proxy_header *h, char ret[64])
{
    char text[INET6_ADDRSTRLEN] = "";

    *ret = '\0';
    if (h->has_address && h->addr.ss_family == AF_INET) {
        const struct sockaddr_in *in = (const void *)&h->addr;

        (void)snprintf(ret, 64, "%s:%u", inet_ntop(AF_INET, &in->sin_addr, text, sizeof(text)),
                       ntohs(in->sin_port));
    } else if (h->has_address) {
        const struct sockaddr_in6 *in = (const void *)&h->addr;

        assert_int_equal(h->addr.ss_family, AF_INET6);
        (void)snprintf(ret, 64, "%s:%u", inet_ntop(AF_INET6, &in->sin6_addr, text, sizeof(text)),
                       ntohs(in->sin6_port));
    }
    return ret;
}

/* A copy of its own for each length: ASan sees a byte too far. */
static enum proxy_verdict parse(const char *data, size_t len, struct proxy_header *h)
{
    uint8_t *copy = malloc(len > 0 ? len : 1);
    enum proxy_verdict verdict;

    assert_non_null(copy);
    memcpy(copy, data, len);
    verdict = proxy_header_parse(copy, len, h);
    free(copy);
    return verdict;
}

static void check_cuts(size_t i)
{
    struct proxy_header h;

    for (size_t len = 0; len < cases[i].len; len++) {
        enum proxy_verdict verdict = parse(cases[i].data, len, &h);

        if (verdict != PROXY_PARTIAL && !(cases[i].verdict == PROXY_BAD && verdict == PROXY_BAD)) {
            fail_msg("%s, %zu bytes of %zu: %d", cases[i].name, len, cases[i].len, verdict);
        }
    }
}

static void test_table(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct proxy_header h = {0};
        enum proxy_verdict verdict = parse(cases[i].data, cases[i].len, &h);
        char text[64];

        if (verdict != cases[i].verdict || strcmp(address(&h, text), cases[i].client) != 0) {
            fail_msg("%s: %d, %s", cases[i].name, verdict, address(&h, text));
        }
        if (verdict == PROXY_OK) {
            assert_int_equal(h.len, cases[i].len);
        }
        check_cuts(i);
    }
}

/* What follows is the client's and is not looked at. */
static void test_tail(void **state)
{
    static const char data[] = "PROXY TCP4 192.0.2.1 10.0.0.1 1 2\r\nPROXY TCP4 bad\r\n";
    struct proxy_header h;

    (void)state;
    assert_int_equal(parse(data, sizeof(data) - 1, &h), PROXY_OK);
    assert_int_equal(h.len, 35);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_table),
        cmocka_unit_test(test_tail),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
