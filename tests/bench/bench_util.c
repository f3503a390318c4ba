/* SPDX-License-Identifier: ISC */
#include "bench_util.h"

#include <arpa/inet.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

#define N_SOURCE_ADDRESSES 16u

void die(const char *format, ...)
{
    va_list args;

    va_start(args, format);
    (void)vfprintf(stderr, format, args);
    va_end(args);
    (void)fputc('\n', stderr);
    exit(1);
}

void bytes_done(struct bytes *b)
{
    free(b->data);
    *b = (struct bytes){0};
}

unsigned char *bytes_room(struct bytes *b, size_t n)
{
    size_t cap = b->cap == 0 ? 256 : b->cap;

    if (b->pos > 0 && n > b->cap - b->len) {
        memmove(b->data, b->data + b->pos, b->len - b->pos);
        b->len -= b->pos;
        b->pos = 0;
    }
    if (n > b->cap - b->len) {
        while (n > cap - b->len) {
            cap *= 2;
        }
        b->data = realloc(b->data, cap);
        if (b->data == NULL) {
            die("out of memory");
        }
        b->cap = cap;
    }
    return b->data + b->len;
}

void bytes_grow(struct bytes *b, size_t n)
{
    b->len += n;
}

void bytes_put(struct bytes *b, const void *data, size_t len)
{
    if (len > 0) {
        memcpy(bytes_room(b, len), data, len);
        b->len += len;
    }
}

void bytes_put_cstr(struct bytes *b, const char *text)
{
    bytes_put(b, text, strlen(text) + 1);
}

void bytes_put_u8(struct bytes *b, unsigned value)
{
    unsigned char byte = (unsigned char)value;

    bytes_put(b, &byte, 1);
}

void bytes_put_u16(struct bytes *b, unsigned value)
{
    uint16_t net = htons((uint16_t)value);

    bytes_put(b, &net, sizeof net);
}

void bytes_put_u32(struct bytes *b, uint32_t value)
{
    uint32_t net = htonl(value);

    bytes_put(b, &net, sizeof net);
}

void bytes_take(struct bytes *b, size_t n)
{
    b->pos += n;
    if (b->pos == b->len) {
        b->pos = 0;
        b->len = 0;
    }
}

size_t bytes_left(const struct bytes *b)
{
    return b->len - b->pos;
}

size_t msg_begin(struct bytes *b, char type)
{
    size_t mark;

    if (type != 0) {
        bytes_put(b, &type, 1);
    }
    mark = b->len - b->pos; /* relative, since growing may move the unread part to the front */
    bytes_put_u32(b, 0);
    return mark;
}

void msg_end(struct bytes *b, size_t mark)
{
    uint32_t net = htonl((uint32_t)(b->len - b->pos - mark));

    memcpy(b->data + b->pos + mark, &net, sizeof net);
}

uint32_t get_u32(const unsigned char *p)
{
    uint32_t net;

    memcpy(&net, p, sizeof net);
    return ntohl(net);
}

uint64_t now_us(void)
{
    struct timespec now;

    (void)clock_gettime(CLOCK_MONOTONIC, &now); /* cannot fail with this clock */
    return (uint64_t)now.tv_sec * 1000000u + (uint64_t)now.tv_nsec / 1000u;
}

static bool read_text(const char *path, char *ret_text, size_t size)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    ssize_t n;

    if (fd < 0) {
        return false;
    }
    n = read(fd, ret_text, size - 1);
    close(fd);
    if (n <= 0) {
        return false;
    }
    ret_text[n] = '\0';
    return true;
}

/* Fields 14 and 15 of /proc/PID/stat; counted from the name's end, since a name may hold blanks. */
static uint64_t stat_cpu_ns(pid_t pid)
{
    char path[64], text[1024];
    char *at;
    uint64_t ticks;
    unsigned field;

    (void)snprintf(path, sizeof path, "/proc/%d/stat", (int)pid);
    if (!read_text(path, text, sizeof text) || (at = strrchr(text, ')')) == NULL) {
        return 0;
    }
    for (field = 2; field < 14 && at != NULL; field++) {
        at = strchr(at + 1, ' ');
    }
    if (at == NULL) {
        return 0;
    }
    ticks = strtoull(at, &at, 10);
    ticks += strtoull(at, NULL, 10);
    return ticks * (1000000000u / (uint64_t)sysconf(_SC_CLK_TCK));
}

