/* SPDX-License-Identifier: ISC */
#include "config/config_errors.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

void config_errors_done(struct config_errors *e)
{
    for (unsigned i = 0; i < e->n; i++) {
        free(e->text[i]);
    }
    *e = CONFIG_ERRORS_INIT;
}

static char *format_fault(const char *file, unsigned line, const char *fmt, va_list args)
{
    char what[2 * CONFIG_WHY_SIZE]; /* cut there: a text longer than a screen helps nobody */
    char *text;
    int n;

    (void)vsnprintf(what, sizeof(what), fmt, args); /* cutting is meant */
    if (file == NULL || *file == '\0') {
        n = asprintf(&text, "%s", what);
    } else if (line == 0) {
        n = asprintf(&text, "%s: %s", file, what);
    } else {
        n = asprintf(&text, "%s:%u: %s", file, line, what);
    }
    return n < 0 ? NULL : text;
}

void config_errors_add(struct config_errors *e, const char *file, unsigned line, const char *fmt,
                       ...)
{
    char *text;
    va_list args;

    if (e->n == CONFIG_ERRORS_MAX) {
        e->n_dropped++;
        return;
    }
    va_start(args, fmt);
    text = format_fault(file, line, fmt, args);
    va_end(args);
    if (text == NULL) {
        e->n_dropped++;
        return;
    }
    for (char *p = text; *p != '\0'; p++) { /* what stands in a file must not steer a terminal */
        if ((unsigned char)*p < 0x20 || *p == 0x7f) {
            *p = '?';
        }
    }
    e->text[e->n++] = text;
}
