/* SPDX-License-Identifier: ISC */
#include "pool/channel_set.h"

#include "daemon/util/fatal.h"
#include "daemon/util/hash.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

/* --- a chained table that grows and shrinks by halves. Not uthash: its handle is as large as a
 * subscription --- */

#define FIRST_BUCKETS 16
#define MAX_LOAD 2

typedef uint64_t (*chain_hash_fn)(const struct chain *link);

static struct chain **chain_bucket(const struct chain_table *t, uint64_t hash)
{
    return &t->buckets[(size_t)(hash >> 20) & (t->n_buckets - 1)];
}

/* false: out of memory, the table is as it was. */
static bool chain_resize(struct chain_table *t, size_t n_buckets, chain_hash_fn hash_of)
{
    struct chain_table to = {
        .buckets = calloc(n_buckets, sizeof(struct chain *)), .n_buckets = n_buckets, .n = t->n};

    if (to.buckets == NULL) {
        return false;
    }
    for (size_t i = 0; i < t->n_buckets; i++) {
        while (t->buckets[i] != NULL) {
            struct chain *link = t->buckets[i];
            struct chain **bucket = chain_bucket(&to, hash_of(link));

            t->buckets[i] = link->next;
            link->next = *bucket;
            *bucket = link;
        }
    }
    free(t->buckets);
    *t = to;
    return true;
}

static bool chain_add(struct chain_table *t, struct chain *link, chain_hash_fn hash_of)
{
    struct chain **bucket;

    if (t->n >= MAX_LOAD * t->n_buckets &&
        !chain_resize(t, MAX(t->n_buckets * 2, (size_t)FIRST_BUCKETS), hash_of) &&
        t->n_buckets == 0) {
        return false; /* else: longer chains, nothing worse */
    }
    bucket = chain_bucket(t, hash_of(link));
    link->next = *bucket;
    *bucket = link;
    t->n++;
    return true;
}

static void chain_remove(struct chain_table *t, struct chain *link, chain_hash_fn hash_of)
{
    struct chain **at = chain_bucket(t, hash_of(link));

    while (*at != link) {
        at = &(*at)->next;
    }
    *at = link->next;
    t->n--;
    if (t->n == 0) {
        free(t->buckets);
        *t = (struct chain_table){0};
    } else if (t->n_buckets > FIRST_BUCKETS && t->n < t->n_buckets / 4) {
        (void)chain_resize(t, t->n_buckets / 2, hash_of); /* no memory to save memory: then later */
    }
}

/* --- keys --- */

static uint64_t hash_of_name(const char *name, size_t len)
{
    return hash_bytes(name, len);
}

static uint64_t hash_of_channel(const struct chain *link)
{
    const struct channel *ch = container_of(link, struct channel, chain);

    return hash_of_name(ch->name, ch->name_len);
}

/* Addresses: no peer chooses them, so they need mixing but no seed. */
static uint64_t hash_of_pair(const struct subscriber *s, const struct channel *ch)
{
    uint64_t h = ((uint64_t)(uintptr_t)s >> 4) * 0x9e3779b97f4a7c15U;

    h = (h ^ h >> 32 ^ (uint64_t)(uintptr_t)ch >> 4) * 0xd6e8feb86659fd93U;
    return h ^ h >> 32;
}

static uint64_t hash_of_subscription(const struct chain *link)
{
    const struct subscription *sub = container_of(link, struct subscription, chain);

    return hash_of_pair(sub->subscriber, sub->channel);
}

static struct subscription *find_subscription(const struct channel_set *set,
                                              const struct subscriber *s, const struct channel *ch)
{
    const struct chain_table *t = &set->subscriptions;

    if (t->n == 0) {
        return NULL;
    }
    for (struct chain *link = *chain_bucket(t, hash_of_pair(s, ch)); link != NULL;
         link = link->next) {
        struct subscription *sub = container_of(link, struct subscription, chain);

        if (sub->subscriber == s && sub->channel == ch) {
            return sub;
        }
    }
    return NULL;
}

struct channel *channel_find(const struct channel_set *set, const char *name)
{
    size_t len = strlen(name);

    if (set->channels.n == 0) {
        return NULL;
    }
    for (struct chain *link = *chain_bucket(&set->channels, hash_of_name(name, len)); link != NULL;
         link = link->next) {
        struct channel *ch = container_of(link, struct channel, chain);

        if (ch->name_len == len && memcmp(ch->name, name, len) == 0) {
            return ch;
        }
    }
    return NULL;
}

