/* SPDX-License-Identifier: ISC */
#include "daemon/admin_show.h"

#include "daemon/util/fatal.h"
#include "protocol/wire.h"

#include <stdlib.h>
#include <string.h>
#include <strings.h>

/* In the order of the help. */
static const struct admin_show_kind *const kinds[] = {
    &admin_show_help,           &admin_show_config,       &admin_show_databases,
    &admin_show_pools,          &admin_show_clients,      &admin_show_servers,
    &admin_show_users,          &admin_show_version,      &admin_show_peers,
    &admin_show_peer_pools,     &admin_show_fds,          &admin_show_sockets,
    &admin_show_active_sockets, &admin_show_lists,        &admin_show_mem,
    &admin_show_state,          &admin_show_dns_hosts,    &admin_show_dns_zones,
    &admin_show_stats,          &admin_show_stats_totals, &admin_show_stats_averages,
    &admin_show_totals,         &admin_show_listeners,
};

/* PG15 pg_type: the type's number and length. */
static const struct {
    uint32_t oid;
    int16_t len;
} types[ADMIN_TYPES] = {
    [ADMIN_TEXT] = {25, -1},
    [ADMIN_INT4] = {23, 4},
    [ADMIN_INT8] = {20, 8},
    [ADMIN_NUMERIC] = {1700, -1},
};

/* --- questions --- */

const struct admin_show_kind *admin_show_at(unsigned i)
{
    return i < ARRAY_LEN(kinds) ? kinds[i] : NULL;
}

const struct admin_show_kind *admin_show_find(const char *word)
{
    for (size_t i = 0; i < ARRAY_LEN(kinds); i++) {
        if (strcasecmp(kinds[i]->name, word) == 0) {
            return kinds[i];
        }
    }
    return admin_parameter_find(word);
}

/* --- the objects of a slice: a heap, the highest key on top --- */

static int compare_text(const char *a, const char *b)
{
    return strcmp(a != NULL ? a : "", b != NULL ? b : "");
}

static int compare(const struct admin_key *a, const struct admin_key *b)
{
    int c;

    if (a->n != b->n) {
        return a->n < b->n ? -1 : 1;
    }
    c = compare_text(a->a, b->a);
    return c != 0 ? c : compare_text(a->b, b->b);
}

static int compare_found(const void *a, const void *b)
{
    return compare(&((const struct admin_found *)a)->key, &((const struct admin_found *)b)->key);
}

static void swap(struct admin_found *a, struct admin_found *b)
{
    struct admin_found t = *a;

    *a = *b;
    *b = t;
}

static void sift_up(struct admin_found *heap, unsigned i)
{
    while (i > 0 && compare(&heap[(i - 1) / 2].key, &heap[i].key) < 0) {
        swap(&heap[(i - 1) / 2], &heap[i]);
        i = (i - 1) / 2;
    }
}

static void sift_down(struct admin_found *heap, unsigned n)
{
    unsigned i = 0;

    for (;;) {
        unsigned child = 2 * i + 1;

        if (child >= n) {
            return;
        }
        if (child + 1 < n && compare(&heap[child].key, &heap[child + 1].key) < 0) {
            child++;
        }
        if (compare(&heap[i].key, &heap[child].key) >= 0) {
            return;
        }
        swap(&heap[i], &heap[child]);
        i = child;
    }
}

void admin_walk_see(struct admin_walk *w, struct admin_key key, const void *item, int tag)
{
    if (w->has_after && compare(&key, &w->after) <= 0) {
        return;
    }
    if (w->n < ADMIN_SLICE_ROWS) {
        w->found[w->n] = (struct admin_found){key, item, tag};
        sift_up(w->found, w->n++);
        return;
    }
    w->has_more = true;
    if (compare(&key, &w->found[0].key) < 0) {
        w->found[0] = (struct admin_found){key, item, tag};
        sift_down(w->found, w->n);
    }
}

bool admin_walk_is_full(const struct admin_walk *w)
{
    return w->has_more;
}

/* --- rows --- */

static void row_begin(struct admin_row *row)
{
    row->n = 0;
    row->start = wire_begin(row->out, 'D');
    wire_put_u16(row->out, (uint16_t)row->n_columns);
}

static void row_end(struct admin_row *row)
{
    fatal_unless(row->n == row->n_columns);
    wire_end(row->out, row->start);
}

static void rows_close_last(struct admin_rows *rows)
{
    if (rows->n > 0) {
        row_end(&rows->row);
    }
}

struct admin_row *admin_rows_next(struct admin_rows *rows)
{
    uint64_t i = rows->seen++;

    if (i < rows->from || i >= rows->from + rows->most) {
        return NULL;
    }
    rows_close_last(rows);
    rows->n++;
    row_begin(&rows->row);
    return &rows->row;
}

void admin_show_describe(const struct admin_show_kind *kind, uint64_t binary, struct buf *out)
{
    size_t start;

    if (kind->n_columns == 0) {
        return;
    }
    start = wire_begin(out, 'T');
    wire_put_u16(out, (uint16_t)kind->n_columns);
    for (unsigned i = 0; i < kind->n_columns; i++) {
        enum admin_type type = kind->columns[i].type;

        wire_put_cstr(out, kind->columns[i].name);
        wire_put_u32(out, 0); /* of no table */
        wire_put_u16(out, 0);
        wire_put_u32(out, types[type].oid);
        wire_put_u16(out, (uint16_t)types[type].len);
        wire_put_u32(out, UINT32_MAX); /* no type modifier */
        wire_put_u16(out, (uint16_t)(binary >> i & 1));
    }
    wire_end(out, start);
}

