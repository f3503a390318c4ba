/* SPDX-License-Identifier: ISC */
/* All three kinds of entries are read alike: the pairs of the text through the table of options
 * into the record, then what one record needs by itself (hosts taken apart). */
#include "config/databases.h"

#include "config/conninfo.h"
#include "config/require_auth.h"
#include "daemon/util/num.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define PEER_PORT_DEFAULT 6432

/* Where faults of one entry go. */
struct entry_place {
    const char *kind; /* "database", "user", "peer" */
    const char *name;
    const char *file;
    unsigned line;
    struct config_errors *errors;
};

PRINTF_LIKE(3, 4)
static void fault(const struct entry_place *at, const char *key, const char *fmt, ...)
{
    char what[CONFIG_WHY_SIZE];
    va_list args;

    va_start(args, fmt);
    (void)vsnprintf(what, sizeof(what), fmt, args); /* cutting is meant */
    va_end(args);
    config_errors_add(at->errors, at->file, at->line, "%s %.127s%s%.60s: %s", at->kind, at->name,
                      *key == '\0' ? "" : ": ", key, what);
}

/* ---- what all entries share ---- */

static void entry_unset(enum option_scope scope, void *record)
{
    const struct option *o = NULL;

    while ((o = option_next(scope, o)) != NULL) {
        option_unset(o, scope, record);
    }
}

static void entry_clear(enum option_scope scope, void *record)
{
    const struct option *o = NULL;

    while ((o = option_next(scope, o)) != NULL) {
        option_clear(o, scope, record);
    }
}

static void fault_unknown(enum option_scope scope, const struct entry_place *at, const char *key)
{
    const char *nearest = option_nearest(scope, key);

    if (option_find(OPTION_GLOBAL, key) != NULL) {
        fault(at, key, "is not known for a %s: it is a global option, for the section [pgpoold]",
              at->kind);
    } else if (nearest != NULL) {
        fault(at, key, "is not known for a %s: perhaps %s is meant", at->kind, nearest);
    } else {
        fault(at, key, "is not known for a %s: see pgpoold --help-config", at->kind);
    }
}

static void entry_read(enum option_scope scope, void *record, const char *text,
                       const struct entry_place *at)
{
    struct conninfo pairs;
    struct conninfo_pair pair;
    const char *bad;
    enum conninfo_result result;

    if (!conninfo_init(&pairs, text)) {
        fault(at, "", "out of memory");
        return;
    }
    while ((result = conninfo_next(&pairs, &pair, &bad)) == CONNINFO_PAIR) {
        const struct option *o = option_find(scope, pair.key);
        char why[CONFIG_WHY_SIZE];

        if (o == NULL) {
            fault_unknown(scope, at, pair.key);
        } else if (!option_set(o, scope, record, pair.value, why)) {
            fault(at, pair.key, "%s", why);
        }
    }
    if (result == CONNINFO_BAD) {
        fault(at, "", "%s", bad);
    }
    conninfo_done(&pairs);
}

/* Copies of what every record remembers about its origin. */
static bool entry_name(char **ret_name, char **ret_file, const struct entry_place *at)
{
    *ret_name = strdup(at->name);
    *ret_file = strdup(at->file);
    if (*ret_name == NULL || *ret_file == NULL) {
        fault(at, "", "out of memory");
        return false;
    }
    if (*at->name == '\0' || strlen(at->name) > CONFIG_NAME_MAX) {
        fault(at, "", "name of %zu bytes: 1 to %d", strlen(at->name), CONFIG_NAME_MAX);
        return false;
    }
    return true;
}

/* ---- hosts ---- */

static bool parse_port(const char *text, size_t len, uint16_t *ret)
{
    char digits[8];
    int64_t port;

    if (len >= sizeof(digits)) {
        return false;
    }
    memcpy(digits, text, len);
    digits[len] = '\0';
    if (!num_parse_i64(digits, 1, UINT16_MAX, &port)) {
        return false;
    }
    *ret = (uint16_t)port;
    return true;
}

/* Items of a comma list, empty ones counted too; "" is one. */
static unsigned count_items(const char *list)
{
    unsigned n = 1;

    for (; *list != '\0'; list++) {
        n += *list == ',';
    }
    return n;
}

