/* SPDX-License-Identifier: ISC */
/* libpq drives the attempt up to the StartupMessage; then one byte is peeked and either libpq
 * goes on (an error: it may have another host or the non-TLS retry of sslmode=prefer up its
 * sleeve) or the socket is taken over.
 *
 * We watch a duplicate of libpq's descriptor, never the original. libpq closes and re-opens its
 * own as it likes, often under the same number, and PQfinish() closes it at the take-over; the
 * duplicate, and what epoll knows of it, stays valid all the same. Whether libpq has another
 * socket now is told by the socket's inode. */
#include "pool/backend_connect.h"

#include "daemon/util/buf.h"
#include "daemon/util/fatal.h"
#include "daemon/util/loop.h"
#include "protocol/conn.h"
#include "protocol/wire.h"

#include <libpq-fe.h>

#include <arpa/inet.h>
#include <ctype.h>
#include <errno.h>
#include <fcntl.h>
#include <net/if.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#define HANDSHAKE_BYTES ((size_t)100 * 1024) /* more than TLS allocates; from the heap, no mmap */
#define ERROR_MAX_BYTES 2048
#define PEEK_BYTES \
    4096 /* an ErrorResponse beyond that is libpq's to report, without its SQLSTATE */
#define OPTIONS_MAX_BYTES 65536
#define ERROR_POLL_US \
    ((usec_t)5000) /* the rest of an ErrorResponse: epoll would report its beginning for ever */
#define ERROR_POLLS 40
/* For every file that libpq would else look for in the home directory: it cannot exist, and
 * libpq says nothing. */
#define NO_FILE "/dev/null/none"

enum connect_state {
    CONNECT_CONNECTING,
    CONNECT_ANSWER,
    CONNECT_HANDED_BACK,
    CONNECT_ENDED,
    CONNECT_STATES,
};

#define TO(state) BIT(CONNECT_##state)

static const struct {
    const char *name;
    unsigned next;
} states[CONNECT_STATES] = {
    [CONNECT_CONNECTING] = {"connecting", TO(ANSWER) | TO(ENDED)},
    [CONNECT_ANSWER] = {"waiting for the server", TO(HANDED_BACK) | TO(CONNECTING) | TO(ENDED)},
    [CONNECT_HANDED_BACK] = {"reading the server's error", TO(CONNECTING) | TO(ENDED)},
    [CONNECT_ENDED] = {"ended", 0},
};

struct backend_connect {
    struct loop *loop;
    backend_connect_fn fn;
    void *owner;
    enum backend_connect_until until;
    enum connect_state state;
    PGconn *conn;
    int fd; /* duplicate of libpq's, or -1 */
    dev_t dev;
    ino_t ino;
    bool tls_off; /* sslmode=disable */
    unsigned socket_buffer_bytes;
    unsigned error_polls;
    bool has_server_error;
    struct loop_io io;
    struct loop_timer deadline;
    struct loop_timer poll;
    struct loop_deferred start_failed;
    struct pg_error server_error;
    char error[ERROR_MAX_BYTES];
};

static void set_state(struct backend_connect *c, enum connect_state to)
{
    fatal_unless((states[c->state].next & BIT(to)) != 0);
    c->state = to;
}

void backend_connect_global_init(void)
{
    char **at = environ;

    while (at != NULL && *at != NULL) {
        size_t len = strcspn(*at, "=");
        char name[64];

        if (strncmp(*at, "PG", 2) != 0 || strncmp(*at, "PGPOOLD_", 8) == 0 || len >= sizeof(name)) {
            at++;
            continue;
        }
        memcpy(name, *at, len);
        name[len] = '\0';
        if (unsetenv(name) != 0) { /* else the next one has moved here */
            at++;
        }
    }
}

/* -- the end of an attempt -- */

static void stop_watching(struct backend_connect *c)
{
    loop_io_stop(c->loop, &c->io);
    loop_timer_stop(c->loop, &c->deadline);
    loop_timer_stop(c->loop, &c->poll);
    loop_defer_cancel(c->loop, &c->start_failed);
}

