/* SPDX-License-Identifier: ISC */
/* stderr is swapped for a pipe of the test's own while a case runs; syslog's socket is left
 * alone. */
#include "daemon/util/clock.h"
#include "daemon/util/log.h"

#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

#define LINE_MAX_BYTES 4096

struct fixture {
    char dir[64];
    char file[96];
    int kept_stderr;
    int pipe_fds[2];
    char text[3 * LINE_MAX_BYTES];
};

static int set_up(void **state)
{
    struct fixture *f = calloc(1, sizeof(*f));

    assert_non_null(f);
    (void)snprintf(f->dir, sizeof(f->dir), "/tmp/pgpoold-test-log-XXXXXX");
    assert_non_null(mkdtemp(f->dir));
    (void)snprintf(f->file, sizeof(f->file), "%s/log", f->dir);
    assert_int_equal(pipe2(f->pipe_fds, O_NONBLOCK), 0);
    assert_int_equal(fcntl(f->pipe_fds[1], F_SETFL, 0),
                     0); /* a writer would block, as with a real stderr */
    f->kept_stderr = dup(STDERR_FILENO);
    assert_true(f->kept_stderr >= 0);
    assert_int_equal(dup2(f->pipe_fds[1], STDERR_FILENO), STDERR_FILENO);
    *state = f;
    return 0;
}

static int tear_down(void **state)
{
    struct fixture *f = *state;

    log_done();
    (void)dup2(f->kept_stderr, STDERR_FILENO);
    (void)close(f->kept_stderr);
    (void)close(f->pipe_fds[0]);
    (void)close(f->pipe_fds[1]);
    (void)unlink(f->file);
    (void)rmdir(f->dir);
    (void)unsetenv("JOURNAL_STREAM");
    free(f);
    return 0;
}

static const char *text_of(struct fixture *f, int fd)
{
    size_t len = 0;
    ssize_t n;

    while ((n = read(fd, f->text + len, sizeof(f->text) - 1 - len)) > 0) {
        len += (size_t)n;
    }
    f->text[len] = '\0';
    return f->text;
}

static const char *stderr_text(struct fixture *f)
{
    return text_of(f, f->pipe_fds[0]);
}

static const char *file_text(struct fixture *f)
{
    int fd = open(f->file, O_RDONLY);

    assert_true(fd >= 0);
    (void)text_of(f, fd);
    (void)close(fd);
    return f->text;
}

static void set(const char *file, bool to_stderr, unsigned verbose)
{
    struct log_settings s = {.file = file, .to_stderr = to_stderr, .verbose = verbose};

    assert_int_equal(log_setup(&s), 0);
}

/* "2026-11-21 07:00:00.123 UTC [4711] LEVEL message\n", the only line in @text. */
static void assert_line(const char *text, const char *level, const char *message)
{
    static const char shape[] = "dddd-dd-dd dd:dd:dd.ddd ";
    const char *p = text;
    char rest[LINE_MAX_BYTES];

    for (size_t i = 0; shape[i] != '\0'; i++, p++) {
        if (shape[i] == 'd' ? *p < '0' || *p > '9' : *p != shape[i]) {
            fail_msg("time stamp of: %s", text);
        }
    }
    (void)snprintf(rest, sizeof(rest), "UTC [%d] %s %s\n", (int)getpid(), level, message);
    assert_string_equal(p, rest);
}

static void line_format(void **state)
{
    static const struct {
        enum log_level level;
        const char *word;
    } cases[] = {
        {LOG_FATAL_LEVEL, "FATAL"}, {LOG_ERROR_LEVEL, "ERROR"}, {LOG_WARNING_LEVEL, "WARNING"},
        {LOG_LOG_LEVEL, "LOG"},     {LOG_DEBUG_LEVEL, "DEBUG"}, {LOG_NOISE_LEVEL, "NOISE"},
    };
    struct fixture *f = *state;

    set(f->file, true, 2);
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        log_write(cases[i].level, "a %s %d", "message", 1);
        assert_line(stderr_text(f), cases[i].word, "a message 1");
        assert_line(file_text(f), cases[i].word, "a message 1");
        assert_int_equal(truncate(f->file, 0), 0);
    }
}

