/* SPDX-License-Identifier: ISC */
/* SHOW: each kind is one row of columns and one function that fills one record. A SHOW over many objects is walked in
 * slices, one a turn of the loop, and holds nothing between them but the key of the last object that was shown: objects
 * may come and go meanwhile; one that is there all the time is shown exactly once.
 *
 * The records of each theme are in admin_show_connections.c, admin_show_pools.c, admin_show_stats.c, admin_show_config.c
 * and admin_show_listeners.c. */
#ifndef PGPOOLD_DAEMON_ADMIN_SHOW_H
#define PGPOOLD_DAEMON_ADMIN_SHOW_H

#include "daemon/server.h"
#include "daemon/util/buf.h"

#include <stdbool.h>
#include <stdint.h>

/* The console's own database, user and pool, as dashboards know them. */
#define ADMIN_CONSOLE_NAME "pgbouncer"

/* Objects looked at in one slice; small kinds come whole in the first. */
#define ADMIN_SLICE_ROWS 128
/* A slice ends early when it has grown to this. */
#define ADMIN_SLICE_BYTES ((size_t)128 * 1024)
/* No slice can be longer: each value is cut long before. */
#define ADMIN_SLICE_MAX_BYTES ((size_t)8 << 20)

enum admin_type {
    ADMIN_TEXT,
    ADMIN_INT4,
    ADMIN_INT8,
    ADMIN_NUMERIC,
    ADMIN_TYPES,
};

struct admin_column {
    const char *name;
    enum admin_type type;
};

enum admin_right {
    ADMIN_FOR_ALL, /* whoever is on the console: stats_users too */
    ADMIN_FOR_ADMINS,
};

/* One DataRow in the making: put as many values as there are columns, in their order. */
struct admin_row {
    /* private */
    struct buf *out;
    const struct admin_column *columns;
    unsigned n_columns;
    uint64_t binary; /* bit n: column n goes out in binary */
    unsigned n;
    size_t start;
};

void admin_put_null(struct admin_row *row);
void admin_put_text(struct admin_row *row, const char *text); /* NULL is a null */
void admin_put_name(struct admin_row *row, const char *text); /* of a peer: made valid UTF-8 */
void admin_put_fmt(struct admin_row *row, const char *fmt, ...) PRINTF_LIKE(2, 3);
void admin_put_int(struct admin_row *row,
                   int64_t value); /* too large for its type: the largest that fits */
void admin_put_uint(struct admin_row *row, uint64_t value);
void admin_put_time(struct admin_row *row,
                    usec_t at_us); /* a moment, as people write it; 0: null */
void admin_put_wait(struct admin_row *row,
                    usec_t wait_us); /* two columns: seconds and microseconds */
void admin_put_ptr(struct admin_row *row, const void *ptr); /* NULL: "" */

/* What an object is known by; the rows come in this order. @a and @b: NULL or borrowed for this turn. */
struct admin_key {
    uint64_t n;
    const char *a;
    const char *b;
};

struct admin_found {
    struct admin_key key;
    const void *item;
    int tag; /* the kind's own */
};

/* The slice that is being collected: the objects with the lowest keys behind those shown already. */
struct admin_walk {
    /* private, but after may be read: keys up to there are not wanted any more */
    struct admin_key after;
    bool has_after;
    bool has_more;
    unsigned n;
    struct admin_found found[ADMIN_SLICE_ROWS];
};

/* Offers an object. Two offers with the same key become one row. */
void admin_walk_see(struct admin_walk *w, struct admin_key key, const void *item, int tag);
/* Objects that come in the order of their keys need not be offered any further. */
bool admin_walk_is_full(const struct admin_walk *w);

struct admin_show_kind;

/* For kinds without keys: rows are counted. */
struct admin_rows {
    const struct admin_show_kind *kind;
    /* private */
    struct admin_row row;
    uint64_t seen;
    uint64_t from;
    uint64_t most;
    unsigned n;
};

/* Begins the next row; NULL: this one is not of this slice, go on with the next. */
MUSTCHECK struct admin_row *admin_rows_next(struct admin_rows *rows);

