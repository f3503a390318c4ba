/* SPDX-License-Identifier: ISC */
/* DNS rebinding: a web page that somebody on this host looks at can have its own name lead to 127.0.0.1 and read what we
 * answer there. Its requests carry that name; those of honest visitors of 127.0.0.1 carry an address, or localhost. */
#include "daemon/metrics_http_internal.h"

#include <arpa/inet.h>
#include <string.h>
#include <strings.h>

/* RFC 9110 section 7.2: a name, an address, or an IPv6 address in brackets; a port may follow. */
bool http_host_is_local(const char *host)
{
    char text[INET6_ADDRSTRLEN + 1] = "";
    struct in6_addr addr;
    bool in_brackets = *host == '[';
    const char *start = in_brackets ? host + 1 : host;
    size_t len = strcspn(start, in_brackets ? "]" : ":");

    if (len >= sizeof(text) || (in_brackets && start[len] != ']')) {
        return false;
    }
    memcpy(text, start, len);
    if (in_brackets) {
        return inet_pton(AF_INET6, text, &addr) == 1;
    }
    return strcasecmp(text, "localhost") == 0 || inet_pton(AF_INET, text, &addr) == 1;
}
