/* SPDX-License-Identifier: ISC */
/* Sends one CancelRequest: opens a connection to the very address of the connection to be
 * cancelled, encrypted when that one is, writes the request, waits until the server has closed
 * it. Owned by whoever asked; ends with one callback, or is freed before. Never blocks, never
 * resolves a name, never logs. */
#ifndef PGPOOLD_POOL_SERVER_CANCEL_H
#define PGPOOLD_POOL_SERVER_CANCEL_H

#include "daemon/util/macros.h"
#include "pool/backend_connect.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define SERVER_CANCEL_KEY_MAX_BYTES 256 /* PG18 protocol 3.2; 4 bytes in protocol 3.0 */

struct server_cancel;

enum server_cancel_status {
    SERVER_CANCEL_DONE, /* the server has read it and closed the connection */
    SERVER_CANCEL_FAILED,
    SERVER_CANCEL_TIMEOUT, /* may have been read */
    SERVER_CANCEL_STATUSES,
};

struct server_cancel_params {
    /* as for the connection to be cancelled, @hostaddr being the address it has; until, an sslmode
     * below require and the startup parameters do not matter */
    struct backend_connect_params connect;
    bool use_tls; /* the connection to be cancelled is encrypted */
    uint32_t pid;
    const uint8_t *key; /* copied */
    size_t key_len;     /* 1 to SERVER_CANCEL_KEY_MAX_BYTES */
};

typedef void (*server_cancel_fn)(struct server_cancel *c, void *owner,
                                 enum server_cancel_status status, const char *error);

/* connect.timeout_us counts for the whole. @fn comes from the loop, once, never before this
 * function has returned; it frees @c. NULL: out of memory. */
MUSTCHECK struct server_cancel *server_cancel_new(struct loop *loop,
                                                  const struct server_cancel_params *p,
                                                  server_cancel_fn fn, void *owner);
struct server_cancel *server_cancel_free(struct server_cancel *c);

bool server_cancel_is_connecting(const struct server_cancel *c);

#endif
