/* SPDX-License-Identifier: ISC */
/* Asks a console for what `pgpoold top` shows. The second door to libpq, for another program than the first: here we
 * are a client like psql, with libpq's own defaults (PGHOST, password file), and there is no daemon in this process.
 * Never blocks but for the look-up of a name. A lost connection is opened anew at the next top_query_ask(). */
#ifndef PGPOOLD_DAEMON_TOP_QUERY_H
#define PGPOOLD_DAEMON_TOP_QUERY_H

#include "daemon/top_sample.h"

struct top_query;

enum top_query_state {
    TOP_QUERY_QUIET, /* nothing is asked */
    TOP_QUERY_WAITS, /* for top_query_fd() */
    TOP_QUERY_DONE,  /* top_query_take() has the answer */
    TOP_QUERY_FAILED,
};

/* @conninfo: as for psql, "" for the defaults. NULL: out of memory, or @ret_why (to be freed) says what is wrong. */
MUSTCHECK struct top_query *top_query_new(const char *conninfo, char **ret_why);
struct top_query *top_query_free(struct top_query *q);

/* Begins anew; what was not answered yet is given up with its connection. */
enum top_query_state top_query_ask(struct top_query *q);

/* After poll(). */
enum top_query_state top_query_go_on(struct top_query *q);

/* Moves the answer out, sorted by nobody yet. */
void top_query_take(struct top_query *q, struct top_sample *ret);

int top_query_fd(const struct top_query *q);
short top_query_events(const struct top_query *q);

/* One line; why it failed. Borrowed until the next call. */
const char *top_query_error(const struct top_query *q);

/* Where we are connected to: "127.0.0.1:6432". */
const char *top_query_place(const struct top_query *q);

#endif
