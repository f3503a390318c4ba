/* SPDX-License-Identifier: ISC */
#include "config/networks.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

static const struct {
    const char *list;
    const char *addr;
    bool has;
} cases[] = {
    {"", "127.0.0.1", false},
    {"127.0.0.1", "127.0.0.1", true},
    {"127.0.0.1", "127.0.0.2", false},
    {"127.0.0.1/8", "127.9.9.9", true},
    {"10.0.0.0/9", "10.127.255.255", true},
    {"10.0.0.0/9", "10.128.0.0", false},
    {"10.0.0.0/32", "10.0.0.1", false},
    {"0.0.0.0/0", "192.0.2.1", true},
    {"0.0.0.0/0", "::1", false},
    {"::/0", "192.0.2.1", false},
    {"::/0", "2001:db8::1", true},
    {"::1", "::1", true},
    {"2001:db8::/33", "2001:db8:7fff::1", true},
    {"2001:db8::/33", "2001:db8:8000::1", false},
    {"10.0.0.1, 192.0.2.0/24 ,::1", "192.0.2.77", true},
    {"10.0.0.1,192.0.2.0/24,::1", "::1", true},
    {"10.0.0.1,192.0.2.0/24,::1", "10.0.0.2", false},
    {"192.0.2.1", "::ffff:192.0.2.1", true},
};

static void test_have(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct sockaddr_storage addr = {0};
        char why[CONFIG_WHY_SIZE];

        if (strchr(cases[i].addr, ':') != NULL) {
            addr.ss_family = AF_INET6;
            assert_int_equal(inet_pton(AF_INET6, cases[i].addr,
                                       &((struct sockaddr_in6 *)(void *)&addr)->sin6_addr),
                             1);
        } else {
            addr.ss_family = AF_INET;
            assert_int_equal(
                inet_pton(AF_INET, cases[i].addr, &((struct sockaddr_in *)(void *)&addr)->sin_addr),
                1);
        }
        assert_true(networks_check(cases[i].list, why));
        if (networks_have(cases[i].list, (const struct sockaddr *)(const void *)&addr) !=
            cases[i].has) {
            fail_msg("%s in %s: not %d", cases[i].addr, cases[i].list, cases[i].has);
        }
    }
}

static void test_no_address(void **state)
{
    struct sockaddr local = {.sa_family = AF_UNIX};

    (void)state;
    assert_false(networks_have("0.0.0.0/0,::/0", &local));
}

static void test_wrong(void **state)
{
    static const char *const lists[] = {
        "localhost",
        "10.0.0.0/33",
        "::1/129",
        "10.0.0.0/",
        "10.0.0/8",
        "10.0.0.0/-1",
        "10.0.0.0/8/8",
        "127.0.0.1, x",
        "1.2.3.4.5",
        "2001:db8::/x",
        "0123456789012345678901234567890123456789012345678901234567890123456789",
    };
    char why[CONFIG_WHY_SIZE];

    (void)state;
    for (size_t i = 0; i < sizeof(lists) / sizeof(lists[0]); i++) {
        if (networks_check(lists[i], why)) {
            fail_msg("%s was taken", lists[i]);
        }
    }
    assert_false(networks_check("127.0.0.1, x", why));
    assert_string_equal(why, "\"x\" is neither an address nor a network such as 10.0.0.0/8");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_have),
        cmocka_unit_test(test_no_address),
        cmocka_unit_test(test_wrong),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
