/* SPDX-License-Identifier: ISC */
#include "daemon/listener_internal.h"

#include "daemon/client.h"
#include "daemon/util/log.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <linux/filter.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#define ACCEPTS_AT_THE_END 65536U          /* no backlog is longer */
#define HANDSHAKE_US (300 * USEC_PER_MSEC) /* those under way take as long as this */
#define DEFERRED_US \
    (1200 * USEC_PER_MSEC) /* until the kernel has looked again after deferred ones */

union address {
    struct sockaddr any;
    struct sockaddr_in v4;
    struct sockaddr_in6 v6;
    struct sockaddr_un local;
    struct sockaddr_storage room;
};

/* --- one listener --- */

void listener_close_socket(struct listener *l)
{
    if (l->fd < 0) {
        return;
    }
    if (l->server != NULL) {
        loop_io_stop(l->server->loop, &l->io);
        loop_timer_stop(l->server->loop, &l->retry);
        loop_timer_stop(l->server->loop, &l->retirement);
    }
    (void)close(l->fd); /* a listening socket has nothing to lose */
    l->fd = -1;
    l->is_retiring = false;
    l->refuses_new = false;
}

struct listener *listener_free(struct listener *l)
{
    if (l == NULL) {
        return NULL;
    }
    listener_close_socket(l);
    if (l->path != NULL && !l->is_inherited) {
        (void)unlink(l->path); /* somebody else's right to do it first */
    }
    free(l->path);
    free(l);
    return NULL;
}

static void name_it(struct listener *l)
{
    const union address *a = (const void *)&l->addr;
    char host[INET6_ADDRSTRLEN] = "?";

    switch (a->any.sa_family) {
    case AF_INET:
        (void)inet_ntop(AF_INET, &a->v4.sin_addr, host, sizeof(host)); /* it fits */
        (void)snprintf(l->name, sizeof(l->name), "%s:%u", host, ntohs(a->v4.sin_port));
        return;
    case AF_INET6:
        (void)inet_ntop(AF_INET6, &a->v6.sin6_addr, host, sizeof(host));
        (void)snprintf(l->name, sizeof(l->name), "[%s]:%u", host, ntohs(a->v6.sin6_port));
        return;
    default:
        if (l->addr_len > offsetof(struct sockaddr_un, sun_path) && a->local.sun_path[0] == '\0') {
            (void)snprintf(l->name, sizeof(l->name), "unix:@%.*s",
                           (int)(l->addr_len - offsetof(struct sockaddr_un, sun_path) - 1),
                           a->local.sun_path + 1);
        } else {
            (void)snprintf(l->name, sizeof(l->name), "unix:%.107s", a->local.sun_path);
        }
        return;
    }
}

/* Takes @fd (-1: a new socket of the address's family). NULL: errno says why. */
static struct listener *listener_new(const union address *addr, socklen_t len, int fd)
{
    struct listener *l = calloc(1, sizeof(*l));

    if (l == NULL) {
        return NULL;
    }
    l->fd = fd;
    l->is_unix = addr->any.sa_family == AF_UNIX;
    memcpy(&l->addr, addr, len);
    l->addr_len = len;
    name_it(l);
    if (fd < 0) {
        l->fd = socket(addr->any.sa_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    }
    return l->fd < 0 ? listener_free(l) : l;
}

static bool set_option(int fd, int level, int option, int value)
{
    return setsockopt(fd, level, option, &value, sizeof(value)) == 0;
}

/* 0 stands for the system's default, also after a reload that takes another value away: a socket without settings
 * (@fresh) tells it. */
static void set_or_default(int fd, int fresh, int option, int value)
{
    socklen_t len = sizeof(value);

    if (value > 0 || getsockopt(fresh, IPPROTO_TCP, option, &value, &len) == 0) {
        (void)set_option(fd, IPPROTO_TCP, option, value);
    }
}

/* The kernel doubles what it is told and gives the double back. With a size of ours it no longer fits buffers to the
 * line; SO_BUF_LOCK (Linux 5.14) lets it do so again. */
static void set_buffers(int fd, int fresh, int bytes)
{
    static const int options[] = {SO_SNDBUF, SO_RCVBUF};

    for (size_t i = 0; i < ARRAY_LEN(options); i++) {
        int value = bytes;
        socklen_t len = sizeof(value);

        if (bytes > 0) {
            (void)set_option(fd, SOL_SOCKET, options[i], bytes);
        } else if (getsockopt(fresh, SOL_SOCKET, options[i], &value, &len) == 0) {
            (void)set_option(fd, SOL_SOCKET, options[i], value / 2);
        }
    }
    if (bytes == 0) {
        (void)set_option(fd, SOL_SOCKET, SO_BUF_LOCK, 0);
    }
}

/* Accepted connections inherit all of these (Linux). What the kernel refuses stays at its default: the kernel's limits
 * are the operator's own. */
static void tune_tcp(int fd, const struct settings *set)
{
    int fresh =
        socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0); /* without one, defaults stay as they are */

