/* SPDX-License-Identifier: ISC */
/* require_auth of a database: which ways of authentication a server may ask for, in the words of libpq 16. Pure. */
#ifndef PGPOOLD_CONFIG_REQUIRE_AUTH_H
#define PGPOOLD_CONFIG_REQUIRE_AUTH_H

#include "daemon/util/macros.h"

#include <stdbool.h>
#include <stddef.h>

enum require_auth_bit {
    REQUIRE_AUTH_PASSWORD = 1,
    REQUIRE_AUTH_MD5 = 2,
    REQUIRE_AUTH_GSS = 4,
    REQUIRE_AUTH_SSPI = 8,
    REQUIRE_AUTH_SCRAM = 16,
    REQUIRE_AUTH_ALL = 31,
};

struct require_auth {
    unsigned methods; /* that the server may ask for */
    bool must_ask;    /* a server that lets us in without asking is refused */
};

/* "" asks for nothing. false: @why says what is wrong: what is allowed. */
MUSTCHECK bool require_auth_parse(const char *text, struct require_auth *ret, char *why,
                                  size_t why_size);

#endif
