/* SPDX-License-Identifier: ISC */
/* A log line as one JSON object (RFC 8259), for log_format = json. Pure. */
#ifndef PGPOOLD_UTIL_LOG_JSON_H
#define PGPOOLD_UTIL_LOG_JSON_H

#include "daemon/util/log.h"

#define LOG_JSON_MIN_BYTES ((size_t)2048)

struct log_json_event {
    const char *time; /* "2026-11-21T07:00:00.123+00:00" */
    int pid;
    const char *level;
    const struct log_who *who; /* NULL: no connection's line */
    const char *message;
};

/* Writes the object and a newline, no NUL: at most @size bytes, of which LOG_JSON_MIN_BYTES at least. A message that does not fit is
 * cut; bytes that are not UTF-8 become U+FFFD. Returns the length. */
size_t log_json_line(char *ret, size_t size, const struct log_json_event *e);

#endif
