/* SPDX-License-Identifier: ISC */
/* A bounded list of what is wrong with the configuration, each as "file:line: option: what is
 * wrong: what is allowed". Everything in config/ adds to one and goes on, so that an operator sees
 * all faults at once. Who owns the list prints or logs it; config/ never does. Also used for the
 * warnings of a reload. */
#ifndef PGPOOLD_CONFIG_ERRORS_H
#define PGPOOLD_CONFIG_ERRORS_H

#include "daemon/util/macros.h"

#include <stdbool.h>

#define CONFIG_ERRORS_MAX 200 /* texts kept; what comes after is only counted */
#define CONFIG_WHY_SIZE 512   /* room for one "what is wrong: what is allowed" */

struct config_errors {
    /* may be read, private to write */
    char *text[CONFIG_ERRORS_MAX];
    unsigned n;         /* texts kept */
    unsigned n_dropped; /* faults beyond them, or for which there was no memory */
};

#define CONFIG_ERRORS_INIT ((struct config_errors){.n = 0})

/* Frees the texts and empties the list. May run twice. */
void config_errors_done(struct config_errors *e);

/* Adds "file:line: TEXT"; @line 0 leaves the line out, @file NULL or "" leaves both out. Control
 * bytes become '?'. */
void config_errors_add(struct config_errors *e, const char *file, unsigned line, const char *fmt,
                       ...) PRINTF_LIKE(4, 5);

/* All of them, kept or not: compare before and after to learn whether something went wrong in
 * between. */
static inline unsigned config_errors_count(const struct config_errors *e)
{
    return e->n + e->n_dropped;
}

static inline bool config_errors_is_empty(const struct config_errors *e)
{
    return e->n == 0 && e->n_dropped == 0;
}

#endif
