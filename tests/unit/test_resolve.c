/* SPDX-License-Identifier: ISC */
/* The resolver against a small name server on the same loop. The clock is faked, so that TTLs
 * pass at once. */
#include "pool/resolve.h"

#include "daemon/util/loop.h"

#include <setjmp.h>
#include <stdarg.h>

#include <arpa/inet.h>
#include <arpa/nameser.h>
#include <cmocka.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#define START_US (1000 * USEC_PER_SEC)
#define GUARD_US (5 * USEC_PER_SEC)

static struct loop *loop;

/* -- the name server -- */

struct record {
    const char *name;
    const char *a[4];
    const char *aaaa;
    uint32_t ttl_s;
};

static struct {
    struct loop_io io;
    uint16_t port;
    struct record records[3];
    bool silent;
    bool broken; /* SERVFAIL */
    uint32_t serial;
    unsigned n_queries; /* of type A */
    unsigned n_soa;
} dns;

static void put16(uint8_t **at, unsigned v)
{
    *(*at)++ = (uint8_t)(v >> 8);
    *(*at)++ = (uint8_t)v;
}

static void put32(uint8_t **at, uint32_t v)
{
    put16(at, v >> 16);
    put16(at, v & 0xffff);
}

static void put_answer(uint8_t **at, unsigned type, uint32_t ttl_s, const void *data, unsigned len)
{
    put16(at, 0xc00c); /* the question's name */
    put16(at, type);
    put16(at, C_IN);
    put32(at, ttl_s);
    put16(at, len);
    memcpy(*at, data, len);
    *at += len;
}

static unsigned put_record(uint8_t **at, const struct record *r, unsigned type)
{
    uint8_t bytes[16];
    unsigned n = 0;

    for (unsigned i = 0; type == T_A && i < 4 && r->a[i] != NULL; i++, n++) {
        inet_pton(AF_INET, r->a[i], bytes);
        put_answer(at, type, r->ttl_s, bytes, 4);
    }
    if (type == T_AAAA && r->aaaa != NULL) {
        inet_pton(AF_INET6, r->aaaa, bytes);
        put_answer(at, type, r->ttl_s, bytes, 16);
        n++;
    }
    return n;
}

static unsigned put_soa(uint8_t **at)
{
    uint8_t data[64];
    uint8_t *end = data;

    memcpy(end,
           "\x02ns\x00\x05"
           "admin\x00",
           11);
    end += 11;
    put32(&end, dns.serial);
    for (unsigned i = 0; i < 4; i++) {
        put32(&end, 300);
    }
    put_answer(at, T_SOA, 300, data, (unsigned)(end - data));
    return 1;
}

static void on_query(struct loop_io *io, unsigned events)
{
    uint8_t packet[1500];
    char name[256] = "";
    struct sockaddr_storage peer;
    socklen_t peer_len = sizeof(peer);
    ssize_t len = recvfrom(loop_io_fd(io), packet, 512, 0, (struct sockaddr *)&peer, &peer_len);
    uint8_t *at = packet + 12;
    size_t used = 0;
    const struct record *found = NULL;
    unsigned n = 0;
    unsigned type;

    (void)events;
    assert_true(len > 12);
    while (*at != 0) {
        used += (size_t)snprintf(name + used, sizeof(name) - used, "%s%.*s", used > 0 ? "." : "",
                                 (int)*at, (const char *)at + 1);
        assert_true(used < sizeof(name));
        at += 1 + *at;
    }
    type = (unsigned)at[1] << 8 | at[2];
    at += 5;
    dns.n_queries += type == T_A;
    dns.n_soa += type == T_SOA;
    if (dns.silent) {
        return;
    }
    for (unsigned i = 0; i < ARRAY_LEN(dns.records); i++) {
        if (dns.records[i].name != NULL && strcmp(dns.records[i].name, name) == 0) {
            found = &dns.records[i];
        }
    }
    if (type == T_SOA) {
        n = put_soa(&at);
    } else if (found != NULL && !dns.broken) {
        n = put_record(&at, found, type);
    }
    packet[2] = 0x81;
    packet[3] = dns.broken ? 0x82 : found == NULL && type != T_SOA ? 0x83 : 0x80;
    packet[7] = (uint8_t)n;
    memset(packet + 8, 0, 4);
    (void)!sendto(loop_io_fd(io), packet, (size_t)(at - packet), 0, (struct sockaddr *)&peer,
                  peer_len);
}