/* The next item with its blanks cut off, also an empty one; moves *@list behind its comma. */
static const char *next_item(const char **list, size_t *ret_len)
{
    const char *start = *list + strspn(*list, " \t");
    const char *comma = strchrnul(start, ',');
    const char *end = comma;

    while (end > start && (end[-1] == ' ' || end[-1] == '\t')) {
        end--;
    }
    *list = *comma == '\0' ? comma : comma + 1;
    *ret_len = (size_t)(end - start);
    return start;
}

static bool read_hosts(const char *list, unsigned n, struct database_host *ret,
                       const struct entry_place *at)
{
    for (unsigned i = 0; i < n; i++) {
        size_t len;
        const char *item = next_item(&list, &len);

        if (n > 1 && len == 0) {
            fault(at, "host", "an empty item in the list: host,host,...");
            return false;
        }
        for (size_t j = 0; j < len; j++) {
            if ((unsigned char)item[j] <= ' ') {
                fault(at, "host",
                      "a blank inside a host: names, addresses or directories, comma-separated");
                return false;
            }
        }
        ret[i].name = strndup(item, len);
        if (ret[i].name == NULL) {
            fault(at, "", "out of memory");
            return false;
        }
    }
    return true;
}

/* One port for all hosts, or one for each. */
static bool read_ports(const char *list, uint16_t without, unsigned n_hosts,
                       struct database_host *ret, const struct entry_place *at)
{
    unsigned n = *list == '\0' ? 0 : count_items(list);
    uint16_t port = without;

    if (n > 1 && n != n_hosts) {
        fault(at, "port", "%u ports for %u hosts: one for all, or one for each", n, n_hosts);
        return false;
    }
    for (unsigned i = 0; i < n_hosts; i++) {
        if (i < n) {
            size_t len;
            const char *item = next_item(&list, &len);

            if (!parse_port(item, len, &port)) {
                fault(at, "port", "\"%.*s\" is not a port: 1 to 65535", (int)MIN(len, (size_t)60),
                      item);
                return false;
            }
        }
        ret[i].port = port;
    }
    return true;
}

/* ---- [databases] ---- */

static bool name_is_reserved(const char *name)
{
    return strcmp(name, "pgbouncer") == 0 || strcmp(name, "pgpoold") == 0;
}

static void database_finish(struct database_config *d, const struct entry_place *at)
{
    unsigned n = count_items(d->host);
    struct require_auth require;
    char why[CONFIG_WHY_SIZE];

    if (!require_auth_parse(d->require_auth, &require, why, sizeof(why))) {
        fault(at, "require_auth", "%s", why);
    }
    if (name_is_reserved(d->name)) {
        fault(at, "", "the name is reserved for the console: any other");
    }
    if (name_is_reserved(d->auth_dbname)) {
        fault(at, "auth_dbname",
              "cannot use the reserved \"%s\" database as an auth_dbname: any other",
              d->auth_dbname);
    }
    if (n > DATABASE_HOSTS_MAX) {
        fault(at, "host", "%u hosts: at most %d", n, DATABASE_HOSTS_MAX);
        return;
    }
    d->hosts = calloc(n, sizeof(*d->hosts));
    if (d->hosts == NULL) {
        fault(at, "", "out of memory");
        return;
    }
    d->n_hosts = n;
    if (read_hosts(d->host, n, d->hosts, at)) {
        (void)read_ports(d->port, DATABASE_PORT_DEFAULT, n, d->hosts,
                         at); /* its faults are in the list */
    }
}

struct database_config *database_config_new(const char *name, const char *text, const char *file,
                                            unsigned line, struct config_errors *errors)
{
    unsigned n_before = config_errors_count(errors);
    struct entry_place at = {"database", name, file, line, errors};
    struct database_config *d = calloc(1, sizeof(*d));

    if (d == NULL) {
        fault(&at, "", "out of memory");
        return NULL;
    }
    entry_unset(OPTION_DATABASE, d);
    d->line = line;
    d->is_autodb = strcmp(name, "*") == 0;
    if (entry_name(&d->name, &d->file, &at)) {
        entry_read(OPTION_DATABASE, d, text, &at);
        database_finish(d, &at);
    }
    return config_errors_count(errors) == n_before ? d : database_config_free(d);
}

struct database_config *database_config_free(struct database_config *d)
{
    if (d != NULL) {
        entry_clear(OPTION_DATABASE, d);
        for (unsigned i = 0; i < d->n_hosts; i++) {
            free(d->hosts[i].name);
        }
        free(d->hosts);
        free(d->name);
        free(d->file);
        free(d);
    }
    return NULL;
}

