/* SPDX-License-Identifier: ISC */
/* Everything that is told to others waits for the end of the turn (on_deliver): c-ares may
 * answer from inside the call that asks (hosts file), and its callbacks are no place to run
 * other people's code from. */
#include "pool/resolve.h"

#include "daemon/util/fatal.h"
#include "daemon/util/hash.h"
#include "daemon/util/loop.h"
#include "pool/resolve_addr.h"
#include "pool/resolve_conf.h"

#include <ares.h>
#include <arpa/nameser.h>
#include <ctype.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define NAME_MAX_BYTES 255
/* What a resolv.conf of today means, whatever version of c-ares this is: each try waits twice as long as the one
 * before. With one silent server 14 s in all, which is less than a server_connect_timeout. */
#define TIMEOUT_MS 2000
#define TRIES 3
#define TEST_TIMEOUT_MS 200
#define TEST_TRIES 2

struct resolve_zone {
    struct list_node link;
    struct resolver *resolver;
    unsigned n_hosts;
    uint32_t serial;
    bool has_serial;
    bool looking;
    char name[];
};

struct resolve_host {
    UT_hash_handle hh;
    struct list_node lru;     /* in resolver.lru, last used at the tail */
    struct list_node changed; /* in resolver.changed_hosts */
    struct list waiting;      /* requests for the look-up under way */
    struct loop_timer stale;  /* ends their patience where an old answer will do */
    struct resolver *resolver;
    struct resolve_zone *zone;  /* NULL: a name without a dot */
    struct resolve_addr *addrs; /* of the last success, kept over failures to compare with; owned */
    unsigned n_addrs;
    unsigned n_requests; /* waiting or ready: it must stay */
    uint32_t version;
    usec_t expires_us;
    const char *error; /* static */
    enum resolve_status status;
    bool known; /* the fields above mean something */
    bool looking;
    char name[];
};

struct watch {
    struct list_node link;
    struct resolver *resolver;
    struct loop_io io;
};

struct resolver {
    struct loop *loop;
    resolve_changed_fn changed;
    void *owner;
    ares_channel channel;
    usec_t max_ttl_us;
    usec_t nxdomain_ttl_us;
    usec_t zone_period_us;
    struct resolve_host *hosts;
    struct list lru;
    struct list zones;
    struct list watches;
    struct list ready; /* requests whose answer is known */
    struct list changed_hosts;
    unsigned n_looking;
    struct loop_timer timer;
    struct loop_timer zone_timer;
    struct loop_deferred deliver;
};

int resolve_global_init(void)
{
    return ares_library_init(ARES_LIB_INIT_ALL) == ARES_SUCCESS ? 0 : -ENOMEM;
}

void resolve_global_done(void)
{
    ares_library_cleanup();
}

/* -- telling -- */

static void fill_answer(const struct resolve_host *h, bool changed, struct resolve_answer *ret)
{
    *ret = (struct resolve_answer){.status = h->status, .changed = changed, .version = h->version};
    if (h->status == RESOLVE_OK) {
        ret->addrs = h->addrs;
        ret->n_addrs = h->n_addrs;
    } else {
        ret->error = h->error;
    }
}

static void tell_request(struct resolver *r, struct resolve_request *req)
{
    struct resolve_host *h = take_ptr(req->host);
    struct resolve_answer answer = {.status = RESOLVE_OK, .addrs = &req->numeric, .n_addrs = 1};
    struct resolve_addr numeric;

    list_remove(&r->ready, &req->link);
    req->in = NULL;
    if (h != NULL) {
        fill_answer(h, req->changed, &answer);
        req->fn(req, &answer); /* may ask again, or free @req; @h stays, it is still counted */
        h->n_requests--;
        return;
    }
    if (req->bad_name) {
        answer = (struct resolve_answer){.status = RESOLVE_FAILED,
                                         .error = "bad host name, or too many names"};
    } else {
        numeric = req->numeric;
        answer.addrs = &numeric;
    }
    req->fn(req, &answer);
}