    (void)set_option(fd, IPPROTO_TCP, TCP_NODELAY, 1);
    (void)set_option(fd, IPPROTO_TCP, TCP_DEFER_ACCEPT, set->tcp_defer_accept_s);
    (void)set_option(fd, SOL_SOCKET, SO_KEEPALIVE, set->tcp_keepalive ? 1 : 0);
    set_or_default(fd, fresh, TCP_KEEPIDLE, set->tcp_keepidle_s);
    set_or_default(fd, fresh, TCP_KEEPINTVL, set->tcp_keepintvl_s);
    set_or_default(fd, fresh, TCP_KEEPCNT, set->tcp_keepcnt);
    (void)set_option(fd, IPPROTO_TCP, TCP_USER_TIMEOUT, set->tcp_user_timeout_ms);
    set_buffers(fd, fresh, num_int(set->tcp_socket_buffer_bytes));
    if (fresh >= 0) {
        (void)close(fresh);
    }
}

/* --- TCP --- */

static bool bind_tcp(struct listener *l, const struct settings *set)
{
    if (!set_option(l->fd, SOL_SOCKET, SO_REUSEADDR, 1)) {
        return false;
    }
    if (set->so_reuseport && !set_option(l->fd, SOL_SOCKET, SO_REUSEPORT, 1)) {
        return false;
    }
    if (l->addr.ss_family == AF_INET6 && !set_option(l->fd, IPPROTO_IPV6, IPV6_V6ONLY, 1)) {
        return false;
    }
    tune_tcp(l->fd, set);
    return bind(l->fd, (const struct sockaddr *)&l->addr, l->addr_len) == 0;
}

static bool is_open_already(struct list *list, const union address *addr, socklen_t len)
{
    struct listener *l;

    list_for_each(list, l, link) {
        if (l->addr_len == len && memcmp(&l->addr, addr, len) == 0) {
            l->is_wanted = true;
            return true;
        }
    }
    return false;
}

/* One port on all of listen_addr. */
struct opening {
    struct list *list;
    const struct settings *set;
    struct config_errors *errors;
    const char *option; /* that gives the port */
    int port;
};

/* 0: bound; else the errno. */
static int open_tcp(const struct opening *o, const union address *addr, socklen_t len)
{
    struct listener *l;

    if (is_open_already(o->list, addr, len)) {
        return 0; /* "localhost,127.0.0.1" */
    }
    l = listener_new(addr, len, -1);
    if (l == NULL) {
        return errno;
    }
    if (!bind_tcp(l, o->set)) {
        int why = errno;

        listener_free(l);
        return why;
    }
    list_add_tail(o->list, &l->link);
    return 0;
}

static void fault_tcp(const struct opening *o, const char *host, int why)
{
    if (why == EADDRINUSE) {
        config_errors_add(
            o->errors, NULL, 0,
            "cannot listen on %s port %d: another program does: stop it, or change %s", host,
            o->port, o->option);
        return;
    }
    config_errors_add(o->errors, NULL, 0, "cannot listen on %s port %d: %s", host, o->port,
                      strerror(why));
}

