/* SPDX-License-Identifier: ISC */
#include "config/settings.h"

#include "config/options.h"
#include "daemon/util/fatal.h"

#include <string.h>

static void settings_empty(struct settings *s)
{
    const struct option *o = NULL;

    memset(s, 0, sizeof(*s));
    while ((o = option_next(OPTION_GLOBAL, o)) != NULL) {
        option_unset(o, OPTION_GLOBAL, s);
    }
}

bool settings_init(struct settings *s)
{
    char why[CONFIG_WHY_SIZE];
    const struct option *o = NULL;

    settings_empty(s);
    while ((o = option_next(OPTION_GLOBAL, o)) != NULL) {
        if (!option_set(o, OPTION_GLOBAL, s, o->text, why)) {
            fatal_unless(o->type ==
                         OPTION_STRING); /* a default out of its own bounds is a bug of the table */
            settings_done(s);
            return false;
        }
    }
    return true;
}

bool settings_copy(struct settings *ret, const struct settings *from)
{
    const struct option *o = NULL;

    settings_empty(ret);
    while ((o = option_next(OPTION_GLOBAL, o)) != NULL) {
        if (!option_copy(o, OPTION_GLOBAL, ret, from)) {
            settings_done(ret);
            return false;
        }
    }
    return true;
}

void settings_done(struct settings *s)
{
    const struct option *o = NULL;

    while ((o = option_next(OPTION_GLOBAL, o)) != NULL) {
        option_clear(o, OPTION_GLOBAL, s);
    }
}

static void warn_fixed(const struct option *o, const struct settings *next,
                       const struct settings *running, struct config_errors *warnings)
{
    struct buf wanted = BUF_INIT(CONFIG_WHY_SIZE);
    struct buf kept = BUF_INIT(CONFIG_WHY_SIZE);

    option_print(o, OPTION_GLOBAL, next, &wanted);
    option_print(o, OPTION_GLOBAL, running, &kept);
    config_errors_add(warnings, NULL, 0,
                      "%s: \"%s\" takes effect at the next restart: until then it stays \"%s\"",
                      o->name, buf_cstr(&wanted), buf_cstr(&kept));
    buf_done(&wanted);
    buf_done(&kept);
}

bool settings_keep_fixed(struct settings *next, const struct settings *running,
                         struct config_errors *warnings)
{
    const struct option *o = NULL;

    while ((o = option_next(OPTION_GLOBAL, o)) != NULL) {
        if (o->reload || option_is_equal(o, OPTION_GLOBAL, next, running)) {
            continue;
        }
        warn_fixed(o, next, running, warnings);
        if (!option_copy(o, OPTION_GLOBAL, next, running)) {
            return false;
        }
    }
    return true;
}
