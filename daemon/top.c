/* SPDX-License-Identifier: ISC */
/* The loop of the view: asks, draws, waits for a key, a signal or the next moment. The terminal is touched only after
 * the first answer, and is given back on each way out. */
#include "daemon/top.h"

#include "daemon/top_frame.h"
#include "daemon/top_query.h"
#include "daemon/util/num.h"
#include "daemon/version.h"

#include <errno.h>
#include <getopt.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/signalfd.h>
#include <termios.h>
#include <time.h>
#include <unistd.h>

#define INTERVAL_S 2U
#define INTERVAL_MAX_S 3600U
#define PATIENCE_US \
    (10 * USEC_PER_SEC) /* for an answer, before we say that there is none, or connect anew */
#define SCREEN_ON "\033[?1049h\033[?25l\033[?7l"
#define SCREEN_OFF "\033[?7h\033[?25h\033[?1049l"

static const char usage[] =
    "Usage: pgpoold top [OPTION]... [CONNINFO]\n"
    "Shows the pools of a running pgpoold: who waits, what is used, how fast. CONNINFO is a\n"
    "connection string, as for psql; what it leaves out is the console over the Unix socket.\n"
    "  -n, --interval=SECONDS  time between two looks (2)\n"
    "  -1, --once              one look, also on a terminal\n"
    "  -h, --help              print this and exit\n"
    "Keys: q ends, space looks at once, + and - change the interval.\n";

struct top {
    struct top_query *query;
    struct top_sample now;
    struct top_sample before;
    unsigned interval_s;
    usec_t asked_us; /* 0: nothing is asked */
    usec_t next_us;
    bool is_live; /* on a terminal, until somebody ends it */
    bool is_coloured;
    bool has_screen;
    bool has_keys;
    bool is_over;
    int status;
    int signals_fd;
    struct termios saved;
    char notice[500]; /* "": all is well */
};

static usec_t look_at_clock(void)
{
    clock_update();
    return clock_now_us();
}

/* --- the terminal --- */

static bool write_all(const void *data, size_t len)
{
    const char *at = data;

    while (len > 0) {
        ssize_t n = write(STDOUT_FILENO, at, len);

        if (n < 0 && errno != EINTR && errno != EAGAIN) {
            return false;
        }
        if (n > 0) {
            at += n;
            len -= (size_t)n;
        }
    }
    return true;
}

static void take_screen(struct top *t)
{
    struct termios raw;

    t->has_screen = write_all(SCREEN_ON, strlen(SCREEN_ON));
    if (!t->has_keys || tcgetattr(STDIN_FILENO, &t->saved) != 0) {
        t->has_keys = false;
        return;
    }
    raw = t->saved;
    raw.c_lflag &= ~(tcflag_t)(ICANON | ECHO | ISIG);
    raw.c_cc[VMIN] = 0;
    raw.c_cc[VTIME] = 0;
    (void)tcsetattr(STDIN_FILENO, TCSANOW, &raw); /* without it keys are echoed, no more */
}

static void give_screen_back(struct top *t)
{
    if (t->has_screen) {
        (void)write_all(SCREEN_OFF, strlen(SCREEN_OFF)); /* nobody is there if it fails */
        if (t->has_keys) {
            (void)tcsetattr(STDIN_FILENO, TCSAFLUSH, &t->saved);
        }
        t->has_screen = false;
    }
}

static void draw(struct top *t)
{
    struct buf out = BUF_INIT(TOP_FRAME_BYTES_MAX);
    struct winsize size = {0};
    char title[500];
    char moment[32] = "";
    time_t wall = time(NULL);
    struct tm local;
    struct top_screen screen = {.title = title,
                                .notice = *t->notice == '\0' ? NULL : t->notice,
                                .is_terminal = t->is_live,
                                .is_coloured = t->is_coloured};

    if (t->is_live && ioctl(STDOUT_FILENO, TIOCGWINSZ, &size) == 0) {
        screen.rows = size.ws_row > 1 ? size.ws_row - 1U : 0;
        screen.columns = size.ws_col;
    }
    if (localtime_r(&wall, &local) != NULL) {
        (void)strftime(moment, sizeof moment, "%H:%M:%S", &local);
    }
    (void)snprintf(title, sizeof title, "pgpoold at %s  %s", top_query_place(t->query), moment);
    if (t->is_live) {
        size_t len = strlen(title);

        (void)snprintf(title + len, sizeof title - len, "  every %u s, q ends", t->interval_s);
    }
    top_frame(&out, &screen, &t->now, &t->before);
    if (!write_all(out.data, out.len)) {
        t->is_over = true;
        t->status = 1;
    }
    buf_done(&out);
}