static void open_everywhere(const struct opening *o)
{
    union address a = {.v4 = {.sin_family = AF_INET, .sin_port = htons((uint16_t)o->port)}};
    int why = open_tcp(o, &a, sizeof(a.v4));

    if (why != 0) {
        fault_tcp(o, "0.0.0.0", why);
        return;
    }
    a = (union address){.v6 = {.sin6_family = AF_INET6, .sin6_port = htons((uint16_t)o->port)}};
    why = open_tcp(o, &a, sizeof(a.v6));
    if (why != 0 && why != EAFNOSUPPORT &&
        why != EADDRNOTAVAIL) { /* those two: a machine without IPv6 */
        fault_tcp(o, "[::]", why);
    }
}

/* The addresses of one item of listen_addr. A name may block: nothing runs yet at this time. */
static int look_up(const char *host, const char *port, struct addrinfo **ret)
{
    struct addrinfo hints = {.ai_socktype = SOCK_STREAM,
                             .ai_flags = AI_PASSIVE | AI_NUMERICSERV | AI_NUMERICHOST};
    int result = getaddrinfo(host, port, &hints, ret);

    if (result ==
        EAI_NONAME) { /* not an address but a name, and the loop does not run yet: without AI_NUMERICHOST */
        hints.ai_flags = AI_PASSIVE | AI_NUMERICSERV;
        result = getaddrinfo(host, port, &hints, ret);
    }
    return result;
}

static void open_host(const struct opening *o, const char *host)
{
    struct addrinfo *found = NULL;
    unsigned n_open = 0;
    int first_why = 0;
    char port[8];
    int result;

    (void)snprintf(port, sizeof(port), "%d", o->port);
    result = look_up(host, port, &found);
    if (result != 0) {
        config_errors_add(o->errors, NULL, 0, "listen_addr: %s: %s", host,
                          result == EAI_SYSTEM ? strerror(errno) : gai_strerror(result));
        return;
    }
    for (const struct addrinfo *a = found; a != NULL; a = a->ai_next) {
        union address addr = {0};
        int why;

        memcpy(&addr, a->ai_addr, a->ai_addrlen);
        why = open_tcp(o, &addr, a->ai_addrlen);
        if (why == 0) {
            n_open++;
        } else if (first_why == 0 || why == EADDRINUSE) {
            first_why = why;
        }
    }
    freeaddrinfo(found);
    /* localhost is often also ::1 on a machine without IPv6: one address is enough, unless somebody sits on another. */
    if (n_open == 0 || first_why == EADDRINUSE) {
        fault_tcp(o, host, first_why);
    }
}

static void open_all_tcp(const struct opening *o)
{
    const char *items = o->set->listen_addr;
    const char *item;
    size_t len;

    while ((item = option_list_next(&items, &len)) != NULL) {
        char host[256];

        if (len >= sizeof(host)) {
            config_errors_add(o->errors, NULL, 0,
                              "listen_addr: a host name of %zu bytes: at most 255", len);
            continue;
        }
        memcpy(host, item, len);
        host[len] = '\0';
        if (strcmp(host, "*") == 0) {
            open_everywhere(o);
        } else {
            open_host(o, host);
        }
    }
}

/* --- the Unix socket --- */

/* Is somebody there? A file that nobody listens on is left over from a crash. */
static bool is_served(const union address *addr, socklen_t len)
{
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    bool served;

    if (fd < 0) {
        return false;
    }
    served = connect(fd, &addr->any, len) == 0 || errno == EAGAIN; /* EAGAIN: its backlog is full */
    (void)close(fd);
    return served;
}

static bool set_group(const char *path, const char *group, struct config_errors *errors)
{
    const struct group *gr;

    if (*group == '\0') {
        return true;
    }
    gr = getgrnam(group);
    if (gr == NULL) {
        config_errors_add(errors, NULL, 0, "unix_socket_group: there is no group %s", group);
        return false;
    }
    if (chown(path, (uid_t)-1, gr->gr_gid) != 0) {
        config_errors_add(errors, NULL, 0, "unix_socket_group: %s: %s", group, strerror(errno));
        return false;
    }
    return true;
}

