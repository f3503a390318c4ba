/* SPDX-License-Identifier: ISC */
/* What is about to be sent to one connection: runs of bytes that lie somewhere (mostly in the loop's read buffer) and
 * small pieces that we add between them. It is collected on the stack while a batch of messages is looked through, and
 * leaves in one system call. Nothing is copied but the small pieces.
 *
 * When it is full it sends itself, so an append never fails for want of room; a failed send sticks. */
#ifndef PGPOOLD_PROTOCOL_OUTVEC_H
#define PGPOOLD_PROTOCOL_OUTVEC_H

#include "protocol/conn.h"

#include <string.h>

#define OUTVEC_RUNS 48
#define OUTVEC_ARENA_BYTES 2048

struct outvec {
    /* private */
    struct conn *conn;
    struct loop *loop;
    int n;
    bool failed;
    size_t arena_len;
    uint64_t sent_bytes; /* may be read */
    struct iovec iov[OUTVEC_RUNS];
    uint8_t arena[OUTVEC_ARENA_BYTES];
};

/* Not an initialiser of the whole: the arrays stay as they are. */
static inline void outvec_init(struct outvec *v, struct conn *conn, struct loop *loop)
{
    v->conn = conn;
    v->loop = loop;
    v->n = 0;
    v->failed = false;
    v->arena_len = 0;
    v->sent_bytes = 0;
}

/* Sends what is there. false: this send or an earlier one failed for good. */
bool outvec_flush(struct outvec *v);

/* @data must stay as it is until the flush. A run that continues the one before becomes part of it. */
static inline void outvec_add(struct outvec *v, const void *data, size_t len)
{
    if (len == 0) {
        return;
    }
    if (v->n > 0 && (const uint8_t *)v->iov[v->n - 1].iov_base + v->iov[v->n - 1].iov_len ==
                        (const uint8_t *)data) {
        v->iov[v->n - 1].iov_len += len;
        return;
    }
    if (v->n == OUTVEC_RUNS) {
        (void)outvec_flush(v); /* a failure sticks */
    }
    v->iov[v->n].iov_base = (void *)data; /* never written to */
    v->iov[v->n].iov_len = len;
    v->n++;
}

/* Copies @data, of any length. */
void outvec_copy(struct outvec *v, const void *data, size_t len);

static inline bool outvec_is_empty(const struct outvec *v)
{
    return v->n == 0;
}

#endif
