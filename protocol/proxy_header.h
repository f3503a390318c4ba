/* SPDX-License-Identifier: ISC */
/* The PROXY protocol: what a load balancer says about the client before the client's own first byte. Versions 1 (a line of
 * text) and 2 (binary). Pure: bytes in, verdict out. "The PROXY protocol, versions 1 & 2", W. Tarreau, 2020/03/05. */
#ifndef PGPOOLD_PROTOCOL_PROXY_HEADER_H
#define PGPOOLD_PROTOCOL_PROXY_HEADER_H

#include "daemon/util/macros.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/socket.h>

#define PROXY_V1_MAX_BYTES 107U /* with CR LF; section 2.1 */
/* Version 2 with its extra fields: room for a client certificate's names, not for what never ends. */
#define PROXY_HEADER_MAX_BYTES 4096U

enum proxy_verdict {
    PROXY_OK,
    PROXY_PARTIAL, /* right so far, more is needed */
    PROXY_BAD,     /* not a header, or a malformed one */
};

struct proxy_header {
    size_t len;       /* bytes of the header; what follows is the client's */
    bool has_address; /* false: the proxy speaks for itself (a health check), or does not know */
    struct sockaddr_storage addr; /* of the client: AF_INET or AF_INET6 */
};

/* @ret is written with PROXY_OK only. */
MUSTCHECK enum proxy_verdict proxy_header_parse(const uint8_t *data, size_t len,
                                                struct proxy_header *ret);

#endif