static void on_deliver(struct loop_deferred *work)
{
    struct resolver *r = container_of(work, struct resolver, deliver);
    struct list_node *node;

    while ((node = list_first(&r->changed_hosts)) != NULL) {
        struct resolve_host *h = list_entry(node, struct resolve_host, changed);
        struct resolve_answer answer;

        list_remove(&r->changed_hosts, node);
        fill_answer(h, true, &answer);
        h->n_requests++; /* stays during the call */
        r->changed(r->owner, h->name, &answer);
        h->n_requests--;
    }
    while ((node = list_first(&r->ready)) != NULL) {
        tell_request(r, list_entry(node, struct resolve_request, link));
    }
}

static void make_ready(struct resolver *r, struct resolve_request *req)
{
    req->in = &r->ready;
    list_add_tail(&r->ready, &req->link);
    loop_defer(r->loop, &r->deliver, on_deliver);
}

/* -- c-ares on the loop -- */

static void arm_timer(struct resolver *r)
{
    struct timeval tv;

    if (r->channel == NULL || ares_timeout(r->channel, NULL, &tv) == NULL) {
        loop_timer_stop(r->loop, &r->timer);
        return;
    }
    loop_timer_set(r->loop, &r->timer,
                   (usec_t)tv.tv_sec * USEC_PER_SEC + (usec_t)tv.tv_usec + USEC_PER_MSEC);
}

static void on_timer(struct loop_timer *timer)
{
    struct resolver *r = container_of(timer, struct resolver, timer);

    ares_process_fd(r->channel, ARES_SOCKET_BAD, ARES_SOCKET_BAD);
    arm_timer(r);
}

static void on_socket(struct loop_io *io, unsigned events)
{
    struct watch *w = container_of(io, struct watch, io);
    struct resolver *r = w->resolver;
    int fd = loop_io_fd(io);

    /* c-ares may close the socket in here, which frees @w */
    ares_process_fd(r->channel, (events & LOOP_READ) != 0 ? fd : ARES_SOCKET_BAD,
                    (events & LOOP_WRITE) != 0 ? fd : ARES_SOCKET_BAD);
    arm_timer(r);
}

static struct watch *watch_find(struct resolver *r, int fd)
{
    struct watch *w;

    list_for_each(&r->watches, w, link) {
        if (loop_io_fd(&w->io) == fd) {
            return w;
        }
    }
    return NULL;
}

/* c-ares: what it wants to know of @fd from now on; nothing at all before it closes it. */
static void on_socket_state(void *arg, ares_socket_t fd, int readable, int writable)
{
    struct resolver *r = arg;
    struct watch *w = watch_find(r, fd);

    if (readable == 0 && writable == 0) {
        if (w != NULL) {
            loop_io_stop(r->loop, &w->io);
            list_remove(&r->watches, &w->link);
            free(w);
        }
        return;
    }
    if (w == NULL) {
        w = calloc(1, sizeof(*w));
        if (w == NULL) {
            return; /* this query will time out */
        }
        w->resolver = r;
        loop_io_init(&w->io, fd, on_socket);
        list_add_tail(&r->watches, &w->link);
    }
    loop_io_want(r->loop, &w->io,
                 (readable != 0 ? LOOP_READ : 0U) | (writable != 0 ? LOOP_WRITE : 0U));
}

/* Name servers with ports: a test's own, or those of a resolv.conf that names some. */
static int set_servers(ares_channel channel, const struct resolver_settings *s)
{
    struct buf csv = BUF_INIT(RESOLVE_CONF_MAX_SERVERS * 64);
    int rc = ARES_SUCCESS;

    if (s->server != NULL) {
        (void)buf_append_fmt(&csv, "%s:%u", s->server, s->server_port); /* it fits */
    } else if (s->resolv_conf != NULL && s->resolv_conf[0] != '\0') {
        resolve_conf_read(s->resolv_conf, &csv);
    }
    if (csv.len > 0) {
        rc = buf_ok(&csv) ? ares_set_servers_ports_csv(channel, buf_cstr(&csv)) : ARES_ENOMEM;
    }
    buf_done(&csv);
    return rc;
}

