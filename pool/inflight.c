/* SPDX-License-Identifier: ISC */
#include "pool/inflight.h"

#include "daemon/util/fatal.h"

#include <stdlib.h>
#include <string.h>

/* A ring that grew no further than this is kept for the next pipeline. */
#define KEEP_ENTRIES 64U

void inflight_init(struct inflight *f)
{
    *f = (struct inflight){.cap = ARRAY_LEN(f->first)};
    f->entries = f->first;
}

static struct inflight_entry *at(const struct inflight *f, uint32_t i)
{
    return &f->entries[(f->head + i) & (f->cap - 1)];
}

static void drop(struct inflight_entry *e)
{
    e->prepared = prepared_unref(e->prepared);
}

void inflight_done(struct inflight *f)
{
    for (uint32_t i = 0; i < f->n; i++) {
        drop(at(f, i));
    }
    if (f->entries != f->first) {
        free(f->entries);
    }
    inflight_init(f);
}

static bool grow(struct inflight *f)
{
    struct inflight_entry *bigger = malloc((size_t)f->cap * 2 * sizeof(*bigger));

    if (bigger == NULL) {
        return false;
    }
    for (uint32_t i = 0; i < f->n; i++) {
        bigger[i] = *at(f, i);
    }
    if (f->entries != f->first) {
        free(f->entries);
    }
    f->entries = bigger;
    f->cap *= 2;
    f->head = 0;
    return true;
}

/* Removes the @k entries behind the head. */
static void remove_behind_head(struct inflight *f, uint32_t k)
{
    for (uint32_t i = 1; i <= k; i++) {
        drop(at(f, i));
    }
    *at(f, k) = *at(f, 0);
    f->head = (f->head + k) & (f->cap - 1);
    f->n -= k;
}

unsigned inflight_count_ready(const struct inflight *f)
{
    unsigned n = 0;

    for (uint32_t i = 0; i < f->n; i++) {
        n += inflight_ends_with_ready(at(f, i)->kind);
    }
    return n;
}

bool inflight_describes(const struct inflight *f, const struct prepared *prepared)
{
    for (uint32_t i = 0; i < f->n; i++) {
        const struct inflight_entry *e = at(f, i);

        if (e->kind == INFLIGHT_DESCRIBE_STATEMENT && e->origin == INFLIGHT_INJECTED &&
            e->prepared == prepared) {
            return true;
        }
    }
    return false;
}

bool inflight_push(struct inflight *f, enum inflight_kind kind, enum inflight_origin origin,
                   struct prepared *prepared, uint32_t server_id)
{
    struct inflight_entry *e;

    if (UNLIKELY(f->skipping)) {
        if (kind != INFLIGHT_SYNC) {
            return true;
        }
        f->skipping = false;
    }
    if (UNLIKELY(f->copy_in) && kind == INFLIGHT_SYNC && f->n == 1) {
        f->sync_ignored = true;
        return true;
    }
    if (UNLIKELY(kind == INFLIGHT_COPY_END) && f->n == 0) {
        return true; /* the COPY has ended already, with an error */
    }
    if (UNLIKELY(f->n == f->cap) && !grow(f)) {
        return false;
    }
    e = at(f, f->n++);
    e->kind = (uint8_t)kind;
    e->origin = (uint8_t)origin;
    e->server_id = server_id;
    e->prepared = prepared != NULL ? prepared_ref(prepared) : NULL;
    if (kind != INFLIGHT_COPY_END) {
        f->unsynced = !inflight_ends_with_ready((uint8_t)kind);
        f->executes = f->unsynced && (f->executes || kind == INFLIGHT_EXECUTE);
    }
    return true;
}

/* The Syncs that the client sent before it knew that this would be a COPY: the server will ignore them. Only those right
 * behind: when anything but a CopyDone follows, the COPY cannot succeed. */
static void forget_ignored_syncs(struct inflight *f)
{
    uint32_t k = 0;
    uint32_t i;

    while (k + 1 < f->n && at(f, k + 1)->kind == INFLIGHT_SYNC) {
        k++;
    }
    if (k == 0) {
        return;
    }
    remove_behind_head(f, k);
    f->sync_ignored = true;
    for (i = f->n - 1; i > 0 && at(f, i)->kind == INFLIGHT_COPY_END; i--) {
    }
    f->unsynced = !inflight_ends_with_ready(at(f, i)->kind);
}

static void begin_copy(struct inflight *f)
{
    f->copy_in = true;
    f->sync_ignored = false;
    forget_ignored_syncs(f);
}

static void end_copy(struct inflight *f)
{
    if (f->copy_in && f->n > 1 && at(f, 1)->kind == INFLIGHT_COPY_END) {
        remove_behind_head(f,
                           1); /* it belongs to the copy that ends now; others are for later ones */
    }
    f->copy_in = false;
}

#define QUERY BIT(INFLIGHT_QUERY)
#define EXECUTE BIT(INFLIGHT_EXECUTE)

#define DESCRIBES (BIT(INFLIGHT_DESCRIBE_STATEMENT) | BIT(INFLIGHT_DESCRIBE_PORTAL))

