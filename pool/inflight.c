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

static void remove_at(struct inflight *f, uint32_t i)
{
    drop(at(f, i));
    for (; i + 1 < f->n; i++) {
        *at(f, i) = *at(f, i + 1);
    }
    f->n--;
}

bool inflight_describes(const struct inflight *f, const struct prepared *prepared)
{
    for (uint32_t i = 0; i < f->n; i++) {
        const struct inflight_entry *e = at(f, i);

        if (e->kind == INFLIGHT_DESCRIBE_STATEMENT && e->origin == INFLIGHT_INJECTED && e->prepared == prepared) {
            return true;
        }
    }
    return false;
}

static bool has_copy_end(const struct inflight *f)
{
    for (uint32_t i = 0; i < f->n; i++) {
        if (at(f, i)->kind == INFLIGHT_COPY_END) {
            return true;
        }
    }
    return false;
}

bool inflight_push(struct inflight *f, enum inflight_kind kind, enum inflight_origin origin,
                   struct prepared *prepared, uint32_t server_id)
{
    if (UNLIKELY(f->skipping)) {
        if (kind != INFLIGHT_SYNC) {
            return true;
        }
        f->skipping = false;
    }
    if (UNLIKELY(f->copy_in) && kind == INFLIGHT_SYNC && !has_copy_end(f)) {
        return true;
    }
    if (f->n == f->cap && !grow(f)) {
        return false;
    }
    *at(f, f->n) = (struct inflight_entry){.kind = (uint8_t)kind,
                                           .origin = (uint8_t)origin,
                                           .server_id = server_id,
                                           .prepared = prepared != NULL ? prepared_ref(prepared) : NULL};
    f->n++;
    return true;
}

/* The Syncs that the client sent behind the Execute that turned out to be a COPY: the server will ignore them. */
static void forget_ignored_syncs(struct inflight *f)
{
    for (uint32_t i = 1; i < f->n && at(f, i)->kind != INFLIGHT_COPY_END;) {
        if (at(f, i)->kind == INFLIGHT_SYNC) {
            remove_at(f, i);
        } else {
            i++;
        }
    }
}

static void end_copy(struct inflight *f)
{
    if (!f->copy_in) {
        return;
    }
    f->copy_in = false;
    for (uint32_t i = 0; i < f->n; i++) {
        if (at(f, i)->kind == INFLIGHT_COPY_END) {
            remove_at(f, i); /* the first one belongs to the copy that ends now */
            return;
        }
    }
}

static bool ends_with_ready(uint8_t kind)
{
    return kind == INFLIGHT_QUERY || kind == INFLIGHT_FUNCTION || kind == INFLIGHT_SYNC;
}

/* Which message types end the answer to a request of each kind. */
static const char *const endings[INFLIGHT_KINDS] = {
    [INFLIGHT_QUERY] = "Z",
    [INFLIGHT_FUNCTION] = "Z",
    [INFLIGHT_SYNC] = "Z",
    [INFLIGHT_PARSE] = "1",
    [INFLIGHT_BIND] = "2",
    [INFLIGHT_DESCRIBE_STATEMENT] = "Tn",
    [INFLIGHT_DESCRIBE_PORTAL] = "Tn",
    [INFLIGHT_EXECUTE] = "CIs",
    [INFLIGHT_CLOSE] = "3",
    [INFLIGHT_COPY_END] = "",
};

enum inflight_step inflight_step(struct inflight *f, uint8_t type)
{
    const struct inflight_entry *head;
    enum inflight_step step = INFLIGHT_GOES_ON;

    if (type == 'N' || type == 'A' || type == 'S') {
        return f->n == 0 ? INFLIGHT_NONE : INFLIGHT_GOES_ON; /* these may come at any time */
    }
    if (f->n == 0) {
        return type == 'E' ? INFLIGHT_NONE : INFLIGHT_ABSURD;
    }
    head = at(f, 0);
    switch (type) {
    case 'D':
    case 'd':
    case 'c':
    case 'H':
    case 'V':
    case 't':
        return INFLIGHT_GOES_ON;
    case 'E':
        return INFLIGHT_FAILS;
    case 'G':
    case 'W':
        f->copy_in = true;
        if (head->kind == INFLIGHT_EXECUTE) {
            forget_ignored_syncs(f);
        }
        return INFLIGHT_GOES_ON;
    case 'C':
        end_copy(f);
        break;
    default:
        break;
    }
    if (strchr(endings[head->kind], type) != NULL) {
        step = INFLIGHT_COMPLETES;
    } else if (head->kind == INFLIGHT_QUERY) {
        step = type == 'C' || type == 'T' || type == 'I' ? INFLIGHT_GOES_ON : INFLIGHT_ABSURD;
    } else {
        step = INFLIGHT_ABSURD;
    }
    return step;
}

void inflight_pop(struct inflight *f)
{
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
    end_copy(f);
    if (ends_with_ready(at(f, 0)->kind)) {
        return;
    }
    while (f->n > 0 && at(f, 0)->kind != INFLIGHT_SYNC) {
        fn(arg, at(f, 0));
        inflight_pop(f);
    }
    f->skipping = f->n == 0;
}