struct admin_show_kind {
    const char *name;
    const struct admin_column *columns;
    unsigned n_columns; /* 0: a NOTICE only */
    enum admin_right right;
    /* Either each() and fill(), or rows(). */
    void (*each)(struct server *s, struct admin_walk *w);
    void (*fill)(struct server *s, const struct admin_found *f, struct admin_row *row);
    int (*fd_of)(const struct admin_found *f); /* set: each row carries this descriptor */
    void (*rows)(struct server *s, struct admin_rows *rows);
    bool is_parameter; /* what a driver may ask for; not in the help */
    bool begins_line;  /* in the help */
};

/* A SHOW under way. */
struct admin_show {
    const struct admin_show_kind *kind; /* NULL: none */
    /* private */
    uint64_t binary;
    uint64_t n_shown;
    uint64_t rows_left; /* up to the limit */
    struct conn *to;    /* where rows with descriptors go */
    bool has_after;
    uint64_t after_n;
    char *after_a;
    char *after_b;
};

enum admin_show_step {
    ADMIN_SHOW_MORE,
    ADMIN_SHOW_DONE,
    ADMIN_SHOW_LIMIT, /* as many rows as were asked for; there may be more */
    ADMIN_SHOW_STUCK, /* a row with a descriptor did not leave: try again later */
    ADMIN_SHOW_NO_MEMORY,
};

/* NULL: there is no such SHOW. */
const struct admin_show_kind *admin_show_find(const char *word);
/* Every kind that the help names; NULL ends. */
const struct admin_show_kind *admin_show_at(unsigned i);

/* RowDescription, or nothing for a kind without columns. @binary: columns that will come in binary. */
void admin_show_describe(const struct admin_show_kind *kind, uint64_t binary, struct buf *out);
void admin_show_begin(struct admin_show *show, const struct admin_show_kind *kind, uint64_t binary);
/* From here on at most @rows; 0: all. */
void admin_show_limit(struct admin_show *show, uint64_t rows);
/* Rows with descriptors leave at once, one by one: over @to, on which everything that goes before has been sent. */
void admin_show_send_to(struct admin_show *show, struct conn *to);
/* Appends the next slice of DataRows; those with descriptors are sent. */
MUSTCHECK enum admin_show_step admin_show_step(struct admin_show *show, struct server *s,
                                               struct buf *out);
/* Has the kind rows with descriptors? */
static inline bool admin_show_has_fds(const struct admin_show_kind *kind)
{
    return kind->fd_of != NULL;
}
/* May run twice. */
void admin_show_done(struct admin_show *show);

/* Kinds, by theme. */
#define ADMIN_COLUMNS(c) .columns = (c), .n_columns = ARRAY_LEN(c)
extern const struct admin_show_kind admin_show_clients;
extern const struct admin_show_kind admin_show_servers;
extern const struct admin_show_kind admin_show_sockets;
extern const struct admin_show_kind admin_show_active_sockets;
extern const struct admin_show_kind admin_show_fds;
extern const struct admin_show_kind admin_show_pools;
extern const struct admin_show_kind admin_show_databases;
extern const struct admin_show_kind admin_show_users;
extern const struct admin_show_kind admin_show_peers;
extern const struct admin_show_kind admin_show_peer_pools;
extern const struct admin_show_kind admin_show_lists;
extern const struct admin_show_kind admin_show_stats;
extern const struct admin_show_kind admin_show_stats_totals;
extern const struct admin_show_kind admin_show_stats_averages;
extern const struct admin_show_kind admin_show_totals;
extern const struct admin_show_kind admin_show_config;
extern const struct admin_show_kind admin_show_state;
extern const struct admin_show_kind admin_show_version;
extern const struct admin_show_kind admin_show_mem;
extern const struct admin_show_kind admin_show_dns_hosts;
extern const struct admin_show_kind admin_show_dns_zones;
extern const struct admin_show_kind admin_show_listeners;
extern const struct admin_show_kind admin_show_help;

/* Parameters of the session that drivers ask for; also what the console reports at its login. */
struct admin_parameter {
    const char *name;
    const char *value;
    bool is_reported;
};
const struct admin_show_kind *admin_parameter_find(const char *name);
const struct admin_parameter *admin_parameter_at(unsigned i); /* NULL ends */

#endif