static void drop_socket(struct backend_connect *c)
{
    if (c->fd >= 0) {
        loop_io_stop(c->loop, &c->io);
        (void)close(c->fd); /* nothing was written through it that close could lose */
        c->fd = -1;
    }
}

/* libpq's message on one line: blanks and line ends round and inside it become one blank each. */
static void copy_error(struct backend_connect *c, const char *text)
{
    size_t n = 0;

    for (; *text != '\0' && n < sizeof(c->error) - 1; text++) {
        bool blank = isspace((unsigned char)*text) != 0;

        if (!blank) {
            c->error[n++] = *text;
        } else if (n > 0 && c->error[n - 1] != ' ') {
            c->error[n++] = ' ';
        }
    }
    while (n > 0 && c->error[n - 1] == ' ') {
        n--;
    }
    c->error[n] = '\0';
}

/* When memory ends between making a TLS session and using it, libpq (initialize_SSL() up to 18 at least) forgets the session:
 * neither PQfinish() nor its next try frees it. */
static void finish_libpq(struct backend_connect *c)
{
    void *forgotten = c->conn == NULL || PQsslInUse(c->conn) != 0 || PQlibVersion() >= 190000
                          ? NULL
                          : PQsslStruct(c->conn, "OpenSSL");

    PQfinish(c->conn);
    c->conn = NULL;
    tls_free_foreign(forgotten);
}

static void fail(struct backend_connect *c, enum backend_connect_status status, const char *text)
{
    struct backend_connect_result r = {.status = status, .fd = -1};

    copy_error(c, text);
    set_state(c, CONNECT_ENDED);
    stop_watching(c);
    drop_socket(c);
    finish_libpq(c);
    r.error = c->error;
    if (status == BACKEND_CONNECT_REFUSED) {
        r.server_error = &c->server_error;
    }
    c->fn(c, c->owner, &r); /* may free @c */
}

static void fail_as_libpq_says(struct backend_connect *c)
{
    fail(c, c->has_server_error ? BACKEND_CONNECT_REFUSED : BACKEND_CONNECT_FAILED,
         PQerrorMessage(c->conn));
}

static void describe_inet6(const struct sockaddr_in6 *in6, char *ret, size_t size)
{
    char scope[IF_NAMESIZE];
    size_t len;

    if (inet_ntop(AF_INET6, &in6->sin6_addr, ret, (socklen_t)size) == NULL ||
        in6->sin6_scope_id == 0) {
        return;
    }
    len = strlen(ret);
    if (if_indextoname(in6->sin6_scope_id, scope) != NULL) {
        (void)snprintf(ret + len, size - len, "%%%s",
                       scope); /* a cut is harmless, here and below */
    } else {
        (void)snprintf(ret + len, size - len, "%%%u", in6->sin6_scope_id);
    }
}

static void describe_unix(const struct sockaddr_un *un, socklen_t addr_len, char *ret, size_t size)
{
    size_t len = addr_len > offsetof(struct sockaddr_un, sun_path)
                     ? addr_len - offsetof(struct sockaddr_un, sun_path)
                     : 0;

    if (len > 1 && un->sun_path[0] == '\0') {
        (void)snprintf(ret, size, "@%.*s", (int)(len - 1), &un->sun_path[1]);
    } else if (len > 0 && un->sun_path[0] != '\0') {
        (void)snprintf(ret, size, "%.*s", (int)strnlen(un->sun_path, len), un->sun_path);
    } else {
        (void)snprintf(ret, size, "unix");
    }
}

static void describe(struct backend_address *a, bool known)
{
    struct sockaddr_in in;
    struct sockaddr_in6 in6;
    struct sockaddr_un un;

    if (!known) {
        memset(a, 0, sizeof(*a));
        return;
    }
    a->family = a->addr.ss_family;
    switch (a->family) {
    case AF_INET:
        memcpy(&in, &a->addr, sizeof(in));
        a->port = ntohs(in.sin_port);
        (void)inet_ntop(AF_INET, &in.sin_addr, a->text, sizeof(a->text)); /* cannot be too long */
        break;
    case AF_INET6:
        memcpy(&in6, &a->addr, sizeof(in6));
        a->port = ntohs(in6.sin6_port);
        describe_inet6(&in6, a->text, sizeof(a->text));
        break;
    case AF_UNIX:
        memcpy(&un, &a->addr, sizeof(un));
        describe_unix(&un, a->addr_len, a->text, sizeof(a->text));
        break;
    default:
        break;
    }
}

