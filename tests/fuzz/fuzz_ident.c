/* SPDX-License-Identifier: ISC */
/* Any text as an ident map file, then some names against it. Texts are kept short, and '{' and '+'
 * out: the C library copies the expression for each of them, nested ones without end. What is
 * looked at is our reading of the lines; the file is the administrator's own. */
#include "config/ident.h"
#include "daemon/util/fatal.h"

#include <stdint.h>
#include <stdio.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct config_errors errors = CONFIG_ERRORS_INIT;
    struct ident *m;
    FILE *in;

    if (size == 0 || size > 200 || memchr(data, '{', size) != NULL ||
        memchr(data, '+', size) != NULL) {
        return 0;
    }
    in = fmemopen((void *)(uintptr_t)data, size, "r");
    fatal_unless(in != NULL);
    m = ident_load_stream(in, "fuzz", &errors);
    (void)fclose(in);
    fatal_unless((m == NULL) != config_errors_is_empty(&errors));
    if (ident_match(m, "m", "anna@example.com", "anna") ||
        ident_match(m, "m", "root", "postgres")) {
        fatal_unless(ident_has_map(m, "m"));
    }
    ident_free(m);
    config_errors_done(&errors);
    return 0;
}
