/* SPDX-License-Identifier: ISC */
#include "config/networks.h"

#include "config/hba_internal.h"
#include "config/options.h"

#include "daemon/util/num.h"

#include <arpa/inet.h>
#include <stdio.h>
#include <string.h>

#define ITEM_SIZE (INET6_ADDRSTRLEN + 4)

static bool parse_bits(const char *text, unsigned most, unsigned *ret)
{
    uint64_t bits = most;

    if (text != NULL && !num_parse_u64(text, most, &bits)) {
        return false;
    }
    *ret = (unsigned)bits;
    return true;
}

static bool parse_item(const char *item, size_t len, struct hba_net *ret)
{
    struct hba_net net = {0};
    char text[ITEM_SIZE];
    char *slash;
    unsigned bits;

    if (len >= sizeof(text)) {
        return false;
    }
    memcpy(text, item, len);
    text[len] = '\0';
    slash = strchr(text, '/');
    if (slash != NULL) {
        *slash++ = '\0';
    }
    net.addr.family = strchr(text, ':') != NULL ? AF_INET6 : AF_INET;
    if (inet_pton(net.addr.family, text, net.addr.bytes) != 1 ||
        !parse_bits(slash, net.addr.family == AF_INET ? 32 : 128, &bits)) {
        return false;
    }
    for (unsigned i = 0; i < bits; i++) {
        net.mask[i / 8] |= (uint8_t)(0x80U >> (i % 8));
    }
    *ret = net;
    return true;
}

bool networks_check(const char *list, char *why)
{
    const char *item;
    size_t len;

    while ((item = option_list_next(&list, &len)) != NULL) {
        struct hba_net net;

        if (!parse_item(item, len, &net)) {
            (void)snprintf(why, CONFIG_WHY_SIZE,
                           "\"%.*s\" is neither an address nor a network such as 10.0.0.0/8",
                           (int)MIN(len, (size_t)60), item);
            return false;
        }
    }
    return true;
}

bool networks_have(const char *list, const struct sockaddr *addr)
{
    struct hba_address a;
    const char *item;
    size_t len;

    if (!hba_address_from(addr, &a)) {
        return false;
    }
    while ((item = option_list_next(&list, &len)) != NULL) {
        struct hba_net net;

        if (parse_item(item, len, &net) && hba_net_has(&net, &a)) {
            return true;
        }
    }
    return false;
}