static void dns_start(void)
{
    struct sockaddr_in in = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t len = sizeof(in);
    int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);

    assert_int_equal(bind(fd, (struct sockaddr *)&in, sizeof(in)), 0);
    assert_int_equal(getsockname(fd, (struct sockaddr *)&in, &len), 0);
    dns.port = ntohs(in.sin_port);
    loop_io_init(&dns.io, fd, on_query);
    loop_io_want(loop, &dns.io, LOOP_READ);
}

static void dns_stop(void)
{
    loop_io_stop(loop, &dns.io);
    close(loop_io_fd(&dns.io));
}

/* Two hosts in one zone, one outside of any. */
static void dns_reset(void)
{
    dns.records[0] = (struct record){
        .name = "db.shop.test", .a = {"10.0.0.1", "10.0.0.2"}, .aaaa = "fd00::1", .ttl_s = 5};
    dns.records[1] = (struct record){.name = "replica.shop.test", .a = {"10.0.0.9"}, .ttl_s = 3600};
    dns.records[2] = (struct record){.name = "bare", .a = {"10.0.1.1"}, .ttl_s = 0};
    dns.silent = false;
    dns.broken = false;
    dns.serial = 2026;
    dns.n_queries = 0;
    dns.n_soa = 0;
}

/* -- asking -- */

struct question {
    struct resolve_request req;
    bool done;
    enum resolve_status status;
    bool changed;
    uint32_t version;
    unsigned n;
    char addrs[256];
    char error[64];
};

static unsigned n_waited_for;
static unsigned n_changes;
static char changed_name[256];
static char changed_to[256];

static void list_addrs(const struct resolve_answer *answer, char *ret, size_t size)
{
    ret[0] = '\0';
    for (unsigned i = 0; i < answer->n_addrs; i++) {
        size_t len = strlen(ret);

        (void)snprintf(ret + len, size - len, "%s%s", i > 0 ? " " : "", answer->addrs[i].text);
    }
}

static void on_answer(struct resolve_request *req, const struct resolve_answer *answer)
{
    struct question *q = container_of(req, struct question, req);

    assert_false(q->done);
    q->done = true;
    q->status = answer->status;
    q->changed = answer->changed;
    q->version = answer->version;
    q->n = answer->n_addrs;
    list_addrs(answer, q->addrs, sizeof(q->addrs));
    (void)snprintf(q->error, sizeof(q->error), "%s", answer->error != NULL ? answer->error : "");
    if (--n_waited_for == 0) {
        loop_stop(loop);
    }
}

static void on_changed(void *owner, const char *name, const struct resolve_answer *answer)
{
    assert_ptr_equal(owner, &dns);
    n_changes++;
    (void)snprintf(changed_name, sizeof(changed_name), "%s", name);
    list_addrs(answer, changed_to, sizeof(changed_to));
    if (n_waited_for == 0) {
        loop_stop(loop);
    }
}

static void on_guard(struct loop_timer *timer)
{
    (void)timer;
    loop_stop(loop);
}

static void run(usec_t longest_us)
{
    struct loop_timer guard;

    loop_timer_init(&guard, on_guard);
    loop_timer_set(loop, &guard, longest_us);
    loop_run(loop);
    loop_timer_stop(loop, &guard);
}

static void ask(struct resolver *r, struct question *q, const char *name)
{
    memset(q, 0, sizeof(*q));
    n_waited_for++;
    resolve_request(r, &q->req, name, on_answer);
    assert_false(q->done);
    assert_true(resolve_is_pending(&q->req));
}

static void ask_and_wait(struct resolver *r, struct question *q, const char *name)
{
    ask(r, q, name);
    run(GUARD_US);
    assert_true(q->done);
    assert_false(resolve_is_pending(&q->req));
}