/* --- a SHOW under way --- */

void admin_show_begin(struct admin_show *show, const struct admin_show_kind *kind, uint64_t binary)
{
    *show = (struct admin_show){.kind = kind, .binary = binary, .rows_left = UINT64_MAX};
}

void admin_show_limit(struct admin_show *show, uint64_t rows)
{
    show->rows_left = rows > 0 ? rows : UINT64_MAX;
}

void admin_show_send_to(struct admin_show *show, struct conn *to)
{
    show->to = to;
}

static void forget_place(struct admin_show *show)
{
    free(show->after_a);
    free(show->after_b);
    show->after_a = NULL;
    show->after_b = NULL;
    show->has_after = false;
}

void admin_show_done(struct admin_show *show)
{
    forget_place(show);
    show->kind = NULL;
}

static bool keep_place(struct admin_show *show, const struct admin_key *key)
{
    char *a = key->a != NULL ? strdup(key->a) : NULL;
    char *b = key->b != NULL ? strdup(key->b) : NULL;

    forget_place(show);
    show->after_n = key->n;
    show->after_a = a;
    show->after_b = b;
    show->has_after = true;
    return (a != NULL || key->a == NULL) && (b != NULL || key->b == NULL);
}

static struct admin_row new_row(const struct admin_show *show, struct buf *out)
{
    return (struct admin_row){.out = out,
                              .columns = show->kind->columns,
                              .n_columns = show->kind->n_columns,
                              .binary = show->binary};
}

/* Objects with the same key are one row. */
static bool is_repeated(const struct admin_walk *w, unsigned i)
{
    return i > 0 && compare(&w->found[i - 1].key, &w->found[i].key) == 0;
}

/* Sends the row with its descriptor. false: it did not leave. */
static bool send_with_fd(const struct admin_show *show, struct server *s,
                         const struct admin_found *f)
{
    struct buf out = BUF_INIT(ADMIN_SLICE_MAX_BYTES);
    struct admin_row row = new_row(show, &out);
    bool has_left = false;

    row_begin(&row);
    show->kind->fill(s, f, &row);
    row_end(&row);
    if (buf_ok(&out) && conn_queued(show->to) == 0) {
        has_left = conn_send_fd(show->to, s->loop, out.data, out.len, show->kind->fd_of(f)) ==
                   CONN_FD_SENT;
    }
    buf_done_secret(&out);
    return has_left;
}

/* Returns how many of the objects are dealt with. */
static unsigned put_found(struct admin_show *show, struct server *s, const struct admin_walk *w,
                          struct buf *out)
{
    struct admin_row row = new_row(show, out);
    bool has_fds = admin_show_has_fds(show->kind);
    unsigned i;

    for (i = 0; i < w->n && (i == 0 || out->len < ADMIN_SLICE_BYTES); i++) {
        if (is_repeated(w, i)) {
            continue;
        }
        if (show->rows_left == 0 || (has_fds && !send_with_fd(show, s, &w->found[i]))) {
            break;
        }
        if (!has_fds) {
            row_begin(&row);
            show->kind->fill(s, &w->found[i], &row);
            row_end(&row);
        }
        show->rows_left--;
    }
    return i;
}

static enum admin_show_step step_keyed(struct admin_show *show, struct server *s, struct buf *out)
{
    struct admin_walk w; /* its array needs no zeros */
    unsigned n;

    w.after = (struct admin_key){show->after_n, show->after_a, show->after_b};
    w.has_after = show->has_after;
    w.has_more = false;
    w.n = 0;
    show->kind->each(s, &w);
    qsort(w.found, w.n, sizeof(w.found[0]), compare_found);
    n = put_found(show, s, &w, out);
    if (!buf_ok(out) || (n > 0 && !keep_place(show, &w.found[n - 1].key))) {
        return ADMIN_SHOW_NO_MEMORY;
    }
    if (show->rows_left == 0) {
        return ADMIN_SHOW_LIMIT;
    }
    if (n == 0 && w.n > 0) {
        return ADMIN_SHOW_STUCK;
    }
    return n == w.n && !w.has_more ? ADMIN_SHOW_DONE : ADMIN_SHOW_MORE;
}

static enum admin_show_step step_counted(struct admin_show *show, struct server *s, struct buf *out)
{
    struct admin_rows rows = {.kind = show->kind,
                              .row = new_row(show, out),
                              .from = show->n_shown,
                              .most = MIN(show->rows_left, (uint64_t)ADMIN_SLICE_ROWS)};

    show->kind->rows(s, &rows);
    rows_close_last(&rows);
    show->n_shown += rows.n;
    show->rows_left -= rows.n;
    if (!buf_ok(out)) {
        return ADMIN_SHOW_NO_MEMORY;
    }
    if (show->rows_left == 0) {
        return ADMIN_SHOW_LIMIT;
    }
    return rows.seen > rows.from + rows.most ? ADMIN_SHOW_MORE : ADMIN_SHOW_DONE;
}

enum admin_show_step admin_show_step(struct admin_show *show, struct server *s, struct buf *out)
{
    return show->kind->each != NULL ? step_keyed(show, s, out) : step_counted(show, s, out);
}