/* Modes are set before listen(): until then nobody can connect. */
static bool bind_unix(struct listener *l, const struct settings *set, struct config_errors *errors)
{
    const union address *addr = (const void *)&l->addr;
    const char *path = addr->local.sun_path;

    if (*path != '\0' && !is_served(addr, l->addr_len)) {
        struct stat st;

        if (lstat(path, &st) == 0 && S_ISSOCK(st.st_mode)) {
            (void)unlink(path); /* if it fails, bind says so */
        }
    }
    if (bind(l->fd, &addr->any, l->addr_len) != 0) {
        config_errors_add(
            errors, NULL, 0, "cannot listen on %s: %s", l->name,
            errno == EADDRINUSE
                ? "another program does: stop it, or change unix_socket_dir or listen_port"
                : strerror(errno));
        return false;
    }
    if (*path != '\0') {
        l->path = strdup(path); /* from here on the file is ours to remove */
        if (l->path == NULL) {
            (void)unlink(path);
            config_errors_add(errors, NULL, 0, "out of memory");
            return false;
        }
        if (chmod(path, set->unix_socket_mode) != 0) {
            config_errors_add(errors, NULL, 0, "unix_socket_mode: %s: %s", path, strerror(errno));
            return false;
        }
        return set_group(path, set->unix_socket_group, errors);
    }
    return true;
}

static void open_unix(struct list *list, const struct settings *set, struct config_errors *errors)
{
    const char *dir = set->unix_socket_dir;
    bool is_abstract = dir[0] == '@';
    union address a = {.local = {.sun_family = AF_UNIX}};
    char *path = a.local.sun_path;
    struct listener *l;
    socklen_t len;
    int n;

    if (*dir == '\0') {
        return;
    }
    n = snprintf(path + is_abstract, sizeof(a.local.sun_path) - is_abstract, "%s/.s.PGSQL.%d",
                 dir + is_abstract, set->listen_port);
    if (n < 0 || (size_t)n >= sizeof(a.local.sun_path) - is_abstract) {
        config_errors_add(errors, NULL, 0, "unix_socket_dir: %s: too long for a socket's path",
                          dir);
        return;
    }
    /* An abstract name is all bytes of the address: as many as libpq gives, which counts no NUL behind it. */
    len = (socklen_t)(offsetof(struct sockaddr_un, sun_path) + (size_t)n + 1);
    if (is_open_already(list, &a, len)) {
        return; /* of the old process */
    }
    l = listener_new(&a, len, -1);
    if (l == NULL) {
        config_errors_add(errors, NULL, 0, "unix socket: %s", strerror(errno));
        return;
    }
    if (!bind_unix(l, set, errors)) {
        listener_free(l);
        return;
    }
    list_add_tail(list, &l->link);
}

/* --- all of them --- */

bool listeners_open(struct list *list, const struct settings *set, struct config_errors *errors)
{
    unsigned n_before = config_errors_count(errors);

    open_all_tcp(&(struct opening){list, set, errors, "listen_port", set->listen_port});
    if (set->proxy_protocol_port > 0) {
        open_all_tcp(
            &(struct opening){list, set, errors, "proxy_protocol_port", set->proxy_protocol_port});
    }
    open_unix(list, set, errors);
    listeners_drop_unwanted(list);
    if (config_errors_count(errors) == n_before && list_is_empty(list)) {
        config_errors_add(errors, NULL, 0,
                          "nothing to listen on: set listen_addr or unix_socket_dir");
    }
    if (config_errors_count(errors) != n_before) {
        listeners_close(list);
        return false;
    }
    return true;
}

