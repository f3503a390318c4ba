/* SPDX-License-Identifier: ISC */
/* The records of an online restart (-R): what the old process tells the new one over its Unix socket, and the answers.
 * Framed as PostgreSQL's messages are: type, length, body. Between processes of one user on one machine; still nothing
 * that is read is trusted further than its bounds. Pure: bytes in, structs out.
 *
 *     old                                  new
 *     HELLO LISTENER* PIDFILE? OFFERED ->
 *                                       <- READY              it could start with what it was offered
 *     batch: DATABASE USER POOL STMT BACKEND COPY HUB CHANNEL PROXY CLIENT PREPARED SUBSCRIBE ..., BATCH_END ->
 *                                       <- REFUSED*, HAVE     all of it is understood; nothing of it is used yet
 *     QUEUED*, GO ->                                                   from here on it is the new one's, and the old one forgets
 *     RETAINED, further batches, BYE ->
 *                                       <- CANCEL             a CancelRequest for somebody who is still with the old one
 */
#ifndef PGPOOLD_PROTOCOL_TAKEOVER_MSG_H
#define PGPOOLD_PROTOCOL_TAKEOVER_MSG_H

#include "daemon/util/buf.h"
#include "protocol/md5.h"
#include "protocol/scram.h"
#include "protocol/startup.h"

/* Both sides must have the same. */
#define TAKEOVER_PROTOCOL 1U

enum takeover_pause {
    TAKEOVER_PAUSED_BY_NAME = 1,
    TAKEOVER_PAUSED_WITH_ALL = 2,
};
/* One record. A client with more bytes waiting does not move yet. */
#define TAKEOVER_RECORD_MAX_BYTES ((size_t)4 << 20)
#define TAKEOVER_PARAMS_MAX 96U
#define TAKEOVER_LISTENERS_MAX 64U
#define TAKEOVER_KEY_MAX_BYTES 256U

enum takeover_type {
    TAKEOVER_HELLO = 'H',
    TAKEOVER_LISTENER = 'L', /* with a descriptor */
    TAKEOVER_PIDFILE = 'P',  /* with a descriptor */
    TAKEOVER_OFFERED = 'O',
    TAKEOVER_DATABASE = 'D',
    TAKEOVER_USER = 'U',
    TAKEOVER_POOL = 'W', /* those that follow are in it */
    TAKEOVER_STMT = 'S',
    TAKEOVER_BACKEND = 'K', /* with a descriptor */
    TAKEOVER_COPY = 'M',    /* a statement that this BACKEND has prepared */
    TAKEOVER_HUB = 'N',     /* this BACKEND is a hub; or one that is not connected */
    TAKEOVER_CHANNEL = 'A', /* this HUB listens to it */
    TAKEOVER_PROXY = 'X',   /* with a descriptor: the old one's access to this HUB */
    TAKEOVER_CLIENT = 'T',  /* with a descriptor */
    TAKEOVER_PREPARED = 'Q',
    TAKEOVER_SUBSCRIBE = 'V',
    TAKEOVER_QUEUED = 'q', /* before GO: what waits for the end of this client's transaction */
    TAKEOVER_BATCH_END = 'Z',
    TAKEOVER_GO = 'G',
    TAKEOVER_RETAINED = 'E', /* how many server connections of a pool are still the old one's */
    TAKEOVER_ABORT = 'J',
    TAKEOVER_BYE = 'B',
    TAKEOVER_READY = 'r',
    TAKEOVER_HAVE = 'h',
    TAKEOVER_REFUSED = 'n',
    TAKEOVER_CANCEL = 'c', /* with a descriptor */
};

/* All that is borrowed lives as long as the bytes that were parsed. */
struct takeover_bytes {
    const uint8_t *data;
    size_t len;
};

struct takeover_params {
    unsigned n;
    struct startup_param entries[TAKEOVER_PARAMS_MAX];
};

struct takeover_hello {
    uint32_t protocol;
    uint32_t pid;
    uint64_t next_id;
    uint64_t version_seed;
    uint32_t n_slots;
    uint64_t watchdog_us;
    struct takeover_bytes process_key;
    const char *version;
};

struct takeover_user {
    const char *name;
    const char *md5;
    struct takeover_bytes password; /* empty: not known */
    uint32_t iterations;
    struct takeover_bytes salt;
    struct takeover_bytes stored_key; /* empty: no SCRAM keys with which one can log in */
    struct takeover_bytes server_key;
    struct takeover_bytes client_key;
};

struct takeover_pool {
    const char *database;
    const char *user;
    bool is_internal;
    struct takeover_params welcome; /* empty: not known yet */
    struct takeover_params defaults;
};

