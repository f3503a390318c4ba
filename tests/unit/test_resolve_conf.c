/* SPDX-License-Identifier: ISC */
#include "pool/resolve_conf.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <stdio.h>
#include <string.h>

static const struct {
    const char *name;
    const char *text;
    const char *csv;
} cases[] = {
    {"nothing", "", ""},
    {"no port", "nameserver 10.0.0.1\nnameserver ::1\n", ""},
    {"a port", "nameserver 127.0.0.1:5353\n", "127.0.0.1:5353"},
    {"no newline at the end", "nameserver 127.0.0.1:5353", "127.0.0.1:5353"},
    {"brackets", "nameserver [::1]:5353", "[::1]:5353"},
    {"brackets round IPv4", "nameserver [127.0.0.1]:5353", "127.0.0.1:5353"},
    {"brackets without a port", "nameserver [::1]\nnameserver 10.0.0.1:54", "[::1]:53,10.0.0.1:54"},
    {"one of several", "nameserver ::1\nnameserver 10.0.0.1:54\nnameserver 10.0.0.2",
     "[::1]:53,10.0.0.1:54,10.0.0.2:53"},
    {"other lines",
     "# nameserver 1.1.1.1:1\nsearch a b\noptions timeout:1\nnameserver\t9.9.9.9:9 # x\n",
     "9.9.9.9:9"},
    {"carriage return", "nameserver 127.0.0.1:5353\r\n", "127.0.0.1:5353"},
    {"least and most", "nameserver 1.1.1.1:1\nnameserver 1.1.1.1:65535", "1.1.1.1:1,1.1.1.1:65535"},
    {"no such port",
     "nameserver 1.1.1.1:0\nnameserver 1.1.1.1:65536\nnameserver 1.1.1.1:\n"
     "nameserver 1.1.1.1:x\nnameserver [::1]:\nnameserver [::1]5353\nnameserver [::1",
     ""},
    {"no such address", "nameserver 1.1.1:5\nnameserver name:5\nnameserver [1:2]:5\nnameserver :5",
     ""},
    {"a wrong one is left out", "nameserver 1.1.1.1:x\nnameserver 2.2.2.2:2", "2.2.2.2:2"},
    {"no blank", "nameserver1.1.1.1:1\nnameservers 1.1.1.1:1\nnameserver", ""},
    {"not at the start of the line", " nameserver 1.1.1.1:1", ""},
    {"too long a word",
     "nameserver 1111111111111111111111111111111111111111111111111111111111111111111:5", ""},
};

static void test_texts(void **state)
{
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct buf csv = BUF_INIT(1024);

        resolve_conf_servers(cases[i].text, strlen(cases[i].text), &csv);
        if (!buf_ok(&csv) || strcmp(buf_cstr(&csv), cases[i].csv) != 0) {
            fail_msg("%s: \"%s\"", cases[i].name, buf_cstr(&csv));
        }
        buf_done(&csv);
    }
}

static void test_most_servers(void **state)
{
    struct buf csv = BUF_INIT(RESOLVE_CONF_MAX_SERVERS * 64);
    char text[4096] = "";
    unsigned commas = 0;

    (void)state;
    for (unsigned i = 0; i < RESOLVE_CONF_MAX_SERVERS + 4; i++) {
        (void)snprintf(text + strlen(text), sizeof(text) - strlen(text),
                       "nameserver [ffff:ffff:ffff:ffff:ffff:ffff:ffff:%x]:65535\n", 0xff00 + i);
    }
    resolve_conf_servers(text, strlen(text), &csv);
    assert_true(buf_ok(&csv));
    for (const char *p = buf_cstr(&csv); *p != '\0'; p++) {
        commas += *p == ',';
    }
    assert_int_equal(commas, RESOLVE_CONF_MAX_SERVERS - 1);
    buf_done(&csv);
}

static void test_files(void **state)
{
    struct buf csv = BUF_INIT(1024);

    (void)state;
    resolve_conf_read("/nowhere/resolv.conf", &csv);
    resolve_conf_read("/", &csv);
    resolve_conf_read("/dev/null", &csv);
    assert_int_equal(csv.len, 0);
    buf_done(&csv);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_texts),
        cmocka_unit_test(test_most_servers),
        cmocka_unit_test(test_files),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
