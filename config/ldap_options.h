/* SPDX-License-Identifier: ISC */
/* How to ask an LDAP server about a user: the options of method ldap (auth_ldap_options, HBA rules),
 * taken apart and checked, and what follows from them for one user name: where to connect, whom to
 * bind as, what to search. Names are escaped, so that nobody can add to a DN or to a filter by the
 * name he gives. Their meaning is that of PostgreSQL 15's manual, "LDAP Authentication". Pure. */
#ifndef PGPOOLD_CONFIG_LDAP_OPTIONS_H
#define PGPOOLD_CONFIG_LDAP_OPTIONS_H

#include "config/conninfo.h"
#include "daemon/util/buf.h"

#include <stdbool.h>

enum ldap_options_scope {
    LDAP_OPTIONS_BASE,
    LDAP_OPTIONS_ONE,
    LDAP_OPTIONS_SUB,
};

struct ldap_options {
    /* may be read; "" is what was not given. Texts are borrowed from the private ones below. */
    const char *server; /* names, blanks between them; never "" */
    unsigned port;      /* 0: the usual one of the scheme */
    bool is_ldaps;
    bool starts_tls;
    bool does_search; /* search+bind, by the next six; else simple bind, by prefix and suffix */
    const char *base_dn;
    const char *bind_dn; /* who searches; "": anybody may */
    const char *bind_password;
    const char *attribute; /* holds the user's name */
    const char *filter;    /* instead of attribute; has $username in it */
    enum ldap_options_scope scope;
    const char *prefix;
    const char *suffix;

    /* private */
    struct conninfo pairs;
    char *url;
};

/* @text: as hba_ldap_options() gives it. false: @why (CONFIG_WHY_SIZE bytes) says "what is wrong:
 * what is allowed"; *ret needs no ldap_options_done() then. */
MUSTCHECK bool ldap_options_read(const char *text, struct ldap_options *ret, char *why);
/* Wipes and frees. May run twice. */
void ldap_options_done(struct ldap_options *o);

/* Each appends to @to; whether that worked is asked by buf_ok(). */

/* The servers as URIs with blanks between them. */
void ldap_options_put_uris(const struct ldap_options *o, struct buf *to);
/* Simple bind: prefix, user, suffix. A prefix or suffix with '=' in it makes this a DN and the name
 * is escaped (RFC 4514); else it is what Active Directory takes for one (DOMAIN\user, user@domain).
 * false: this name cannot be put into it. */
MUSTCHECK bool ldap_options_put_bind_name(const struct ldap_options *o, const char *user,
                                          struct buf *to);
/* Search+bind: the filter that finds @user (RFC 4515). */
void ldap_options_put_filter(const struct ldap_options *o, const char *user, struct buf *to);

#endif