/* time() is no measure here: it follows the kernel's tick, milliseconds behind the clock. */
static void time_is_local_and_now(void **state)
{
    struct fixture *f = *state;
    time_t before = (time_t)(clock_wall_now_us() / USEC_PER_SEC);
    struct tm tm = {0};
    time_t stamp;

    set(NULL, true, 0);
    log_info("x");
    (void)stderr_text(f);
    assert_non_null(strptime(f->text, "%Y-%m-%d %H:%M:%S", &tm));
    stamp = timegm(&tm);
    assert_true(stamp >= before && stamp <= (time_t)(clock_wall_now_us() / USEC_PER_SEC));
}

static void verbosity(void **state)
{
    struct fixture *f = *state;

    for (unsigned verbose = 0; verbose <= 3; verbose++) {
        set(NULL, true, verbose);
        assert_true(log_is_on(LOG_FATAL_LEVEL));
        assert_true(log_is_on(LOG_LOG_LEVEL));
        assert_int_equal(log_is_on(LOG_DEBUG_LEVEL), verbose >= 1);
        assert_int_equal(log_is_on(LOG_NOISE_LEVEL), verbose >= 2);
        log_debug("x");
        assert_int_equal(stderr_text(f)[0] != '\0', verbose >= 1);
    }
}

static void stderr_may_be_off(void **state)
{
    struct fixture *f = *state;

    set(f->file, false, 0);
    log_info("x");
    assert_string_equal(stderr_text(f), "");
    assert_line(file_text(f), "LOG", "x");
    log_done();
    log_info("y");
    assert_line(stderr_text(f), "LOG", "y");
}

static void one_event_is_one_line(void **state)
{
    struct fixture *f = *state;

    set(NULL, true, 0);
    log_info("a\nb\r\tc\x1b[0m\x7f caf\xc3\xa9");
    assert_line(stderr_text(f), "LOG", "a b  c [0m  caf\xc3\xa9");
}

static void long_lines_are_cut(void **state)
{
    struct fixture *f = *state;
    char message[2 * LINE_MAX_BYTES];
    size_t len;
    size_t most = LINE_MAX_BYTES - 128 - 1; /* prefix and newline */

    set(NULL, true, 0);
    memset(message, 'x', sizeof(message));
    message[most] = '\0'; /* the ceiling */
    log_info("%s", message);
    assert_null(strstr(stderr_text(f), "[cut]"));
    message[most] = 'x';
    message[most + 1] = '\0'; /* and one more */
    log_info("%s", message);
    assert_non_null(strstr(stderr_text(f), "x...[cut]\n"));
    message[most + 1] = 'x';
    message[sizeof(message) - 1] = '\0';
    log_info("%s", message);
    len = strlen(stderr_text(f));
    assert_true(len <= LINE_MAX_BYTES && len > LINE_MAX_BYTES - 128);
    for (size_t i = 0; i + 2 < sizeof(message); i += 2) {
        memcpy(message + i, "\xc3\xa9", 2);
    }
    for (size_t shift = 0; shift < 2;
         shift++) { /* a character lies across the cut in one of the two */
        const char *mark;

        log_info("%.*s%s", (int)shift, "x", message);
        mark = strstr(stderr_text(f), "...[cut]\n");
        assert_non_null(mark);
        assert_int_equal((uint8_t)mark[-1], 0xa9);
    }
}

static void file_is_reopened(void **state)
{
    struct fixture *f = *state;
    char rotated[sizeof(f->file) + 4];

    (void)snprintf(rotated, sizeof(rotated), "%s.1", f->file);
    set(f->file, false, 0);
    log_info("old");
    assert_int_equal(rename(f->file, rotated), 0);
    log_info("old too");
    assert_int_equal(access(f->file, F_OK), -1);
    set(f->file, false, 0);
    log_info("new");
    assert_line(file_text(f), "LOG", "new");
    assert_int_equal(unlink(rotated), 0);
}

static void bad_file_leaves_the_old_one(void **state)
{
    struct fixture *f = *state;
    struct log_settings s = {.file = "/nonexistent/log", .to_stderr = true, .verbose = 2};

    set(f->file, false, 0);
    assert_int_equal(log_setup(&s), -ENOENT);
    log_debug("no");
    log_info("still");
    assert_line(file_text(f), "LOG", "still");
    assert_string_equal(stderr_text(f), "");
}

