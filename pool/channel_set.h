/* SPDX-License-Identifier: ISC */
/* Who listens to which channel. A channel_set belongs to one hub and owns its channels (one
 * object a name) and the subscriptions; a subscriber is embedded in a client and is in one set
 * at a time. Subscribing, unsubscribing and finding cost the same whether there are ten or ten
 * thousand of either; all of it is in memory, nothing is sent from here.
 *
 * A channel whose last subscriber has gone stays, in the list `empty`, until the hub drops it:
 * it may have to UNLISTEN first. One that gets a subscriber again leaves that list. */
#ifndef PGPOOLD_POOL_CHANNEL_SET_H
#define PGPOOLD_POOL_CHANNEL_SET_H

#include "daemon/util/list.h"
#include "daemon/util/macros.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Without its NUL: PostgreSQL's NAMEDATALEN - 1. */
#define CHANNEL_NAME_MAX 63

struct chain {
    struct chain *next;
};

struct chain_table {
    /* private */
    struct chain **buckets;
    size_t n_buckets; /* a power of two, or 0 */
    size_t n;
};

struct channel {
    struct chain chain;        /* private: by name */
    struct list_node link;     /* private: in used or in empty */
    struct list subscribers;   /* of struct subscription, by_channel; read it, do not change it */
    struct list_node hub_link; /* from here to n_dropped: the hub's own, all zero at first */
    uint64_t n_received;
    uint64_t n_delivered;
    uint64_t n_queued;
    uint64_t n_dropped;
    uint8_t hub_state;
    uint8_t name_len;
    char name[]; /* with a NUL */
};

struct subscriber {
    struct list
        subscriptions; /* of struct subscription, by_subscriber; read it, do not change it */
    bool is_tentative; /* the owner's own mark: it does not listen yet, but may soon */
    bool is_proxy;     /* also the owner's: another process, for its own subscribers */
};

struct subscription {
    struct chain chain; /* private: by (subscriber, channel) */
    struct list_node by_channel;
    struct list_node by_subscriber;
    struct channel *channel;
    struct subscriber *subscriber;
};

struct channel_set {
    /* private, but used and empty may be read */
    struct list used;  /* of struct channel, link: with subscribers */
    struct list empty; /* of struct channel, link: without */
    struct chain_table channels;
    struct chain_table subscriptions;
};

enum channel_result {
    CHANNEL_E_ALREADY = 1, /* is subscribed already: nothing has changed */
    CHANNEL_E_FULL = 2,    /* the subscriber has as many channels as it may: nothing has changed */
};

void channel_set_init(struct channel_set *set);
/* Unsubscribes everybody and frees all channels. The hub has unlinked its hub_links. May run
 * twice. */
void channel_set_done(struct channel_set *set);

void subscriber_init(struct subscriber *s);

/* @name: at most CHANNEL_NAME_MAX bytes. @max: channels this subscriber may have; 0: any number.
 *        *ret_channel is written on 0 and CHANNEL_E_ALREADY.
 * 0, a channel_result, or -ENOMEM. */
MUSTCHECK int channel_subscribe(struct channel_set *set, struct subscriber *s, const char *name,
                                unsigned max, struct channel **ret_channel);
/* false: it was not subscribed. */
bool channel_unsubscribe(struct channel_set *set, struct subscriber *s, const char *name);
void channel_unsubscribe_all(struct channel_set *set, struct subscriber *s);

/* Frees a channel of the list `empty`. */
void channel_drop(struct channel_set *set, struct channel *ch);

/* NULL: nobody has subscribed to it, or it was dropped. It may be an empty one. */
struct channel *channel_find(const struct channel_set *set, const char *name);
bool channel_has_subscriber(const struct channel_set *set, const struct channel *ch,
                            const struct subscriber *s);

static inline size_t channel_set_count_subscriptions(const struct channel_set *set)
{
    return set->subscriptions.n;
}

/* Visit the subscriptions of a channel, or of a subscriber. The body may unsubscribe the current
 * one, no other. */
#define channel_for_each_subscription(ch, sub) list_for_each(&(ch)->subscribers, sub, by_channel)
#define subscriber_for_each_subscription(s, sub) \
    list_for_each(&(s)->subscriptions, sub, by_subscriber)

#endif
