/* SPDX-License-Identifier: ISC */
/* The Unix socket between the old and the new process of an online restart: records (protocol/takeover_msg.h) in both
 * directions, and descriptors that belong to them. Embedded by value; knows nothing of what the records mean.
 *
 * What is sent goes through a queue; a descriptor is duplicated when it is queued, so its owner may close it at once.
 * Content is wiped when it has been sent or dealt with: there are keys in it. */
#ifndef PGPOOLD_DAEMON_TAKEOVER_LINK_H
#define PGPOOLD_DAEMON_TAKEOVER_LINK_H

#include "daemon/util/loop.h"
#include "protocol/takeover_msg.h"

#include <sys/types.h>

/* Descriptors in one sendmsg(2); the kernel's own limit is 253. */
#define TAKEOVER_FDS_AT_ONCE 64U
/* Received, and not yet claimed by a record. */
#define TAKEOVER_FDS_MAX 256U

struct takeover_fd {
    size_t at; /* in the queue: the first byte of its record */
    int fd;    /* owned */
};

struct takeover_link {
    /* private */
    struct loop *loop; /* NULL: not watched yet, all calls block */
    struct loop_io io;
    int fd;
    struct buf out;
    size_t out_sent;
    struct takeover_fd out_fds[TAKEOVER_FDS_MAX];
    unsigned n_out_fds;
    struct buf in;
    size_t in_taken; /* of in: dealt with */
    int in_fds[TAKEOVER_FDS_MAX];
    unsigned n_in_fds;
    bool is_broken;
};

enum takeover_take {
    TAKEOVER_TOOK,
    TAKEOVER_NOTHING, /* no whole record is there */
    TAKEOVER_GARBAGE, /* the peer is not to be listened to any further */
};

/* Takes @fd. */
void takeover_link_init(struct takeover_link *l, int fd);
/* Wipes and closes. May run twice. */
void takeover_link_done(struct takeover_link *l);

/* From now on the loop calls @fn with LOOP_READ; LOOP_WRITE is to be passed to takeover_link_flush(). */
MUSTCHECK bool takeover_link_watch(struct takeover_link *l, struct loop *loop, loop_io_fn fn);

/* Queues a record; @fd: -1, or what goes with it. Failures show in takeover_link_is_broken(). */
void takeover_link_send(struct takeover_link *l, const struct takeover_msg *m, int fd);
/* Sends what the socket takes. */
void takeover_link_flush(struct takeover_link *l);
/* May another few records be queued? Else: when the callback comes with LOOP_WRITE. */
bool takeover_link_has_room(const struct takeover_link *l);
static inline bool takeover_link_is_broken(const struct takeover_link *l)
{
    return l->is_broken;
}

/* One recvmsg(2). > 0: something came; 0: the end; -EAGAIN: nothing now; else -errno. */
ssize_t takeover_link_receive(struct takeover_link *l);
/* The next whole frame; @ret_body borrows until the next receive; its descriptor is the caller's. */
enum takeover_take takeover_link_frame(struct takeover_link *l, uint8_t *ret_type,
                                       struct takeover_bytes *ret_body);
/* The next record. *ret_fd: -1 or the caller's. */
enum takeover_take takeover_link_take(struct takeover_link *l, struct takeover_msg *ret,
                                      int *ret_fd);

#endif