bool channel_has_subscriber(const struct channel_set *set, const struct channel *ch,
                            const struct subscriber *s)
{
    return find_subscription(set, s, ch) != NULL;
}

/* --- life --- */

void channel_set_init(struct channel_set *set)
{
    *set = (struct channel_set){0};
    list_init(&set->used);
    list_init(&set->empty);
}

void subscriber_init(struct subscriber *s)
{
    list_init(&s->subscriptions);
    s->is_tentative = false;
    s->is_proxy = false;
}

/* A new channel, in the list of the empty ones. NULL: out of memory. */
static struct channel *channel_new(struct channel_set *set, const char *name)
{
    size_t len = strlen(name);
    struct channel *ch;

    fatal_unless(len <= CHANNEL_NAME_MAX);
    ch = malloc(MAX(sizeof(*ch), offsetof(struct channel, name) + len + 1));
    if (ch == NULL) {
        return NULL;
    }
    *ch = (struct channel){.name_len = (uint8_t)len};
    memcpy(ch->name, name, len + 1);
    list_init(&ch->subscribers);
    if (!chain_add(&set->channels, &ch->chain, hash_of_channel)) {
        free(ch);
        return NULL;
    }
    list_add_tail(&set->empty, &ch->link);
    return ch;
}

void channel_drop(struct channel_set *set, struct channel *ch)
{
    fatal_unless(ch->subscribers.n == 0);
    fatal_unless(!list_node_is_linked(&ch->hub_link));
    list_remove(&set->empty, &ch->link);
    chain_remove(&set->channels, &ch->chain, hash_of_channel);
    free(ch);
}

static void unsubscribe(struct channel_set *set, struct subscription *sub)
{
    struct channel *ch = sub->channel;

    chain_remove(&set->subscriptions, &sub->chain, hash_of_subscription);
    list_remove(&ch->subscribers, &sub->by_channel);
    list_remove(&sub->subscriber->subscriptions, &sub->by_subscriber);
    free(sub);
    if (ch->subscribers.n == 0) {
        list_remove(&set->used, &ch->link);
        list_add_tail(&set->empty, &ch->link);
    }
}

void channel_set_done(struct channel_set *set)
{
    struct channel *ch;
    struct subscription *sub;

    list_for_each(&set->used, ch, link) {
        channel_for_each_subscription(ch, sub)
        {
            unsubscribe(set, sub);
        }
    }
    list_for_each(&set->empty, ch, link) {
        channel_drop(set, ch);
    }
}

/* --- use --- */

static int subscribe(struct channel_set *set, struct subscriber *s, struct channel *ch)
{
    struct subscription *sub = malloc(sizeof(*sub));

    if (sub == NULL) {
        return -ENOMEM;
    }
    *sub = (struct subscription){.channel = ch, .subscriber = s};
    if (!chain_add(&set->subscriptions, &sub->chain, hash_of_subscription)) {
        free(sub);
        return -ENOMEM;
    }
    list_add_tail(&s->subscriptions, &sub->by_subscriber);
    list_add_tail(&ch->subscribers, &sub->by_channel);
    if (ch->subscribers.n == 1) {
        list_remove(&set->empty, &ch->link);
        list_add_tail(&set->used, &ch->link);
    }
    return 0;
}

int channel_subscribe(struct channel_set *set, struct subscriber *s, const char *name, unsigned max,
                      struct channel **ret_channel)
{
    struct channel *ch = channel_find(set, name);
    bool is_new = ch == NULL;
    int res;

    if (ch != NULL && find_subscription(set, s, ch) != NULL) {
        *ret_channel = ch;
        return CHANNEL_E_ALREADY;
    }
    if (max > 0 && s->subscriptions.n >= max) {
        return CHANNEL_E_FULL;
    }
    if (is_new) {
        ch = channel_new(set, name);
        if (ch == NULL) {
            return -ENOMEM;
        }
    }
    res = subscribe(set, s, ch);
    if (res == 0) {
        *ret_channel = ch;
    } else if (is_new) {
        channel_drop(set, ch);
    }
    return res;
}

bool channel_unsubscribe(struct channel_set *set, struct subscriber *s, const char *name)
{
    struct channel *ch = channel_find(set, name);
    struct subscription *sub = ch != NULL ? find_subscription(set, s, ch) : NULL;

    if (sub == NULL) {
        return false;
    }
    unsubscribe(set, sub);
    return true;
}

void channel_unsubscribe_all(struct channel_set *set, struct subscriber *s)
{
    struct subscription *sub;

    subscriber_for_each_subscription(s, sub)
    {
        unsubscribe(set, sub);
    }
}