void backend_connect_addresses(int fd, struct backend_address *peer, struct backend_address *local)
{
    peer->addr_len = sizeof(peer->addr);
    describe(peer, getpeername(fd, (struct sockaddr *)&peer->addr, &peer->addr_len) == 0);
    local->addr_len = sizeof(local->addr);
    describe(local, getsockname(fd, (struct sockaddr *)&local->addr, &local->addr_len) == 0);
}

static void set_socket_buffers(int fd, unsigned bytes)
{
    int value = (int)bytes;

    if (bytes > 0) {
        /* A wish: the kernel caps it, and a connection with other buffers is as good. */
        (void)setsockopt(fd, SOL_SOCKET, SO_SNDBUF, &value, sizeof(value));
        (void)setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &value, sizeof(value));
    }
}

static void take_over(struct backend_connect *c)
{
    struct backend_connect_result r = {.status = BACKEND_CONNECT_OK, .error = ""};
    void *ssl = PQsslInUse(c->conn) != 0 ? PQsslStruct(c->conn, "OpenSSL") : NULL;

    if (PQsslInUse(c->conn) != 0) {
        r.tls = ssl == NULL ? NULL : tls_adopt(ssl, c->fd);
        if (r.tls == NULL) {
            fail(c, BACKEND_CONNECT_FAILED, "out of memory, or libpq's TLS is not OpenSSL");
            return;
        }
    }
    set_state(c, CONNECT_ENDED);
    stop_watching(c);
    finish_libpq(c); /* not yet CONNECTION_OK: it sends nothing */
    if (r.tls != NULL) {
        tls_adopt_finish(r.tls);
    }
    r.fd = c->fd;
    c->fd = -1;
    set_socket_buffers(r.fd, c->socket_buffer_bytes);
    backend_connect_addresses(r.fd, &r.peer, &r.local);
    conn_tune_local(r.fd, (const struct sockaddr *)&r.peer.addr);
    c->fn(c, c->owner, &r); /* may free @c */
}

/* -- the attempt -- */

/* Makes our duplicate that of the socket libpq has now. false: it has none, or no descriptor is
 * left. */
static bool follow_socket(struct backend_connect *c)
{
    int sock = PQsocket(c->conn);
    struct stat st;

    if (sock < 0 || fstat(sock, &st) != 0) {
        return false;
    }
    if (c->fd >= 0 && st.st_dev == c->dev && st.st_ino == c->ino) {
        return true;
    }
    drop_socket(c);
    c->fd = fcntl(sock, F_DUPFD_CLOEXEC, 3);
    if (c->fd < 0) {
        return false;
    }
    c->dev = st.st_dev;
    c->ino = st.st_ino;
    c->has_server_error =
        false; /* that was another server, or the same one's word on another try */
    c->error_polls = 0;
    loop_io_set_fd(c->loop, &c->io, c->fd);
    if (c->state != CONNECT_CONNECTING) {
        set_state(c, CONNECT_CONNECTING);
    }
    return true;
}

static bool is_unix(int fd)
{
    struct sockaddr_storage addr;
    socklen_t len = sizeof(addr);

    return getsockname(fd, (struct sockaddr *)&addr, &len) == 0 && addr.ss_family == AF_UNIX;
}

/* A bare connection is ready at CONNECTION_MADE, but the first MADE of a TLS connection is still
 * plain text. */
static bool is_bare_ready(const struct backend_connect *c)
{
    return c->until == BACKEND_CONNECT_BARE && PQstatus(c->conn) == CONNECTION_MADE &&
           (c->tls_off || PQsslInUse(c->conn) != 0 || is_unix(c->fd));
}

/* libpq up to 15 at least ends the process with a SEGV when OpenSSL has no memory at one place of the TLS handshake that
 * it does not check (BIO_set_app_data). What a handshake needs must be there before it begins. */
static bool has_memory_for_libpq(void)
{
    void *volatile probe =
        malloc(HANDSHAKE_BYTES); /* volatile: or the compiler leaves the pair out */
    bool ok = probe != NULL;

    free(probe);
    return ok;
}