static int errno_of(int ares_status)
{
    return ares_status == ARES_SUCCESS ? 0 : ares_status == ARES_ENOMEM ? -ENOMEM : -EINVAL;
}

static int open_channel(struct resolver *r, const struct resolver_settings *s, ares_channel *ret)
{
    struct ares_options options = {.sock_state_cb = on_socket_state, .sock_state_cb_data = r};
    int mask = ARES_OPT_SOCK_STATE_CB | ARES_OPT_LOOKUPS | ARES_OPT_TIMEOUTMS | ARES_OPT_TRIES;
    char lookups[] =
        "fb"; /* the hosts file, then DNS, whatever nsswitch.conf says: nothing else can be asked */
    char *path = NULL;
    int rc;

    options.lookups = lookups;
    if (s->resolv_conf != NULL && s->resolv_conf[0] != '\0') {
        path = strdup(s->resolv_conf);
        if (path == NULL) {
            return -ENOMEM;
        }
        options.resolvconf_path = path;
        mask |= ARES_OPT_RESOLVCONF;
    }
    options.timeout = s->server != NULL ? TEST_TIMEOUT_MS : TIMEOUT_MS;
    options.tries = s->server != NULL ? TEST_TRIES : TRIES;
    rc = ares_init_options(ret, &options, mask);
    free(path);
    if (rc != ARES_SUCCESS) {
        return errno_of(rc);
    }
    rc = set_servers(*ret, s);
    if (rc != ARES_SUCCESS) {
        ares_destroy(*ret);
    }
    return errno_of(rc);
}

/* -- hosts -- */

static void set_failure(struct resolve_host *h, int ares_status)
{
    bool not_found = ares_status == ARES_ENOTFOUND || ares_status == ARES_ENODATA ||
                     ares_status == ARES_ENONAME || ares_status == ARES_EBADNAME ||
                     ares_status == ARES_SUCCESS;

    h->expires_us = clock_now_us() + h->resolver->nxdomain_ttl_us;
    if (!not_found && h->known && h->status == RESOLVE_OK) {
        return; /* the name servers have trouble: the last known addresses are better than none */
    }
    h->status = not_found ? RESOLVE_NOT_FOUND : RESOLVE_FAILED;
    h->error = ares_strerror(ares_status == ARES_SUCCESS ? ARES_ENODATA : ares_status);
    h->known = true;
}

/* Returns whether the set differs from that of the last success. */
static bool set_addrs(struct resolve_host *h, const struct resolve_addr *addrs, unsigned n,
                      usec_t ttl_us)
{
    struct resolver *r = h->resolver;
    bool first = h->addrs == NULL;
    bool same = !first && n == h->n_addrs && resolve_addrs_equal(addrs, h->addrs, n);
    struct resolve_addr *copy = malloc(n * sizeof(*addrs));

    if (copy == NULL) {
        set_failure(h, ARES_ENOMEM);
        return false;
    }
    memcpy(copy, addrs, n * sizeof(*addrs));
    free(h->addrs);
    h->addrs = copy;
    h->n_addrs = n;
    h->status = RESOLVE_OK;
    h->known = true;
    h->expires_us = clock_now_us() + MIN(ttl_us, r->max_ttl_us);
    if (!same) {
        h->version++;
    }
    return !same && !first;
}

static void answer_waiting(struct resolve_host *h, bool changed)
{
    struct list_node *node;

    while ((node = list_first(&h->waiting)) != NULL) {
        struct resolve_request *req = list_entry(node, struct resolve_request, link);

        list_remove(&h->waiting, node);
        req->changed = changed;
        make_ready(h->resolver, req);
    }
}

/* The look-up goes on; what it finds is for the next ones. */
static void on_stale(struct loop_timer *timer)
{
    answer_waiting(container_of(timer, struct resolve_host, stale), false);
}