bool listener_adopt(struct list *list, int fd, const char *name, struct config_errors *errors)
{
    union address a = {0};
    socklen_t len = sizeof(a);
    struct listener *l;
    int listens = 0;
    socklen_t listens_len = sizeof(listens);
    int flags = fcntl(fd, F_GETFL);

    if (flags < 0 || getsockopt(fd, SOL_SOCKET, SO_ACCEPTCONN, &listens, &listens_len) != 0 ||
        listens == 0 || getsockname(fd, &a.any, &len) != 0) {
        config_errors_add(errors, NULL, 0, "descriptor %d from %s is not a listening stream socket",
                          fd, *name == '\0' ? "systemd" : name);
        return false;
    }
    if (fcntl(fd, F_SETFL, flags | O_NONBLOCK) != 0 || fcntl(fd, F_SETFD, FD_CLOEXEC) != 0) {
        config_errors_add(errors, NULL, 0, "descriptor %d from %s: %s", fd,
                          *name == '\0' ? "systemd" : name, strerror(errno));
        return false;
    }
    l = listener_new(&a, len, fd);
    if (l == NULL) {
        config_errors_add(errors, NULL, 0, "out of memory");
        return false;
    }
    l->is_inherited = true;
    (void)snprintf(l->origin, sizeof(l->origin), "%s", name); /* for the log: cut is meant */
    list_add_tail(list, &l->link);
    return true;
}

bool listeners_adopt(struct list *list, int fd, const char *name, struct config_errors *errors)
{
    if (!listener_adopt(list, fd, name, errors)) {
        listeners_close(list);
        return false;
    }
    return true;
}

void listeners_close(struct list *list)
{
    while (!list_is_empty(list)) {
        struct listener *l = list_entry(list_first(list), struct listener, link);

        list_remove(list, &l->link);
        listener_free(l);
    }
}

/* --- retiring --- */

static void accept_rest(struct listener *l)
{
    for (unsigned i = 0; i < ACCEPTS_AT_THE_END && listener_accept_one(l); i++) {
    }
}

/* Other processes may listen on the same port. */
static bool is_shared(int fd)
{
    int value = 0;
    socklen_t len = sizeof(value);

    return getsockopt(fd, SOL_SOCKET, SO_REUSEPORT, &value, &len) == 0 && value != 0;
}

/* The kernel spreads new connections over all sockets of the port, ours included until it is closed, and what is under way
 * to a socket that is closed is reset. With this filter it drops what begins a connection (SYN without ACK): the client
 * sends it again after a second, and then the others are there for it. What had begun before is finished. */
static bool refuse_new(int fd)
{
    struct sock_filter code[] = {
        BPF_STMT(BPF_LD | BPF_B | BPF_ABS, 13), /* the flags in the TCP header */
        BPF_STMT(BPF_ALU | BPF_AND | BPF_K, 0x12), BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, 0x02, 1, 0),
        BPF_STMT(BPF_RET | BPF_K, UINT32_MAX),     BPF_STMT(BPF_RET | BPF_K, 0),
    };
    struct sock_fprog program = {.len = ARRAY_LEN(code), .filter = code};

    return setsockopt(fd, SOL_SOCKET, SO_ATTACH_FILTER, &program, sizeof(program)) == 0;
}

static void on_retirement(struct loop_timer *timer)
{
    struct listener *l = container_of(timer, struct listener, retirement);
    struct server *s = l->server;

    if (!l->refuses_new && refuse_new(l->fd)) {
        l->refuses_new = true;
        loop_timer_set(s->loop, &l->retirement, HANDSHAKE_US);
        return;
    }
    accept_rest(l);
    listener_close_socket(l);
    server_changed(s);
}

/* With tcp_defer_accept the kernel shows us a connection only when its client has sent something, and resets it when the
 * socket is closed before. Without it these become visible, when their timers have run (a second). */
static bool has_deferred(int fd)
{
    int seconds = 0;
    socklen_t len = sizeof(seconds);

    return getsockopt(fd, IPPROTO_TCP, TCP_DEFER_ACCEPT, &seconds, &len) == 0 && seconds > 0;
}

