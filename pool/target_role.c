/* SPDX-License-Identifier: ISC */
#include "pool/target_role.h"

#include "daemon/util/fatal.h"
#include "daemon/util/macros.h"

#include <string.h>

/* A server that does not fit divides by zero: so nobody has to read a result. Volatile functions are not evaluated ahead
 * of time; schemas are named, since a search_path of the role may hold anything. */
#define FAIL_WHEN(condition) \
    "SELECT 1 OPERATOR(pg_catalog./) (CASE WHEN " condition " THEN 0 ELSE 1 END)"
#define IN_RECOVERY "pg_catalog.pg_is_in_recovery()"
#define READ_ONLY "pg_catalog.current_setting('transaction_read_only')::pg_catalog.bool"

static const struct {
    const char *name;
    const char *query;
    const char *misfit;
} roles[] = {
    [TARGET_ANY] = {"any", "", ""},
    [TARGET_READ_WRITE] = {"read-write", FAIL_WHEN(IN_RECOVERY " OR " READ_ONLY),
                           "its sessions are read-only"},
    [TARGET_READ_ONLY] = {"read-only", FAIL_WHEN("NOT (" IN_RECOVERY " OR " READ_ONLY ")"),
                          "its sessions are not read-only"},
    [TARGET_PRIMARY] = {"primary", FAIL_WHEN(IN_RECOVERY), "it is in hot standby mode"},
    [TARGET_STANDBY] = {"standby", FAIL_WHEN("NOT " IN_RECOVERY), "it is not in hot standby mode"},
    [TARGET_PREFER_STANDBY] = {"prefer-standby", FAIL_WHEN("NOT " IN_RECOVERY),
                               "it is not in hot standby mode"},
};

static enum told told(const char *value)
{
    return strcmp(value, "on") == 0 ? TOLD_ON : TOLD_OFF;
}

bool server_role_note(struct server_role *r, const char *name, const char *value)
{
    if (strcmp(name, "in_hot_standby") == 0) {
        r->in_hot_standby = told(value);
        return true;
    }
    if (strcmp(name, "default_transaction_read_only") == 0) {
        r->read_only = told(value);
        return true;
    }
    return false;
}

bool server_role_is_known(const struct server_role *r, enum target_role want)
{
    switch (want) {
    case TARGET_ANY:
        return true;
    case TARGET_READ_WRITE:
    case TARGET_READ_ONLY:
        return r->in_hot_standby != TOLD_NOTHING && r->read_only != TOLD_NOTHING;
    case TARGET_PRIMARY:
    case TARGET_STANDBY:
    case TARGET_PREFER_STANDBY:
        return r->in_hot_standby != TOLD_NOTHING;
    }
    unreachable();
}

bool server_role_fits(const struct server_role *r, enum target_role want)
{
    bool is_standby = r->in_hot_standby == TOLD_ON;
    bool is_read_only = is_standby || r->read_only == TOLD_ON;

    switch (want) {
    case TARGET_ANY:
        return true;
    case TARGET_READ_WRITE:
        return !is_read_only;
    case TARGET_READ_ONLY:
        return is_read_only;
    case TARGET_PRIMARY:
        return !is_standby;
    case TARGET_STANDBY:
    case TARGET_PREFER_STANDBY:
        return is_standby;
    }
    unreachable();
}

const char *target_role_name(enum target_role want)
{
    return roles[want].name;
}

const char *target_role_query(enum target_role want)
{
    return roles[want].query;
}

const char *target_role_misfit(enum target_role want)
{
    return roles[want].misfit;
}
