/* SPDX-License-Identifier: ISC */
/* What only OpenSSL can say about a configuration: do keys fit certificates, are there such ciphers. Opens no
 * connection and keeps nothing. */
#ifndef PGPOOLD_TLS_CHECK_H
#define PGPOOLD_TLS_CHECK_H

#include "config/config.h"
#include "protocol/tls.h"

/* A config_check_fn: adds the faults of both sides, at the places of their options. Files that cannot be
 * read are left to config/, which has told of them. */
void tls_check(const struct config *c, struct config_errors *errors);

/* The rules of the listening side. */
struct tls_settings tls_client_settings(const struct settings *set);

#endif
