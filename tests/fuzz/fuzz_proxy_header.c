/* SPDX-License-Identifier: ISC */
/* Any bytes where a header of the PROXY protocol is expected. */
#include "daemon/util/fatal.h"
#include "protocol/proxy_header.h"

#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct proxy_header h;
    struct proxy_header again;

    switch (proxy_header_parse(data, size, &h)) {
    case PROXY_PARTIAL:
        fatal_unless(size < PROXY_HEADER_MAX_BYTES);
        return 0;
    case PROXY_BAD:
        return 0;
    case PROXY_OK:
        break;
    }
    fatal_unless(h.len > 0 && h.len <= size && h.len <= PROXY_HEADER_MAX_BYTES);
    fatal_unless(!h.has_address || h.addr.ss_family == AF_INET || h.addr.ss_family == AF_INET6);
    /* It ends where it says: not before, and what follows changes nothing. */
    fatal_unless(proxy_header_parse(data, h.len - 1, &again) == PROXY_PARTIAL);
    fatal_unless(proxy_header_parse(data, h.len, &again) == PROXY_OK);
    fatal_unless(h.len == again.len && h.has_address == again.has_address);
    fatal_unless(!h.has_address || memcmp(&h.addr, &again.addr, sizeof(h.addr)) == 0);
    return 0;
}