static struct resolver_settings settings(void)
{
    struct resolver_settings s = {.dns_max_ttl_us = 15 * USEC_PER_SEC,
                                  .dns_nxdomain_ttl_us = 10 * USEC_PER_SEC,
                                  .server = "127.0.0.1",
                                  .server_port = dns.port};

    return s;
}

static struct resolver *fresh(const struct resolver_settings *s)
{
    struct resolver *r;

    dns_reset();
    n_waited_for = 0;
    n_changes = 0;
    clock_fake(START_US);
    r = resolver_new(loop, s, on_changed, &dns);
    assert_non_null(r);
    return r;
}

/* The order among addresses is RFC 6724's and depends on the machine's routes. */
static void assert_has(const char *addrs, const char *addr)
{
    if (strstr(addrs, addr) == NULL) {
        fail_msg("\"%s\" lacks %s", addrs, addr);
    }
}

static void test_names_that_need_no_server(void **state)
{
    static const struct {
        const char *name;
        enum resolve_status status;
        const char *addrs; /* NULL: any */
    } cases[] = {
        {"127.0.0.1", RESOLVE_OK, "127.0.0.1"},   {"::1", RESOLVE_OK, "::1"},
        {"fe80::1%lo", RESOLVE_OK, "fe80::1%lo"}, {"localhost", RESOLVE_OK, NULL},
        {"LOCALHOST", RESOLVE_OK, NULL},          {"", RESOLVE_FAILED, ""},
    };
    struct resolver_settings s = settings();
    struct resolver *r = fresh(&s);
    char long_name[400];
    struct question q;

    (void)state;
    for (unsigned i = 0; i < ARRAY_LEN(cases); i++) {
        ask_and_wait(r, &q, cases[i].name);
        if (q.status != cases[i].status ||
            (cases[i].addrs != NULL && strcmp(q.addrs, cases[i].addrs) != 0)) {
            fail_msg("%s: %d \"%s\"", cases[i].name, q.status, q.addrs);
        }
    }
    memset(long_name, 'x', sizeof(long_name));
    long_name[sizeof(long_name) - 1] = '\0';
    ask_and_wait(r, &q, long_name);
    assert_int_equal(q.status, RESOLVE_FAILED);
    assert_int_equal(dns.n_queries, 0);
    assert_int_equal(resolver_count_hosts(r), 1); /* localhost, whatever its case */
    assert_true(resolve_is_numeric("10.0.0.1"));
    assert_true(resolve_is_numeric("fd00::1"));
    assert_false(resolve_is_numeric("10.0.0"));
    assert_false(resolve_is_numeric("db.shop.test"));
    assert_false(resolve_is_numeric(""));
    resolver_free(r);
}

static void test_both_families_and_shared_lookups(void **state)
{
    struct resolver_settings s = settings();
    struct resolver *r = fresh(&s);
    struct question q[3];

    (void)state;
    ask(r, &q[0], "db.shop.test");
    ask(r, &q[1], "DB.shop.test");
    ask(r, &q[2], "db.shop.test");
    assert_int_equal(resolver_count_pending(r), 1);
    run(GUARD_US);
    for (unsigned i = 0; i < 3; i++) {
        assert_true(q[i].done);
        assert_int_equal(q[i].status, RESOLVE_OK);
        assert_int_equal(q[i].n, 3);
        assert_has(q[i].addrs, "10.0.0.1");
        assert_has(q[i].addrs, "10.0.0.2");
        assert_has(q[i].addrs, "fd00::1");
        assert_false(q[i].changed);
    }
    assert_int_equal(dns.n_queries, 1);
    assert_int_equal(resolver_count_pending(r), 0);
    resolver_free(r);
}