static void on_addrs(void *arg, int status, int timeouts, struct ares_addrinfo *info)
{
    struct resolve_host *h = arg;
    struct resolver *r = h->resolver;
    struct resolve_addr addrs[RESOLVE_MAX_ADDRS];
    bool changed = false;
    usec_t ttl_us;
    unsigned n = 0;

    (void)timeouts;
    if (status == ARES_EDESTRUCTION) {
        return; /* resolver_set() asks again, resolver_free() frees; @info is NULL */
    }
    if (status == ARES_SUCCESS) {
        n = resolve_addrs_collect(info, addrs, &ttl_us);
    }
    ares_freeaddrinfo(info);
    h->looking = false;
    r->n_looking--;
    loop_timer_stop(r->loop, &h->stale);
    if (n > 0) {
        changed = set_addrs(h, addrs, n, ttl_us);
    } else {
        set_failure(h, status);
    }
    if (changed && r->changed != NULL && !list_node_is_linked(&h->changed)) {
        list_add_tail(&r->changed_hosts, &h->changed);
        loop_defer(r->loop, &r->deliver, on_deliver);
    }
    answer_waiting(h, changed);
}

static void ask(struct resolve_host *h)
{
    const struct ares_addrinfo_hints hints = {.ai_family = AF_UNSPEC, .ai_socktype = SOCK_STREAM};

    ares_getaddrinfo(h->resolver->channel, h->name, NULL, &hints, on_addrs, h);
}

static void look_up(struct resolve_host *h)
{
    if (!h->looking) {
        h->looking = true;
        h->resolver->n_looking++;
        if (h->known && h->status == RESOLVE_OK) {
            loop_timer_set(h->resolver->loop, &h->stale, RESOLVE_STALE_US);
        }
        ask(h);
        arm_timer(h->resolver);
    }
}

static struct resolve_zone *zone_free(struct resolve_zone *z)
{
    list_remove(&z->resolver->zones, &z->link);
    free(z);
    return NULL;
}

static void zone_leave(struct resolve_zone *z)
{
    z->n_hosts--;
    if (z->n_hosts == 0 && !z->looking) {
        (void)zone_free(z); /* returns NULL by custom */
    }
}

/* What follows the first dot. NULL: no such part, or no memory; then the name has no zone
 * checks. */
static struct resolve_zone *zone_enter(struct resolver *r, const char *host_name)
{
    const char *dot = strchr(host_name, '.');
    struct resolve_zone *z;
    size_t size;

    if (dot == NULL || dot[1] == '\0') {
        return NULL;
    }
    list_for_each(&r->zones, z, link) {
        if (strcmp(z->name, dot + 1) == 0) {
            z->n_hosts++;
            return z;
        }
    }
    size = strlen(dot + 1) + 1;
    z = calloc(1, sizeof(*z) + size);
    if (z == NULL) {
        return NULL;
    }
    memcpy(z->name, dot + 1, size);
    z->resolver = r;
    z->n_hosts = 1;
    list_add_tail(&r->zones, &z->link);
    return z;
}

static struct resolve_host *host_free(struct resolve_host *h)
{
    struct resolver *r = h->resolver;

    loop_timer_stop(r->loop, &h->stale);
    HASH_DEL(r->hosts, h);
    list_remove(&r->lru, &h->lru);
    if (list_node_is_linked(&h->changed)) {
        list_remove(&r->changed_hosts, &h->changed);
    }
    if (h->zone != NULL) {
        zone_leave(h->zone);
    }
    free(h->addrs);
    free(h);
    return NULL;
}

static bool make_room(struct resolver *r)
{
    struct resolve_host *h;

    if (r->lru.n < RESOLVE_MAX_NAMES) {
        return true;
    }
    list_for_each(&r->lru, h, lru) {
        if (h->n_requests == 0 && !h->looking && !list_node_is_linked(&h->changed)) {
            (void)host_free(h); /* returns NULL by custom */
            return true;
        }
    }
    return false;
}

static struct resolve_host *host_new(struct resolver *r, const char *name, size_t len)
{
    struct resolve_host *h;

