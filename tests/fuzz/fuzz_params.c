/* SPDX-License-Identifier: ISC */
/* A series of changes to two sets of parameters. They stay sorted, equal sets are one object, what turns one into the
 * other does so, and the SQL for it keeps every value inside its quotes. */
#include "daemon/util/fatal.h"
#include "pool/params.h"

#include <stdlib.h>
#include <string.h>
#include <strings.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check_set(struct params_table *t, const struct params *p)
{
    struct params *same = params_intern(t, p->entries, p->n);

    fatal_unless(same == p && p->n <= PARAMS_MAX);
    (void)params_unref(same);
    for (unsigned i = 0; i < p->n; i++) {
        fatal_unless(i == 0 || strcasecmp(p->entries[i - 1].name, p->entries[i].name) < 0);
        fatal_unless(params_get(p, p->entries[i].name) == p->entries[i].value);
    }
}

struct change {
    struct params_table *t;
    struct params *p;
};

static void apply(void *arg, const char *name, const char *value)
{
    struct change *c = arg;
    struct params *next = params_with(c->t, c->p, name, value);

    fatal_unless(next != NULL);
    (void)params_unref(c->p);
    c->p = next;
}

static void check_diff(struct params_table *t, struct params *from, struct params *to)
{
    struct change c = {.t = t, .p = params_ref(from)};

    for (unsigned i = 0; i < from->n; i++) {
        if (params_get(to, from->entries[i].name) == NULL) {
            apply(&c, from->entries[i].name, NULL);
        }
    }
    params_diff(from, to, apply, &c);
    fatal_unless(c.p->n == to->n);
    for (unsigned i = 0; i < to->n; i++) {
        fatal_unless(strcmp(params_get(c.p, to->entries[i].name), to->entries[i].value) == 0);
    }
    (void)params_unref(c.p);
}

/* Outside of its literals the statement holds nothing of what a peer wrote. */
static void check_sql(const struct params *from, const struct params *to)
{
    struct buf sql = BUF_INIT(1 << 20);
    bool quoted = false;

    params_diff_sql(from, to, &sql);
    fatal_unless(buf_ok(&sql));
    for (const char *p = buf_cstr(&sql); *p != '\0'; p++) {
        if (quoted && (*p == '\\' || *p == '\'') && p[1] == *p) {
            p++; /* doubled: a literal character */
        } else if (*p == '\'') {
            quoted = !quoted;
        } else if (quoted) {
            fatal_unless(*p != '\\');
        } else {
            fatal_unless(strchr("SELECT pg_catalog.set_config(E, NULL, false)", *p) != NULL);
        }
    }
    fatal_unless(!quoted);
    buf_done(&sql);
}

/* Takes a string off the input. NULL: nothing left. */
static char *take(const uint8_t **data, size_t *size)
{
    size_t len = strnlen((const char *)*data, *size);
    char *s;

    if (*size == 0) {
        return NULL;
    }
    s = strndup((const char *)*data, len);
    fatal_unless(s != NULL);
    len = len < *size ? len + 1 : len;
    *data += len;
    *size -= len;
    return s;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct params_table *t = params_table_new();
    struct params *sets[2] = {params_intern(t, NULL, 0), params_intern(t, NULL, 0)};

    while (size > 0) {
        uint8_t what = *data++;
        char *name;
        char *value;
        struct params *next;

        size--;
        name = take(&data, &size);
        value = name != NULL && (what & 2) == 0 ? take(&data, &size) : NULL;
        if (name != NULL) {
            next = params_with(t, sets[what & 1], name, value);
            if (next != NULL) {
                fatal_unless(value == NULL ? params_get(next, name) == NULL
                                           : strcmp(params_get(next, name), value) == 0);
                check_set(t, next);
                (void)params_unref(sets[what & 1]);
                sets[what & 1] = next;
            }
        }
        free(name);
        free(value);
    }
    check_diff(t, sets[0], sets[1]);
    check_sql(sets[0], sets[1]);
    (void)params_unref(sets[0]);
    (void)params_unref(sets[1]);
    (void)params_table_free(t);
    return 0;
}
