/* SPDX-License-Identifier: ISC */
/* A CancelRequest: finds the client it means, cancels what runs for it and for nobody else, and closes when the server
 * has read it, as PostgreSQL does. A request that fits nobody is closed without a word: it must not tell keys apart. */
#include "daemon/admin.h"
#include "daemon/client.h"

#include "daemon/util/fatal.h"
#include "daemon/util/log.h"
#include "daemon/util/secret.h"

#include <stdlib.h>

struct client_cancel {
    struct cancel_waiter waiter;
    struct client *c;
};

static void on_done(struct cancel_waiter *w)
{
    struct client_cancel *cancel = container_of(w, struct client_cancel, waiter);

    client_close_quiet(cancel->c, "cancel request done");
}

void client_cancel_end(struct client *c)
{
    if (c->u.cancel != NULL) {
        cancel_forget(&c->u.cancel->waiter);
        free(c->u.cancel);
        c->u.cancel = NULL;
    }
}

static bool key_fits(const struct client *c, const struct startup *s)
{
    uint8_t key[4];

    if (c->long_key != NULL) {
        return s->cancel_key_len == CLIENT_LONG_KEY_BYTES &&
               secret_bytes_equal(c->long_key, s->cancel_key, CLIENT_LONG_KEY_BYTES);
    }
    wire_store_u32(key, c->cancel_key);
    return s->cancel_key_len == sizeof(key) && secret_bytes_equal(key, s->cancel_key, sizeof(key));
}

void client_cancel_begin(struct client *c, const struct startup *s)
{
    struct client *target = server_client_by_pid(c->server, s->cancel_pid);
    struct client_cancel *cancel = calloc(1, sizeof(*cancel));

    if (target == NULL || cancel == NULL || !key_fits(target, s)) {
        static struct log_rate rate;

        free(cancel);
        if (log_rate_ok(&rate, 20)) {
            client_log(c, LOG_LOG_LEVEL, "cancel request for an unknown or finished client");
        }
        client_close_quiet(c, "failed cancel request");
        return;
    }
    cancel->c = c;
    c->u.login = client_login_free(c->u.login);
    cancel->waiter.done = on_done;
    client_set_state(c, CLIENT_CANCEL);
    c->u.cancel = cancel;
    if (target->state == CLIENT_CONSOLE) {
        admin_session_cancel(target);
        client_close_quiet(c, "cancel request done");
        return;
    }
    if (target->state == CLIENT_WAITING) {
        /* It waits in the queue: there is nothing to cancel on a server, so its query ends here. */
        struct pg_error e = {.severity = "ERROR",
                             .sqlstate = SQLSTATE_QUERY_CANCELED,
                             .message = "canceling statement due to user request"};

        client_relay_refuse(target, &e);
        client_close_quiet(c, "cancel request done");
        return;
    }
    if (target->lease.state != LEASE_HELD || inflight_is_empty(&target->lease.backend->inflight) ||
        cancel_start(target->lease.backend, &cancel->waiter, CANCEL_FROM_CLIENT) == CANCEL_NO) {
        client_close_quiet(c, "cancel request: nothing to cancel");
    }
}
