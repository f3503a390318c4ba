/* SPDX-License-Identifier: ISC */
/* A hub in an online restart: its connection goes to the new process, and for those subscribers that stay behind it
 * becomes a subscriber there. */
#include "pool/backend_move.h"
#include "pool/notify_hub_internal.h"

void notify_hub_freeze(struct notify_hub *hub)
{
    hub->is_frozen = true;
}

void notify_hub_thaw(struct notify_hub *hub)
{
    hub->is_frozen = false;
    notify_hub_kick(hub);
}

struct backend *notify_hub_movable(const struct notify_hub *hub)
{
    return hub->state == HUB_READY && !hub->is_proxy && backend_may_move(hub->b) ? hub->b : NULL;
}

bool notify_hub_is_tls(const struct notify_hub *hub)
{
    return hub->b != NULL && hub->b->conn.tls != NULL;
}

bool notify_hub_is_listening(const struct notify_hub *hub)
{
    return hub->state == HUB_READY || hub->state == HUB_BUSY;
}

void notify_hub_become_proxy(struct notify_hub *hub, int fd)
{
    hub->is_proxy = true;
    backend_replace_fd(hub->b, fd);
}

bool notify_hub_is_proxy(const struct notify_hub *hub)
{
    return hub->is_proxy;
}

void notify_hub_adopt(struct notify_hub *hub, struct backend *b)
{
    hub->b = b;
    b->hub = hub;
    hub->state = HUB_READY;
    hub->ready_since_us = clock_now_us();
}

int notify_hub_adopt_channel(struct notify_hub *hub, const char *name)
{
    struct subscriber nobody;
    struct channel *ch;
    int r;

    subscriber_init(&nobody);
    r = channel_subscribe(&hub->set, &nobody, name, 0, &ch);
    if (r == 0) {
        ch->hub_state = CHANNEL_ON;
        (void)channel_unsubscribe(&hub->set, &nobody, name);
    }
    return r;
}

void notify_hub_adopt_gap(struct notify_hub *hub)
{
    hub->gap = notify_hub_new_gap(hub);
    notify_hub_tell(hub, false);
}