static void retire(struct listener *l)
{
    bool waits = has_deferred(l->fd);

    (void)set_option(l->fd, IPPROTO_TCP, TCP_DEFER_ACCEPT, 0);
    l->is_retiring = true;
    loop_timer_set(l->server->loop, &l->retirement, waits ? DEFERRED_US : 0);
}

void listeners_retire(struct server *s)
{
    struct listener *l;

    list_for_each(&s->listeners, l, link) {
        if (l->fd < 0 || l->is_retiring || (l->is_unix && !l->is_inherited)) {
            continue;
        }
        if (!l->is_inherited && is_shared(l->fd)) {
            retire(l);
            continue;
        }
        if (!l->is_inherited) {
            accept_rest(l);
        }
        listener_close_socket(l);
    }
}

bool listeners_are_retiring(const struct server *s)
{
    const struct listener *l;

    list_for_each(&s->listeners, l, link) {
        if (l->is_retiring) {
            return true;
        }
    }
    return false;
}

/* Two that start at the same time may both bind; only one may listen. */
static bool listen_all(const struct list *list, int backlog, struct config_errors *errors)
{
    const struct listener *l;

    list_for_each(list, l, link) {
        if (!l->is_inherited && listen(l->fd, backlog) != 0) {
            config_errors_add(errors, NULL, 0, "cannot listen on %s: %s", l->name,
                              errno == EADDRINUSE ? "another program does" : strerror(errno));
            return false;
        }
    }
    return true;
}

/* Also of sockets that were handed over: there the port is all that is known. */
static bool is_for_proxies(const struct listener *l, const struct settings *set)
{
    const union address *a = (const void *)&l->addr;
    in_port_t port = a->any.sa_family == AF_INET6 ? a->v6.sin6_port : a->v4.sin_port;

    return !l->is_unix && set->proxy_protocol_port > 0 && ntohs(port) == set->proxy_protocol_port;
}

/* Meant for a moment of testing, and then forgotten. */
static void warn_open(const struct listener *l, enum auth_type how)
{
    if ((how == AUTH_TYPE_ANY || how == AUTH_TYPE_TRUST) && !l->is_unix &&
        !conn_is_loopback((const struct sockaddr *)&l->addr)) {
        log_warning("auth_type = %s: whoever reaches %s may log in without a password",
                    auth_type_name(how), l->name);
    }
}

bool listeners_start(struct server *s, struct list *list, struct config_errors *errors)
{
    if (!listen_all(list, s->config->settings.listen_backlog, errors)) {
        return false;
    }
    while (!list_is_empty(list)) {
        struct listener *l = list_entry(list_first(list), struct listener, link);

        if (!listener_own_file(l)) {
            config_errors_add(errors, NULL, 0, "out of memory");
            return false;
        }
        list_remove(list, &l->link);
        list_add_tail(&s->listeners, &l->link);
        l->server = s;
        l->is_proxied = is_for_proxies(l, &s->config->settings);
        loop_io_init(&l->io, l->fd, listener_on_accept);
        loop_io_set_rank(s->loop, &l->io, LOOP_LATE);
        loop_timer_init(&l->retry, listener_on_retry);
        loop_timer_init(&l->retirement, on_retirement);
        loop_io_want(s->loop, &l->io, LOOP_READ);
        log_info("listening on %s%s%s%s%s", l->name, l->is_proxied ? " (PROXY protocol)" : "",
                 *l->origin == '\0' ? "" : " (from systemd: ", l->origin,
                 *l->origin == '\0' ? "" : ")");
        warn_open(l, s->config->settings.auth_type);
    }
    listeners_tune(s);
    return true;
}

void listeners_close_tcp(struct server *s)
{
    struct listener *l;

    list_for_each(&s->listeners, l, link) {
        if (!l->is_unix) {
            listener_close_socket(l);
        }
    }
}

void listeners_tune(const struct server *s)
{
    const struct listener *l;

    list_for_each(&s->listeners, l, link) {
        if (!l->is_unix && !listener_is_retired(l)) {
            tune_tcp(l->fd, &s->config->settings);
            conn_tune_local(l->fd, (const struct sockaddr *)&l->addr);
        }
    }
}
