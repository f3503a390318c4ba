/* SPDX-License-Identifier: ISC */
/* The HTTP side, for machines and for people who watch: /metrics, /healthz, /readyz, /status.json and the status page at
 * /. The one door to libmicrohttpd, which runs on our loop and has no thread of its own. Only reads: no request changes
 * anything. Owned by the server, off unless http_port is set.
 *
 * What a peer can take is bounded: connections (http_max_connections), bytes of a request (HTTP_REQUEST_MAX_BYTES), and
 * time, from the first byte of a request to the last of its answer (http_timeout). Answers are written in pieces of
 * HTTP_PIECE_BYTES, one a turn of the loop. */
#ifndef PGPOOLD_DAEMON_METRICS_HTTP_H
#define PGPOOLD_DAEMON_METRICS_HTTP_H

#include "daemon/server.h"

struct history;
struct incidents;
struct metrics_http;

#define HTTP_REQUEST_MAX_BYTES 32768U /* of memory for one connection */
#define HTTP_PIECE_BYTES ((size_t)32 * 1024)

/* -- life -- */

/* Binds what @set says, before the loop exists and while we may still be root. *ret: NULL when http_port is 0.
 * @takes_over: the port of the process that we take over from may be taken still: then it is tried again later.
 * false: @errors says why. */
MUSTCHECK bool metrics_http_open(const struct settings *set, bool takes_over,
                                 struct metrics_http **ret, struct config_errors *errors);
/* Answers from now on. false: @errors says why. */
MUSTCHECK bool metrics_http_start(struct metrics_http *h, struct server *s,
                                  struct config_errors *errors);
struct metrics_http *metrics_http_free(struct metrics_http *h);

/* -- use -- */

/* A reload, in two steps: reads certificate and key anew (false: @errors says why, nothing has changed), and puts
 * everything in force. @h may be NULL. */
MUSTCHECK bool metrics_http_prepare(struct metrics_http *h, const struct settings *set,
                                    struct config_errors *errors);
void metrics_http_commit(struct metrics_http *h);
/* Somebody else takes over: accepts no more, lets answers under way end. */
void metrics_http_close_listeners(struct metrics_http *h);

/* -- questions, with @h NULL as well -- */
uint64_t metrics_http_count(const struct metrics_http *h);
uint64_t metrics_http_refused(const struct metrics_http *h);

/* What is gathered for the status page; @h must be there. */
const struct history *metrics_http_history(const struct metrics_http *h);
const struct incidents *metrics_http_incidents(const struct metrics_http *h);

#endif
