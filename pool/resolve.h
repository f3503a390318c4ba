/* SPDX-License-Identifier: ISC */
/* Host names to addresses without ever blocking: c-ares (hosts file, then DNS) on our loop, with
 * a cache. The resolver is owned by the server; a request is embedded in whoever asks. Names are
 * looked up when asked for and not (or no longer) known; with a zone check period also when the
 * SOA serial of their zone changes. Socket directories are none of its business. Several
 * requests for one name share one look-up. A name whose last answer has expired is answered with that
 * one again when the name servers are silent: at once when they fail, else after RESOLVE_STALE_US. */
#ifndef PGPOOLD_POOL_RESOLVE_H
#define PGPOOLD_POOL_RESOLVE_H

#include "daemon/util/clock.h"
#include "daemon/util/list.h"
#include "daemon/util/macros.h"

#include <netinet/in.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define RESOLVE_MAX_NAMES 4096 /* cached at once; the longest unused one makes room */
#define RESOLVE_MAX_ADDRS 64   /* of one name; further ones are ignored */
#define RESOLVE_STALE_US (1800 * USEC_PER_MSEC) /* RFC 8767 section 5: client response timer */

struct loop;
struct resolver;
struct resolve_request;

enum resolve_status {
    RESOLVE_OK,
    RESOLVE_NOT_FOUND, /* the name does not exist or has no address */
    RESOLVE_FAILED,    /* no answer: servers unreachable, memory, too many names */
    RESOLVE_STATUSES,
};

struct resolve_addr {
    int family;                           /* AF_INET or AF_INET6 */
    uint8_t bytes[16];                    /* network order; 4 or 16 of them count */
    char text[INET6_ADDRSTRLEN + 1 + 16]; /* numeric, fit for libpq's hostaddr; may end in %scope */
};

/* Valid during the callback only. */
struct resolve_answer {
    enum resolve_status status;
    const char *error;                /* for people; NULL with RESOLVE_OK */
    const struct resolve_addr *addrs; /* the best first (RFC 6724) */
    unsigned n_addrs;                 /* >= 1 with RESOLVE_OK, else 0 */
    /* this very look-up found another set than the one before (false for a first one) */
    bool changed;
    /* grows with each change of the set: compare it with the one of a connection */
    uint32_t version;
};

typedef void (*resolve_fn)(struct resolve_request *req, const struct resolve_answer *answer);
/* A name has other addresses than before, whatever caused the look-up. Not told for a name that
 * merely failed.
 * @name is borrowed. May not free the resolver. */
typedef void (*resolve_changed_fn)(void *owner, const char *name,
                                   const struct resolve_answer *answer);

struct resolver_settings {
    const char *resolv_conf; /* NULL or "": /etc/resolv.conf; borrowed during the call */
    /* answers are kept as long as their TTL says, but no longer; 0: not at all */
    usec_t dns_max_ttl_us;
    usec_t dns_nxdomain_ttl_us;      /* failures are kept that long */
    usec_t dns_zone_check_period_us; /* 0: no zone checks */
    /* Tests: ask this server only instead of those in resolv.conf ("127.0.0.1"), at this port.
     * NULL, 0: not so. */
    const char *server;
    uint16_t server_port;
};

/* Embedded. All fields are private; zero it before the first use. */
struct resolve_request {
    struct list_node link;
    struct list *in;
    struct resolve_host *host;
    resolve_fn fn;
    struct resolve_addr numeric; /* the answer, when the name was an address already */
    bool bad_name;
    bool changed;
};

/* What SHOW DNS_HOSTS and SHOW DNS_ZONES print. Borrowed during the callback. */
struct resolve_host_info {
    const char *name;
    uint64_t ttl_s; /* seconds left, 0: expired */
    const struct resolve_addr *addrs;
    unsigned n_addrs; /* 0: not found, failed, or not known yet */
};
struct resolve_zone_info {
    const char *name;
    uint32_t serial; /* 0: not known */
    unsigned n_hosts;
};
typedef void (*resolve_host_fn)(void *arg, const struct resolve_host_info *host);
typedef void (*resolve_zone_fn)(void *arg, const struct resolve_zone_info *zone);

/* -- life -- */

/* Once per process, before any other thread exists. 0 or -ENOMEM. */
MUSTCHECK int resolve_global_init(void);
void resolve_global_done(void);

/* NULL: out of memory, or c-ares will not start (an unreadable resolv.conf is no reason:
 * 127.0.0.1 is then asked).
 * @changed may be NULL. */
MUSTCHECK struct resolver *resolver_new(struct loop *loop, const struct resolver_settings *s,
                                        resolve_changed_fn changed, void *owner);
/* New settings, also when only the content of resolv.conf changed. Requests under way stay so.
 * 0, or -errno: the old ones stay in force. */
MUSTCHECK int resolver_set(struct resolver *r, const struct resolver_settings *s);
/* No request may be under way: cancel them first. Not from a callback of this file. */
struct resolver *resolver_free(struct resolver *r);

/* -- use -- */

/* Asks for the addresses of @name (copied). @fn is called exactly once, from the loop, never
 * before this function has returned, unless resolve_cancel() comes first. @req stays put until
 * then. */
void resolve_request(struct resolver *r, struct resolve_request *req, const char *name,
                     resolve_fn fn);
/* Nothing will come any more. Harmless when nothing is under way. */
void resolve_cancel(struct resolver *r, struct resolve_request *req);

/* -- questions -- */

bool resolve_is_pending(const struct resolve_request *req);
/* @name needs no look-up. */
bool resolve_is_numeric(const char *name);
void resolver_each_host(const struct resolver *r, resolve_host_fn fn, void *arg);
void resolver_each_zone(const struct resolver *r, resolve_zone_fn fn, void *arg);
unsigned resolver_count_hosts(const struct resolver *r);
unsigned resolver_count_zones(const struct resolver *r);
/* Look-ups under way (SHOW LISTS: dns_pending). */
unsigned resolver_count_pending(const struct resolver *r);

#endif
