/* SPDX-License-Identifier: ISC */
/* Who comes in. */
#include "daemon/listener_internal.h"

#include "daemon/client.h"
#include "daemon/util/log.h"

#include <errno.h>
#include <string.h>
#include <sys/socket.h>

#define ACCEPTS_PER_TURN 64 /* then the others get their turn */
#define ACCEPTS_IN_A_RUSH 8 /* when logins have had their share of it, see login_queue.h */
#define RETRY_US (200 * USEC_PER_MSEC) /* after a shortage of descriptors */

static void accept_later(struct listener *l, int why)
{
    static struct log_rate rate;

    loop_io_want(l->server->loop, &l->io, LOOP_NONE); /* else the loop would turn at full speed */
    loop_timer_set(l->server->loop, &l->retry, RETRY_US);
    if (log_rate_ok(&rate, 1)) {
        log_warning(
            "cannot accept on %s: %s: new clients wait until descriptors or memory are free",
            l->name, strerror(why));
    }
}

void listener_on_retry(struct loop_timer *timer)
{
    struct listener *l = container_of(timer, struct listener, retry);

    if (!l->is_suspended) {
        loop_io_want(l->server->loop, &l->io, LOOP_READ);
    }
}

static bool is_shortage(int why)
{
    return why == EMFILE || why == ENFILE || why == ENOBUFS || why == ENOMEM;
}

/* With tcp_defer_accept its first bytes are here already. */
static bool has_sent(const struct listener *l)
{
    return !l->is_unix && l->server->config->settings.tcp_defer_accept_s > 0;
}

bool listener_accept_one(struct listener *l)
{
    struct sockaddr_storage peer; /* of it we read what the kernel writes */
    struct sockaddr *addr = (struct sockaddr *)(void *)&peer;
    socklen_t len = sizeof(peer);
    struct client *c;
    int fd = accept4(l->fd, addr, &len, SOCK_NONBLOCK | SOCK_CLOEXEC);

    if (fd < 0 && (errno == EINTR || errno == ECONNABORTED || errno == EPROTO)) {
        return true;
    }
    if (fd < 0) {
        if (is_shortage(errno)) {
            accept_later(l, errno);
        }
        return false;
    }
    if (l->is_unix) {
        peer.ss_family =
            AF_UNIX; /* a client's socket has no name, and then the kernel may write nothing */
    } else if (!conn_is_loopback((const struct sockaddr *)&l->addr)) {
        conn_tune_local(fd, addr); /* else inherited */
    }
    if (l->refuses_new) {
        int unused = 0;

        /* inherited; it would only cost time */
        (void)setsockopt(fd, SOL_SOCKET, SO_DETACH_FILTER, &unused, sizeof(unused));
    }
    c = client_new(l->server, l, fd, addr);
    if (c == NULL) {
        accept_later(l, ENOMEM);
        return false;
    }
    if (c->state == CLIENT_STARTUP && has_sent(l)) {
        client_startup_readable(c);
    }
    return true;
}

/* To find that there is nobody more costs a call, so it is found out only when they come turn after turn: the kernel tells
 * in the next turn if somebody is left. */
static unsigned accepts_now(struct listener *l)
{
    uint64_t turn = loop_turns(l->server->loop);

    l->n_accepts = turn - l->accept_turn == 1 && l->n_accepts > 0
                       ? MIN(l->n_accepts * 2, (unsigned)ACCEPTS_PER_TURN)
                       : 1;
    l->accept_turn = turn;
    return l->n_accepts;
}

void listener_on_accept(struct loop_io *io, unsigned events)
{
    struct listener *l = container_of(io, struct listener, io);
    struct login_queue *q = &l->server->login_queue;
    unsigned most = accepts_now(l);
    bool more = true;

    (void)events;
    for (unsigned n = 0; more && n < most; n++) {
        if (n >= ACCEPTS_IN_A_RUSH && !login_queue_is_open(q)) {
            return;
        }
        login_queue_begin(q);
        more = listener_accept_one(l);
        login_queue_end(q);
    }
}
