/* SPDX-License-Identifier: ISC */
/* A line is put together in one buffer and given to each destination by one write(2). It is at
 * most LINE_MAX_BYTES long, prefix and newline included, which is PIPE_BUF: a pipe takes it
 * whole or not at all. */
#include "daemon/util/log.h"

#include "daemon/util/clock.h"
#include "daemon/util/fatal.h"
#include "daemon/util/log_json.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <poll.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <syslog.h>
#include <time.h>
#include <unistd.h>

#define LINE_MAX_BYTES 4096
#define PREFIX_MAX_BYTES 128
#define MESSAGE_MAX_BYTES (LINE_MAX_BYTES - PREFIX_MAX_BYTES - 1) /* and the newline */
#define CUT_MARK "...[cut]"
#define IDENT_MAX_BYTES 64

static const struct {
    const char *word;
    int priority; /* syslog(3), sd-daemon(3) */
} levels[LOG_LEVELS] = {
    [LOG_FATAL_LEVEL] = {"FATAL", LOG_CRIT},        [LOG_ERROR_LEVEL] = {"ERROR", LOG_ERR},
    [LOG_WARNING_LEVEL] = {"WARNING", LOG_WARNING}, [LOG_LOG_LEVEL] = {"LOG", LOG_INFO},
    [LOG_DEBUG_LEVEL] = {"DEBUG", LOG_DEBUG},       [LOG_NOISE_LEVEL] = {"NOISE", LOG_DEBUG},
};

static const struct {
    const char *name;
    int facility;
} facilities[] = {
    {"auth", LOG_AUTH},     {"authpriv", LOG_AUTHPRIV}, {"cron", LOG_CRON},
    {"daemon", LOG_DAEMON}, {"ftp", LOG_FTP},           {"kern", LOG_KERN},
    {"lpr", LOG_LPR},       {"mail", LOG_MAIL},         {"news", LOG_NEWS},
    {"syslog", LOG_SYSLOG}, {"user", LOG_USER},         {"uucp", LOG_UUCP},
    {"local0", LOG_LOCAL0}, {"local1", LOG_LOCAL1},     {"local2", LOG_LOCAL2},
    {"local3", LOG_LOCAL3}, {"local4", LOG_LOCAL4},     {"local5", LOG_LOCAL5},
    {"local6", LOG_LOCAL6}, {"local7", LOG_LOCAL7},
};

enum stderr_kind {
    STDERR_UNKNOWN, /* log_setup() was not called yet */
    STDERR_PLAIN,   /* a file or a terminal, a pipe, a socket */
    STDERR_JOURNAL,
};

/* The logger is one of the two allowed globals (STYLE.md section 5). */
static struct {
    enum log_format format;
    unsigned verbose;
    bool to_stderr;
    bool to_syslog;
    bool syslog_is_open;
    enum stderr_kind stderr_kind;
    int file_fd;
    uint64_t
        n_lost;     /* lines that the file did not take, to be told in it when it takes one again */
    int lost_errno; /* why the last of them was lost */
    bool has_half_a_line;        /* the file's end: a disk became full in the middle of it */
    char ident[IDENT_MAX_BYTES]; /* openlog() keeps the pointer */
    log_observer_fn observer;
    void *observer_arg;
    unsigned left_out;   /* by log_rate_ok(), to be told with the next line */
    time_t stamp_second; /* that @stamp and @zone belong to */
    bool stamp_is_json;
    char stamp[24];
    char zone[16];
} state = {.to_stderr = true, .file_fd = -1, .stamp_second = -1};

/* ---- settings ---- */

static bool facility_by_name(const char *name, int *ret)
{
    for (size_t i = 0; i < ARRAY_LEN(facilities); i++) {
        if (strcmp(facilities[i].name, name) == 0) {
            *ret = facilities[i].facility;
            return true;
        }
    }
    return false;
}

bool log_facility_is_known(const char *name)
{
    int facility;

    return facility_by_name(name, &facility);
}

/* sd-daemon(3): JOURNAL_STREAM is "device:inode" of the journal's end. It is inherited, so a
 * match is asked for. */
static enum stderr_kind find_stderr_kind(void)
{
    const char *journal = getenv("JOURNAL_STREAM");
    char mine[64];
    struct stat st;

    if (journal == NULL || fstat(STDERR_FILENO, &st) != 0) {
        return STDERR_PLAIN;
    }
    (void)snprintf(mine, sizeof(mine), "%ju:%ju", (uintmax_t)st.st_dev,
                   (uintmax_t)st.st_ino); /* two numbers fit */
    return strcmp(journal, mine) == 0 ? STDERR_JOURNAL : STDERR_PLAIN;
}

