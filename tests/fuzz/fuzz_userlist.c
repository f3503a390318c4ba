/* SPDX-License-Identifier: ISC */
/* Any text as an auth_file. What is taken is found again, within its limits. */
#include "config/userlist.h"
#include "daemon/util/fatal.h"

#include <stdio.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct config_errors errors = CONFIG_ERRORS_INIT;
    const struct userlist_entry *e = NULL;
    struct userlist *u;
    FILE *in;

    (void)secret_kind_of((const char *)data, size);
    if (size == 0) {
        return 0;
    }
    in = fmemopen((void *)(uintptr_t)data, size, "r");
    fatal_unless(in != NULL);
    u = userlist_load_stream(in, "fuzz", &errors);
    (void)fclose(in);
    fatal_unless((u == NULL) != config_errors_is_empty(&errors));
    while ((e = userlist_next(u, e)) != NULL) {
        fatal_unless(userlist_find(u, e->name) == e);
        fatal_unless(*e->name != '\0' && strlen(e->name) <= USERLIST_NAME_MAX);
        fatal_unless(e->secret.len <= USERLIST_SECRET_MAX);
    }
    userlist_free(u);
    config_errors_done(&errors);
    return 0;
}
