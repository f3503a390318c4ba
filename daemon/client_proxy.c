/* SPDX-License-Identifier: ISC */
/* Clients behind a load balancer: on proxy_protocol_port a header says who the client is, and from then on that is its
 * address everywhere. Only what comes from proxy_protocol_from is believed. */
#include "daemon/client.h"

#include "config/networks.h"
#include "daemon/util/fatal.h"
#include "daemon/util/log.h"
#include "protocol/proxy_header.h"

#include <arpa/inet.h>
#include <string.h>

static bool is_trusted(const struct client *c)
{
    struct sockaddr_storage addr = {.ss_family = (sa_family_t)c->family};

    if (c->family == AF_INET6) {
        memcpy(&((struct sockaddr_in6 *)(void *)&addr)->sin6_addr, c->addr, 16);
    } else {
        memcpy(&((struct sockaddr_in *)(void *)&addr)->sin_addr, c->addr, 4);
    }
    return networks_have(c->server->config->settings.proxy_protocol_from,
                         (const struct sockaddr *)(const void *)&addr);
}

void client_proxy_begin(struct client *c)
{
    c->u.login->expects_proxy = true;
    if (!is_trusted(c)) {
        client_close_quiet(c, "not in proxy_protocol_from");
    }
}

bool client_proxy_header(struct client *c)
{
    struct client_login *l = c->u.login;
    struct proxy_header h;

    switch (proxy_header_parse(l->packet.data, l->packet.len, &h)) {
    case PROXY_PARTIAL:
        return false;
    case PROXY_BAD:
        client_close_text(c, SQLSTATE_PROTOCOL_VIOLATION,
                          "expected a header of the PROXY protocol");
        return false;
    case PROXY_OK:
        break;
    }
    if (h.has_address) {
        char proxy[CLIENT_ADDR_SIZE];

        (void)client_addr(c, proxy);
        client_set_address(c, (const struct sockaddr *)(const void *)&h.addr);
        client_log(c, LOG_DEBUG_LEVEL, "came through the proxy %s", proxy);
    }
    l->expects_proxy = false;
    buf_consume(&l->packet, h.len);
    return true;
}