/* A number 2 that is free would go to the next connection, and our lines to its peer. */
static void keep_stderr_taken(void)
{
    int fd;

    if (fcntl(STDERR_FILENO, F_GETFD) >= 0 || errno != EBADF) {
        return;
    }
    fd = open("/dev/null", O_WRONLY);
    if (fd >= 0 && fd != STDERR_FILENO) {
        (void)dup2(fd, STDERR_FILENO); /* nothing better is left to try */
        (void)close(fd);
    }
}

static void setup_syslog(const struct log_settings *s)
{
    int facility = LOG_DAEMON;

    if (state.syslog_is_open) {
        closelog();
        state.syslog_is_open = false;
    }
    state.to_syslog = s->to_syslog;
    if (!s->to_syslog) {
        return;
    }
    if (s->syslog_facility != NULL) {
        (void)facility_by_name(s->syslog_facility,
                               &facility); /* an unknown one stays "daemon"; config refuses it */
    }
    (void)snprintf(state.ident, sizeof(state.ident), "%s",
                   s->syslog_ident != NULL ? s->syslog_ident : "pgpoold");
    openlog(state.ident, LOG_PID | LOG_NDELAY, facility);
    state.syslog_is_open = true;
}

int log_setup(const struct log_settings *s)
{
    int fd = -1;

    keep_stderr_taken();
    if (s->file != NULL && s->file[0] != '\0') {
        /* O_NONBLOCK matters for a FIFO only: a reader that stopped must not stop us. */
        fd = open(s->file, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC | O_NOCTTY | O_NONBLOCK, 0644);
        if (fd < 0) {
            return -errno;
        }
    }
    if (state.file_fd >= 0) {
        (void)close(state.file_fd);
    }
    state.file_fd = fd;
    state.format = s->format;
    state.has_half_a_line = false;
    state.verbose = s->verbose;
    state.to_stderr = s->to_stderr;
    state.stderr_kind = find_stderr_kind();
    setup_syslog(s);
    return 0;
}

void log_done(void)
{
    if (state.file_fd >= 0) {
        (void)close(state.file_fd);
        state.file_fd = -1;
    }
    if (state.syslog_is_open) {
        closelog();
        state.syslog_is_open = false;
    }
    state.to_syslog = false;
    state.to_stderr = true; /* what is said from here on still has a reader */
    state.left_out = 0;
    state.n_lost = 0;
}

bool log_is_on(enum log_level level)
{
    return (unsigned)level <= (unsigned)LOG_LOG_LEVEL + state.verbose;
}

/* ---- lines ---- */

/* The prefix is written to end exactly at @at, so that each destination gets its own before the
 * same message. */
static const char *put_prefix(char *at, const char *prefix, int len)
{
    fatal_unless(len > 0 && len < PREFIX_MAX_BYTES);
    return memcpy(at - len, prefix, (size_t)len);
}

/* date and time of the second of @wall_us, and its zone, go to state.stamp and state.zone. */
static void stamp(uint64_t wall_us)
{
    time_t second = (time_t)(wall_us / USEC_PER_SEC);
    bool is_json = state.format == LOG_JSON;
    struct tm tm;

    if (second == state.stamp_second && is_json == state.stamp_is_json) {
        return;
    }
    if (localtime_r(&second, &tm) == NULL ||
        strftime(state.stamp, sizeof(state.stamp), is_json ? "%FT%T" : "%F %T", &tm) == 0 ||
        strftime(state.zone, sizeof(state.zone), is_json ? "%z" : "%Z", &tm) == 0) {
        (void)snprintf(state.zone, sizeof(state.zone), "?"); /* a year or a zone too long for us */
    }
    state.stamp_second = second;
    state.stamp_is_json = is_json;
}

static const char *prefix_with_time(char *at, enum log_level level)
{
    char prefix[PREFIX_MAX_BYTES];
    uint64_t wall_us = clock_wall_now_us();

    stamp(wall_us);
    return put_prefix(at, prefix,
                      snprintf(prefix, sizeof(prefix), "%s.%03u %s [%d] %s ", state.stamp,
                               (unsigned)(wall_us / USEC_PER_MSEC % 1000), state.zone,
                               (int)getpid(), levels[level].word));
}

static const char *prefix_for_journal(char *at, enum log_level level)
{
    char prefix[PREFIX_MAX_BYTES];

    return put_prefix(at, prefix,
                      snprintf(prefix, sizeof(prefix), "<%d>[%d] %s ", levels[level].priority,
                               (int)getpid(), levels[level].word));
}

/* What cannot be written is lost: a full disk or a reader that went away must not disturb the
 * service. */
static ssize_t write_line(int fd, const char *line, size_t len)
{
    ssize_t n;

    do {
        n = write(fd, line, len);
    } while (n < 0 && errno == EINTR);
    return n;
}

