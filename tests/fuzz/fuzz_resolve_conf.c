/* SPDX-License-Identifier: ISC */
/* Any text as a resolv.conf: what comes out has a bound, and reads back as itself. */
#include "daemon/util/fatal.h"
#include "pool/resolve_conf.h"

#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct buf csv = BUF_INIT(RESOLVE_CONF_MAX_SERVERS * 64);
    struct buf lines = BUF_INIT(RESOLVE_CONF_MAX_SERVERS * 96);
    struct buf again = BUF_INIT(RESOLVE_CONF_MAX_SERVERS * 64);

    resolve_conf_servers((const char *)data, size, &csv);
    fatal_unless(buf_ok(&csv));
    for (const char *p = buf_cstr(&csv); *p != '\0';) {
        size_t len = strcspn(p, ",");

        (void)buf_append_fmt(&lines, "nameserver %.*s\n", (int)len, p); /* asked below */
        p += len + (p[len] == ',');
    }
    fatal_unless(buf_ok(&lines));
    resolve_conf_servers(buf_cstr(&lines), lines.len, &again);
    fatal_unless(strcmp(buf_cstr(&csv), buf_cstr(&again)) == 0);
    buf_done(&csv);
    buf_done(&lines);
    buf_done(&again);
    return 0;
}
