/* SPDX-License-Identifier: ISC */
/* Which rule fits a login. How the rules are read is in hba_parse.c. */
#include "config/hba_internal.h"

#include "daemon/util/fatal.h"

#include <netinet/in.h>
#include <stdlib.h>
#include <string.h>

static const uint8_t mapped_prefix[12] = {0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff};

bool hba_address_from(const struct sockaddr *addr, struct hba_address *ret)
{
    struct hba_address a = {.family = addr->sa_family};

    if (addr->sa_family == AF_INET) {
        memcpy(a.bytes, &((const struct sockaddr_in *)(const void *)addr)->sin_addr, 4);
    } else if (addr->sa_family == AF_INET6) {
        memcpy(a.bytes, &((const struct sockaddr_in6 *)(const void *)addr)->sin6_addr, 16);
        if (memcmp(a.bytes, mapped_prefix, sizeof(mapped_prefix)) ==
            0) { /* ::ffff:192.0.2.1 came over IPv4 */
            memmove(a.bytes, a.bytes + 12, 4);
            memset(a.bytes + 4, 0, 12);
            a.family = AF_INET;
        }
    } else {
        return false;
    }
    *ret = a;
    return true;
}

bool hba_net_has(const struct hba_net *net, const struct hba_address *a)
{
    size_t len = net->addr.family == AF_INET ? 4 : 16;

    if (a->family != net->addr.family) {
        return false;
    }
    for (size_t i = 0; i < len; i++) {
        if (((a->bytes[i] ^ net->addr.bytes[i]) & net->mask[i]) != 0) {
            return false;
        }
    }
    return true;
}

bool hba_add_interface(struct hba *h, const struct sockaddr *addr, const struct sockaddr *mask)
{
    struct hba_net net;
    struct hba_address m;
    struct hba_net *grown;

    if (!hba_address_from(addr, &net.addr)) {
        return false;
    }
    memset(net.mask, 0xff, sizeof(net.mask));
    if (mask != NULL) {
        if (!hba_address_from(mask, &m)) {
            return false;
        }
        memcpy(net.mask, m.bytes, sizeof(net.mask));
    }
    grown = reallocarray(h->interfaces, h->n_interfaces + 1, sizeof(*grown));
    if (grown == NULL) {
        return false;
    }
    h->interfaces = grown;
    h->interfaces[h->n_interfaces++] = net;
    return true;
}

static bool address_is_ours(const struct hba *h, const struct hba_address *a)
{
    for (unsigned i = 0; i < h->n_interfaces; i++) {
        if (h->interfaces[i].addr.family == a->family &&
            memcmp(h->interfaces[i].addr.bytes, a->bytes, 16) == 0) {
            return true;
        }
    }
    return false;
}

static bool address_is_near(const struct hba *h, const struct hba_address *a)
{
    for (unsigned i = 0; i < h->n_interfaces; i++) {
        if (hba_net_has(&h->interfaces[i], a)) {
            return true;
        }
    }
    return false;
}

static bool address_fits(const struct hba *h, const struct hba_conditions *c,
                         const struct hba_address *a)
{
    switch (c->address_kind) {
    case HBA_ADDRESS_ALL:
        return true;
    case HBA_ADDRESS_NET:
        return hba_net_has(&c->net, a);
    case HBA_ADDRESS_SAMEHOST:
        return address_is_ours(h, a);
    case HBA_ADDRESS_SAMENET:
        return address_is_near(h, a);
    }
    unreachable();
}

/* @a: NULL for a Unix socket. */
static bool connection_fits(const struct hba *h, const struct hba_rule *r,
                            const struct hba_address *a, bool tls)
{
    switch (r->conn_type) {
    case HBA_LOCAL:
        return a == NULL;
    case HBA_HOST:
        break;
    case HBA_HOSTSSL:
        if (!tls) {
            return false;
        }
        break;
    case HBA_HOSTNOSSL:
        if (tls) {
            return false;
        }
        break;
    }
    return a != NULL && address_fits(h, r->conditions, a);
}

/* A physical replication connection has no database, and fits the keyword only: not even all. */
static bool database_fits(const struct auth_field *names, const struct hba_login *login)
{
    for (unsigned i = 0; i < names->n; i++) {
        const struct auth_token *t = &names->tokens[i];

        if (login->is_replication) {
            if (auth_token_is(t, "replication")) {
                return true;
            }
        } else if (auth_token_is(t, "all")) {
            return true;
        } else if (auth_token_is(t, "sameuser")) {
            if (strcmp(login->database, login->user) == 0) {
                return true;
            }
        } else if (!auth_token_is(t, "replication") && strcmp(t->text, login->database) == 0) {
            return true;
        }
    }
    return false;
}

static bool user_fits(const struct auth_field *names, const struct hba_login *login)
{
    for (unsigned i = 0; i < names->n; i++) {
        if (auth_token_is(&names->tokens[i], "all") ||
            strcmp(names->tokens[i].text, login->user) == 0) {
            return true;
        }
    }
    return false;
}

const struct hba_rule *hba_match(const struct hba *h, const struct hba_login *login)
{
    struct hba_address address;
    const struct hba_address *a = NULL;

    if (h == NULL) {
        return NULL;
    }
    if (login->addr != NULL && login->addr->sa_family != AF_UNIX) {
        if (!hba_address_from(login->addr, &address)) {
            return NULL;
        }
        a = &address;
    }
    for (unsigned i = 0; i < h->n_rules; i++) {
        const struct hba_rule *r = &h->rules[i];

        if (connection_fits(h, r, a, login->tls) &&
            database_fits(&r->conditions->databases, login) &&
            user_fits(&r->conditions->users, login)) {
            return r;
        }
    }
    return NULL;
}

const struct hba_rule *hba_next(const struct hba *h, const struct hba_rule *prev)
{
    size_t i;

    if (h == NULL) {
        return NULL;
    }
    i = prev == NULL ? 0 : (size_t)(prev - h->rules) + 1;
    return i < h->n_rules ? &h->rules[i] : NULL;
}

void hba_rule_done(struct hba_rule *r)
{
    if (r->conditions != NULL) {
        auth_field_done(&r->conditions->databases);
        auth_field_done(&r->conditions->users);
        free(r->conditions);
    }
    if (r->ldap_options != NULL) {
        explicit_bzero(r->ldap_options, strlen(r->ldap_options)); /* may hold ldapbindpasswd */
    }
    free(r->ldap_options);
    free(r->map);
    free(r->file);
    *r = (struct hba_rule){0};
}

struct hba *hba_free(struct hba *h)
{
    if (h != NULL) {
        for (unsigned i = 0; i < h->n_rules; i++) {
            hba_rule_done(&h->rules[i]);
        }
        free(h->rules);
        free(h->interfaces);
        free(h);
    }
    return NULL;
}
