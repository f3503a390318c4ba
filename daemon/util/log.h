/* SPDX-License-Identifier: ISC */
/* The logger: one line per event, written with one write(2) per destination, never blocking on a
 * peer. Destinations: stderr, a file (reopened on HUP), syslog. Text that came from a peer goes
 * through log_escape().
 *
 * A line is `2026-11-21 07:00:00.123 UTC [pid] LEVEL message`; on a stderr that is the journal
 * `<priority>` stands in place of the time. At most 4 KiB, longer ones end in "...[cut]";
 * control characters become blanks. A line that cannot be written is lost and nothing else
 * happens (a file is told how many when it takes lines again); the program ignores SIGPIPE. Before log_setup(): stderr, up to LOG. For the loop's
 * thread only. errno survives a call. */
#ifndef PGPOOLD_UTIL_LOG_H
#define PGPOOLD_UTIL_LOG_H

#include "daemon/util/macros.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum log_level {
    LOG_FATAL_LEVEL,
    LOG_ERROR_LEVEL,
    LOG_WARNING_LEVEL,
    LOG_LOG_LEVEL,   /* the life of the service and of its connections */
    LOG_DEBUG_LEVEL, /* verbose >= 1 */
    LOG_NOISE_LEVEL, /* verbose >= 2 */
    LOG_LEVELS,
};

enum log_format {
    LOG_PLAIN,
    LOG_JSON, /* to file and stderr; syslog gets the plain text */
};

struct log_settings {
    enum log_format format;
    const char *file; /* borrowed during the call; NULL or "": none */
    bool to_stderr;
    bool to_syslog;
    const char *syslog_ident;    /* borrowed during the call */
    const char *syslog_facility; /* "daemon", "local0", ...; borrowed during the call */
    unsigned verbose;            /* 0: up to LOG, 1: DEBUG, 2: NOISE */
};

/* Puts new settings in force; (re)opens the file. 0, or -errno when the file cannot be opened:
 * then the old destinations stay. A closed descriptor 2 is filled with /dev/null, lest a
 * connection gets that number. */
MUSTCHECK int log_setup(const struct log_settings *s);
/* Is @name a syslog facility? */
bool log_facility_is_known(const char *name);
/* Closes file and syslog; later lines go to stderr. */
void log_done(void);

bool log_is_on(enum log_level level);
void log_write(enum log_level level, const char *fmt, ...) PRINTF_LIKE(2, 3);

/* Whose event it is: "C-0x55d0c8: database/user@addr:port " goes before the text. Names may be a peer's, unescaped. */
struct log_who {
    char kind;      /* 'C': client, 'S': server connection */
    const void *id; /* to tell it from others, as SHOW has it */
    const char *database;
    const char *user;
    const char *addr;
    unsigned port;
};
void log_write_who(enum log_level level, const struct log_who *who, const char *fmt, ...)
    PRINTF_LIKE(3, 4);

/* Calls @fn with each WARNING, ERROR and FATAL that is written, as it stands in the line, without
 * the time; NULL: nobody. It must not log. */
typedef void (*log_observer_fn)(void *arg, enum log_level level, const char *message);
void log_observe(log_observer_fn fn, void *arg);

/* Rate limit for what a peer can cause: true while fewer than @burst events of this @site fell
 * in the last second. @site: a static object of the caller, zero at first. The next line that
 * gets through tells how many were left out. */
struct log_rate {
    uint64_t window_us;
    unsigned n;
    unsigned suppressed;
};
bool log_rate_ok(struct log_rate *site, unsigned burst);

#define log_error(...) log_write(LOG_ERROR_LEVEL, __VA_ARGS__)
#define log_warning(...) log_write(LOG_WARNING_LEVEL, __VA_ARGS__)
#define log_info(...) log_write(LOG_LOG_LEVEL, __VA_ARGS__)
#define log_debug(...)                               \
    do {                                             \
        if (UNLIKELY(log_is_on(LOG_DEBUG_LEVEL))) {  \
            log_write(LOG_DEBUG_LEVEL, __VA_ARGS__); \
        }                                            \
    } while (0)

/* Copies @text to @ret with control characters and bytes that are not UTF-8 as \xNN; all else
 * stays, quotes too. Cuts to @size bytes with the NUL, never inside a character. Returns @ret. */
const char *log_escape(char *ret, size_t size, const char *text);
/* Bytes of the character at @p if it is good UTF-8 and no control character; else 0. A NUL ends it. */
size_t log_harmless_char(const uint8_t *p);

#endif