static void test_ttl(void **state)
{
    static const struct {
        const char *name;
        usec_t max_ttl_us;
        usec_t kept_us; /* a look-up is due after so long */
    } cases[] = {
        {"db.shop.test", 15 * USEC_PER_SEC, 5 * USEC_PER_SEC},       /* its own TTL */
        {"replica.shop.test", 15 * USEC_PER_SEC, 15 * USEC_PER_SEC}, /* capped */
        {"bare", 15 * USEC_PER_SEC, 1 * USEC_PER_SEC},               /* TTL 0 */
        {"missing.test", 15 * USEC_PER_SEC, 10 * USEC_PER_SEC},      /* negative */
        {"replica.shop.test", 0, 0},
    };

    (void)state;
    for (unsigned i = 0; i < ARRAY_LEN(cases); i++) {
        struct resolver_settings s = settings();
        struct resolver *r;
        struct question q;

        s.dns_max_ttl_us = cases[i].max_ttl_us;
        r = fresh(&s);
        ask_and_wait(r, &q, cases[i].name);
        assert_int_equal(dns.n_queries, 1);
        if (cases[i].kept_us > 0) {
            clock_fake(START_US + cases[i].kept_us - 1);
            ask_and_wait(r, &q, cases[i].name);
            assert_int_equal(dns.n_queries, 1);
        }
        clock_fake(START_US + cases[i].kept_us);
        ask_and_wait(r, &q, cases[i].name);
        assert_int_equal(dns.n_queries, 2);
        resolver_free(r);
    }
}

static void test_a_moved_host_is_told(void **state)
{
    struct resolver_settings s = settings();
    struct resolver *r = fresh(&s);
    uint32_t version;
    struct question q;

    (void)state;
    ask_and_wait(r, &q, "db.shop.test");
    version = q.version;
    dns.records[0].a[0] = "10.0.0.2"; /* the same set in another order */
    dns.records[0].a[1] = "10.0.0.1";
    clock_fake(START_US + 6 * USEC_PER_SEC);
    ask_and_wait(r, &q, "db.shop.test");
    assert_false(q.changed);
    assert_int_equal(q.version, version);
    dns.records[0].a[1] = "10.0.0.3";
    clock_fake(START_US + 12 * USEC_PER_SEC);
    ask_and_wait(r, &q, "db.shop.test");
    assert_true(q.changed);
    assert_true(q.version != version);
    assert_has(q.addrs, "10.0.0.3");
    assert_int_equal(n_changes, 1);
    assert_string_equal(changed_name, "db.shop.test");
    assert_string_equal(changed_to, q.addrs);
    ask_and_wait(r, &q, "db.shop.test"); /* from the cache */
    assert_false(q.changed);
    resolver_free(r);
}

static void test_failures(void **state)
{
    struct resolver_settings s = settings();
    struct resolver *r = fresh(&s);
    struct question q;

    (void)state;
    ask_and_wait(r, &q, "missing.test");
    assert_int_equal(q.status, RESOLVE_NOT_FOUND);
    assert_string_not_equal(q.error, "");
    dns.silent = true;
    ask_and_wait(r, &q, "replica.shop.test");
    assert_int_equal(q.status, RESOLVE_FAILED);
    dns.silent = false;
    clock_fake(START_US + 20 * USEC_PER_SEC);
    ask_and_wait(r, &q, "replica.shop.test");
    assert_int_equal(q.status, RESOLVE_OK);
    dns.broken = true; /* name server trouble: the last known addresses stay */
    clock_fake(START_US + 60 * USEC_PER_SEC);
    ask_and_wait(r, &q, "replica.shop.test");
    assert_int_equal(q.status, RESOLVE_OK);
    assert_string_equal(q.addrs, "10.0.0.9");
    dns.broken = false;
    dns.records[1].name = NULL; /* really gone */
    clock_fake(START_US + 120 * USEC_PER_SEC);
    ask_and_wait(r, &q, "replica.shop.test");
    assert_int_equal(q.status, RESOLVE_NOT_FOUND);
    assert_int_equal(q.n, 0);
    dns.records[1].name = "replica.shop.test"; /* back where it was: no change */
    clock_fake(START_US + 180 * USEC_PER_SEC);
    ask_and_wait(r, &q, "replica.shop.test");
    assert_int_equal(q.status, RESOLVE_OK);
    assert_int_equal(n_changes, 0);
    resolver_free(r);
}

