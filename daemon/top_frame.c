/* SPDX-License-Identifier: ISC */
/* Three lines of sums, the pools, the databases. When the screen is too low for all, the databases have a third of it
 * and the pools the rest. */
#include "daemon/top_frame.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#define OTHER_ROWS 7      /* title, sums, empty lines, the headings of both tables */
#define NUMBERS_WIDTH 58U /* of a pool's line, without its names */
#define MODE_WIDTH 5U
#define BAR_WIDTH 10U
#define NAME_LEAST 8U
#define NAME_MOST 63U

struct painter {
    struct buf *out;
    const struct top_screen *screen;
    const struct top_sample *now;
    const struct top_sample *before;
    unsigned database_width;
    unsigned user_width;
    size_t line_at; /* where the line that is being painted begins in out */
    unsigned n_lines;
    bool has_bar;
};

/* --- text --- */

/* Length of the UTF-8 character at @s, 1 for what is none. */
static unsigned char_len(const unsigned char *s)
{
    unsigned len = s[0] >= 0xf0 && s[0] < 0xf8 ? 4 : s[0] >= 0xe0 ? 3 : s[0] >= 0xc2 ? 2 : 1;

    if (s[0] >= 0xf8) {
        return 1;
    }
    for (unsigned i = 1; i < len; i++) {
        if ((s[i] & 0xc0) != 0x80) {
            return 1;
        }
    }
    return len;
}

static bool may_be_shown(const unsigned char *s, unsigned len)
{
    if (len == 1) {
        return s[0] >= ' ' && s[0] < 0x7f;
    }
    return len != 2 || s[0] != 0xc2 ||
           s[1] >= 0xa0; /* U+0080 to U+009F are control characters too */
}

static unsigned width_of(const char *text)
{
    const unsigned char *s = (const unsigned char *)text;
    unsigned width = 0;

    while (*s != '\0') {
        s += char_len(s);
        width++;
    }
    return width;
}

/* Exactly @width columns, cut or filled. */
static void put_name(struct painter *p, const char *text, unsigned width)
{
    const unsigned char *s = (const unsigned char *)text;
    unsigned used = 0;

    for (; *s != '\0' && used < width; used++) {
        unsigned len = char_len(s);
        bool is_cut = used + 1 == width && s[len] != '\0';

        if (is_cut) {
            buf_append_u8(p->out, '~');
        } else if (may_be_shown(s, len)) {
            buf_append(p->out, s, len);
        } else {
            buf_append_u8(p->out, '?');
        }
        s += len;
    }
    buf_append_fmt(p->out, "%*s", (int)(width - used), "");
}

static void colour(struct painter *p, const char *code)
{
    if (p->screen->is_coloured) {
        buf_append_fmt(p->out, "\033[%sm", code);
    }
}

/* Cuts the line where the screen ends. Colours take no room. */
static void cut_line(struct painter *p)
{
    const char *text = buf_cstr(p->out);
    size_t at = p->line_at;

    for (unsigned used = 0; used < p->screen->columns && at < p->out->len;) {
        if (text[at] == '\033') {
            at += strcspn(text + at, "m") + 1;
            continue;
        }
        at += char_len((const unsigned char *)text + at);
        used++;
    }
    buf_truncate(p->out, at);
}

/* What the last frame had in the next line is erased before that is painted: after a line as wide as the screen the
 * cursor stands on its last character, which would be erased with the rest. */
static void end_line(struct painter *p)
{
    if (p->screen->rows > 0 && p->n_lines == p->screen->rows) {
        buf_truncate(p->out, p->line_at); /* one more would push the first out at the top */
        return;
    }
    p->n_lines++;
    if (p->screen->is_terminal && p->screen->columns > 0) {
        cut_line(p);
    }
    colour(p, "0");
    buf_append_str(p->out, p->screen->is_terminal ? "\n\033[K" : "\n");
    p->line_at = p->out->len;
}

struct number {
    char text[24];
};

static struct number scaled(double value, const char *units)
{
    struct number n;

    if (value < 9.95 && value > 0) {
        (void)snprintf(n.text, sizeof n.text, "%.1f", value);
        return n;
    }
    while (value >= 9999.5 && units[1] != '\0') {
        value /= 1000;
        units++;
    }
    (void)snprintf(n.text, sizeof n.text, *units == ' ' ? "%.0f" : "%.0f%c", value, *units);
    return n;
}

static struct number duration(double us)
{
    struct number n;

