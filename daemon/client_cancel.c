/* SPDX-License-Identifier: ISC */
/* A CancelRequest: finds the client it means, cancels what runs for it and for nobody else, and closes when the server
 * has read it, as PostgreSQL does. One for a client of another process goes to that peer and closes when the peer does.
 * A request that fits nobody is closed without a word: it must not tell keys apart. */
#include "daemon/admin.h"
#include "daemon/client.h"
#include "daemon/takeover.h"

#include "daemon/util/fatal.h"
#include "daemon/util/log.h"
#include "daemon/util/secret.h"
#include "protocol/cancel_key.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

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

/* --- keys --- */

bool client_cancel_make_key(struct client *c, bool is_long)
{
    unsigned peer_id = (unsigned)c->server->config->settings.peer_id;

    if (c->vpid == 0) {
        c->vpid = server_take_slot(c->server, c);
    }
    if (c->vpid == 0) {
        return false;
    }
    if (!is_long) {
        secret_random(c->key.of_four, CANCEL_KEY_SHORT_BYTES);
        cancel_key_mark(peer_id, c->key.of_four);
        return true;
    }
    c->key.of_many = malloc(CANCEL_KEY_LONG_BYTES);
    if (c->key.of_many == NULL) {
        return false;
    }
    c->has_long_key = true;
    secret_random(c->key.of_many, CANCEL_KEY_LONG_BYTES);
    cancel_key_mark(peer_id, c->key.of_many);
    return true;
}

void client_cancel_put_key(const struct client *c, struct buf *out)
{
    if (c->has_long_key) {
        startup_put_key(out, c->vpid, c->key.of_many, CANCEL_KEY_LONG_BYTES);
    } else {
        startup_put_key(out, c->vpid, c->key.of_four, CANCEL_KEY_SHORT_BYTES);
    }
}

static bool key_fits(const struct client *c, const struct cancel_key *key)
{
    size_t len = c->has_long_key ? CANCEL_KEY_LONG_BYTES : CANCEL_KEY_SHORT_BYTES;
    const uint8_t *own = c->has_long_key ? c->key.of_many : c->key.of_four;

    return key->len == len && secret_bytes_equal(own, key->secret, len);
}

/* --- a request --- */

static void refuse(struct client *c, uint64_t *counter, const char *why)
{
    static struct log_rate rate;

    (*counter)++;
    if (log_rate_ok(&rate, 20)) {
        client_log(c, LOG_LOG_LEVEL, "cancel request %s (%" PRIu64 " so far)", why, *counter);
    }
    client_close_quiet(c, "failed cancel request");
}

/* @c is no session: from now on it waits for the end of its request. false: it is closed. */
static bool become_cancel(struct client *c)
{
    struct client_cancel *cancel = calloc(1, sizeof(*cancel));

    if (cancel == NULL) {
        client_close_quiet(c, "out of memory");
        return false;
    }
    cancel->c = c;
    cancel->waiter.done = on_done;
    c->u.login = client_login_free(c->u.login);
    client_set_state(c, CLIENT_CANCEL);
    c->u.cancel = cancel;
    return true;
}

static void cancel_own(struct client *c, struct client *target)
{
    c->server->cancels.n_own++;
    if (!become_cancel(c)) {
        return;
    }
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
        cancel_start(target->lease.backend, &c->u.cancel->waiter, CANCEL_FROM_CLIENT) ==
            CANCEL_NO) {
        client_close_quiet(c, "cancel request: nothing to cancel");
    }
}

/* The client that is meant is another process's. */
static void pass_on(struct client *c, struct cancel_key *key)
{
    struct server *s = c->server;
    unsigned own = (unsigned)s->config->settings.peer_id;
    unsigned id = cancel_key_peer(key);
    struct peer *peer = own == 0 || id == own ? NULL : peer_find(&s->peers, id);
    size_t len;

    if (peer == NULL) {
        refuse(c, &s->cancels.n_unknown, "for an unknown or finished client");
        return;
    }
    if (key->hops >= CANCEL_KEY_HOPS_MAX) {
        refuse(c, &s->cancels.n_circling,
               "was passed on too often: the addresses in [peers] lead to the wrong processes");
        return;
    }
    if (!become_cancel(c)) {
        return;
    }
    len = cancel_key_pass_on(key);
    if (!peer_forward(peer, key->pid, key->secret, len, &c->u.cancel->waiter)) {
        client_close_quiet(c, "cancel request: too many wait for this peer");
        return;
    }
    s->cancels.n_forwarded++;
}

void client_cancel_moved(struct server *s, int fd, const void *packet, size_t len)
{
    const struct sockaddr_storage none = {.ss_family = AF_UNIX};
    struct client *c = client_new(s, NULL, fd, (const struct sockaddr *)(const void *)&none);
    struct startup startup;

    if (c == NULL) {
        return;
    }
    if (startup_parse(packet, len, &startup) != STARTUP_OK ||
        startup.kind != STARTUP_CANCEL_REQUEST) {
        client_close_quiet(c, "malformed cancel request");
        return;
    }
    client_cancel_begin(c, &startup);
}

/* Who has the very key is looked for here first, so keys stay good when peer_id changes. */
void client_cancel_begin(struct client *c, const struct startup *s)
{
    struct client *target = server_client_by_pid(c->server, s->cancel_pid);
    struct cancel_key key;

    if (!cancel_key_read(s->cancel_pid, s->cancel_key, s->cancel_key_len, &key)) {
        refuse(c, &c->server->cancels.n_unknown, "with a key that is none of ours");
        return;
    }
    if (target != NULL && key_fits(target, &key)) {
        cancel_own(c, target);
    } else if (takeover_pass_cancel(c, c->u.login->packet.data, s->total)) {
        client_close_quiet(c, "cancel request passed on to the old process");
    } else {
        pass_on(c, &key);
    }
    explicit_bzero(&key, sizeof(key));
}

bool client_cancel_waits(const struct client *c)
{
    return c->u.cancel->waiter.in != NULL && !c->u.cancel->waiter.is_sent;
}
