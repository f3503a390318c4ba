/* SPDX-License-Identifier: ISC */
/* Any text as a command of the console. */
#include "daemon/admin_parse.h"
#include "daemon/util/fatal.h"

#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    char *text = malloc(size + 1); /* of exactly that size: reading on behind the end is found */
    struct admin_statement st;
    const char *why = NULL;

    memcpy(text, data, size);
    text[size] = '\0';
    if (admin_parse(text, &st, &why)) {
        size_t total = 0;

        fatal_unless(st.n <= ADMIN_TOKENS_MAX);
        for (unsigned i = 0; i < st.n; i++) {
            total += strlen(st.tokens[i].text);
        }
        fatal_unless(total <= strlen(text));
        (void)admin_statement_is(&st, 0, "SHOW");
    } else {
        fatal_unless(why != NULL && st.n == 0);
    }
    admin_statement_done(&st);
    free(text);
    return 0;
}