    if (us < 1) {
        (void)snprintf(n.text, sizeof n.text, "-");
    } else if (us < 1e3) {
        (void)snprintf(n.text, sizeof n.text, "%.0fus", us);
    } else if (us < 1e6) {
        (void)snprintf(n.text, sizeof n.text, "%.1fms", us / 1e3);
    } else if (us < 1e9) {
        (void)snprintf(n.text, sizeof n.text, "%.1fs", us / 1e6);
    } else {
        (void)snprintf(n.text, sizeof n.text, "%.0fmin", us / 6e7);
    }
    return n;
}

/* --- the head --- */

static void put_title(struct painter *p)
{
    colour(p, "1");
    put_name(p, p->screen->title, width_of(p->screen->title));
    if (p->now->is_paused || p->now->is_suspended) {
        colour(p, "33");
        buf_append_str(p->out, p->now->is_suspended ? "  SUSPENDED" : "  PAUSED");
    }
    end_line(p);
}

/* In a line that is empty otherwise: behind the title most of it would be out of sight. */
static void put_notice(struct painter *p)
{
    if (p->screen->notice != NULL) {
        colour(p, "1;31");
        put_name(p, p->screen->notice, width_of(p->screen->notice));
    }
    end_line(p);
}

static void put_sums(struct painter *p)
{
    uint64_t waiting = 0;
    uint64_t active = 0;
    uint64_t idle = 0;
    uint64_t other = 0;
    struct top_traffic sum = {0};

    for (size_t i = 0; i < p->now->n_pools; i++) {
        waiting += p->now->pools[i].cl_waiting;
        active += p->now->pools[i].sv_active;
        idle += p->now->pools[i].sv_idle;
        other += p->now->pools[i].sv_other;
    }
    for (size_t i = 0; i < p->now->n_databases; i++) {
        struct top_traffic t = top_sample_rate(p->now, p->before, &p->now->databases[i]);

        sum.xacts += t.xacts;
        sum.queries += t.queries;
        sum.received_bytes += t.received_bytes;
        sum.sent_bytes += t.sent_bytes;
    }
    buf_append_fmt(p->out,
                   "clients %" PRIu64 ", waiting %" PRIu64 ", logging in %" PRIu64
                   "; servers %" PRIu64 ", active %" PRIu64 ", idle %" PRIu64,
                   p->now->n_clients, waiting, p->now->n_logging_in, active + idle + other, active,
                   idle);
    end_line(p);
    /* The average is the daemon's own, of its last stats_period. */
    buf_append_fmt(p->out, "per second: %s transactions, %s queries, %sB in, %sB out (%s)",
                   scaled(sum.xacts, " kM").text, scaled(sum.queries, " kM").text,
                   scaled(sum.received_bytes, " kMG").text, scaled(sum.sent_bytes, " kMG").text,
                   p->before->at_us == 0 ? "average" : "now");
    end_line(p);
}

/* --- the tables --- */

static void put_bar(struct painter *p, const struct top_pool *pool)
{
    uint64_t used = pool->sv_active + pool->sv_other;
    uint64_t full;

    if (!p->has_bar || pool->limit == 0) {
        return;
    }
    full = MIN((used * BAR_WIDTH + pool->limit - 1) / pool->limit, (uint64_t)BAR_WIDTH);
    buf_append_str(p->out, "  [");
    for (unsigned i = 0; i < BAR_WIDTH; i++) {
        buf_append_u8(p->out, i < full ? '#' : '.');
    }
    buf_append_u8(p->out, ']');
}

static void put_pool(struct painter *p, const struct top_pool *pool)
{
    char mode[MODE_WIDTH + 1]; /* "trans" is enough */

    if (pool->cl_waiting > 0) {
        colour(p, pool->maxwait_us >= USEC_PER_SEC ? "1;31" : "33");
    }
    buf_append_str(p->out, pool->cl_waiting > 0 ? "! " : "  ");
    put_name(p, pool->database, p->database_width);
    buf_append_u8(p->out, ' ');
    put_name(p, pool->user, p->user_width);
    buf_append_u8(p->out, ' ');
    (void)snprintf(mode, sizeof mode, "%s", pool->mode);
    put_name(p, mode, MODE_WIDTH);
    buf_append_fmt(p->out, " %7" PRIu64 " %7" PRIu64 " %7s %6" PRIu64 " %5" PRIu64 " %5" PRIu64,
                   pool->cl_active, pool->cl_waiting, duration((double)pool->maxwait_us).text,
                   pool->sv_active, pool->sv_idle, pool->sv_other);
    if (pool->limit == 0) {
        buf_append_fmt(p->out, " %5s", "-");
    } else {
        buf_append_fmt(p->out, " %5" PRIu64, pool->limit);
    }
    put_bar(p, pool);
    end_line(p);
}