uint64_t process_cpu_ns(pid_t pid)
{
    char path[384], text[128];
    struct dirent *entry;
    uint64_t sum = 0;
    DIR *tasks;

    (void)snprintf(path, sizeof path, "/proc/%d/task", (int)pid);
    tasks = opendir(path);
    if (tasks == NULL) {
        return 0;
    }
    while ((entry = readdir(tasks)) != NULL) {
        (void)snprintf(path, sizeof path, "/proc/%d/task/%s/schedstat", (int)pid, entry->d_name);
        if (entry->d_name[0] != '.' && read_text(path, text, sizeof text)) {
            sum += strtoull(text, NULL, 10);
        }
    }
    closedir(tasks);
    return sum > 0 ? sum : stat_cpu_ns(pid);
}

void raise_fd_limit(void)
{
    struct rlimit limit;

    if (getrlimit(RLIMIT_NOFILE, &limit) == 0) {
        limit.rlim_cur = limit.rlim_max;
        (void)setrlimit(RLIMIT_NOFILE, &limit); /* too few shows up as a failed socket() */
    }
}

struct any_address {
    union {
        struct sockaddr any;
        struct sockaddr_in in;
        struct sockaddr_un un;
    } u;
    socklen_t len;
};

static struct any_address make_address(const char *host, unsigned port)
{
    struct any_address a = {0};
    int n;

    if (host[0] == '/') {
        a.u.un.sun_family = AF_UNIX;
        n = snprintf(a.u.un.sun_path, sizeof a.u.un.sun_path, "%s/.s.PGSQL.%u", host, port);
        if (n < 0 || (size_t)n >= sizeof a.u.un.sun_path) {
            die("socket path too long: %s", host);
        }
        a.len = sizeof a.u.un;
        return a;
    }
    a.u.in.sin_family = AF_INET;
    a.u.in.sin_port = htons((uint16_t)port);
    if (inet_pton(AF_INET, host, &a.u.in.sin_addr) != 1) {
        die("not an IPv4 address: %s", host);
    }
    a.len = sizeof a.u.in;
    return a;
}

static int new_socket(const struct any_address *a)
{
    int one = 1;
    int fd = socket(a->u.any.sa_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);

    if (fd < 0) {
        die("socket: %s", strerror(errno));
    }
    if (a->u.any.sa_family == AF_INET) {
        (void)setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
    }
    return fd;
}

int listen_on(const char *host, unsigned port)
{
    struct any_address a = make_address(host, port);
    int fd = new_socket(&a);
    int one = 1;

    if (a.u.any.sa_family == AF_UNIX) {
        (void)unlink(a.u.un.sun_path);
    } else {
        (void)setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
    }
    if (bind(fd, &a.u.any, a.len) != 0 || listen(fd, 4096) != 0) {
        die("listen on %s port %u: %s", host, port, strerror(errno));
    }
    if (a.u.any.sa_family == AF_UNIX) {
        (void)chmod(a.u.un.sun_path, 0777); /* the poolers run as another user */
    }
    return fd;
}

int connect_to(const char *host, unsigned port, unsigned spread)
{
    struct any_address a = make_address(host, port);
    struct sockaddr_in source = {.sin_family = AF_INET};
    int fd = new_socket(&a);
    int one = 1;

    if (a.u.any.sa_family == AF_INET) {
        source.sin_addr.s_addr = htonl(INADDR_LOOPBACK + spread % N_SOURCE_ADDRESSES);
        (void)setsockopt(fd, IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT, &one, sizeof one);
        if (bind(fd, (const struct sockaddr *)&source, sizeof source) != 0) {
            die("bind to a loopback address: %s", strerror(errno));
        }
    }
    /* A Unix socket has no half-open state: EAGAIN means a full backlog, and only waiting helps. */
    while (connect(fd, &a.u.any, a.len) != 0 && errno != EINPROGRESS) {
        if (errno != EAGAIN) {
            die("connect to %s port %u: %s", host, port, strerror(errno));
        }
        (void)nanosleep(&(struct timespec){.tv_nsec = 100000}, NULL);
    }
    return fd;
}

uint64_t number_arg(const char *name, const char *text, uint64_t most)
{
    char *end = NULL;
    unsigned long long value;

    errno = 0;
    value = strtoull(text, &end, 10);
    if (errno != 0 || end == text || *end != '\0' || text[0] == '-' || value > most) {
        die("--%s: not a number from 0 to %llu: %s", name, (unsigned long long)most, text);
    }
    return value;
}
