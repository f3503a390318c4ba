/* SPDX-License-Identifier: ISC */
#include "pool/resolve_conf.h"

#include "daemon/util/num.h"

#include <arpa/inet.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define DNS_PORT 53
#define WORD_MAX_BYTES (INET6_ADDRSTRLEN + 10)

struct name_server {
    char addr[INET6_ADDRSTRLEN];
    unsigned port; /* 0: not given */
    bool is_ipv6;
};

static bool take_port(const char *text, struct name_server *s)
{
    int64_t port;

    if (!num_parse_i64(text, 1, UINT16_MAX, &port)) {
        return false;
    }
    s->port = (unsigned)port;
    return true;
}

/* @word: ADDR, ADDR4:PORT or [ADDR]:PORT; it is taken apart. */
static bool parse_server(char *word, struct name_server *ret)
{
    struct in6_addr bin;
    char *addr = word;
    char *colon = strchr(word, ':');
    char *end = strchr(word, ']');

    *ret = (struct name_server){0};
    if (word[0] == '[') {
        if (end == NULL || (end[1] != '\0' && (end[1] != ':' || !take_port(end + 2, ret)))) {
            return false;
        }
        *end = '\0';
        addr++;
    } else if (colon != NULL && strchr(colon + 1, ':') == NULL) {
        if (!take_port(colon + 1, ret)) {
            return false;
        }
        *colon = '\0';
    }
    if (strlen(addr) >= sizeof(ret->addr)) {
        return false;
    }
    memcpy(ret->addr, addr, strlen(addr) + 1);
    ret->is_ipv6 = strchr(addr, ':') != NULL;
    return inet_pton(ret->is_ipv6 ? AF_INET6 : AF_INET, addr, &bin) == 1;
}

/* The word behind "nameserver" in a line of @len bytes. */
static bool server_of_line(const char *line, size_t len, struct name_server *ret)
{
    static const char keyword[] = "nameserver";
    const size_t n = sizeof(keyword) - 1;
    char word[WORD_MAX_BYTES];
    size_t at = n;
    size_t size = 0;

    if (len <= n || memcmp(line, keyword, n) != 0 || (line[n] != ' ' && line[n] != '\t')) {
        return false;
    }
    while (at < len && (line[at] == ' ' || line[at] == '\t')) {
        at++;
    }
    while (at < len && strchr(" \t\r#;", line[at]) == NULL) { /* a NUL counts as an end, too */
        if (size == sizeof(word) - 1) {
            return false;
        }
        word[size++] = line[at++];
    }
    word[size] = '\0';
    return parse_server(word, ret);
}

static void append_server(struct buf *csv, bool is_first, const struct name_server *s)
{
    const char *open = s->is_ipv6 ? "[" : "";
    const char *close = s->is_ipv6 ? "]" : "";

    (void)buf_append_fmt(csv, "%s%s%s%s:%u", is_first ? "" : ",", open, s->addr, close,
                         s->port == 0 ? DNS_PORT : s->port); /* the caller asks buf_ok() */
}

void resolve_conf_servers(const char *text, size_t len, struct buf *csv)
{
    struct name_server servers[RESOLVE_CONF_MAX_SERVERS];
    unsigned n = 0;
    bool has_port = false;

    while (len > 0 && n < RESOLVE_CONF_MAX_SERVERS) {
        const char *end = memchr(text, '\n', len);
        size_t line = end == NULL ? len : (size_t)(end - text);

        if (server_of_line(text, line, &servers[n])) {
            has_port |= servers[n].port != 0;
            n++;
        }
        text += end == NULL ? line : line + 1;
        len -= end == NULL ? line : line + 1;
    }
    for (unsigned i = 0; has_port && i < n; i++) {
        append_server(csv, i == 0, &servers[i]);
    }
}

void resolve_conf_read(const char *path, struct buf *csv)
{
    char *text = malloc(RESOLVE_CONF_MAX_BYTES);
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    size_t len = 0;
    ssize_t n = 1;

    while (text != NULL && fd >= 0 && len < RESOLVE_CONF_MAX_BYTES && n > 0) {
        n = read(fd, text + len, RESOLVE_CONF_MAX_BYTES - len);
        len += n > 0 ? (size_t)n : 0;
    }
    if (text != NULL && len > 0) {
        resolve_conf_servers(text, len, csv);
    }
    if (fd >= 0) {
        (void)close(fd);
    }
    free(text);
}
