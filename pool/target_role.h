/* SPDX-License-Identifier: ISC */
/* target_session_attrs: may a server that has let us in be used? Servers since PostgreSQL 14 report what it takes at the
 * login, and again when it changes; older ones are asked by a query. Pure: knows no connection.
 * PG15 libpq, "target_session_attrs". */
#ifndef PGPOOLD_POOL_TARGET_ROLE_H
#define PGPOOLD_POOL_TARGET_ROLE_H

#include <stdbool.h>

enum target_role {
    TARGET_ANY,
    TARGET_READ_WRITE,
    TARGET_READ_ONLY,
    TARGET_PRIMARY,
    TARGET_STANDBY,
    TARGET_PREFER_STANDBY, /* a standby; a second look at all hosts takes what there is */
};

/* What a server has told: in_hot_standby and default_transaction_read_only. */
enum told { TOLD_NOTHING, TOLD_OFF, TOLD_ON };

struct server_role {
    enum told in_hot_standby;
    enum told read_only;
};

/* A ParameterStatus. true: it was one of the two. */
bool server_role_note(struct server_role *r, const char *name, const char *value);

/* Does what it told say enough to decide on @want? */
bool server_role_is_known(const struct server_role *r, enum target_role want);
/* Of use only when it is known. */
bool server_role_fits(const struct server_role *r, enum target_role want);

/* For servers that do not tell: a statement that fails on a server that does not fit. Not for TARGET_ANY. */
const char *target_role_query(enum target_role want);
/* As configured: "read-write"; and why a server did not fit: "it is in hot standby mode". Static. */
const char *target_role_name(enum target_role want);
const char *target_role_misfit(enum target_role want);

#endif