static bool copy_hosts(struct database_config *to, const struct database_config *from)
{
    to->hosts = calloc(from->n_hosts, sizeof(*to->hosts));
    if (to->hosts == NULL) {
        return false;
    }
    to->n_hosts = from->n_hosts;
    for (unsigned i = 0; i < from->n_hosts; i++) {
        to->hosts[i].port = from->hosts[i].port;
        to->hosts[i].name = strdup(from->hosts[i].name);
        if (to->hosts[i].name == NULL) {
            return false;
        }
    }
    return true;
}

struct database_config *database_config_from_autodb(const struct database_config *autodb,
                                                    const char *name)
{
    struct database_config *d = calloc(1, sizeof(*d));
    const struct option *o = NULL;

    if (d == NULL) {
        return NULL;
    }
    entry_unset(OPTION_DATABASE, d);
    d->is_autodb = true;
    d->line = autodb->line;
    d->name = strdup(name);
    d->file = strdup(autodb->file);
    if (d->name == NULL || d->file == NULL || !copy_hosts(d, autodb)) {
        return database_config_free(d);
    }
    while ((o = option_next(OPTION_DATABASE, o)) != NULL) {
        if (!option_copy(o, OPTION_DATABASE, d, autodb)) {
            return database_config_free(d);
        }
    }
    if (*d->dbname == '\0') {
        char why[CONFIG_WHY_SIZE];

        if (!option_set(option_find(OPTION_DATABASE, "dbname"), OPTION_DATABASE, d, name, why)) {
            return database_config_free(d);
        }
    }
    return d;
}

/* ---- [users] ---- */

struct user_config *user_config_new(const char *name, const char *text, const char *file,
                                    unsigned line, struct config_errors *errors)
{
    unsigned n_before = config_errors_count(errors);
    struct entry_place at = {"user", name, file, line, errors};
    struct user_config *u = calloc(1, sizeof(*u));

    if (u == NULL) {
        fault(&at, "", "out of memory");
        return NULL;
    }
    entry_unset(OPTION_USER, u);
    u->line = line;
    if (entry_name(&u->name, &u->file, &at)) {
        entry_read(OPTION_USER, u, text, &at);
    }
    return config_errors_count(errors) == n_before ? u : user_config_free(u);
}

struct user_config *user_config_free(struct user_config *u)
{
    if (u != NULL) {
        entry_clear(OPTION_USER, u);
        free(u->name);
        free(u->file);
        free(u);
    }
    return NULL;
}

/* ---- [peers] ---- */

static void peer_finish(struct peer_config *p, const struct entry_place *at)
{
    int64_t id;

    if (!num_parse_i64(at->name, 1, PEER_ID_MAX, &id)) {
        fault(at, "", "is not a peer_id: 1 to %d", PEER_ID_MAX);
    } else {
        p->id = (int)id;
    }
    if (*p->host == '\0') {
        fault(at, "host", "is missing: a host, an address or the directory of a Unix socket");
    } else if (count_items(p->host) > 1) {
        fault(at, "host", "several hosts: one");
    } else if (read_hosts(p->host, 1, &p->target, at)) {
        (void)read_ports(p->port, PEER_PORT_DEFAULT, 1, &p->target,
                         at); /* its faults are in the list */
    }
}

struct peer_config *peer_config_new(const char *id, const char *text, const char *file,
                                    unsigned line, struct config_errors *errors)
{
    unsigned n_before = config_errors_count(errors);
    struct entry_place at = {"peer", id, file, line, errors};
    struct peer_config *p = calloc(1, sizeof(*p));

    if (p == NULL) {
        fault(&at, "", "out of memory");
        return NULL;
    }
    entry_unset(OPTION_PEER, p);
    p->line = line;
    p->file = strdup(file);
    if (p->file == NULL) {
        fault(&at, "", "out of memory");
        return peer_config_free(p);
    }
    entry_read(OPTION_PEER, p, text, &at);
    peer_finish(p, &at);
    return config_errors_count(errors) == n_before ? p : peer_config_free(p);
}

struct peer_config *peer_config_free(struct peer_config *p)
{
    if (p != NULL) {
        entry_clear(OPTION_PEER, p);
        free(p->target.name);
        free(p->file);
        free(p);
    }
    return NULL;
}
