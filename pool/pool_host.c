/* SPDX-License-Identifier: ISC */
/* A server's name has other addresses than before. */
#include "pool/pool.h"

#include <string.h>

static bool has_address(const struct resolve_answer *answer, const char *text)
{
    for (unsigned i = 0; i < answer->n_addrs; i++) {
        if (strcmp(answer->addrs[i].text, text) == 0) {
            return true;
        }
    }
    return false;
}

static void leave_host(struct backend *b, const char *name, const struct resolve_answer *answer)
{
    if (strcmp(b->host, name) != 0 || has_address(answer, b->peer.text)) {
        return;
    }
    b->close_needed = true;
    b->host_moved = true;
    if (b->state == BACKEND_IDLE || b->is_hub) { /* a hub has no end of its transaction */
        backend_close(b, "server DNS entry changed", NULL);
    }
}

/* It connects to addresses that were looked up before. Which of them it will be is not known yet. */
static void doubt_host(struct backend *b, const char *name)
{
    if (b->connect == NULL || strcmp(b->host, name) != 0) {
        return;
    }
    b->host_moved = true;
    if (b->is_hub) {
        backend_close(b, "server DNS entry changed", NULL);
    }
}

void pool_host_moved(struct pool *pool, const char *name, const struct resolve_answer *answer)
{
    struct backend *b;

    list_for_each(&pool->backends[BACKEND_CONNECTING], b, link) {
        doubt_host(b, name);
    }
    for (unsigned i = BACKEND_LOGIN; i < BACKEND_CLOSED; i++) {
        list_for_each(&pool->backends[i], b, link) {
            leave_host(b, name, answer);
        }
    }
    pool_dispatch_later(pool);
}