static void advance(struct backend_connect *c)
{
    PostgresPollingStatusType want;

    if (!has_memory_for_libpq()) {
        fail(c, BACKEND_CONNECT_FAILED, "out of memory");
        return;
    }
    want = PQconnectPoll(c->conn);
    if (want == PGRES_POLLING_FAILED) {
        fail_as_libpq_says(c);
        return;
    }
    if (want == PGRES_POLLING_OK || !follow_socket(c)) {
        fail(c, BACKEND_CONNECT_FAILED,
             want == PGRES_POLLING_OK ? "the server skipped the authentication"
                                      : "no descriptor for the connection");
        return;
    }
    if (is_bare_ready(c)) {
        take_over(c);
        return;
    }
    if (c->state == CONNECT_CONNECTING && PQstatus(c->conn) == CONNECTION_AWAITING_RESPONSE &&
        want == PGRES_POLLING_READING) {
        if (c->until == BACKEND_CONNECT_BARE) {
            fail(c, BACKEND_CONNECT_FAILED, "the server does not do TLS");
            return;
        }
        set_state(c, CONNECT_ANSWER);
    }
    loop_io_want(c->loop, &c->io, want == PGRES_POLLING_READING ? LOOP_READ : LOOP_WRITE);
}

static enum tls_result peek(struct backend_connect *c, uint8_t *buf, size_t size, size_t *ret_n)
{
    ssize_t n;

    if (PQsslInUse(c->conn) != 0) {
        return tls_peek_foreign(PQsslStruct(c->conn, "OpenSSL"), buf, size, ret_n);
    }
    do {
        n = recv(c->fd, buf, size, MSG_PEEK);
    } while (n < 0 && errno == EINTR);
    if (n < 0) {
        return errno == EAGAIN || errno == EWOULDBLOCK ? TLS_WANT_READ : TLS_ERROR;
    }
    *ret_n = (size_t)n;
    return n == 0 ? TLS_CLOSED : TLS_DONE;
}

/* Keeps what the peeked ErrorResponse says. false: its rest has not come yet, and may still fit. */
static bool keep_server_error(struct backend_connect *c, const uint8_t *data, size_t n)
{
    size_t len;

    if (n < 5) {
        return false;
    }
    len = wire_load_u32(data + 1); /* counts itself, not the type byte */
    if (len < 4 || len >= PEEK_BYTES) {
        return true; /* not to be kept; libpq will say something */
    }
    if (n - 1 < len) {
        return false;
    }
    c->has_server_error = error_msg_parse(data + 5, len - 4, &c->server_error);
    return true;
}

static void hand_back(struct backend_connect *c)
{
    set_state(c, CONNECT_HANDED_BACK);
    advance(c);
}

static void look_at_answer(struct backend_connect *c)
{
    uint8_t data[PEEK_BYTES];
    size_t n = 0;

    switch (peek(c, data, sizeof(data), &n)) {
    case TLS_WANT_READ:
        loop_io_want(c->loop, &c->io, LOOP_READ);
        return;
    case TLS_WANT_WRITE:
        loop_io_want(c->loop, &c->io, LOOP_WRITE);
        return;
    case TLS_DONE:
        if (data[0] == 'R' || data[0] == 'v') {
            take_over(c);
            return;
        }
        if (data[0] == 'E' && !keep_server_error(c, data, n) && c->error_polls++ < ERROR_POLLS) {
            loop_io_want(c->loop, &c->io, LOOP_NONE);
            loop_timer_set(c->loop, &c->poll, ERROR_POLL_US);
            return;
        }
        hand_back(c);
        return;
    case TLS_CLOSED:
    case TLS_ERROR:
        hand_back(c);
        return;
    }
    unreachable();
}

static void on_io(struct loop_io *io, unsigned events)
{
    struct backend_connect *c = container_of(io, struct backend_connect, io);

    (void)events;
    if (c->state == CONNECT_ANSWER) {
        look_at_answer(c);
    } else if (is_bare_ready(c)) {
        take_over(c); /* over a Unix socket already the start gets there */
    } else {
        advance(c);
    }
}

