/* SPDX-License-Identifier: ISC */
/* Any text as an ini file: read, never crash, and what is handed over is whole. %include of other
 * files is let be: the texts would reach for the files of this machine. */
#include "config/databases.h"
#include "config/ini_file.h"
#include "daemon/util/fatal.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct target {
    struct settings *settings;
    struct config_errors *errors;
};

static void take(void *arg, const struct ini_entry *e)
{
    struct target *t = arg;
    const struct option *o;
    char why[CONFIG_WHY_SIZE];

    fatal_unless(e->line > 0 && *e->section != '\0');
    if (e->key == NULL) {
        return;
    }
    fatal_unless(*e->key != '\0');
    o = option_find(OPTION_GLOBAL, e->key);
    if (o == NULL) {
        (void)option_nearest(OPTION_GLOBAL, e->key);
        database_config_free(database_config_new(e->key, e->value, e->file, e->line, t->errors));
    } else if (!option_set(o, OPTION_GLOBAL, t->settings, e->value, why)) {
        fatal_unless(*why != '\0');
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct config_errors errors = CONFIG_ERRORS_INIT;
    struct settings settings;
    struct target t = {&settings, &errors};
    FILE *in;

    if (size == 0 || memmem(data, size, "%include", 8) != NULL) {
        return 0;
    }
    in = fmemopen((void *)(uintptr_t)data, size, "r");
    fatal_unless(in != NULL && settings_init(&settings));
    (void)ini_file_read_stream(in, "fuzz.ini", take, &t, &errors);
    (void)fclose(in);
    settings_done(&settings);
    config_errors_done(&errors);
    return 0;
}