enum takeover_backend_flag {
    TAKEOVER_WAS_USED = 1,
    TAKEOVER_CLOSE_NEEDED = 2,
    TAKEOVER_LISTENS = 4,
    TAKEOVER_BACKEND_FLAGS = 7,
};

struct takeover_backend {
    uint64_t id;
    uint8_t tx_status;
    uint8_t flags;
    uint32_t pid;
    struct takeover_bytes key;
    uint16_t port;
    const char *host;
    const char *dbname;
    uint64_t connected_us;
    uint64_t request_us;
    uint64_t idle_since_us;
    uint64_t xact_start_us;
    uint64_t lifetime_us;
    uint32_t owner_pid;
    uint32_t next_stmt_id;
    uint32_t unnamed; /* number of a STMT; 0: none */
    uint64_t unnamed_of;
    struct takeover_params params;
};

struct takeover_hub {
    const char *encoding;
    bool has_connection; /* the BACKEND before */
    bool is_gap;         /* it listened, but its connection cannot move */
};

enum takeover_client_kind {
    TAKEOVER_CLIENT_RAW,   /* its first packet has not come yet */
    TAKEOVER_CLIENT_LOGIN, /* it has proved who it is */
    TAKEOVER_CLIENT_SESSION,
    TAKEOVER_CLIENT_KINDS,
};

enum takeover_client_flag {
    TAKEOVER_IS_UNIX = 1,
    TAKEOVER_SKIPPING = 2,
    TAKEOVER_REAPPLY = 4,
    TAKEOVER_MAY_HAVE_NOTIFIED = 8,
    TAKEOVER_TLS_TRIED = 16,
    TAKEOVER_GSS_TRIED = 32,
    TAKEOVER_EXPECTS_PROXY = 64,
    TAKEOVER_CLIENT_FLAGS = 127,
};

struct takeover_client {
    uint8_t kind;
    uint8_t flags;
    uint64_t id;
    uint32_t vpid;
    uint32_t cancel_key;
    struct takeover_bytes long_key;
    uint8_t family;
    uint16_t port;
    struct takeover_bytes addr; /* 16 */
    uint64_t connect_us;
    uint64_t request_us;
    uint64_t wait_us; /* waits for a server connection since; 0: it does not */
    uint64_t backend; /* id of the BACKEND it has; 0: none */
    uint32_t unnamed;
    uint32_t version; /* LOGIN: of the protocol */
    const char *database;
    const char *user;
    struct takeover_bytes in;      /* what it has sent that waits; RAW: of its first packet */
    struct takeover_bytes reply;   /* LOGIN: what goes before the welcome */
    struct takeover_params params; /* LOGIN: what it wants */
    struct takeover_params startup;
};

struct takeover_msg {
    enum takeover_type type;
    union {
        struct takeover_hello hello;
        struct takeover_user user;
        struct takeover_pool pool;
        struct takeover_backend backend;
        struct takeover_hub hub;
        struct takeover_client client;
        struct {
            bool is_inherited;
        } listener;
        struct {
            const char *name;
            uint8_t paused; /* bits: enum takeover_pause */
            bool is_disabled;
        } database;
        struct {
            uint32_t id;
            struct takeover_bytes body;
        } stmt;
        struct {
            uint32_t stmt;
            uint32_t server_id;
            uint64_t version;
        } copy;
        struct {
            const char *name;
            uint32_t stmt;
            uint64_t version;
        } prepared;
        struct {
            const char *name;
            bool is_exact; /* it can miss nothing on the way */
        } subscribe;
        struct {
            uint32_t vpid;
            struct takeover_bytes messages; /* whole ones; before those that are there */
        } queued;
        struct {
            const char *database;
            const char *user;
            uint32_t n;
        } retained;
        struct {
            uint64_t id;
            const char *reason;
        } refused;
        struct takeover_bytes ready; /* a byte for each LISTENER: 1 it is kept, 0 it is not */
        struct takeover_bytes cancel;
        const char *text; /* PIDFILE, CHANNEL, ABORT */
        uint32_t seq;     /* BATCH_END, GO, HAVE */
    } u;
};

/* The body of a record. false: malformed. */
MUSTCHECK bool takeover_parse(uint8_t type, const void *body, size_t len, struct takeover_msg *ret);
/* The whole record, to the end of @b; failures stick there. */
void takeover_put(struct buf *b, const struct takeover_msg *m);
/* Does a descriptor come with it? */
bool takeover_has_fd(uint8_t type);

#endif