/* stderr may be a pipe or a socket whose reader stopped; it is shared with others, so it cannot
 * be made non-blocking. */
static bool stderr_takes_a_line(void)
{
    struct pollfd p = {.fd = STDERR_FILENO, .events = POLLOUT};

    return poll(&p, 1, 0) == 1 && (p.revents & POLLOUT) != 0;
}

/* What is said about the log here is an event as any other; it finds state.n_lost settled, so it ends there. */
static void lose(int why)
{
    state.lost_errno = why;
    if (state.n_lost++ == 0) {
        log_warning("cannot write to the log file: %s: lines are lost until it works",
                    strerror(why));
    }
}

static void write_to_file(const char *line, size_t len)
{
    ssize_t n;

    if (state.has_half_a_line && write_line(state.file_fd, "\n", 1) == 1) {
        state.has_half_a_line = false;
    }
    n = write_line(state.file_fd, line, len);
    if (n != (ssize_t)len) {
        state.has_half_a_line = state.has_half_a_line || n > 0;
        lose(n < 0 ? errno : ENOSPC); /* a part of it fitted */
        return;
    }
    if (state.n_lost > 0) {
        uint64_t n_lost = state.n_lost;

        state.n_lost = 0;
        log_warning("%" PRIu64 " lines of the log file were lost before this one: %s", n_lost,
                    strerror(state.lost_errno));
    }
}

/* @message lies behind PREFIX_MAX_BYTES of free room; @len bytes, a newline behind them, then a
 * NUL. */
static void send_line(enum log_level level, char *message, size_t len)
{
    const char *line;

    if (state.to_syslog) {
        message[len] = '\0';
        syslog(levels[level].priority, "%s %s", levels[level].word, message);
    }
    if (state.format == LOG_JSON) {
        return; /* the other destinations have it already */
    }
    message[len++] = '\n';
    if (state.file_fd >= 0) {
        line = prefix_with_time(message, level);
        write_to_file(line, (size_t)(message + len - line));
    }
    if (state.to_stderr && stderr_takes_a_line()) {
        line = state.stderr_kind == STDERR_JOURNAL ? prefix_for_journal(message, level)
                                                   : prefix_with_time(message, level);
        (void)write_line(STDERR_FILENO, line, (size_t)(message + len - line)); /* lost is lost */
    }
}

/* One line is one event, whatever a caller forgot to escape. */
static void flatten(char *message, size_t len)
{
    for (size_t i = 0; i < len; i++) {
        if ((uint8_t)message[i] < 0x20 || message[i] == 0x7f) {
            message[i] = ' ';
        }
    }
}

/* Cuts between characters, not inside one (UTF-8). */
static size_t cut(char *message, size_t len)
{
    size_t at = MESSAGE_MAX_BYTES - (sizeof(CUT_MARK) - 1);

    if (len <= MESSAGE_MAX_BYTES) {
        return len;
    }
    while (at > 0 && ((uint8_t)message[at] & 0xc0) == 0x80) {
        at--;
    }
    memcpy(message + at, CUT_MARK, sizeof(CUT_MARK) - 1);
    return at + sizeof(CUT_MARK) - 1;
}

/* RFC 3339: the zone as +hh:mm. */
static void put_json_time(char ret[64])
{
    uint64_t wall_us = clock_wall_now_us();

    stamp(wall_us);
    (void)snprintf(ret, 64, "%s.%03u%.3s:%s", state.stamp,
                   (unsigned)(wall_us / USEC_PER_MSEC % 1000), state.zone,
                   strlen(state.zone) == 5 ? state.zone + 3 : "00");
}

static void send_json(enum log_level level, const struct log_who *who, const char *text)
{
    char line[LINE_MAX_BYTES];
    char time[64];
    struct log_json_event e = {time, (int)getpid(), levels[level].word, who, text};
    size_t room = 0;
    size_t len;

    put_json_time(time);
    if (state.to_stderr && state.stderr_kind == STDERR_JOURNAL) {
        room = (size_t)snprintf(line, 8, "<%d>", levels[level].priority);
    }
    len = log_json_line(line + room, sizeof(line) - room, &e);
    if (state.file_fd >= 0) {
        write_to_file(line + room, len);
    }
    if (state.to_stderr && stderr_takes_a_line()) {
        (void)write_line(STDERR_FILENO, line, room + len); /* lost is lost */
    }
}

static int put_who(char *ret, size_t size, const struct log_who *who)
{
    char database[160];
    char user[160];

    return snprintf(ret, size, "%c-%p: %s/%s@%s:%u ", who->kind, who->id,
                    log_escape(database, sizeof(database), who->database),
                    log_escape(user, sizeof(user), who->user), who->addr, who->port);
}