static void put_heading(struct painter *p, const char *numbers)
{
    colour(p, "7");
    buf_append_str(p->out, "  ");
    put_name(p, "DATABASE", p->database_width);
    buf_append_str(p->out, numbers);
    end_line(p);
}

static void put_rest(struct painter *p, size_t n, const char *what)
{
    if (n > 0) {
        buf_append_fmt(p->out, "  ... and %zu more %s", n, what);
        end_line(p);
    }
}

static void put_pools(struct painter *p, size_t rows)
{
    size_t shown = p->now->n_pools <= rows ? p->now->n_pools : rows - 1;

    colour(p, "7");
    buf_append_str(p->out, "  ");
    put_name(p, "DATABASE", p->database_width);
    buf_append_u8(p->out, ' ');
    put_name(p, "USER", p->user_width);
    buf_append_fmt(p->out, " MODE  %7s %7s %7s %6s %5s %5s %5s", "CLIENTS", "WAITING", "LONGEST",
                   "ACTIVE", "IDLE", "OTHER", "LIMIT");
    end_line(p);
    for (size_t i = 0; i < shown; i++) {
        put_pool(p, &p->now->pools[i]);
    }
    put_rest(p, p->now->n_pools - shown, "pools");
}

static void put_database(struct painter *p, const struct top_database *d)
{
    struct top_traffic t = top_sample_rate(p->now, p->before, d);

    buf_append_str(p->out, "  ");
    put_name(p, d->name, p->database_width);
    buf_append_fmt(p->out, " %7s %8s %8s %8s %8s %7s %7s%s%s", scaled(t.xacts, " kM").text,
                   scaled(t.queries, " kM").text, duration(t.query_us).text,
                   duration(t.xact_us).text, duration(t.wait_us).text,
                   scaled(t.received_bytes, " kMG").text, scaled(t.sent_bytes, " kMG").text,
                   d->is_paused ? "  paused" : "", d->is_disabled ? "  disabled" : "");
    end_line(p);
}

static void put_databases(struct painter *p, size_t rows)
{
    size_t shown = p->now->n_databases <= rows ? p->now->n_databases : rows - 1;

    put_heading(p, "  XACT/S  QUERY/S    QUERY     XACT     WAIT    IN/S   OUT/S");
    for (size_t i = 0; i < shown; i++) {
        put_database(p, &p->now->databases[i]);
    }
    put_rest(p, p->now->n_databases - shown, "databases");
}

/* --- the whole --- */

static void measure(struct painter *p)
{
    unsigned database = NAME_LEAST;
    unsigned user = NAME_LEAST;
    unsigned room;
    unsigned left;

    for (size_t i = 0; i < p->now->n_pools; i++) {
        database = MAX(database, MIN(width_of(p->now->pools[i].database), NAME_MOST));
        user = MAX(user, MIN(width_of(p->now->pools[i].user), NAME_MOST));
    }
    for (size_t i = 0; i < p->now->n_databases; i++) {
        database = MAX(database, MIN(width_of(p->now->databases[i].name), NAME_MOST));
    }
    room = 2 * NAME_MOST;
    if (p->screen->columns != 0) {
        room = MAX(p->screen->columns, NUMBERS_WIDTH + 2 * NAME_LEAST) - NUMBERS_WIDTH;
    }
    /* Both as wide as they want, or the room is shared. */
    left = room > database ? room - database : 0;
    p->user_width = MIN(user, MAX(room / 2, left));
    p->database_width = MIN(database, room - p->user_width);
    p->has_bar =
        p->screen->columns == 0 || room - p->user_width - p->database_width >= BAR_WIDTH + 4;
}

void top_frame(struct buf *out, const struct top_screen *screen, const struct top_sample *now,
               const struct top_sample *before)
{
    struct painter p = {.out = out, .screen = screen, .now = now, .before = before};
    size_t pools = now->n_pools;
    size_t databases = now->n_databases;
    size_t room = screen->rows > OTHER_ROWS + 4 ? screen->rows - OTHER_ROWS : 4;

    if (screen->rows > 0 && pools + databases > room) {
        databases = MAX(MIN(databases, room / 3), room - MIN(room, pools));
        pools = MIN(pools, room - databases);
    }
    measure(&p);
    if (screen->is_terminal) {
        buf_append_str(out, "\033[H\033[K");
    }
    p.line_at = out->len;
    put_title(&p);
    put_sums(&p);
    put_notice(&p);
    put_pools(&p, MAX(pools, 1U));
    end_line(&p);
    put_databases(&p, MAX(databases, 1U));
    if (screen->is_terminal) {
        buf_append_str(out, "\033[J");
    }
}
