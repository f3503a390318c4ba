/* SPDX-License-Identifier: ISC */
#include "protocol/outvec.h"

bool outvec_flush(struct outvec *v)
{
    if (v->n > 0 && !v->failed) {
        v->sent_bytes += v->iov[0].iov_len;
        for (int i = 1; i < v->n; i++) {
            v->sent_bytes += v->iov[i].iov_len;
        }
        v->failed = !conn_sendv(v->conn, v->loop, v->iov, v->n);
    }
    v->n = 0;
    v->arena_len = 0;
    return !v->failed;
}

void outvec_copy(struct outvec *v, const void *data, size_t len)
{
    if (len > OUTVEC_ARENA_BYTES) {
        outvec_add(v, data, len);
        (void)outvec_flush(v); /* @data need not live longer; a failure sticks */
        return;
    }
    if (len > OUTVEC_ARENA_BYTES - v->arena_len || v->n == OUTVEC_RUNS) {
        (void)outvec_flush(v);
    }
    memcpy(v->arena + v->arena_len, data, len);
    outvec_add(v, v->arena + v->arena_len, len);
    v->arena_len += len;
}