    if (!make_room(r)) {
        return NULL;
    }
    h = calloc(1, sizeof(*h) + len + 1);
    if (h == NULL) {
        return NULL;
    }
    memcpy(h->name, name, len);
    h->resolver = r;
    list_init(&h->waiting);
    loop_timer_init(&h->stale, on_stale);
    HASH_ADD_STR(r->hosts, name, h);
    if (h->hh.tbl == NULL) {
        free(h);
        return NULL;
    }
    list_add_tail(&r->lru, &h->lru);
    h->zone = zone_enter(r, h->name);
    return h;
}

/* The entry of @name, made if there is none. NULL: not a name, or no room. */
static struct resolve_host *host_get(struct resolver *r, const char *name)
{
    char key[NAME_MAX_BYTES + 1];
    size_t len = strlen(name);
    struct resolve_host *h;

    if (len == 0 || len > NAME_MAX_BYTES) {
        return NULL;
    }
    for (size_t i = 0; i < len; i++) {
        key[i] = (char)tolower((unsigned char)name[i]);
    }
    key[len] = '\0';
    HASH_FIND(hh, r->hosts, key, len, h);
    if (h == NULL) {
        return host_new(r, key, len);
    }
    list_remove(&r->lru, &h->lru);
    list_add_tail(&r->lru, &h->lru);
    return h;
}

/* -- zones -- */

static void look_up_zone_hosts(const struct resolve_zone *z)
{
    struct resolve_host *h;

    list_for_each(&z->resolver->lru, h, lru) {
        if (h->zone == z) {
            look_up(h);
        }
    }
}

static void on_soa(void *arg, int status, int timeouts, unsigned char *data, int len)
{
    struct resolve_zone *z = arg;
    struct ares_soa_reply *soa = NULL;

    (void)timeouts;
    z->looking = false;
    if (z->n_hosts == 0) {
        (void)zone_free(z); /* returns NULL by custom */
        return;
    }
    if (status != ARES_SUCCESS || ares_parse_soa_reply(data, len, &soa) != ARES_SUCCESS) {
        return; /* no news; the next check asks again */
    }
    if (z->has_serial && z->serial != soa->serial) {
        look_up_zone_hosts(z);
    }
    z->serial = soa->serial;
    z->has_serial = true;
    ares_free_data(soa);
}

static void on_zone_timer(struct loop_timer *timer)
{
    struct resolver *r = container_of(timer, struct resolver, zone_timer);
    struct resolve_zone *z;

    list_for_each(&r->zones, z, link) {
        if (!z->looking) {
            z->looking = true;
            ares_query(r->channel, z->name, C_IN, T_SOA, on_soa, z);
        }
    }
    arm_timer(r);
    loop_timer_set(r->loop, &r->zone_timer, r->zone_period_us);
}

/* -- life -- */

static void apply(struct resolver *r, const struct resolver_settings *s)
{
    usec_t now_us = clock_now_us();
    struct resolve_host *h;

    r->max_ttl_us = s->dns_max_ttl_us;
    r->nxdomain_ttl_us = s->dns_nxdomain_ttl_us;
    list_for_each(&r->lru, h, lru) { /* shorter times hold for what is known already */
        usec_t most_us = h->status == RESOLVE_OK ? r->max_ttl_us : r->nxdomain_ttl_us;

        h->expires_us = MIN(h->expires_us, now_us + most_us);
    }
    if (r->zone_period_us != s->dns_zone_check_period_us) {
        r->zone_period_us = s->dns_zone_check_period_us;
        loop_timer_stop(r->loop, &r->zone_timer);
        if (r->zone_period_us > 0) {
            loop_timer_set(r->loop, &r->zone_timer, r->zone_period_us);
        }
    }
}

struct resolver *resolver_new(struct loop *loop, const struct resolver_settings *s,
                              resolve_changed_fn changed, void *owner)
{
    struct resolver *r = calloc(1, sizeof(*r));

    if (r == NULL) {
        return NULL;
    }
    r->loop = loop;
    r->changed = changed;
    r->owner = owner;
    list_init(&r->lru);
    list_init(&r->zones);
    list_init(&r->watches);
    list_init(&r->ready);
    list_init(&r->changed_hosts);
    loop_timer_init(&r->timer, on_timer);
    loop_timer_init(&r->zone_timer, on_zone_timer);
    if (open_channel(r, s, &r->channel) != 0) {
        free(r);
        return NULL;
    }
    apply(r, s);
    return r;
}

