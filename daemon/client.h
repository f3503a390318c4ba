/* SPDX-License-Identifier: ISC */
/* One client connection, from accept to its end. The states are a table in client.c; which file works on which state:
 *
 *     startup   client_startup.c   first packet, TLS
 *     auth      client_auth.c      password, SCRAM
 *     login     client_login.c     logged in by us, waits for what only a server knows
 *     idle      client_relay.c     no server connection, nothing to do
 *     waiting   client_relay.c     in the queue of its pool
 *     active    client_relay.c     has a server connection
 *               client_replication.c   ... of its own, from the login on
 *     console   admin.c            talks to us, not to a server
 *     closed
 *
 * Owned by the server's lists; freed at the end of the turn in which it was closed. Kept small: a pooler's work is many
 * idle clients. */
#ifndef PGPOOLD_DAEMON_CLIENT_H
#define PGPOOLD_DAEMON_CLIENT_H

#include "daemon/server.h"
#include "pool/cancel.h"
#include "pool/lease.h"
#include "protocol/conn.h"
#include "protocol/startup.h"

struct admin_session;
struct client_echo;
struct client_notify;
struct auth;
struct client_cancel;
struct client_login;
struct listener;

enum client_state {
    CLIENT_STARTUP,
    CLIENT_AUTH,
    CLIENT_LOGIN,
    CLIENT_IDLE,
    CLIENT_WAITING,
    CLIENT_ACTIVE,
    CLIENT_CONSOLE,
    CLIENT_CANCEL, /* not a session: a CancelRequest that is being served */
    CLIENT_CLOSED,
    CLIENT_STATES,
};

/* Why a client's further input is kept instead of being worked on. */
enum client_hold {
    HOLD_NONE,
    HOLD_LEASE,     /* waits for a server connection */
    HOLD_STATEMENT, /* a statement is being prepared for it */
    HOLD_READY,     /* its ReadyForQuery is held back */
    HOLD_ORDER,     /* what was sent last has to be answered before anything else is sent */
    HOLD_HUB,       /* the hub has to listen first */
    HOLD_FULL,      /* too much is in flight, or the server does not read */
    HOLD_TAKEOVER, /* an online restart: it goes to a new process, or has come and is not ours yet */
};

struct client {
    union {
        struct list_node link;      /* in server->logins, server->consoles, pool->clients */
        struct loop_deferred grave; /* CLIENT_CLOSED: freed at the end of the turn */
    };
    struct server *server;
    struct pool *pool;         /* NULL before the login and on the console */
    struct database *database; /* as soon as it is counted */
    struct pool_user *user;    /* whom it logged in as; the pool's user may be a forced one */
    struct conn conn;
    struct lease lease;
    struct params *params;  /* what is to be in force for it; owned reference */
    struct params *startup; /* what RESET goes back to; owned reference */
    struct params *
        changed_from; /* params before the running query changed them; owned reference; NULL: unchanged */
    union {
        uint8_t of_four[4]; /* CANCEL_KEY_SHORT_BYTES */
        uint8_t *of_many;   /* has_long_key: CANCEL_KEY_LONG_BYTES, owned */
    } key;                  /* that a cancel request has to show */
    struct buf *
        in; /* bytes that wait: an incomplete message, or everything while on hold; owned; NULL: none */
    struct prepared_set prepared;
    struct client_echo *echo;     /* statements for the log; owned; NULL: none */
    struct client_notify *notify; /* LISTEN and NOTIFY; owned; NULL: never used */
    struct stmt
        *unnamed; /* its unnamed statement; owned reference; NULL: none, or too long to keep */
    uint32_t body_left; /* bytes of the message under way that have not come yet */
    uint32_t vpid;
    uint8_t state;        /* enum client_state */
    uint8_t hold;         /* enum client_hold */
    uint8_t ready_waits;  /* what the ReadyForQuery that is held back waits for: READY_WAITS_* */
    uint8_t replication;  /* enum replication */
    uint8_t held_status;  /* of the ReadyForQuery that is held back */
    bool body_discarded;  /* the message under way goes nowhere */
    bool skipping;        /* we gave an error: its input is skipped up to the next Sync */
    bool reapply : 1;     /* RESET or DISCARD ALL ran: go back to the startup values */
    bool close_after : 1; /* DISABLE, KILL and the like: close at the end of the transaction */
    bool is_admin : 1;    /* on the console: may do more than SHOW */
    bool is_tls : 1;
    bool is_unix : 1;
    bool has_long_key : 1; /* protocol 3.2 */
    bool is_silent : 1; /* what it waits for a server connection with is a Query without LISTEN */
    bool counted : 1;   /* in the client limits of database and user */
    uint8_t family;
    uint8_t addr[16]; /* of the peer, network order */
    uint16_t port;    /* of the peer; over a Unix socket the listen_port */
    uint32_t moving;  /* on its way to or from another process, in this batch; 0: it is not */
    uint64_t id;
    usec_t connect_us;
    usec_t request_us; /* its last request */
    union {
        struct client_login *login;   /* CLIENT_STARTUP, AUTH, LOGIN; owned */
        struct admin_session *admin;  /* CLIENT_CONSOLE; owned */
        struct client_cancel *cancel; /* CLIENT_CANCEL; owned */
        struct prepared *
            probing; /* CLIENT_IDLE, WAITING, ACTIVE: what HOLD_STATEMENT is about; owned reference */
    } u;
};