static void full_disk_does_not_disturb(void **state)
{
    struct fixture *f = *state;
    const char *text;

    set("/dev/full", true, 0);
    errno = EXDEV;
    log_info("x");
    assert_int_equal(errno, EXDEV);
    text = stderr_text(f);
    assert_non_null(
        strstr(text, "WARNING cannot write to the log file: No space left on device: "));
    assert_line(strchr(text, '\n') + 1, "LOG", "x");
}

/* A disk that is full for a while: a FIFO that is, since each of its writes fails or is whole. */
static void lost_lines_are_told(void **state)
{
    struct fixture *f = *state;
    static char text[256 * 1024];
    char *told;
    ssize_t n;
    int fd;
    int full;

    assert_int_equal(mkfifo(f->file, 0600), 0);
    fd = open(f->file, O_RDONLY | O_NONBLOCK | O_CLOEXEC);
    assert_true(fd >= 0);
    set(f->file, true, 0);
    full = open(f->file, O_WRONLY | O_NONBLOCK | O_CLOEXEC);
    assert_true(full >= 0);
    while (write(full, text, 4096) > 0) {
    }
    log_info("one");
    log_info("two");
    assert_non_null(strstr(stderr_text(f), "WARNING cannot write to the log file: "));
    while (read(fd, text, sizeof(text)) > 0) {
    }
    log_info("again");
    n = read(fd, text, sizeof(text) - 1);
    assert_true(n > 0);
    text[n] = '\0';
    told = strstr(text, "LOG again\n");
    assert_non_null(told);
    assert_non_null(strstr(told, "WARNING 3 lines of the log file were lost before this one: "));
    log_info("and again");
    n = read(fd, text, sizeof(text) - 1);
    assert_true(n > 0);
    text[n] = '\0';
    assert_null(strstr(text, "lost"));
    (void)close(full);
    (void)close(fd);
}

static void stopped_reader_loses_lines_only(void **state)
{
    struct fixture *f = *state;

    set(f->file, true, 0);
    for (size_t i = 0; i < 2000; i++) { /* far more than the pipe holds: would block for ever */
        log_info("%0500d", 0);
    }
    while (stderr_text(f)[0] != '\0') {
    }
    log_info("again");
    assert_line(stderr_text(f), "LOG", "again");
}

static void closed_stderr_does_not_disturb(void **state)
{
    struct fixture *f = *state;

    set(f->file, true, 0);
    (void)close(f->pipe_fds[0]); /* its reader went away */
    f->pipe_fds[0] = open("/dev/null", O_RDONLY);
    log_info("x");
    assert_line(file_text(f), "LOG", "x");
    (void)close(STDERR_FILENO);
    log_info("y");
    assert_non_null(strstr(file_text(f), "LOG y\n"));
    set(f->file, true, 0);
    assert_true(fcntl(STDERR_FILENO, F_GETFD) >= 0); /* the number is taken again */
    log_info("z");
    assert_non_null(strstr(file_text(f), "LOG z\n"));
}

static void journal_gets_priorities(void **state)
{
    struct fixture *f = *state;
    struct stat st;
    char stream[64];
    char expected[64];

    assert_int_equal(fstat(STDERR_FILENO, &st), 0);
    (void)snprintf(stream, sizeof(stream), "%ju:%ju", (uintmax_t)st.st_dev, (uintmax_t)st.st_ino);
    assert_int_equal(setenv("JOURNAL_STREAM", stream, 1), 0);
    set(f->file, true, 2);
    log_error("x");
    (void)snprintf(expected, sizeof(expected), "<3>[%d] ERROR x\n", (int)getpid());
    assert_string_equal(stderr_text(f), expected);
    assert_line(file_text(f), "ERROR", "x");
    log_write(LOG_NOISE_LEVEL, "y");
    (void)snprintf(expected, sizeof(expected), "<7>[%d] NOISE y\n", (int)getpid());
    assert_string_equal(stderr_text(f), expected);
    assert_int_equal(setenv("JOURNAL_STREAM", "1:2", 1),
                     0); /* inherited, but stderr goes elsewhere */
    set(NULL, true, 0);
    log_info("x");
    assert_line(stderr_text(f), "LOG", "x");
}