int resolver_set(struct resolver *r, const struct resolver_settings *s)
{
    ares_channel fresh;
    struct resolve_host *h;
    int rc = open_channel(r, s, &fresh);

    if (rc != 0) {
        return rc;
    }
    ares_destroy(r->channel); /* ends the look-ups with ARES_EDESTRUCTION */
    r->channel = fresh;
    apply(r, s);
    list_for_each(&r->lru, h, lru) {
        if (h->looking) {
            ask(h);
        }
    }
    arm_timer(r);
    return 0;
}

struct resolver *resolver_free(struct resolver *r)
{
    struct resolve_host *h;

    if (r == NULL) {
        return NULL;
    }
    ares_destroy(r->channel);
    r->channel = NULL;
    loop_timer_stop(r->loop, &r->timer);
    loop_timer_stop(r->loop, &r->zone_timer);
    loop_defer_cancel(r->loop, &r->deliver);
    fatal_unless(list_is_empty(&r->ready));
    list_for_each(&r->lru, h, lru) {
        fatal_unless(h->n_requests == 0);
        (void)host_free(h); /* takes its zone along; returns NULL by custom */
    }
    free(r);
    return NULL;
}

/* -- use -- */

void resolve_request(struct resolver *r, struct resolve_request *req, const char *name,
                     resolve_fn fn)
{
    struct resolve_host *h;

    fatal_unless(!resolve_is_pending(req));
    memset(req, 0, sizeof(*req));
    req->fn = fn;
    if (resolve_addr_parse(name, &req->numeric)) {
        make_ready(r, req);
        return;
    }
    h = host_get(r, name);
    if (h == NULL) {
        req->bad_name = true;
        make_ready(r, req);
        return;
    }
    req->host = h;
    h->n_requests++;
    if (!h->looking && h->known && clock_now_us() < h->expires_us) {
        make_ready(r, req);
        return;
    }
    req->in = &h->waiting;
    list_add_tail(&h->waiting, &req->link);
    look_up(h);
}

void resolve_cancel(struct resolver *r, struct resolve_request *req)
{
    (void)r; /* the request knows where it is; every call here names its resolver */
    if (!resolve_is_pending(req)) {
        return;
    }
    list_remove(req->in, &req->link);
    req->in = NULL;
    if (req->host != NULL) {
        req->host->n_requests--;
        req->host = NULL;
    }
}

/* -- questions -- */

bool resolve_is_pending(const struct resolve_request *req)
{
    return req->in != NULL;
}

void resolver_each_host(const struct resolver *r, resolve_host_fn fn, void *arg)
{
    usec_t now_us = clock_now_us();
    struct resolve_host *h;

    list_for_each(&r->lru, h, lru) {
        struct resolve_host_info info = {.name = h->name};

        if (h->known && h->status == RESOLVE_OK) {
            info.addrs = h->addrs;
            info.n_addrs = h->n_addrs;
        }
        if (h->known && h->expires_us > now_us) {
            info.ttl_s = (h->expires_us - now_us + USEC_PER_SEC - 1) / USEC_PER_SEC;
        }
        fn(arg, &info);
    }
}

void resolver_each_zone(const struct resolver *r, resolve_zone_fn fn, void *arg)
{
    struct resolve_zone *z;

    list_for_each(&r->zones, z, link) {
        struct resolve_zone_info info = {
            .name = z->name, .serial = z->serial, .n_hosts = z->n_hosts};

        fn(arg, &info);
    }
}

unsigned resolver_count_hosts(const struct resolver *r)
{
    return r->lru.n;
}

unsigned resolver_count_zones(const struct resolver *r)
{
    return r->zones.n;
}

unsigned resolver_count_pending(const struct resolver *r)
{
    return r->n_looking;
}