enum {
    READY_WAITS_FOR_PARAMETERS = 1,
    READY_WAITS_FOR_HUB = 2,
    READY_WAITS_FOR_CANCEL = 4, /* which would hit the statement that sets the parameters */
};

/* What is needed until the login is done. */
struct client_login {
    struct login_turn turn;
    struct client *client;     /* whose it is */
    struct listener *listener; /* borrowed; may be NULL: the socket was handed over */
    bool expects_proxy;        /* the header of the PROXY protocol comes first */
    bool tls_tried;            /* SSLRequest was seen */
    bool gss_tried;
    bool in_handshake;
    bool is_busy;      /* an auth_query runs: the client is not read */
    bool is_suspended; /* SUSPEND: it is logged in after RESUME */
    bool is_console;
    bool is_own_uid; /* the daemon's own user, over the Unix socket */
    bool is_probe;   /* it went before it had said who it is: a load balancer's look at the port */
    bool told_attempt;  /* its "login attempt" is in the log */
    uint32_t version;   /* of the protocol, as the client asked */
    struct buf packet;  /* the StartupMessage */
    struct buf reply;   /* what goes to the client together with its welcome */
    struct buf message; /* a password message that comes in pieces */
    char *database;     /* as asked for; owned */
    char *user;
    struct auth *auth;   /* client_auth.c's own */
    struct params *want; /* startup values as the client wrote them; owned reference */
};

/* --- life --- */

/* Takes an accepted descriptor. @addr: of the peer. NULL: out of memory, the descriptor is closed. */
struct client *client_new(struct server *s, struct listener *l, int fd,
                          const struct sockaddr *addr);

/* The doors out: each may be called from anywhere, any number of times.
 * Tells the client a FATAL and closes; the text goes to the log as well. */
void client_close(struct client *c, const struct pg_error *e);
void client_close_text(struct client *c, const char *sqlstate, const char *fmt, ...)
    PRINTF_LIKE(3, 4);
/* Closes without a word to the client; @reason goes to the log. */
void client_close_quiet(struct client *c, const char *reason);

/* --- states --- */
void client_set_state(struct client *c, enum client_state to);
const char *client_state_name(const struct client *c); /* as SHOW CLIENTS says it */

/* --- use --- */

/* Sends bytes to the client; memory running out closes it. */
/* Sends and counts. false: the connection is of no use any more. */
MUSTCHECK bool client_try_send(struct client *c, const void *data, size_t len);
void client_send(struct client *c, const void *data, size_t len);
void client_send_buf(struct client *c, struct buf *b); /* and empties @b */

/* "C-0x...: db/user@addr:port text" */
void client_log(const struct client *c, enum log_level level, const char *fmt, ...)
    PRINTF_LIKE(3, 4);