static void on_poll(struct loop_timer *timer)
{
    look_at_answer(container_of(timer, struct backend_connect, poll));
}

static void on_deadline(struct loop_timer *timer)
{
    struct backend_connect *c = container_of(timer, struct backend_connect, deadline);
    char text[128];

    (void)snprintf(text, sizeof(text), "timed out while %s", states[c->state].name);
    fail(c, BACKEND_CONNECT_TIMEOUT, text);
}

static void on_start_failed(struct loop_deferred *work)
{
    struct backend_connect *c = container_of(work, struct backend_connect, start_failed);

    fail(c, BACKEND_CONNECT_FAILED, c->error[0] != '\0' ? c->error : PQerrorMessage(c->conn));
}

/* -- the start -- */

#define MAX_KEYWORDS 32

struct keywords {
    const char *name[MAX_KEYWORDS + 1];
    const char *value[MAX_KEYWORDS + 1];
    unsigned n;
    char numbers[8][16];
    unsigned n_numbers;
};

/* Leaves out what is not set: libpq's own default then counts. */
static void add(struct keywords *k, const char *name, const char *value)
{
    if (value != NULL && value[0] != '\0') {
        fatal_unless(k->n < MAX_KEYWORDS);
        k->name[k->n] = name;
        k->value[k->n] = value;
        k->n++;
    }
}

static void add_number(struct keywords *k, const char *name, unsigned value)
{
    char *text = k->numbers[k->n_numbers];

    if (value != 0) {
        fatal_unless(k->n_numbers < ARRAY_LEN(k->numbers));
        (void)snprintf(text, sizeof(k->numbers[0]), "%u", value); /* fits */
        k->n_numbers++;
        add(k, name, text);
    }
}

/* PG15 protocol, StartupMessage, "options": blanks separate, a backslash takes the next byte as
 * it is. */
static void append_option(struct buf *b, const char *name, const char *value)
{
    const char *const parts[] = {name, "=", value};

    buf_append_str(b, b->len > 0 ? " -c " : "-c ");
    for (unsigned i = 0; i < ARRAY_LEN(parts); i++) {
        for (const char *at = parts[i]; *at != '\0'; at++) {
            if (*at == '\\' || isspace((unsigned char)*at)) {
                buf_append_u8(b, '\\');
            }
            buf_append_u8(b, (uint8_t)*at);
        }
    }
}

static void add_startup(struct keywords *k, const struct backend_connect_params *p,
                        struct buf *options)
{
    if (p->options != NULL) {
        buf_append_str(options, p->options);
    }
    for (unsigned i = 0; i < p->n_extra; i++) {
        append_option(options, p->extra[i].name, p->extra[i].value);
    }
    add(k, "user",
        p->user != NULL && p->user[0] != '\0' ? p->user
                                              : "none"); /* else libpq asks the system who we are */
    add(k, "dbname", p->dbname);
    add(k, "replication", p->replication);
    add(k, "application_name", p->application_name);
    add(k, "client_encoding", p->client_encoding);
    add(k, "options", buf_cstr(options));
}

static void add_tls(struct keywords *k, const struct backend_connect_params *p)
{
    bool verify = p->sslmode >= TLS_VERIFY_CA;

    add(k, "sslmode", tls_sslmode_name(p->sslmode));
    /* With a CA file libpq verifies at sslmode=require too; PgBouncer does not. */
    add(k, "sslrootcert", verify ? p->sslrootcert : NO_FILE);
    add(k, "sslcrl", NO_FILE);
    add(k, "sslcert", p->sslcert != NULL && p->sslcert[0] != '\0' ? p->sslcert : NO_FILE);
    add(k, "sslkey", p->sslkey);
    add(k, "ssl_min_protocol_version", p->tls_min);
    add(k, "ssl_max_protocol_version", p->tls_max);
}

static void add_socket(struct keywords *k, const struct backend_connect_params *p)
{
    add(k, "host", p->host);
    add(k, "hostaddr", p->hostaddr);
    add_number(k, "port", p->port);
    add(k, "keepalives", p->tcp_keepalive ? "1" : "0");
    if (p->tcp_keepalive) {
        add_number(k, "keepalives_idle", p->tcp_keepidle_s);
        add_number(k, "keepalives_interval", p->tcp_keepintvl_s);
        add_number(k, "keepalives_count", p->tcp_keepcnt);
    }
    add_number(k, "tcp_user_timeout", p->tcp_user_timeout_ms);
}

