/* SPDX-License-Identifier: ISC */
/* Any text as an HBA file, then some logins against it. '@' is let be: the texts would reach for
 * files. */
#include "config/hba.h"
#include "daemon/util/fatal.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void try_logins(const struct hba *h)
{
    struct sockaddr_in v4 = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(0x0a010203)};
    struct sockaddr_in6 v6 = {.sin6_family = AF_INET6, .sin6_addr = IN6ADDR_LOOPBACK_INIT};
    const struct sockaddr *from[] = {NULL, (const struct sockaddr *)&v4,
                                     (const struct sockaddr *)&v6};

    for (size_t i = 0; i < ARRAY_LEN(from); i++) {
        for (unsigned flags = 0; flags < 4; flags++) {
            struct hba_login login = {from[i], (flags & 1) != 0, "shop", "app", (flags & 2) != 0};
            const struct hba_rule *r = hba_match(h, &login);

            fatal_unless(r == NULL || (r->conn_type == HBA_LOCAL) == (from[i] == NULL));
        }
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct config_errors errors = CONFIG_ERRORS_INIT;
    char why[CONFIG_WHY_SIZE];
    char *text;
    struct hba *h;
    FILE *in;

    if (size == 0 || memchr(data, '@', size) != NULL) {
        return 0;
    }
    in = fmemopen((void *)(uintptr_t)data, size, "r");
    text = strndup((const char *)data, size);
    fatal_unless(in != NULL && text != NULL);
    h = hba_load_stream(in, "fuzz", &errors);
    (void)fclose(in);
    fatal_unless((h == NULL) != config_errors_is_empty(&errors));
    try_logins(h);
    hba_free(h);
    free(hba_ldap_options(text, why));
    free(text);
    config_errors_done(&errors);
    return 0;
}
