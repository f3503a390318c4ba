/* SPDX-License-Identifier: ISC */
/* Opens one server connection with libpq, then takes it away from libpq before authentication:
 * so every address and TLS option of libpq works, and yet each byte of the login is ours. This
 * is the door to libpq (cancel requests and `pgpoold top` have their own).
 *
 * A struct backend_connect is one attempt, owned by whoever asked for it. It ends with one
 * callback, or is freed before. Afterwards nothing of libpq is left: no PGconn, its descriptor
 * closed, for TLS too. It never resolves a name, never blocks, never authenticates, never logs.
 * Names and addresses may be libpq's comma lists; they are tried in order. */
#ifndef PGPOOLD_POOL_BACKEND_CONNECT_H
#define PGPOOLD_POOL_BACKEND_CONNECT_H

#include "daemon/util/clock.h"
#include "daemon/util/macros.h"
#include "protocol/error_msg.h"
#include "protocol/tls.h"

#include <stdbool.h>
#include <stdint.h>
#include <sys/socket.h>

struct loop;
struct backend_connect;

/* Up to where libpq goes. */
enum backend_connect_until {
    /* the StartupMessage is sent, the first message of the authentication waits to be read */
    BACKEND_CONNECT_LOGIN,
    /* connected and TLS done, nothing sent: for a CancelRequest. sslmode prefer and allow make no
     * sense here: say disable or require, as the connection to be cancelled is */
    BACKEND_CONNECT_BARE,
};

enum backend_connect_status {
    BACKEND_CONNECT_OK,
    BACKEND_CONNECT_FAILED,  /* unreachable, refused, TLS, lost */
    BACKEND_CONNECT_REFUSED, /* the server answered with an ErrorResponse: server_error is set */
    BACKEND_CONNECT_TIMEOUT,
    BACKEND_CONNECT_STATUSES,
};

struct backend_startup_param {
    const char *name;
    const char *value;
};

/* All texts are copied by the start; NULL or "" means not set. */
struct backend_connect_params {
    enum backend_connect_until until;
    /* the server's name, for TLS verification and SNI; or a socket directory, or "@abstract" */
    const char *host;
    /* numeric; NULL for a socket directory, or when @host is numeric itself */
    const char *hostaddr;
    unsigned port;
    const char *user;        /* required, except for BARE */
    const char *dbname;      /* not set: as the user */
    const char *replication; /* "true", "database" */
    const char *application_name;
    const char *client_encoding;
    const char *options; /* as in the StartupMessage */
    /* further ones, sent as "-c name=value" behind @options */
    const struct backend_startup_param *extra;
    unsigned n_extra;

    enum tls_sslmode sslmode; /* ignored over a socket directory */
    const char *sslrootcert;  /* required for verify-*, not looked at otherwise, as in PgBouncer */
    const char *sslcert;
    const char *sslkey;
    const char *tls_min; /* "TLSv1.2", see tls_protocols_min() */
    const char *tls_max;

    bool tcp_keepalive;
    unsigned tcp_keepidle_s; /* 0: the system's */
    unsigned tcp_keepintvl_s;
    unsigned tcp_keepcnt;
    unsigned tcp_user_timeout_ms;
    unsigned tcp_socket_buffer_bytes; /* SO_SNDBUF and SO_RCVBUF; 0: the system's */

    usec_t timeout_us; /* for the whole attempt; 0 waits for ever */
};

#define BACKEND_ADDRESS_TEXT_BYTES 108

/* An end of a connection as SHOW prints it. */
struct backend_address {
    int family;    /* AF_INET, AF_INET6, AF_UNIX */
    uint16_t port; /* 0 for AF_UNIX */
    char text
        [BACKEND_ADDRESS_TEXT_BYTES]; /* numeric; for AF_UNIX the socket's path, "unix" if it has none */
    struct sockaddr_storage addr;
    socklen_t addr_len;
};

/* Valid during the callback, except fd and tls, which on BACKEND_CONNECT_OK are the callee's to
 * close and to free: fd is non-blocking, close-on-exec and watched by nobody. With tls, bytes
 * may already wait inside it: tls_pending(). */
struct backend_connect_result {
    enum backend_connect_status status;
    int fd;          /* -1 unless BACKEND_CONNECT_OK */
    struct tls *tls; /* NULL: not encrypted */
    struct backend_address peer;
    struct backend_address local;
    const char *error;                   /* one line; "" with BACKEND_CONNECT_OK */
    const struct pg_error *server_error; /* BACKEND_CONNECT_REFUSED: what it said; else NULL */
};

typedef void (*backend_connect_fn)(struct backend_connect *c, void *owner,
                                   const struct backend_connect_result *r);

/* -- life -- */

/* Once, before threads and other connections: clears the PG* variables of the environment (but
 * PGPOOLD_*). */
void backend_connect_global_init(void);

/* Starts an attempt. @fn comes from the loop, once, never before this function has returned; it
 * frees @c. NULL: out of memory (nothing will come). */
MUSTCHECK struct backend_connect *backend_connect_new(struct loop *loop,
                                                      const struct backend_connect_params *p,
                                                      backend_connect_fn fn, void *owner);
/* Also gives up an attempt under way; may be called from its callback. */
struct backend_connect *backend_connect_free(struct backend_connect *c);

/* -- questions -- */

/* Both ends of @fd. */
void backend_connect_addresses(int fd, struct backend_address *peer, struct backend_address *local);

#endif
