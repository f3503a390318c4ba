/* SPDX-License-Identifier: ISC */
/* A byte stream over a non-blocking socket, plain or TLS, with a queue for what the socket does not take at once.
 * Clients and backends embed one. It never parses, never closes by itself and never blocks; death is told by the return
 * values, from the read side (a failed write shows there soon enough).
 *
 * Reading and writing cost one syscall each and nothing else: the watcher is touched only for back-pressure and for the
 * rest of a write that met EAGAIN. */
#ifndef PGPOOLD_PROTOCOL_CONN_H
#define PGPOOLD_PROTOCOL_CONN_H

#include "daemon/util/buf.h"
#include "daemon/util/loop.h"
#include "protocol/tls.h"

#include <sys/socket.h>
#include <sys/types.h>
#include <sys/uio.h>

/* Above this many queued bytes the source should not be read any more; below the low mark it may go on. */
#define CONN_HIGH_BYTES ((size_t)256 * 1024)
#define CONN_LOW_BYTES ((size_t)64 * 1024)
/* Nothing is ever queued beyond this: the connection is given up instead. */
#define CONN_QUEUE_MAX_BYTES ((size_t)40 << 20)

#define CONN_AGAIN 0  /* conn_read: nothing now */
#define CONN_EOF (-1) /* conn_read: the peer ended the stream */

struct conn {
    /* private */
    struct loop_io io;
    struct tls *tls;      /* NULL: plain; owned */
    struct buf *out;      /* bytes still to be written; NULL: none; owned */
    uint32_t out_sent;    /* bytes of out that are gone already */
    bool reading;         /* the owner wants to read */
    bool tls_wants_write; /* a TLS read or handshake step waits for room in the socket */
    bool broken;          /* a write failed: nothing more is written */
    bool watches_end : 1; /* the owner hears of its end although it does not read */
    bool is_bulk : 1;     /* much is coming; the owner ends it */
};

/* What conn_splice() moves bytes through: one per process, empty between two calls. */
struct conn_pipe {
    /* private */
    int from; /* -1: there is none, nothing is ever moved */
    int to;
};

/* Without descriptors for it there is none. */
void conn_pipe_open(struct conn_pipe *p);
void conn_pipe_close(struct conn_pipe *p);

/* @fd: non-blocking; owned from now on. Nothing is watched until conn_want_read(). */
void conn_init(struct conn *c, int fd, loop_io_fn fn);
/* Stops watching, frees, closes the descriptor. May run twice. */
void conn_done(struct conn *c, struct loop *loop);

static inline bool conn_is_open(const struct conn *c)
{
    return loop_io_fd(&c->io) >= 0;
}

static inline int conn_fd(const struct conn *c)
{
    return loop_io_fd(&c->io);
}

/* 127.0.0.0/8 or ::1 */
bool conn_is_loopback(const struct sockaddr *addr);
/* For a TCP socket bound or connected to @addr: if that is this machine itself, there is no line whose speed somebody would
 * have to find out, so the simplest congestion control does, whatever the system's is for the others. BBR, a usual one,
 * paces what is sent: a timer of the kernel for every few segments, a third of what a large result costs. A listener's
 * connections inherit it, and then nothing is paced at all. What the kernel refuses stays as it is. */
void conn_tune_local(int fd, const struct sockaddr *addr);

/* Where it stands among those that are ready in the same turn; LOOP_USUAL at first. */
void conn_set_rank(struct conn *c, struct loop *loop, enum loop_rank rank);

/* As conn_done(), but the descriptor stays open and is the caller's. What was queued is lost. */
MUSTCHECK int conn_take_fd(struct conn *c, struct loop *loop);

/* Switches to TLS; @tls is owned from now on. */
void conn_set_tls(struct conn *c, struct tls *tls);
/* Runs the handshake one step. TLS_DONE, or TLS_WANT_* (the watcher is set accordingly), or an error. */
enum tls_result conn_handshake(struct conn *c, struct loop *loop);

/* The peer has logged in: see tls_expect_no_secrets(). */
void conn_expect_no_secrets(struct conn *c);

/* At most @len bytes. > 0: so many; CONN_AGAIN; CONN_EOF; other negative: -errno. */
ssize_t conn_read(struct conn *c, struct loop *loop, void *buf, size_t len);
/* Much is coming: it may pay to look at it with conn_peek() and to move it with conn_splice(). Not for TLS. */
void conn_begin_bulk(struct conn *c);
/* As conn_read(), of a plain connection, but the bytes stay where they are. */
ssize_t conn_peek(const struct conn *c, void *buf, size_t len);
/* How many bytes wait in the socket of a plain connection. */
size_t conn_waiting(const struct conn *c);

/* Can bytes go from one to the other without passing through here? Once nothing waits to be sent before them. */
static inline bool conn_can_splice(const struct conn *from, const struct conn *to,
                                   const struct conn_pipe *p)
{
    return from->is_bulk && from->tls == NULL && to->tls == NULL && !to->broken && p->from >= 0;
}
/* Moves the next @len bytes, which wait in the socket of @from, on to @to; what the socket of @to does not take is copied
 * and follows by itself. Returns how many have left @from: fewer when @to takes no more, or when something is wrong,
 * which shows when @from is read. Running out of memory breaks @to. */
size_t conn_splice(struct conn *from, struct conn *to, struct loop *loop, struct conn_pipe *p,
                   size_t len);

/* Are there bytes that were read off the socket but not yet by conn_read()? The loop would not tell. */
bool conn_has_pending(const struct conn *c);

/* Sends all of it, in order, at once as far as the socket takes it; the rest is copied and follows by itself when
 * conn_on_writable() is called. false: out of memory or over the ceiling; the connection is of no use any more. */
MUSTCHECK bool conn_sendv(struct conn *c, struct loop *loop, const struct iovec *iov, int n);
MUSTCHECK bool conn_send(struct conn *c, struct loop *loop, const void *data, size_t len);

enum conn_fd_sent {
    CONN_FD_SENT,
    CONN_FD_LATER, /* nothing was sent: no room in the socket, or too many descriptors on their way */
};

/* Sends @data and with its first byte a copy of descriptor @fd. Only over a Unix socket, without TLS, with nothing queued. As
 * conn_send(), a broken connection takes everything; running out of memory breaks it. */
MUSTCHECK enum conn_fd_sent conn_send_fd(struct conn *c, struct loop *loop, const void *data,
                                         size_t len, int fd);

/* The last word of a connection that we end: over TLS the peer is told that no more will come, unless something is still
 * queued. Best effort; conn_done() alone says nothing. */
void conn_goodbye(struct conn *c);

/* To be called with LOOP_WRITE from the owner's callback. */
void conn_on_writable(struct conn *c, struct loop *loop);

static inline size_t conn_queued(const struct conn *c)
{
    return c->out == NULL ? 0 : c->out->len - c->out_sent;
}

/* Back-pressure: shall the watcher report readable? Cheap when nothing changes. */
void conn_want_read(struct conn *c, struct loop *loop, bool want);

/* While it is not read: shall the owner's callback hear by LOOP_HANGUP that the peer has closed? Costs a syscall at each change;
 * without memory for it the end shows when it is read. */
void conn_set_watch_end(struct conn *c, struct loop *loop, bool want);
static inline void conn_watch_end(struct conn *c, struct loop *loop, bool want)
{
    if (UNLIKELY(c->watches_end != want)) {
        conn_set_watch_end(c, loop, want);
    }
}

#endif