/* --- what happens --- */

static void end(struct top *t, int status)
{
    t->is_over = true;
    t->status = status;
}

/* The last picture stays, with what is wrong above it. */
static void failed(struct top *t, const char *why)
{
    t->asked_us = 0;
    t->next_us = look_at_clock() + (usec_t)t->interval_s * USEC_PER_SEC;
    (void)snprintf(t->notice, sizeof t->notice, "%s", why);
    if (t->has_screen) {
        draw(t);
        return;
    }
    (void)fprintf(stderr, "pgpoold top: %s\n", why);
    end(t, 1);
}

static void answered(struct top *t)
{
    top_sample_done(&t->before);
    t->before = t->now;
    top_query_take(t->query, &t->now);
    top_sample_sort(&t->now, &t->before);
    t->next_us = t->asked_us + (usec_t)t->interval_s * USEC_PER_SEC;
    t->asked_us = 0;
    *t->notice = '\0';
    if (t->is_live && !t->has_screen) {
        take_screen(t);
    }
    draw(t);
    if (!t->is_live) {
        end(t, t->status);
    }
}

static void act_on(struct top *t, enum top_query_state state)
{
    switch (state) {
    case TOP_QUERY_QUIET:
    case TOP_QUERY_WAITS:
        return;
    case TOP_QUERY_DONE:
        answered(t);
        return;
    case TOP_QUERY_FAILED:
        failed(t, top_query_error(t->query));
        return;
    }
}

static void look_at_time(struct top *t)
{
    usec_t now = look_at_clock();

    if (t->asked_us == 0 && now >= t->next_us) {
        t->asked_us = now;
        act_on(t, top_query_ask(t->query));
    } else if (t->asked_us != 0 && now - t->asked_us >= PATIENCE_US) {
        failed(t, "no answer for 10 seconds");
    }
}

static void on_key(struct top *t, char key)
{
    switch (key) {
    case 'q':
    case 'Q':
    case 3: /* Ctrl-C */
    case 4: /* Ctrl-D */
        end(t, 0);
        return;
    case ' ':
        t->next_us = 0;
        return;
    case '+':
        t->interval_s = MIN(t->interval_s + 1, INTERVAL_MAX_S);
        break;
    case '-':
        t->interval_s = MAX(t->interval_s - 1, 1U);
        break;
    default:
        return;
    }
    draw(t);
}

static void read_keys(struct top *t)
{
    char keys[32];
    ssize_t n = read(STDIN_FILENO, keys, sizeof keys);

    if (n <= 0) {
        end(t, 0); /* the terminal is gone */
    }
    for (ssize_t i = 0; i < n && !t->is_over; i++) {
        on_key(t, keys[i]);
    }
}

static void read_signals(struct top *t)
{
    struct signalfd_siginfo info;

    while (read(t->signals_fd, &info, sizeof info) == (ssize_t)sizeof info) {
        if (info.ssi_signo != SIGWINCH) {
            end(t, 0);
        } else if (t->has_screen) {
            draw(t);
        }
    }
}

static int wait_ms(const struct top *t)
{
    usec_t now = look_at_clock();
    usec_t until = t->asked_us != 0 ? t->asked_us + PATIENCE_US : t->next_us;

    return until <= now ? 0 : num_int((until - now) / USEC_PER_MSEC + 1);
}

