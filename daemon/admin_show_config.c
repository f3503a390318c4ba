/* SPDX-License-Identifier: ISC */
/* SHOW CONFIG, STATE, VERSION, MEM, DNS_HOSTS, DNS_ZONES and HELP, and the parameters of the session that drivers ask for:
 * what is about the process as a whole. */
#include "daemon/admin_count.h"
#include "daemon/admin_show.h"
#include "daemon/client.h"
#include "daemon/version.h"

#include <stdio.h>
#include <string.h>
#include <strings.h>

#define VALUE_MAX_BYTES ((size_t)64 * 1024) /* of one option, as text */
#define HOST_TEXT_BYTES 4096                /* of all addresses of one name */

static const struct admin_column config_columns[] = {
    {"key", ADMIN_TEXT},
    {"value", ADMIN_TEXT},
    {"default", ADMIN_TEXT},
    {"changeable", ADMIN_TEXT},
};
static const struct admin_column state_columns[] = {{"key", ADMIN_TEXT}, {"value", ADMIN_TEXT}};
static const struct admin_column version_columns[] = {{"version", ADMIN_TEXT}};
static const struct admin_column mem_columns[] = {
    {"name", ADMIN_TEXT}, {"size", ADMIN_INT4},     {"used", ADMIN_INT4},
    {"free", ADMIN_INT4}, {"memtotal", ADMIN_INT4},
};
static const struct admin_column dns_host_columns[] = {
    {"hostname", ADMIN_TEXT}, {"ttl", ADMIN_INT8}, {"addrs", ADMIN_TEXT}};
static const struct admin_column dns_zone_columns[] = {
    {"zonename", ADMIN_TEXT}, {"serial", ADMIN_INT8}, {"count", ADMIN_INT4}};

/* --- config --- */

/* Of these PgBouncer shows NULL where there is nothing, of the others an empty text. */
static bool is_null_when_empty(const char *name)
{
    static const char *const names[] = {
        "auth_dbname", "auth_file", "auth_ident_file",      "auth_ldap_options",    "auth_user",
        "conffile",    "user",      "client_tls13_ciphers", "server_tls13_ciphers", "verbose",
    };

    for (size_t i = 0; i < ARRAY_LEN(names); i++) {
        if (strcmp(names[i], name) == 0) {
            return true;
        }
    }
    return false;
}

static void put_setting(struct admin_row *row, const char *name, const char *text)
{
    admin_put_text(row, *text == '\0' && is_null_when_empty(name) ? NULL : text);
}

static void show_config(struct server *s, struct admin_rows *rows)
{
    struct buf value = BUF_INIT(VALUE_MAX_BYTES);

    for (const struct option *o = option_next_by_name(OPTION_GLOBAL, NULL); o != NULL;
         o = option_next_by_name(OPTION_GLOBAL, o)) {
        struct admin_row *row = admin_rows_next(rows);

        if (row != NULL) {
            buf_clear(&value);
            option_print(o, OPTION_GLOBAL, &s->config->settings, &value);
            admin_put_text(row, o->name);
            put_setting(row, o->name, buf_cstr(&value));
            put_setting(row, o->name, option_default_text(o));
            admin_put_text(row, o->reload ? "yes" : "no");
        }
    }
    buf_done(&value);
}

/* --- state, version --- */

static void put_state(struct admin_rows *rows, const char *key, bool is_so)
{
    struct admin_row *row = admin_rows_next(rows);

    if (row != NULL) {
        admin_put_text(row, key);
        admin_put_text(row, is_so ? "yes" : "no");
    }
}

static void show_state(struct server *s, struct admin_rows *rows)
{
    bool is_suspended = s->state == SERVER_SUSPENDED;

    put_state(rows, "active", !s->is_paused && !is_suspended);
    put_state(rows, "paused", s->is_paused);
    put_state(rows, "suspended", is_suspended);
}

static void show_version(struct server *s, struct admin_rows *rows)
{
    struct admin_row *row = admin_rows_next(rows);

    (void)s;
    if (row != NULL) {
        admin_put_text(row, PGPOOLD_VERSION_TEXT);
    }
}