/* The peer's address or "unix" as text. Returns @ret. */
#define CLIENT_ADDR_SIZE 64
const char *client_addr(const struct client *c, char ret[CLIENT_ADDR_SIZE]);
/* The process behind a Unix socket; 0: not known. */
int client_unix_pid(const struct client *c);
/* "login attempt: ...", once for each client that has said who it is, whether it gets in or not. */
void client_log_attempt(struct client *c);
/* As client_log(), as a LOG line and with a bound on how often: about somebody who has proved nothing. */
void client_log_stranger(const struct client *c, const char *fmt, ...) PRINTF_LIKE(2, 3);
const char *client_database_name(const struct client *c);
const char *client_user_name(const struct client *c);
bool client_is_own_uid(
    const struct client *c); /* is it a process of our own system user, over a Unix socket? */

/* client_idle_timeout: closes the clients of @pool that are idle too long. */
void client_check_idle(struct pool *pool);
/* The server's login timer: client_login_timeout. */
void client_check_logins(struct loop_timer *timer);
/* client_login_timeout may be another one now: for those who are logging in, too. */
void client_login_timeout_set(struct server *s);

/* --- between the files of a client --- */
void client_startup_readable(struct client *c); /* client_startup.c */
struct client_login *client_login_free(struct client_login *l);
void client_startup_begin(struct client *c, struct listener *l);
/* Its place in the line of logins has come up. */
void client_startup_turn(struct login_turn *turn);
/* client_proxy.c. The connection came in where only proxies may: is it one? It is closed if not. */
void client_proxy_begin(struct client *c);
/* The beginning of u.login->packet: takes the header off. false: not whole yet, or the connection is closed. */
MUSTCHECK bool client_proxy_header(struct client *c);
void client_set_address(struct client *c, const struct sockaddr *addr); /* client.c */
void client_auth_begin(struct client *c,
                       const struct startup *s); /* client_auth.c: the StartupMessage is there */
void client_auth_message(struct client *c, const uint8_t *body, size_t len);
struct auth *client_auth_free(struct auth *a);
void client_login_begin(struct client *c);    /* client_login.c: who it is has been proved */
void client_login_resume(struct server *s);   /* goes on with logins that SUSPEND held up */
void client_login_go_on(struct client *c);    /* ... and its pool is known */
void client_relay_readable(struct client *c); /* client_relay.c */
void client_relay_writable(struct client *c);
/* It is about to be closed, perhaps in the middle of a batch: what it has sent until then goes to the server now, before
 * whatever cleans up behind it. It may be closed afterwards. */
void client_relay_leave(struct client *c);
/* Answers what it waits for with an ERROR; it keeps its connection. */
void client_relay_refuse(struct client *c, const struct pg_error *e);
/* Tells a client whose login waits that it is logged in. @reported: what servers report; c->params goes before it. */
void client_welcome(struct client *c, struct params *reported);
/* The server ends: gives back what client_welcome() keeps. */
void client_welcome_forget(struct server *s);
void client_replication_begin(struct client *c); /* client_replication.c */
extern const struct lease_ops client_replication_ops;
extern const struct lease_ops client_lease_ops;
extern const struct lease_ops client_login_ops;
void client_cancel_begin(struct client *c, const struct startup *s); /* client_cancel.c */
void client_cancel_end(struct client *c);
/* Gives @c its virtual pid and its secret, a long one for protocol 3.2. false: out of memory. */
MUSTCHECK bool client_cancel_make_key(struct client *c, bool is_long);
/* A client in CLIENT_CANCEL: its request waits for others ahead of it. */
bool client_cancel_waits(const struct client *c);
/* BackendKeyData for it. */
void client_cancel_put_key(const struct client *c, struct buf *out);
/* A CancelRequest that came to the new process of an online restart; takes @fd. */
void client_cancel_moved(struct server *s, int fd, const void *packet, size_t len);

/* admin.c: the console. */
void admin_session_begin(struct client *c);
void admin_session_readable(struct client *c);
struct admin_session *admin_session_free(struct admin_session *a);

#endif