static void test_cancel(void **state)
{
    struct resolver_settings s = settings();
    struct resolver *r = fresh(&s);
    struct question kept;
    struct question gone[3];

    (void)state;
    ask(r, &gone[0], "db.shop.test"); /* waits for a look-up */
    ask(r, &kept, "db.shop.test");
    ask(r, &gone[1], "10.0.0.1"); /* its answer is known */
    ask(r, &gone[2], "localhost");
    for (unsigned i = 0; i < 3; i++) {
        resolve_cancel(r, &gone[i].req);
        assert_false(resolve_is_pending(&gone[i].req));
        resolve_cancel(r, &gone[i].req);
        n_waited_for--;
    }
    run(GUARD_US);
    assert_true(kept.done);
    for (unsigned i = 0; i < 3; i++) {
        assert_false(gone[i].done);
    }
    dns.silent = true;
    ask(r, &gone[0], "replica.shop.test");
    resolve_cancel(r, &gone[0].req);
    resolver_free(r); /* with the look-up still under way */
}

static struct question again;
static struct resolver *asks_again;

static void ask_once_more(struct resolve_request *req, const struct resolve_answer *answer)
{
    assert_int_equal(answer->status, RESOLVE_OK);
    resolve_request(asks_again, req, "db.shop.test", on_answer); /* from its own callback */
}

static void test_asking_from_a_callback(void **state)
{
    struct resolver_settings s = settings();

    (void)state;
    asks_again = fresh(&s);
    memset(&again, 0, sizeof(again));
    n_waited_for = 1;
    resolve_request(asks_again, &again.req, "127.0.0.1", ask_once_more);
    run(GUARD_US);
    assert_true(again.done);
    assert_int_equal(again.n, 3);
    asks_again = resolver_free(asks_again);
}

static void keep_zone(void *arg, const struct resolve_zone_info *zone)
{
    struct resolve_zone_info *kept = arg;

    if (strcmp(zone->name, "shop.test") == 0) {
        *kept = *zone;
        kept->name = NULL;
    }
}

static void test_zone_serial(void **state)
{
    struct resolver_settings s = settings();
    struct resolve_zone_info zone = {.serial = 0};
    struct resolver *r;
    struct question q;

    (void)state;
    s.dns_max_ttl_us = 3600 * USEC_PER_SEC;
    s.dns_zone_check_period_us = 30 * USEC_PER_MSEC;
    r = fresh(&s);
    dns.records[0].ttl_s = 3600;
    ask_and_wait(r, &q, "bare");
    ask_and_wait(r, &q, "replica.shop.test");
    ask_and_wait(r, &q, "db.shop.test");
    assert_int_equal(resolver_count_zones(r), 1);
    dns.n_queries = 0;
    run(200 * USEC_PER_MSEC);
    assert_true(dns.n_soa >= 2);
    assert_int_equal(dns.n_queries, 0); /* the serial stays: nothing is asked */
    resolver_each_zone(r, keep_zone, &zone);
    assert_int_equal(zone.serial, 2026);
    assert_int_equal(zone.n_hosts, 2);
    dns.records[0].a[0] = "10.0.0.77";
    dns.serial = 2027;
    run(GUARD_US); /* until on_changed */
    assert_int_equal(n_changes, 1);
    assert_string_equal(changed_name, "db.shop.test");
    assert_has(changed_to, "10.0.0.77");
    assert_int_equal(dns.n_queries, 2); /* both hosts of the zone, not "bare" */
    s.dns_zone_check_period_us = 0;
    assert_int_equal(resolver_set(r, &s), 0);
    dns.n_soa = 0;
    run(100 * USEC_PER_MSEC);
    assert_int_equal(dns.n_soa, 0);
    resolver_free(r);
}

static void test_new_settings_under_way(void **state)
{
    struct resolver_settings s = settings();
    struct resolver *r = fresh(&s);
    struct question q;

    (void)state;
    dns.silent = true;
    ask(r, &q, "db.shop.test");
    run(20 * USEC_PER_MSEC);
    assert_false(q.done);
    dns.silent = false;
    assert_int_equal(resolver_set(r, &s), 0); /* asks again */
    assert_int_equal(resolver_count_pending(r), 1);
    run(GUARD_US);
    assert_true(q.done);
    assert_int_equal(q.status, RESOLVE_OK);
    resolver_free(r);
}

