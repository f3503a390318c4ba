/* SPDX-License-Identifier: ISC */
/* SASLprep (RFC 4013) of a password, the way PostgreSQL applies it: where the rules refuse the
 * text (not UTF-8, prohibited or unassigned characters, mixed directions, nothing left) its raw
 * bytes are the result. So there is no verdict: there always is a password. The one door to
 * libidn. */
#ifndef PGPOOLD_PROTOCOL_SASLPREP_H
#define PGPOOLD_PROTOCOL_SASLPREP_H

#include "daemon/util/macros.h"
#include "daemon/util/secret.h"

#include <stdbool.h>
#include <stddef.h>

/* *ret: the prepared password, the caller wipes it with secret_done(). false: out of memory. */
MUSTCHECK bool saslprep_password(const char *password, size_t len, struct secret *ret);

#endif
