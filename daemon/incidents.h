/* SPDX-License-Identifier: ISC */
/* The last warnings and errors, for the status page: whoever looks there first during an incident should not need the
 * log. Bounded: what repeats, but for figures in it, is one entry with a count; the oldest goes. Entries hold what the log
 * holds, nothing else. */
#ifndef PGPOOLD_DAEMON_INCIDENTS_H
#define PGPOOLD_DAEMON_INCIDENTS_H

#include "daemon/util/log.h"

#include <stdint.h>

#define INCIDENTS_MAX 50U
#define INCIDENT_TEXT_BYTES 320

struct incident {
    uint64_t wall_us; /* the last time */
    uint64_t n;       /* 0: no entry */
    enum log_level level;
    char text[INCIDENT_TEXT_BYTES];
};

struct incidents {
    struct incident entries[INCIDENTS_MAX];
    unsigned n;
};

/* A log_observer_fn; @arg: struct incidents. */
void incidents_note(void *arg, enum log_level level, const char *message);
/* @i = 0 is the latest; NULL: no more. */
const struct incident *incidents_at(const struct incidents *all, unsigned i);

#endif
