/* SPDX-License-Identifier: ISC */
/* Host-based access rules in the format of pg_hba.conf: the first rule that fits a login says how
 * it must prove itself; no rule means it is refused. What this pooler cannot honour (role
 * membership, GSSAPI, host names ...) is an error at load, never a rule that silently means
 * something else. Pure once loaded. */
#ifndef PGPOOLD_CONFIG_HBA_H
#define PGPOOLD_CONFIG_HBA_H

#include "config/config_errors.h"
#include "config/options.h"

#include <stdbool.h>
#include <stdio.h>
#include <sys/socket.h>

struct hba;

enum hba_conn_type {
    HBA_LOCAL,     /* Unix socket */
    HBA_HOST,      /* TCP, with or without TLS */
    HBA_HOSTSSL,   /* TCP with TLS */
    HBA_HOSTNOSSL, /* TCP without TLS */
};

struct hba_rule {
    /* may be read; the conditions are private to hba.c */
    enum hba_conn_type conn_type;
    enum auth_type method; /* TRUST REJECT MD5 PLAIN SCRAM PEER CERT PAM LDAP */
    char *map;             /* of map=, "" for none */
    char *ldap_options;    /* of method ldap: as hba_ldap_options() gives them, "" for none */
    char *file;
    unsigned line;
    struct hba_conditions *conditions;
};

/* What is known about a login when the rule is looked for. */
struct hba_login {
    const struct sockaddr *addr; /* of the client; NULL or AF_UNIX: came over a Unix socket */
    bool tls;
    const char *database;
    const char *user;
    bool is_replication; /* physical: replication=true without a database */
};

/* Options of method ldap as written in an HBA file (also the value of auth_ldap_options), checked
 * and put into the form of conninfo.h: key='value' with blanks between them. NULL: wrong, and @why
 * (CONFIG_WHY_SIZE bytes) says why. The caller frees the text. */
char *hba_ldap_options(const char *text, char *why);

/* NULL when a line is wrong or the file cannot be read; every fault is in @errors. */
struct hba *hba_load(const char *path, struct config_errors *errors);
struct hba *hba_load_stream(FILE *in, const char *name, struct config_errors *errors);
struct hba *hba_free(struct hba *h);

/* The addresses that samehost and samenet mean. hba_load() takes those of the machine's interfaces;
 * tests set their own. @mask NULL: all bits. false: out of memory, or neither IPv4 nor IPv6. */
MUSTCHECK bool hba_add_interface(struct hba *h, const struct sockaddr *addr,
                                 const struct sockaddr *mask);

/* The first rule that fits, or NULL: refuse. Borrowed. */
const struct hba_rule *hba_match(const struct hba *h, const struct hba_login *login);
/* In the order of the file; pass NULL to begin. */
const struct hba_rule *hba_next(const struct hba *h, const struct hba_rule *prev);

#endif
