/* SPDX-License-Identifier: ISC */
/* What reading (hba_parse.c) and matching (hba.c) of HBA rules share. */
#ifndef PGPOOLD_CONFIG_HBA_INTERNAL_H
#define PGPOOLD_CONFIG_HBA_INTERNAL_H

#include "config/auth_tokens.h"
#include "config/hba.h"

#include <stdint.h>

struct hba_address {
    sa_family_t family; /* AF_INET or AF_INET6 */
    uint8_t bytes[16];  /* network order; IPv4 uses four, the others are 0 */
};

struct hba_net {
    struct hba_address addr;
    uint8_t mask[16];
};

enum hba_address_kind {
    HBA_ADDRESS_ALL,
    HBA_ADDRESS_NET,
    HBA_ADDRESS_SAMEHOST,
    HBA_ADDRESS_SAMENET,
};

struct hba_conditions {
    struct auth_field databases;
    struct auth_field users;
    enum hba_address_kind address_kind; /* not looked at for local */
    struct hba_net net;
};

struct hba {
    struct hba_rule *rules;
    unsigned n_rules;
    struct hba_net *interfaces; /* addresses of this machine */
    unsigned n_interfaces;
};

/* false: neither IPv4 nor IPv6. An IPv4 address mapped into IPv6 becomes IPv4. */
bool hba_address_from(const struct sockaddr *addr, struct hba_address *ret);
bool hba_net_has(const struct hba_net *net, const struct hba_address *a);
void hba_rule_done(struct hba_rule *r);

#endif
