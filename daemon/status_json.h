/* SPDX-License-Identifier: ISC */
/* What the status page is fed with: the figures of one moment, the last ten minutes, the longest waiters, the last errors.
 * Written in pieces, as /metrics is; what is not in the figures is copied when it begins. Not a stable interface: programs
 * read /metrics. */
#ifndef PGPOOLD_DAEMON_STATUS_JSON_H
#define PGPOOLD_DAEMON_STATUS_JSON_H

#include "daemon/metrics.h"

struct status_json;

/* NULL: out of memory. */
struct status_json *status_json_new(struct server *s);
struct status_json *status_json_free(struct status_json *j);

/* Appends until @out has @enough bytes or all is said; then it appends nothing. */
void status_json_step(struct status_json *j, struct buf *out, size_t enough);

/* @text as a JSON string, quotes included, harmless within HTML too. It must be UTF-8. */
void json_put_string(struct buf *out, const char *text);

#endif
