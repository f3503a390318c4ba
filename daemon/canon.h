/* SPDX-License-Identifier: ISC */
/* How PostgreSQL itself spells a parameter's value: `utf-8` is UTF8, `iso` is `ISO, MDY`. Learnt from servers, kept so
 * that a client's login need not ask one each time. Bounded; a full table forgets everything and learns anew. */
#ifndef PGPOOLD_DAEMON_CANON_H
#define PGPOOLD_DAEMON_CANON_H

#include "daemon/util/macros.h"

struct canon_table;

struct canon_table *canon_new(void);
struct canon_table *canon_free(struct canon_table *t);
/* @scope: the database whose servers said so. NULL: not known. Borrowed until the next canon_learn(). */
const char *canon_find(const struct canon_table *t, const void *scope, const char *name,
                       const char *value);
/* Running out of memory only means not to remember. */
void canon_learn(struct canon_table *t, const void *scope, const char *name, const char *value,
                 const char *spelling);
/* Settings or servers have changed: what was learnt may not hold. */
void canon_clear(struct canon_table *t);

#endif