static void test_resolv_conf(void **state)
{
    char path[] = "/tmp/pgpoold-resolv-XXXXXX";
    struct resolver_settings s = settings();
    static const char text[] = "nameserver 127.0.0.1\noptions timeout:1 attempts:1\n";
    int fd = mkstemp(path);
    struct resolver *r;
    struct question q;

    (void)state;
    assert_int_equal(write(fd, text, sizeof(text) - 1), sizeof(text) - 1);
    close(fd);
    s.server = NULL;
    s.resolv_conf = path;
    r = fresh(&s);
    ask_and_wait(r, &q, "localhost");
    assert_int_equal(q.status, RESOLVE_OK);
    s.resolv_conf = "/nonexistent/resolv.conf";
    assert_int_equal(resolver_set(r, &s), 0);
    ask_and_wait(r, &q, "127.0.0.1");
    assert_int_equal(q.status, RESOLVE_OK);
    resolver_free(r);
    unlink(path);
}

struct seen {
    unsigned n;
    uint64_t ttl_s;
    char addrs[256];
};

static void keep_host(void *arg, const struct resolve_host_info *host)
{
    struct resolve_answer answer = {.addrs = host->addrs, .n_addrs = host->n_addrs};
    struct seen *seen = arg;

    seen->n++;
    seen->ttl_s = host->ttl_s;
    list_addrs(&answer, seen->addrs, sizeof(seen->addrs));
}

static void test_show_hosts(void **state)
{
    struct resolver_settings s = settings();
    struct resolver *r = fresh(&s);
    struct seen seen = {.n = 0};
    struct question q;

    (void)state;
    ask_and_wait(r, &q, "replica.shop.test");
    clock_fake(START_US + 4 * USEC_PER_SEC);
    resolver_each_host(r, keep_host, &seen);
    assert_int_equal(seen.n, 1);
    assert_int_equal(seen.ttl_s, 11);
    assert_string_equal(seen.addrs, "10.0.0.9");
    clock_fake(START_US + 40 * USEC_PER_SEC);
    resolver_each_host(r, keep_host, &seen);
    assert_int_equal(seen.ttl_s, 0);
    resolver_free(r);
}

/* Peers may cause names (a host in an auto-database is the operator's, but still): the cache is
 * bounded. */
static void test_the_cache_is_bounded(void **state)
{
    struct resolver_settings s = settings();
    struct resolver *r = fresh(&s);
    struct question *many = calloc(RESOLVE_MAX_NAMES, sizeof(*many));
    struct question q;
    char name[32];

    (void)state;
    dns.silent = true;
    for (unsigned i = 0; i < RESOLVE_MAX_NAMES; i++) {
        (void)snprintf(name, sizeof(name), "h%u.z%u.test", i, i % 7);
        ask(r, &many[i], name);
    }
    ask(r, &q, "one.too.many"); /* nothing can be thrown out */
    assert_int_equal(resolver_count_hosts(r), RESOLVE_MAX_NAMES);
    assert_int_equal(resolver_count_zones(r), 7);
    n_waited_for = 1;
    run(GUARD_US);
    assert_true(q.done);
    assert_int_equal(q.status, RESOLVE_FAILED);
    for (unsigned i = 0; i < RESOLVE_MAX_NAMES; i++) {
        resolve_cancel(r, &many[i].req);
    }
    resolver_free(r);
    free(many);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_names_that_need_no_server),
        cmocka_unit_test(test_both_families_and_shared_lookups),
        cmocka_unit_test(test_ttl),
        cmocka_unit_test(test_a_moved_host_is_told),
        cmocka_unit_test(test_failures),
        cmocka_unit_test(test_cancel),
        cmocka_unit_test(test_asking_from_a_callback),
        cmocka_unit_test(test_zone_serial),
        cmocka_unit_test(test_new_settings_under_way),
        cmocka_unit_test(test_resolv_conf),
        cmocka_unit_test(test_show_hosts),
        cmocka_unit_test(test_the_cache_is_bounded),
    };
    int failed;

    clock_fake(START_US);
    if (resolve_global_init() != 0) {
        return 1;
    }
    loop = loop_new();
    dns_start();
    failed = cmocka_run_group_tests_name("resolve", tests, NULL, NULL);
    dns_stop();
    loop = loop_free(loop);
    resolve_global_done();
    return failed;
}
