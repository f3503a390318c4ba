/* SPDX-License-Identifier: ISC */
/* What of HTTP is read by us and not by libmicrohttpd (the headers Accept and Host), and what peers' text becomes on the status page:
 * a JSON string that is harmless in HTML, and an entry of the recent errors. */
#include "daemon/incidents.h"
#include "daemon/metrics.h"
#include "daemon/metrics_http_internal.h"
#include "daemon/status_json.h"
#include "daemon/util/fatal.h"

#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check_string(const char *text)
{
    struct buf out = BUF_INIT((size_t)1024 * 1024);
    char clean[512];

    json_put_string(&out, log_escape(clean, sizeof(clean), text));
    fatal_unless(buf_ok(&out) && out.len >= 2);
    fatal_unless(out.data[0] == '"' && out.data[out.len - 1] == '"');
    for (size_t i = 1; i + 1 < out.len; i++) {
        fatal_unless(out.data[i] >= 0x20 && strchr("\"<>&'", out.data[i]) == NULL);
        fatal_unless(out.data[i] != '\\' || out.data[i + 1] == 'u');
    }
    buf_done(&out);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static struct incidents all;
    char *text = malloc(size + 1);

    if (text == NULL) {
        return 0;
    }
    memcpy(text, data, size);
    text[size] = '\0';
    (void)metrics_format_of(text);
    (void)http_host_is_local(text);
    check_string(text);
    incidents_note(&all, LOG_WARNING_LEVEL, text);
    fatal_unless(incidents_at(&all, 0) != NULL && incidents_at(&all, INCIDENTS_MAX) == NULL);
    check_string(incidents_at(&all, 0)->text);
    free(text);
    return 0;
}