/* Of which kinds of request a message is part of the answer, and of which it is the end. PG15 protocol, "Message Flow". */
static const struct {
    uint16_t part_of;
    uint16_t ends;
} answers[256] = {
    ['1'] = {.ends = BIT(INFLIGHT_PARSE)},
    ['2'] = {.ends = BIT(INFLIGHT_BIND)},
    ['3'] = {.ends = BIT(INFLIGHT_CLOSE)},
    ['C'] = {.part_of = QUERY, .ends = EXECUTE},
    ['D'] = {.part_of = QUERY | EXECUTE},
    ['G'] = {.part_of = QUERY | EXECUTE},
    ['H'] = {.part_of = QUERY | EXECUTE},
    ['I'] = {.part_of = QUERY, .ends = EXECUTE},
    ['T'] = {.part_of = QUERY, .ends = DESCRIBES},
    ['V'] = {.part_of = BIT(INFLIGHT_FUNCTION)},
    ['W'] = {.part_of = QUERY},
    ['Z'] = {.ends = QUERY | BIT(INFLIGHT_FUNCTION) | BIT(INFLIGHT_SYNC)},
    ['c'] = {.part_of = QUERY | EXECUTE},
    ['d'] = {.part_of = QUERY | EXECUTE},
    ['n'] = {.ends = DESCRIBES},
    ['s'] = {.ends = EXECUTE},
    ['t'] = {.part_of = BIT(INFLIGHT_DESCRIBE_STATEMENT)},
};

/* The same for those messages that concern nobody but the client. */
const uint16_t inflight_plain[256] = {
    ['C'] = QUERY, ['D'] = QUERY | EXECUTE, ['I'] = QUERY,
    ['T'] = QUERY, ['d'] = QUERY | EXECUTE, ['t'] = BIT(INFLIGHT_DESCRIBE_STATEMENT),
};
static const uint16_t plain_ends[256] = {
    ['1'] = BIT(INFLIGHT_PARSE),
    ['2'] = BIT(INFLIGHT_BIND),
    ['3'] = BIT(INFLIGHT_CLOSE),
    ['C'] = EXECUTE,
    ['I'] = EXECUTE,
    ['T'] = DESCRIBES,
    ['n'] = DESCRIBES,
    ['s'] = EXECUTE,
};

enum inflight_step inflight_step(struct inflight *f, uint8_t type)
{
    unsigned kind;

    if (LIKELY(f->n > 0 && !f->copy_in && type != 'G' && type != 'W')) {
        kind = BIT(at(f, 0)->kind);
        if (LIKELY((answers[type].ends & kind) != 0)) {
            return INFLIGHT_COMPLETES;
        }
        if (LIKELY((answers[type].part_of & kind) != 0)) {
            return INFLIGHT_GOES_ON;
        }
    }
    if (type == 'N' || type == 'A' || type == 'S') {
        return f->n == 0 ? INFLIGHT_NONE : INFLIGHT_GOES_ON; /* these may come at any time */
    }
    if (type == 'E') {
        return f->n == 0 ? INFLIGHT_NONE : INFLIGHT_FAILS;
    }
    if (f->n == 0 && type == 'Z' && f->doubtful) {
        f->skipping = false; /* that Sync was answered after all */
        f->unsynced = false;
        f->executes = false;
        return INFLIGHT_NONE;
    }
    if (f->n == 0) {
        return INFLIGHT_ABSURD;
    }
    kind = BIT(at(f, 0)->kind);
    if (((answers[type].part_of | answers[type].ends) & kind) == 0) {
        return INFLIGHT_ABSURD;
    }
    if (f->copy_in && type != 'C' &&
        ((answers[type].ends & kind) != 0 || type == 'G' || type == 'W')) {
        return INFLIGHT_ABSURD; /* a COPY ends with its CommandComplete or an error */
    }
    if (type == 'G' || type == 'W') {
        begin_copy(f);
    } else if (type == 'C') {
        end_copy(f);
    }
    return (answers[type].ends & kind) != 0 ? INFLIGHT_COMPLETES : INFLIGHT_GOES_ON;
}

bool inflight_skim_end(struct inflight *f, uint8_t type)
{
    struct inflight_entry *head;
    const struct inflight_entry *next;

    if (f->n <= 1 || f->copy_in) {
        return false;
    }
    head = at(f, 0);
    next = at(f, 1);
    if (head->origin != INFLIGHT_OF_CLIENT || (plain_ends[type] & BIT(head->kind)) == 0 ||
        next->kind == INFLIGHT_COPY_END || next->origin == INFLIGHT_ANSWERED) {
        return false;
    }
    if (head->prepared != NULL) {
        drop(head);
    }
    f->head = (f->head + 1) & (f->cap - 1);
    f->n--;
    return true;
}

void inflight_pop_any(struct inflight *f)
{
    fatal_unless(f->n > 0);
    do {
        drop(at(f, 0));
        f->head = (f->head + 1) & (f->cap - 1);
        f->n--;
    } while (f->n > 0 && at(f, 0)->kind == INFLIGHT_COPY_END); /* it served, or its copy failed */
    if (f->n == 0) {
        f->head = 0;
        if (f->cap > KEEP_ENTRIES) { /* a long pipeline is over: give its memory back */
            free(f->entries);
            f->entries = f->first;
            f->cap = ARRAY_LEN(f->first);
        }
    }
}

void inflight_fail(struct inflight *f, inflight_void_fn fn, void *arg)
{
    fatal_unless(f->n > 0);
    f->doubtful = f->doubtful || (f->copy_in && f->sync_ignored);
    end_copy(f);
    if (inflight_ends_with_ready(at(f, 0)->kind)) {
        return;
    }
    while (f->n > 0 && at(f, 0)->kind != INFLIGHT_SYNC) {
        fn(arg, at(f, 0));
        inflight_pop(f);
    }
    if (f->n == 0) {
        f->skipping = true;
        f->unsynced = true; /* also when a Query came last: the server skips that as well */
    }
}
