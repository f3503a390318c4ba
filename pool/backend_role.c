/* SPDX-License-Identifier: ISC */
/* target_session_attrs: a server that has let us in, but is not what the database asks for, is left for the next host; one
 * that changes while we are connected is left as soon as no transaction is open. */
#include "pool/backend.h"
#include "pool/pool.h"

#include <stdio.h>
#include <string.h>

static enum target_role wanted(const struct backend *b)
{
    return b->second_look ? TARGET_ANY : b->target->role;
}

enum backend_role_verdict backend_role_judge(const struct backend *b)
{
    enum target_role role = wanted(b);

    if (!server_role_is_known(&b->role, role)) {
        /* A physical replication connection of such an old server takes no SQL: there the choice is the client's. */
        return b->replication == REPLICATION_PHYSICAL ? BACKEND_ROLE_FITS : BACKEND_ROLE_UNKNOWN;
    }
    return server_role_fits(&b->role, role) ? BACKEND_ROLE_FITS : BACKEND_ROLE_MISFIT;
}

void backend_role_error(const struct backend *b, struct pg_error *ret)
{
    pg_error_set(ret, SQLSTATE_CANNOT_CONNECT,
                 "server connection failed: %s: target_session_attrs=%s, but %s", b->host_name,
                 target_role_name(b->target->role), target_role_misfit(b->target->role));
}

static bool around(char text[BACKEND_ADDRESS_TEXT_BYTES + 2], const char *addr)
{
    int n = snprintf(text, BACKEND_ADDRESS_TEXT_BYTES + 2, " %s ", addr);

    return n > 0 && n < BACKEND_ADDRESS_TEXT_BYTES + 2;
}

bool backend_role_is_unfit(const struct backend *b, const char *addr)
{
    char text[BACKEND_ADDRESS_TEXT_BYTES + 2];

    return b->unfit.len > 0 && around(text, addr) &&
           memmem(b->unfit.data, b->unfit.len, text, strlen(text)) != NULL;
}

void backend_role_leave(struct backend *b)
{
    char text[BACKEND_ADDRESS_TEXT_BYTES + 2];
    struct pg_error e;

    b->met_misfit = true;
    backend_role_error(b, &e);
    /* The other addresses of a name may be other servers: look at it once more, without this one. */
    if (b->peer.family != AF_UNIX && !resolve_is_numeric(b->host) && around(text, b->peer.text) &&
        buf_append_str(&b->unfit, text)) {
        b->host_at = (b->host_at + b->target->n_hosts - 1) % b->target->n_hosts;
        b->hosts_tried--;
    }
    backend_leave_host(b, &e, false);
}

void backend_role_ask(struct backend *b)
{
    struct outvec v;

    backend_set_state(b, BACKEND_SETUP);
    b->asks_role = true;
    outvec_init(&v, &b->conn, b->pool->env->loop);
    if (backend_inject_query(b, &v, target_role_query(wanted(b)))) {
        (void)!backend_flush(b, &v); /* false: it is closed and told */
    }
}

/* What a session has set for itself says nothing about the server. */
static bool is_own_setting(const struct backend *b, const char *name)
{
    return b->lease != NULL && b->pool->limits.mode == POOL_SESSION &&
           strcmp(name, "default_transaction_read_only") == 0;
}

bool backend_role_note(struct backend *b, const char *name, const char *value)
{
    if (b->target->role == TARGET_ANY || b->target->role == TARGET_PREFER_STANDBY ||
        is_own_setting(b, name) || !server_role_note(&b->role, name, value) ||
        backend_role_judge(b) != BACKEND_ROLE_MISFIT || b->close_needed) {
        return true;
    }
    backend_log(b, LOG_WARNING_LEVEL, "target_session_attrs=%s, but %s now",
                target_role_name(b->target->role), target_role_misfit(b->target->role));
    b->close_needed = true;
    if (b->state == BACKEND_IDLE) {
        backend_close(b, "server changed its role", NULL);
        return false;
    }
    return true;
}
