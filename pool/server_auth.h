/* SPDX-License-Identifier: ISC */
/* What a server may ask of us before it lets us in: channel_binding and require_auth. Pure: knows no connection.
 * PG16 libpq, "require_auth" and "channel_binding"; the texts are libpq's. */
#ifndef PGPOOLD_POOL_SERVER_AUTH_H
#define PGPOOLD_POOL_SERVER_AUTH_H

#include "daemon/util/macros.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum channel_binding {
    CHANNEL_BINDING_PREFER,
    CHANNEL_BINDING_REQUIRE,
    CHANNEL_BINDING_DISABLE,
};

/* Authentication messages: PG15 protocol, "Message Formats". */
enum server_auth_kind {
    SERVER_AUTH_OK = 0,
    SERVER_AUTH_CLEARTEXT = 3,
    SERVER_AUTH_MD5 = 5,
    SERVER_AUTH_GSS = 7,
    SERVER_AUTH_GSS_CONTINUE = 8,
    SERVER_AUTH_SSPI = 9,
    SERVER_AUTH_SASL = 10,
    SERVER_AUTH_SASL_CONTINUE = 11,
    SERVER_AUTH_SASL_FINAL = 12,
};

struct server_auth {
    enum channel_binding binding;
    uint32_t allowed; /* bits 1 << enum server_auth_kind; 0 with an empty text: all */
    bool must_ask;    /* a server that lets us in without a finished exchange is refused */
    const char *text; /* require_auth as written, for messages; "": not given */
};

/* How far the exchange has come. */
struct server_auth_progress {
    bool has_proved; /* our side is done: a password is sent, SCRAM's end is verified */
    bool is_bound;   /* SCRAM-SHA-256-PLUS, verified */
};

/* May a message of this @kind be obeyed? false: @ret_why (never cut short by less than 256 bytes) says why not. */
MUSTCHECK bool server_auth_allows(const struct server_auth *a, uint32_t kind,
                                  struct server_auth_progress p, char *ret_why, size_t size);

#endif