/* --- memory --- */

struct usage {
    uint64_t n_backends;
    uint64_t n_pools;
    uint64_t n_statements; /* on server connections */
    uint64_t queued_bytes;
};

static void add_connections(const struct pool *pool, struct usage *u)
{
    u->n_pools++;
    u->n_backends += pool->n_backends;
    for (unsigned i = 0; i < BACKEND_CLOSED; i++) {
        const struct backend *b;

        list_for_each(&pool->backends[i], b, link) {
            u->n_statements += stmt_cache_count(&b->stmts);
            u->queued_bytes += conn_queued(&b->conn) + b->in.len;
        }
    }
}

static void add_clients(const struct server *s, struct usage *u)
{
    for (uint32_t i = 0; i < s->n_slots; i++) {
        const struct client *c = s->slots[i];

        if (c != NULL) {
            u->queued_bytes += conn_queued(&c->conn) + (c->in != NULL ? c->in->len : 0);
        }
    }
}

void admin_each_memory(const struct server *s, admin_memory_fn fn, void *arg)
{
    struct usage u = {0};

    for (const struct pool *pool = admin_next_pool(s, NULL); pool != NULL;
         pool = admin_next_pool(s, pool)) {
        add_connections(pool, &u);
    }
    add_clients(s, &u);
    fn(arg, "user_cache", sizeof(struct pool_user), s->env->users.n);
    fn(arg, "db_cache", sizeof(struct database), s->env->databases.n);
    fn(arg, "pool_cache", sizeof(struct pool), u.n_pools);
    fn(arg, "server_cache", sizeof(struct backend), u.n_backends);
    fn(arg, "client_cache", sizeof(struct client), s->n_clients);
    fn(arg, "iobuf_cache", 1, u.queued_bytes);
    fn(arg, "var_list_cache", sizeof(struct params), params_table_count(s->env->params));
    fn(arg, "prepared_statement_cache", sizeof(struct stmt), stmt_table_count(s->env->stmts));
    fn(arg, "server_prepared_statement_cache", sizeof(struct stmt_cache_entry), u.n_statements);
}

static void put_memory(void *arg, const char *name, size_t size, uint64_t used)
{
    struct admin_row *row = admin_rows_next(arg);

    if (row != NULL) {
        admin_put_text(row, name);
        admin_put_uint(row, size);
        admin_put_uint(row, used);
        admin_put_uint(row, 0); /* nothing is kept for later */
        admin_put_uint(row, size * used);
    }
}

static void show_mem(struct server *s, struct admin_rows *rows)
{
    admin_each_memory(s, put_memory, rows);
}

/* --- names --- */

static void put_host(void *arg, const struct resolve_host_info *host)
{
    struct admin_row *row = admin_rows_next(arg);
    struct buf text = BUF_INIT(HOST_TEXT_BYTES);

    if (row == NULL) {
        return;
    }
    for (unsigned i = 0; i < host->n_addrs; i++) {
        bool is_ipv6 = host->addrs[i].family == AF_INET6;

        /* As PgBouncer shows them, where they are socket addresses whose port is not set. What does
         * not fit is left out. */
        (void)buf_append_fmt(&text, "%s%s%s%s:0", i > 0 ? "," : "", is_ipv6 ? "[" : "",
                             host->addrs[i].text, is_ipv6 ? "]" : "");
    }
    admin_put_name(row, host->name);
    admin_put_uint(row, host->ttl_s);
    admin_put_text(row, buf_cstr(&text));
    buf_done(&text);
}

static void show_dns_hosts(struct server *s, struct admin_rows *rows)
{
    resolver_each_host(s->resolver, put_host, rows);
}

static void put_zone(void *arg, const struct resolve_zone_info *zone)
{
    struct admin_row *row = admin_rows_next(arg);

    if (row != NULL) {
        admin_put_name(row, zone->name);
        admin_put_uint(row, zone->serial);
        admin_put_uint(row, zone->n_hosts);
    }
}

static void show_dns_zones(struct server *s, struct admin_rows *rows)
{
    resolver_each_zone(s->resolver, put_zone, rows);
}

/* --- help: the session sends a NOTICE --- */