static void put_event(enum log_level level, const struct log_who *who, const char *fmt,
                      va_list args)
{
    /* One byte more than a message may have: cut() sees that there was more. */
    char line[PREFIX_MAX_BYTES + MESSAGE_MAX_BYTES + 2];
    char *message = line + PREFIX_MAX_BYTES;
    unsigned left_out = state.left_out;
    size_t text_at = 0;
    size_t len;
    int n;

    state.left_out = 0;
    if (who != NULL) {
        text_at = MIN((size_t)MAX(put_who(message, MESSAGE_MAX_BYTES + 2, who), 0),
                      (size_t)MESSAGE_MAX_BYTES);
    }
    n = vsnprintf(message + text_at, MESSAGE_MAX_BYTES + 2 - text_at, fmt, args);
    if (n < 0) {
        return;
    }
    len = MIN(text_at + (size_t)n, (size_t)MESSAGE_MAX_BYTES + 1);
    if (left_out > 0 && len <= MESSAGE_MAX_BYTES) {
        n = snprintf(message + len, MESSAGE_MAX_BYTES + 2 - len, " (and %u like it left out)",
                     left_out);
        len = MIN(len + (size_t)MAX(n, 0), (size_t)MESSAGE_MAX_BYTES + 1);
    }
    len = cut(message, len);
    flatten(message, len);
    if (state.observer != NULL && level <= LOG_WARNING_LEVEL) {
        message[len] = '\0';
        state.observer(state.observer_arg, level, message);
    }
    if (state.format == LOG_JSON) {
        message[len] = '\0';
        send_json(level, who, message + text_at);
        if (!state.to_syslog) {
            return;
        }
    }
    send_line(level, message, len);
}

static void write_event(enum log_level level, const struct log_who *who, const char *fmt,
                        va_list args)
{
    int saved_errno = errno;

    if (!log_is_on(level)) {
        state.left_out = 0;
        return;
    }
    if (state.stderr_kind == STDERR_UNKNOWN) {
        state.stderr_kind = find_stderr_kind();
    }
    put_event(level, who, fmt, args);
    errno = saved_errno;
}

void log_write_who(enum log_level level, const struct log_who *who, const char *fmt, ...)
{
    va_list args;

    va_start(args, fmt);
    write_event(level, who, fmt, args);
    va_end(args);
}

void log_write(enum log_level level, const char *fmt, ...)
{
    va_list args;

    va_start(args, fmt);
    write_event(level, NULL, fmt, args);
    va_end(args);
}

void log_observe(log_observer_fn fn, void *arg)
{
    state.observer = fn;
    state.observer_arg = arg;
}

bool log_rate_ok(struct log_rate *site, unsigned burst)
{
    usec_t now_us = clock_now_us();

    if (site->n == 0 || now_us - site->window_us >= USEC_PER_SEC) {
        site->window_us = now_us;
        site->n = 0;
    }
    if (site->n >= burst) {
        site->suppressed++;
        return false;
    }
    site->n++;
    state.left_out = site->suppressed;
    site->suppressed = 0;
    return true;
}

/* ---- escaping ---- */

size_t log_harmless_char(const uint8_t *p)
{
    uint32_t code;
    size_t n;

    if (p[0] < 0x80) {
        return p[0] >= 0x20 && p[0] != 0x7f ? 1 : 0;
    }
    if (p[0] < 0xc2 || p[0] > 0xf4) {
        return 0;
    }
    n = p[0] < 0xe0 ? 2 : p[0] < 0xf0 ? 3 : 4;
    code = p[0] & (0xffU >> (n + 1));
    for (size_t i = 1; i < n; i++) {
        if ((p[i] & 0xc0) != 0x80) { /* its NUL stops us too */
            return 0;
        }
        code = code << 6 | (p[i] & 0x3f);
    }
    if (code < 0xa0 || (n == 3 && code < 0x800) || (n == 4 && code < 0x10000) || code > 0x10ffff ||
        (code >= 0xd800 && code <= 0xdfff)) {
        return 0; /* a C1 control, overlong, beyond Unicode, a surrogate */
    }
    return n;
}

const char *log_escape(char *ret, size_t size, const char *text)
{
    static const char digits[] = "0123456789abcdef";
    const uint8_t *p = (const uint8_t *)text;
    size_t len = 0;

    fatal_unless(size > 0);
    while (*p != '\0') {
        size_t n = log_harmless_char(p);

        if ((n > 0 ? n : 4) >= size - len) {
            break; /* what does not fit whole is left out */
        }
        if (n > 0) {
            memcpy(ret + len, p, n);
            len += n;
            p += n;
            continue;
        }
        ret[len++] = '\\';
        ret[len++] = 'x';
        ret[len++] = digits[*p >> 4];
        ret[len++] = digits[*p & 15];
        p++;
    }
    ret[len] = '\0';
    return ret;
}
