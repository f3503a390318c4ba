/* SPDX-License-Identifier: ISC */
/* Any text as the value of an entry: of a database, of a user, of a peer. What is taken can be
 * copied. */
#include "config/databases.h"
#include "daemon/util/fatal.h"

#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct config_errors errors = CONFIG_ERRORS_INIT;
    char *text = strndup((const char *)data, size);
    struct database_config *d;

    fatal_unless(text != NULL);
    d = database_config_new("shop", text, "f", 1, &errors);
    fatal_unless((d == NULL) != config_errors_is_empty(&errors));
    if (d != NULL) {
        struct database_config *copy = database_config_from_autodb(d, "shop");
        const struct option *o = NULL;

        fatal_unless(copy != NULL && d->n_hosts > 0 && d->n_hosts == copy->n_hosts);
        while ((o = option_next(OPTION_DATABASE, o)) != NULL) {
            fatal_unless(option_is_equal(o, OPTION_DATABASE, d, copy) ||
                         (d->dbname[0] == '\0' && strcmp(o->name, "dbname") == 0));
        }
        database_config_free(copy);
    }
    database_config_free(d);
    user_config_free(user_config_new("app", text, "f", 1, &errors));
    peer_config_free(peer_config_new("1", text, "f", 1, &errors));
    config_errors_done(&errors);
    free(text);
    return 0;
}
