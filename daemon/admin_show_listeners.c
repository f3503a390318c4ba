/* SPDX-License-Identifier: ISC */
/* SHOW LISTENERS: one row for each channel that clients of a pool listen to, and for each client_encoding that they do
 * it in. */
#include "daemon/admin_count.h"
#include "daemon/admin_show.h"
#include "pool/notify_hub.h"

static const struct admin_column columns[] = {
    {"database", ADMIN_TEXT},    {"user", ADMIN_TEXT},     {"channel", ADMIN_TEXT},
    {"subscribers", ADMIN_INT4}, {"received", ADMIN_INT8}, {"delivered", ADMIN_INT8},
    {"queued", ADMIN_INT8},      {"dropped", ADMIN_INT8},  {"hub_pid", ADMIN_INT4},
    {"age", ADMIN_INT8},         {"encoding", ADMIN_TEXT}, {"round_trips", ADMIN_INT8},
};

static void see_hub(struct admin_walk *w, const struct notify_hub *hub)
{
    const struct channel *ch;

    list_for_each(&notify_hub_channels(hub)->used, ch, link) {
        admin_walk_see(w, (struct admin_key){.n = notify_hub_id(hub), .a = ch->name}, ch, 0);
    }
}

static void each_channel(struct server *s, struct admin_walk *w)
{
    for (const struct pool *pool = admin_next_pool(s, NULL); pool != NULL;
         pool = admin_next_pool(s, pool)) {
        for (const struct notify_hub *hub = pool->hub; hub != NULL; hub = notify_hub_next(hub)) {
            see_hub(w, hub);
        }
    }
}

/* There is one: the walk has just seen it. */
static const struct notify_hub *find_hub(struct server *s, uint64_t id,
                                         const struct pool **ret_pool)
{
    for (const struct pool *pool = admin_next_pool(s, NULL); pool != NULL;
         pool = admin_next_pool(s, pool)) {
        for (const struct notify_hub *hub = pool->hub; hub != NULL; hub = notify_hub_next(hub)) {
            if (notify_hub_id(hub) == id) {
                *ret_pool = pool;
                return hub;
            }
        }
    }
    unreachable();
}

static void fill_channel(struct server *s, const struct admin_found *f, struct admin_row *row)
{
    const struct channel *ch = f->item;
    const struct pool *pool = NULL;
    const struct notify_hub *hub = find_hub(s, f->key.n, &pool);

    admin_put_name(row, pool->db->name);
    admin_put_name(row, pool->user->name);
    admin_put_name(row, ch->name);
    admin_put_uint(row, ch->subscribers.n);
    admin_put_uint(row, ch->n_received);
    admin_put_uint(row, ch->n_delivered);
    admin_put_uint(row, ch->n_queued);
    admin_put_uint(row, ch->n_dropped);
    admin_put_uint(row, notify_hub_pid(hub));
    admin_put_uint(row, notify_hub_age_us(hub) / USEC_PER_SEC);
    admin_put_text(row, notify_hub_encoding(hub));
    admin_put_uint(row, notify_hub_round_trips(hub));
}

const struct admin_show_kind admin_show_listeners = {.name = "LISTENERS",
                                                     .begins_line = true,
                                                     ADMIN_COLUMNS(columns),
                                                     .each = each_channel,
                                                     .fill = fill_channel};