static void show_nothing(struct server *s, struct admin_rows *rows)
{
    (void)s;
    (void)rows;
}

/* --- parameters --- */

static const struct admin_parameter parameters[] = {
    {"server_version", "1.25.0/pgpoold", true}, /* the interface that we keep to */
    {"client_encoding", "UTF8", true},
    {"server_encoding", "UTF8", true},
    {"DateStyle", "ISO", true},
    {"TimeZone", "GMT", true},
    {"standard_conforming_strings", "on", true},
    {"is_superuser", "on", true},
    {"integer_datetimes", "on", true},
    {"IntervalStyle", "postgres", true},
    {"application_name", "", false}, /* reported with the client's own */
    {"in_hot_standby", "off", true},
    {"default_transaction_read_only", "off", true},
    {"default_transaction_isolation", "read committed", false},
    {"transaction_isolation", "read committed", false},
    {"transaction_read_only", "off", false},
    {"max_identifier_length", "63", false},
};

const struct admin_parameter *admin_parameter_at(unsigned i)
{
    return i < ARRAY_LEN(parameters) ? &parameters[i] : NULL;
}

static const struct admin_parameter *find_parameter(const char *name)
{
    for (size_t i = 0; i < ARRAY_LEN(parameters); i++) {
        if (strcasecmp(parameters[i].name, name) == 0) {
            return &parameters[i];
        }
    }
    return NULL;
}

static void show_parameter(struct server *s, struct admin_rows *rows)
{
    struct admin_row *row = admin_rows_next(rows);

    (void)s;
    if (row != NULL) {
        admin_put_text(row, find_parameter(rows->kind->name)->value);
    }
}

/* One kind each, since the column is called like the parameter. */
#define PARAMETER(parameter)                                                                   \
    {                                                                                          \
        .name = (parameter), .columns = &(const struct admin_column){(parameter), ADMIN_TEXT}, \
        .n_columns = 1, .rows = show_parameter, .is_parameter = true                           \
    }
static const struct admin_show_kind parameter_kinds[ARRAY_LEN(parameters)] = {
    PARAMETER("server_version"),
    PARAMETER("client_encoding"),
    PARAMETER("server_encoding"),
    PARAMETER("DateStyle"),
    PARAMETER("TimeZone"),
    PARAMETER("standard_conforming_strings"),
    PARAMETER("is_superuser"),
    PARAMETER("integer_datetimes"),
    PARAMETER("IntervalStyle"),
    PARAMETER("application_name"),
    PARAMETER("in_hot_standby"),
    PARAMETER("default_transaction_read_only"),
    PARAMETER("default_transaction_isolation"),
    PARAMETER("transaction_isolation"),
    PARAMETER("transaction_read_only"),
    PARAMETER("max_identifier_length"),
};

const struct admin_show_kind *admin_parameter_find(const char *name)
{
    const struct admin_parameter *p = find_parameter(name);

    return p != NULL ? &parameter_kinds[p - parameters] : NULL;
}

/* --- the rows of the table --- */

const struct admin_show_kind admin_show_config = {
    .name = "CONFIG", ADMIN_COLUMNS(config_columns), .rows = show_config};
const struct admin_show_kind admin_show_state = {
    .name = "STATE", ADMIN_COLUMNS(state_columns), .rows = show_state};
const struct admin_show_kind admin_show_version = {
    .name = "VERSION", ADMIN_COLUMNS(version_columns), .rows = show_version};
const struct admin_show_kind admin_show_mem = {
    .name = "MEM", ADMIN_COLUMNS(mem_columns), .rows = show_mem};
const struct admin_show_kind admin_show_dns_hosts = {.name = "DNS_HOSTS",
                                                     .begins_line = true,
                                                     ADMIN_COLUMNS(dns_host_columns),
                                                     .rows = show_dns_hosts};
const struct admin_show_kind admin_show_dns_zones = {
    .name = "DNS_ZONES", ADMIN_COLUMNS(dns_zone_columns), .rows = show_dns_zones};
const struct admin_show_kind admin_show_help = {
    .name = "HELP", .begins_line = true, .rows = show_nothing};