static void run(struct top *t)
{
    while (!t->is_over) {
        struct pollfd fds[] = {
            {.fd = t->signals_fd, .events = POLLIN},
            {.fd = t->has_screen && t->has_keys ? STDIN_FILENO : -1, .events = POLLIN},
            {.fd = t->asked_us != 0 ? top_query_fd(t->query) : -1,
             .events = top_query_events(t->query)},
        };

        if (poll(fds, ARRAY_LEN(fds), wait_ms(t)) < 0 && errno != EINTR) {
            failed(t, strerror(errno));
            end(t, 1);
            return;
        }
        if (fds[0].revents != 0) {
            read_signals(t);
        }
        if (fds[1].revents != 0 && !t->is_over) {
            read_keys(t);
        }
        if (fds[2].revents != 0 && !t->is_over) {
            act_on(t, top_query_go_on(t->query));
        }
        if (!t->is_over) {
            look_at_time(t);
        }
    }
}

/* --- the way in --- */

static const struct option long_options[] = {
    {"interval", required_argument, NULL, 'n'},
    {"once", no_argument, NULL, '1'},
    {"help", no_argument, NULL, 'h'},
    {NULL, 0, NULL, 0},
};

static int complain(const char *what)
{
    (void)fprintf(stderr, "%sTry pgpoold top --help.\n", what);
    return 1;
}

/* -1: go on, with @ret_conninfo; else the exit code. */
static int read_options(struct top *t, int argc, char **argv, const char **ret_conninfo)
{
    uint64_t seconds;
    int c;

    while ((c = getopt_long(argc, argv, "n:1h", long_options, NULL)) != -1) {
        switch (c) {
        case 'n':
            if (!num_parse_u64(optarg, INTERVAL_MAX_S, &seconds) || seconds == 0) {
                return complain("pgpoold top: --interval: 1 to 3600 seconds\n");
            }
            t->interval_s = (unsigned)seconds;
            break;
        case '1':
            t->is_live = false;
            break;
        case 'h':
            (void)fputs(usage, stdout);
            return 0;
        default: /* getopt has said what is wrong */
            return complain("");
        }
    }
    if (argc - optind > 1) {
        return complain("pgpoold top: more than one connection string\n");
    }
    *ret_conninfo = argc == optind ? "" : argv[optind];
    return -1;
}

static bool is_set(const char *variable)
{
    const char *value = getenv(variable);

    return value != NULL && *value != '\0';
}

static bool watch_signals(struct top *t)
{
    static const int numbers[] = {SIGINT, SIGTERM, SIGHUP, SIGQUIT, SIGWINCH};
    sigset_t set;

    (void)sigemptyset(&set); /* these cannot fail */
    for (size_t i = 0; i < ARRAY_LEN(numbers); i++) {
        (void)sigaddset(&set, numbers[i]);
    }
    if (sigprocmask(SIG_BLOCK, &set, NULL) != 0) {
        return false;
    }
    t->signals_fd = signalfd(-1, &set, SFD_NONBLOCK | SFD_CLOEXEC);
    return t->signals_fd >= 0;
}

int top_main(int argc, char **argv)
{
    struct top t = {.interval_s = INTERVAL_S, .signals_fd = -1};
    const char *term = getenv("TERM");
    const char *conninfo = "";
    char *why = NULL;
    int code;

    t.is_live = isatty(STDOUT_FILENO) == 1 && term != NULL && strcmp(term, "dumb") != 0;
    t.has_keys = isatty(STDIN_FILENO) == 1;
    code = read_options(&t, argc, argv, &conninfo);
    if (code >= 0) {
        return code;
    }
    t.is_coloured = t.is_live && !is_set("NO_COLOR");
    t.query = top_query_new(conninfo, &why);
    if (t.query == NULL || !watch_signals(&t)) {
        (void)fprintf(stderr, "pgpoold top: %s\n", why != NULL ? why : strerror(errno));
        t.status = 1;
    } else {
        run(&t);
    }
    give_screen_back(&t);
    top_query_free(t.query);
    top_sample_done(&t.now);
    top_sample_done(&t.before);
    free(why);
    if (t.signals_fd >= 0) {
        (void)close(t.signals_fd);
    }
    return t.status;
}
