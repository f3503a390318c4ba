/* SPDX-License-Identifier: ISC */
#include "daemon/daemonize.h"

#include "daemon/util/num.h"

#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <pwd.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#define PID_TEXT_SIZE 24

/* --- into the background --- */

/* The parent: waits for the child's word. */
NORETURN static void wait_for_child(int fd, pid_t child)
{
    char word;
    ssize_t n;

    do {
        n = read(fd, &word, 1);
    } while (n < 0 && errno == EINTR);
    if (n != 1) { /* it has ended, and said why */
        (void)waitpid(child, NULL, 0);
    }
    _exit(n == 1 ? 0 : 1);
}

int daemonize(struct config_errors *errors)
{
    int fds[2];
    pid_t child;

    if (pipe2(fds, O_CLOEXEC) != 0) {
        config_errors_add(errors, NULL, 0, "cannot go to the background: %s", strerror(errno));
        return -1;
    }
    child = fork();
    if (child < 0) {
        config_errors_add(errors, NULL, 0, "cannot go to the background: %s", strerror(errno));
        (void)close(fds[0]);
        (void)close(fds[1]);
        return -1;
    }
    if (child > 0) {
        (void)close(fds[1]);
        wait_for_child(fds[0], child);
    }
    (void)close(fds[0]);
    (void)setsid(); /* a fresh child leads no group, so it cannot fail */
    return fds[1];
}

void daemonize_done(int fd)
{
    int null = open("/dev/null", O_RDWR | O_CLOEXEC);
    ssize_t n;

    if (null >= 0) {
        for (int i = 0; i <= 2; i++) {
            (void)dup2(null, i); /* keeps what is there where it fails */
        }
        if (null > 2) {
            (void)close(null);
        }
    }
    n = write(fd, "", 1);
    (void)n; /* a parent that was killed need not be told */
    (void)close(fd);
}

/* --- the pid file --- */

static bool comm_of(const char *pid, char *ret, size_t size)
{
    char path[64];
    ssize_t n;
    int fd;

    (void)snprintf(path, sizeof(path), "/proc/%s/comm", pid);
    fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0) {
        return false;
    }
    n = read(fd, ret, size - 1);
    (void)close(fd);
    if (n <= 0) {
        return false;
    }
    ret[n] = '\0';
    ret[strcspn(ret, "\n")] = '\0';
    return true;
}

/* Numbers are used again: after a crash and a reboot the one in the file may be anybody's. It counts when the process
 * is one of us or the pooler whose place we take. */
static bool is_pooler(int64_t pid)
{
    char text[PID_TEXT_SIZE];
    char its[64];
    char ours[64];

    if (pid == getpid() || (kill((pid_t)pid, 0) != 0 && errno == ESRCH)) {
        return false;
    }
    (void)snprintf(text, sizeof(text), "%lld", (long long)pid);
    if (!comm_of(text, its, sizeof(its)) || !comm_of("self", ours, sizeof(ours))) {
        return true; /* it lives, and /proc does not tell what it is */
    }
    return strcmp(its, ours) == 0 || strcmp(its, "pgbouncer") == 0 || strcmp(its, "pgpoold") == 0;
}

/* 0: nothing of use in it. */
static int64_t pid_in(int fd)
{
    char text[PID_TEXT_SIZE] = "";
    ssize_t n = pread(fd, text, sizeof(text) - 1, 0);
    int64_t pid = 0;

    if (n <= 0) {
        return 0;
    }
    text[strcspn(text, " \r\n")] = '\0';
    return num_parse_i64(text, 1, INT32_MAX, &pid) ? pid : 0;
}

static bool write_pid(int fd)
{
    char text[PID_TEXT_SIZE];
    int n = snprintf(text, sizeof(text), "%d\n", (int)getpid());

    return ftruncate(fd, 0) == 0 && pwrite(fd, text, (size_t)n, 0) == n;
}

static bool claim(int fd, const char *path, struct config_errors *errors)
{
    bool is_locked = flock(fd, LOCK_EX | LOCK_NB) == 0;
    int64_t pid = pid_in(fd);

    if (!is_locked || (pid > 0 && is_pooler(pid))) {
        config_errors_add(errors, NULL, 0,
                          "pidfile: %s: process %lld runs with it already: stop it first", path,
                          (long long)pid);
        return false;
    }
    if (!write_pid(fd)) {
        config_errors_add(errors, NULL, 0, "pidfile: %s: %s", path, strerror(errno));
        return false;
    }
    return true;
}

bool pidfile_claim(struct pidfile *f, const char *path, struct config_errors *errors)
{
    int fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0644);

    if (fd < 0) {
        config_errors_add(errors, NULL, 0, "pidfile: %s: %s", path, strerror(errno));
        return false;
    }
    if (!claim(fd, path, errors)) {
        (void)close(fd);
        return false;
    }
    f->path = realpath(path, NULL);
    if (f->path == NULL) {
        config_errors_add(errors, NULL, 0, "pidfile: %s: %s", path, strerror(errno));
        (void)unlink(path);
        (void)close(fd);
        return false;
    }
    f->fd = fd;
    return true;
}

void pidfile_leave(struct pidfile *f)
{
    if (f != NULL) {
        f->is_left = true;
    }
}

void pidfile_write_again(struct pidfile *f)
{
    if (f != NULL && f->path != NULL) {
        f->is_left =
            !write_pid(f->fd); /* a full disk: the old number stays, and with it the file */
    }
}

void pidfile_done(struct pidfile *f)
{
    bool is_ours = f->path != NULL && !f->is_left;

    if (is_ours && unlink(f->path) != 0) {
        /* The directory is not ours any more: an empty file says that nobody runs. */
        (void)!ftruncate(f->fd, 0);
    }
    if (f->fd >= 0) {
        (void)close(f->fd);
    }
    free(f->path);
    *f = PIDFILE_NONE;
}

/* --- privileges --- */

bool privileges_drop(const char *user, const struct pidfile *f, struct config_errors *errors)
{
    const struct passwd *pw = *user == '\0' ? NULL : getpwnam(user);

    if (*user != '\0' && pw == NULL) {
        config_errors_add(errors, NULL, 0, "user: there is no system user %s", user);
        return false;
    }
    if (geteuid() != 0) {
        if (pw != NULL && pw->pw_uid != geteuid()) {
            config_errors_add(errors, NULL, 0, "user: only root can become %s", user);
            return false;
        }
        return true;
    }
    if (pw == NULL || pw->pw_uid == 0) {
        config_errors_add(errors, NULL, 0,
                          "pgpoold will not run as root: set user, or start it as somebody else");
        return false;
    }
    if (f->fd >= 0 && fchown(f->fd, pw->pw_uid, pw->pw_gid) != 0) {
        config_errors_add(errors, NULL, 0, "pidfile: %s: %s", f->path, strerror(errno));
        return false;
    }
    if (initgroups(user, pw->pw_gid) != 0 || setgid(pw->pw_gid) != 0 || setuid(pw->pw_uid) != 0) {
        config_errors_add(errors, NULL, 0, "user: cannot become %s: %s", user, strerror(errno));
        return false;
    }
    return true;
}

/* --- limits --- */

uint64_t rlimit_raise(void)
{
    struct rlimit lim;

    if (getrlimit(RLIMIT_NOFILE, &lim) != 0) {
        return 0;
    }
    if (lim.rlim_cur < lim.rlim_max) {
        struct rlimit more = {lim.rlim_max, lim.rlim_max};

        if (setrlimit(RLIMIT_NOFILE, &more) == 0) {
            return more.rlim_cur;
        }
    }
    return lim.rlim_cur;
}