static void facilities(void **state)
{
    static const char *const known[] = {"daemon", "auth",   "authpriv", "user",
                                        "local0", "local7", "cron"};
    static const char *const unknown[] = {"", "Daemon", "local8", "local", "daemon "};

    (void)state;
    for (size_t i = 0; i < sizeof(known) / sizeof(known[0]); i++) {
        assert_true(log_facility_is_known(known[i]));
    }
    for (size_t i = 0; i < sizeof(unknown) / sizeof(unknown[0]); i++) {
        assert_false(log_facility_is_known(unknown[i]));
    }
}

static void rate_is_limited(void **state)
{
    struct fixture *f = *state;
    struct log_rate site = {0};
    usec_t now_us = 5 * USEC_PER_SEC;
    unsigned n = 0;

    set(NULL, true, 0);
    clock_fake(now_us);
    for (unsigned i = 0; i < 10; i++) {
        n += log_rate_ok(&site, 3);
    }
    assert_int_equal(n, 3);
    clock_fake(now_us + USEC_PER_SEC - 1);
    assert_false(log_rate_ok(&site, 3));
    clock_fake(now_us + USEC_PER_SEC);
    assert_true(log_rate_ok(&site, 3));
    log_info("x");
    assert_line(stderr_text(f), "LOG", "x (and 8 like it left out)");
    assert_true(log_rate_ok(&site, 3));
    log_info("x");
    assert_line(stderr_text(f), "LOG", "x");
}

static void escaping(void **state)
{
    static const struct {
        const char *name;
        const char *text;
        size_t size;
        const char *escaped;
    } cases[] = {
        {"plain", "app@shop", 64, "app@shop"},
        {"empty", "", 64, ""},
        {"quotes stay", "\"a'b\\", 64, "\"a'b\\"},
        {"line feed", "a\nb", 64, "a\\x0ab"},
        {"escape and delete", "\x1b\x7f", 64, "\\x1b\\x7f"},
        {"UTF-8 stays", "caf\xc3\xa9 \xe2\x82\xac \xf0\x9f\x98\x80", 64,
         "caf\xc3\xa9 \xe2\x82\xac \xf0\x9f\x98\x80"},
        {"C1 control", "\xc2\x9b", 64, "\\xc2\\x9b"},
        {"stray byte", "a\xff", 64, "a\\xff"},
        {"cut character", "a\xe2\x82", 64, "a\\xe2\\x82"},
        {"overlong", "\xc0\x8a", 64, "\\xc0\\x8a"},
        {"overlong, three bytes", "\xe0\x80\x8a", 64, "\\xe0\\x80\\x8a"},
        {"overlong, four bytes", "\xf0\x80\x80\x8a", 64, "\\xf0\\x80\\x80\\x8a"},
        {"surrogate", "\xed\xa0\x80", 64, "\\xed\\xa0\\x80"},
        {"beyond Unicode", "\xf4\x90\x80\x80", 64, "\\xf4\\x90\\x80\\x80"},
        {"fits exactly", "abc", 4, "abc"},
        {"one too many", "abcd", 4, "abc"},
        {"an escape is not cut", "ab\n", 6, "ab"},
        {"an escape fits", "ab\n", 7, "ab\\x0a"},
        {"a character is not cut", "ab\xc3\xa9", 4, "ab"},
        {"no room", "a", 1, ""},
    };
    char out[64];

    (void)state;
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        memset(out, '#', sizeof(out));
        if (strcmp(log_escape(out, cases[i].size, cases[i].text), cases[i].escaped) != 0) {
            fail_msg("%s: %s", cases[i].name, out);
        }
    }
}

#define case_of(f) cmocka_unit_test_setup_teardown(f, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        case_of(line_format),
        case_of(time_is_local_and_now),
        case_of(verbosity),
        case_of(stderr_may_be_off),
        case_of(one_event_is_one_line),
        case_of(long_lines_are_cut),
        case_of(file_is_reopened),
        case_of(bad_file_leaves_the_old_one),
        case_of(full_disk_does_not_disturb),
        case_of(lost_lines_are_told),
        case_of(stopped_reader_loses_lines_only),
        case_of(closed_stderr_does_not_disturb),
        case_of(journal_gets_priorities),
        case_of(rate_is_limited),
        cmocka_unit_test(facilities),
        cmocka_unit_test(escaping),
    };

    (void)signal(SIGPIPE, SIG_IGN); /* as the daemon does */
    (void)setenv("TZ", "UTC", 1);
    tzset();
    return cmocka_run_group_tests(tests, NULL, NULL);
}