/* The first @len bytes of @host are a socket directory, an abstract socket or a numeric address. */
static bool needs_no_lookup(const char *host, size_t len)
{
    char one[INET6_ADDRSTRLEN + IF_NAMESIZE + 1];
    uint8_t bytes[16];

    if (len == 0 || host[0] == '/' || host[0] == '@') {
        return true;
    }
    if (len >= sizeof(one)) {
        return false;
    }
    memcpy(one, host, len);
    one[len] = '\0';
    if (inet_pton(AF_INET, one, bytes) == 1) {
        return true;
    }
    one[strcspn(one, "%")] = '\0';
    return inet_pton(AF_INET6, one, bytes) == 1;
}

/* Nothing in the comma list @host makes libpq ask a name server. */
static bool none_needs_lookup(const char *host)
{
    for (const char *at = host; *at != '\0'; at += *at == ',') {
        size_t len = strcspn(at, ",");

        if (!needs_no_lookup(at, len)) {
            return false;
        }
        at += len;
    }
    return true;
}

/* NULL: fine. Else why this attempt cannot even be started. */
static const char *why_not(const struct backend_connect_params *p)
{
    if ((p->hostaddr == NULL || p->hostaddr[0] == '\0') && p->host != NULL &&
        !none_needs_lookup(p->host)) {
        return "the host name has not been resolved";
    }
    if (p->sslmode >= TLS_VERIFY_CA && (p->sslrootcert == NULL || p->sslrootcert[0] == '\0')) {
        return "no CA file is set, but sslmode asks for verification";
    }
    return NULL;
}

/* false: out of memory. */
static bool start(struct backend_connect *c, const struct backend_connect_params *p)
{
    struct buf options = BUF_INIT(OPTIONS_MAX_BYTES);
    struct keywords k = {.n = 0};
    const char *obstacle = why_not(p);

    if (obstacle != NULL) {
        copy_error(c, obstacle);
        loop_defer(c->loop, &c->start_failed, on_start_failed);
        return true;
    }
    add(&k, "gssencmode", "disable");
    add(&k, "passfile", NO_FILE);
    add_socket(&k, p);
    add_startup(&k, p, &options);
    add_tls(&k, p);
    if (buf_ok(&options)) {
        c->conn = PQconnectStartParams(k.name, k.value, 0);
    }
    buf_done(&options);
    if (c->conn == NULL) {
        return false;
    }
    if (PQstatus(c->conn) == CONNECTION_BAD || !follow_socket(c)) {
        loop_defer(c->loop, &c->start_failed, on_start_failed);
        return true;
    }
    loop_io_want(c->loop, &c->io,
                 LOOP_WRITE); /* as if PQconnectPoll had said so: libpq's documentation */
    if (p->timeout_us > 0) {
        loop_timer_set(c->loop, &c->deadline, p->timeout_us);
    }
    return true;
}

struct backend_connect *backend_connect_new(struct loop *loop,
                                            const struct backend_connect_params *p,
                                            backend_connect_fn fn, void *owner)
{
    struct backend_connect *c = calloc(1, sizeof(*c));

    if (c == NULL) {
        return NULL;
    }
    c->loop = loop;
    c->fn = fn;
    c->owner = owner;
    c->until = p->until;
    c->fd = -1;
    c->tls_off = p->sslmode == TLS_DISABLE;
    c->socket_buffer_bytes = p->tcp_socket_buffer_bytes;
    loop_io_init(&c->io, -1, on_io);
    loop_timer_init(&c->deadline, on_deadline);
    loop_timer_init(&c->poll, on_poll);
    if (!start(c, p)) {
        return backend_connect_free(c);
    }
    return c;
}

struct backend_connect *backend_connect_free(struct backend_connect *c)
{
    if (c == NULL) {
        return NULL;
    }
    stop_watching(c);
    drop_socket(c);
    finish_libpq(c);
    free(c);
    return NULL;
}
