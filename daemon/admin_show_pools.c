/* SPDX-License-Identifier: ISC */
/* SHOW POOLS, DATABASES, USERS, PEERS, PEER_POOLS and LISTS. The console itself is a database and a pool of its own, as
 * dashboards know it. */
#include "daemon/admin_count.h"
#include "daemon/admin_show.h"
#include "daemon/client.h"
#include "daemon/reload.h"

#include <stdio.h>
#include <string.h>

#define CONSOLE_POOL_SIZE 2 /* what PgBouncer says of its own */

static const struct admin_column pool_columns[] = {
    {"database", ADMIN_TEXT},
    {"user", ADMIN_TEXT},
    {"cl_active", ADMIN_INT4},
    {"cl_waiting", ADMIN_INT4},
    {"cl_active_cancel_req", ADMIN_INT4},
    {"cl_waiting_cancel_req", ADMIN_INT4},
    {"sv_active", ADMIN_INT4},
    {"sv_active_cancel", ADMIN_INT4},
    {"sv_being_canceled", ADMIN_INT4},
    {"sv_idle", ADMIN_INT4},
    {"sv_used", ADMIN_INT4},
    {"sv_tested", ADMIN_INT4},
    {"sv_login", ADMIN_INT4},
    {"maxwait", ADMIN_INT4},
    {"maxwait_us", ADMIN_INT4},
    {"pool_mode", ADMIN_TEXT},
    {"load_balance_hosts", ADMIN_TEXT},
    {"size", ADMIN_INT4},     /* ours, by aiopg's names: all server connections */
    {"freesize", ADMIN_INT4}, /* ... and those that nobody uses */
};

static const struct admin_column database_columns[] = {
    {"name", ADMIN_TEXT},
    {"host", ADMIN_TEXT},
    {"port", ADMIN_INT4},
    {"database", ADMIN_TEXT},
    {"force_user", ADMIN_TEXT},
    {"pool_size", ADMIN_INT4},
    {"min_pool_size", ADMIN_INT4},
    {"reserve_pool_size", ADMIN_INT4},
    {"server_lifetime", ADMIN_INT4},
    {"pool_mode", ADMIN_TEXT},
    {"load_balance_hosts", ADMIN_TEXT},
    {"max_connections", ADMIN_INT4},
    {"current_connections", ADMIN_INT4},
    {"max_client_connections", ADMIN_INT4},
    {"current_client_connections", ADMIN_INT4},
    {"paused", ADMIN_INT4},
    {"disabled", ADMIN_INT4},
    {"reserve_pool",
     ADMIN_INT4}, /* PgBouncer's old name of reserve_pool_size, which Debian's exporter reads */
};

static const struct admin_column user_columns[] = {
    {"name", ADMIN_TEXT},
    {"pool_size", ADMIN_TEXT},
    {"reserve_pool_size", ADMIN_TEXT},
    {"pool_mode", ADMIN_TEXT},
    {"max_user_connections", ADMIN_INT4},
    {"current_connections", ADMIN_INT4},
    {"max_user_client_connections", ADMIN_INT4},
    {"current_client_connections", ADMIN_INT4},
};

static const struct admin_column peer_columns[] = {
    {"peer_id", ADMIN_INT4},
    {"host", ADMIN_TEXT},
    {"port", ADMIN_INT4},
    {"pool_size", ADMIN_INT4},
};

static const struct admin_column peer_pool_columns[] = {
    {"peer_id", ADMIN_INT4},
    {"cl_active_cancel_req", ADMIN_INT4},
    {"cl_waiting_cancel_req", ADMIN_INT4},
    {"sv_active_cancel", ADMIN_INT4},
    {"sv_login", ADMIN_INT4},
    {"passed_on", ADMIN_INT8}, /* ours: requests that the peer has read */
    {"failed", ADMIN_INT8},    /* ... and those that did not get there */
};

static const struct admin_column list_columns[] = {
    {"list", ADMIN_TEXT},
    {"items", ADMIN_INT4},
};

/* --- pools --- */

static void each_pool(struct server *s, struct admin_walk *w)
{
    static const struct admin_key console = {.a = ADMIN_CONSOLE_NAME, .b = ADMIN_CONSOLE_NAME};

    for (const struct pool *pool = admin_next_pool(s, NULL); pool != NULL;
         pool = admin_next_pool(s, pool)) {
        admin_walk_see(w, (struct admin_key){.a = pool->db->name, .b = pool->user->name}, pool, 0);
    }
    admin_walk_see(w, console, NULL, 0);
}

static void fill_console_pool(const struct server *s, struct admin_row *row)
{
    admin_put_text(row, ADMIN_CONSOLE_NAME);
    admin_put_text(row, ADMIN_CONSOLE_NAME);
    admin_put_uint(row, s->consoles.n);
    for (unsigned i = 0; i < 12; i++) {
        admin_put_int(row, 0);
    }
    admin_put_text(row, "statement");
    admin_put_null(row);
    admin_put_int(row, 0);
    admin_put_int(row, 0);
}

static const char *balancing(const struct database_config *entry)
{
    return entry != NULL && entry->n_hosts > 1 ? load_balance_hosts_name(entry->load_balance_hosts)
                                               : NULL;
}

static void fill_pool(struct server *s, const struct admin_found *f, struct admin_row *row)
{
    const struct pool *pool = f->item;
    struct admin_pool_count n;

    if (pool == NULL) {
        fill_console_pool(s, row);
        return;
    }
    admin_count_pool(pool, &n);
    admin_put_name(row, pool->db->name);
    admin_put_name(row, pool->user->name);
    admin_put_uint(row, n.cl_active);
    admin_put_uint(row, n.cl_waiting);
    admin_put_uint(row, n.cl_active_cancel_req);
    admin_put_uint(row, n.cl_waiting_cancel_req);
    admin_put_uint(row, n.sv_active);
    admin_put_uint(row, n.sv_active_cancel);
    admin_put_uint(row, n.sv_being_canceled);
    admin_put_uint(row, n.sv_idle);
    admin_put_uint(row, n.sv_used);
    admin_put_uint(row, n.sv_tested);
    admin_put_uint(row, n.sv_login);
    admin_put_wait(row, pool_max_wait_us(pool));
    admin_put_text(row, pool_mode_text(pool));
    admin_put_text(row, balancing(reload_entry(pool->db)));
    admin_put_uint(row, pool->n_backends);
    admin_put_uint(row, n.sv_idle + n.sv_used);
}

/* --- databases --- */

static void each_database(struct server *s, struct admin_walk *w)
{
    const struct database *db;

    list_for_each(&s->env->databases, db, link) {
        admin_walk_see(w, (struct admin_key){.a = db->name}, db, 0);
    }
    admin_walk_see(w, (struct admin_key){.a = ADMIN_CONSOLE_NAME}, NULL, 0);
}

static int64_t in_seconds(usec_t lifetime_us)
{
    return lifetime_us == USEC_NEVER ? -1 : (int64_t)(lifetime_us / USEC_PER_SEC);
}

static void fill_console_database(const struct server *s, struct admin_row *row)
{
    admin_put_text(row, ADMIN_CONSOLE_NAME);
    admin_put_null(row);
    admin_put_int(row, s->config->settings.listen_port);
    admin_put_text(row, ADMIN_CONSOLE_NAME);
    admin_put_text(row, ADMIN_CONSOLE_NAME);
    admin_put_int(row, CONSOLE_POOL_SIZE);
    admin_put_int(row, 0);
    admin_put_int(row, 0);
    admin_put_int(row, in_seconds(s->config->settings.server_lifetime_us));
    admin_put_text(row, "statement");
    admin_put_null(row);
    admin_put_int(row, 0);
    admin_put_int(row, 0);
    admin_put_int(row, 0);
    admin_put_uint(row, s->consoles.n);
    admin_put_int(row, 0);
    admin_put_int(row, 0);
    admin_put_int(row, 0);
}

/* The global one where an entry leaves it open; 0 is "no limit". */
static int size_of(int own, int global)
{
    int size = own == OPTION_UNSET ? global : own;

    return size == POOL_SIZE_UNLIMITED ? 0 : size;
}

static int64_t lifetime_s(const struct settings *set, const struct database_config *e)
{
    return in_seconds(e->server_lifetime_us == OPTION_UNSET_US ? set->server_lifetime_us
                                                               : e->server_lifetime_us);
}

/* The whole list of hosts; NULL: the default Unix socket. */
static const char *host_of(const struct database_config *e)
{
    return *e->host != '\0' ? e->host : NULL;
}

static void fill_database(struct server *s, const struct admin_found *f, struct admin_row *row)
{
    const struct settings *set = &s->config->settings;
    const struct database *db = f->item;
    const struct database_config *e;

    if (db == NULL) {
        fill_console_database(s, row);
        return;
    }
    e = reload_entry(db);
    admin_put_name(row, db->name);
    if (e != NULL) {
        admin_put_text(row, host_of(e));
        admin_put_int(row, e->hosts[0].port);
        admin_put_name(row, *e->dbname != '\0' ? e->dbname : db->name);
        admin_put_text(row, *e->user != '\0' ? e->user : NULL);
        admin_put_int(row, size_of(e->pool_size, set->default_pool_size));
        admin_put_int(row, size_of(e->min_pool_size, set->min_pool_size));
        admin_put_int(row, size_of(e->reserve_pool_size, set->reserve_pool_size));
        admin_put_int(row, lifetime_s(set, e));
        admin_put_text(row, e->pool_mode == POOL_MODE_UNSET ? NULL : pool_mode_name(e->pool_mode));
        admin_put_text(row, balancing(e));
    } else { /* gone from the file: only its last clients are left */
        for (unsigned i = 0; i < 10; i++) {
            admin_put_null(row);
        }
    }
    admin_put_uint(row, db->max_connections);
    admin_put_uint(row, db->n_connections);
    admin_put_uint(row, db->max_clients);
    admin_put_uint(row, db->n_clients);
    admin_put_int(row, db->pause != DATABASE_RUNS ? 1 : 0);
    admin_put_int(row, db->is_disabled ? 1 : 0);
    if (e != NULL) {
        admin_put_int(row, size_of(e->reserve_pool_size, set->reserve_pool_size));
    } else {
        admin_put_null(row);
    }
}

/* --- users: of auth_file, of [users], and who has logged in --- */

static void see_user(struct admin_walk *w, const char *name)
{
    admin_walk_see(w, (struct admin_key){.a = name}, name, 0);
}

static void each_user(struct server *s, struct admin_walk *w)
{
    const struct config *cfg = s->config;
    const struct pool_user *u;

    list_for_each(&s->env->users, u, link) {
        see_user(w, u->name);
    }
    for (const struct user_config *e = config_next_user(cfg, NULL); e != NULL;
         e = config_next_user(cfg, e)) {
        see_user(w, e->name);
    }
    if (cfg->userlist != NULL) {
        const struct userlist_entry *e = NULL;

        while ((e = userlist_next(cfg->userlist, e)) != NULL) {
            see_user(w, e->name);
        }
    }
    see_user(w, ADMIN_CONSOLE_NAME);
}

static void put_own_size(struct admin_row *row, int size)
{
    if (size == OPTION_UNSET) {
        admin_put_null(row);
    } else {
        admin_put_fmt(row, "%d", size_of(size, 0));
    }
}

/* A limit does not count sessions on the console; who looks at the user's connections wants to see them all the same. */
static unsigned count_consoles(const struct server *s, const struct pool_user *u)
{
    const struct client *c;
    unsigned n = 0;

    list_for_each(&s->consoles, c, link) {
        n += c->user == u ? 1 : 0;
    }
    return n;
}

static void fill_user(struct server *s, const struct admin_found *f, struct admin_row *row)
{
    const struct settings *set = &s->config->settings;
    const char *name = f->item;
    const struct user_config *e = config_user(s->config, name);
    const struct pool_user *u = pool_user_find(s->env, name);

    admin_put_name(row, name);
    put_own_size(row, e != NULL ? e->pool_size : OPTION_UNSET);
    put_own_size(row, e != NULL ? e->reserve_pool_size : OPTION_UNSET);
    admin_put_text(
        row, e == NULL || e->pool_mode == POOL_MODE_UNSET ? NULL : pool_mode_name(e->pool_mode));
    admin_put_int(row, size_of(e != NULL ? e->max_user_connections : OPTION_UNSET,
                               set->max_user_connections));
    admin_put_uint(row, u != NULL ? u->n_connections : 0);
    admin_put_int(row, size_of(e != NULL ? e->max_user_client_connections : OPTION_UNSET,
                               set->max_user_client_connections));
    admin_put_uint(row, u != NULL ? u->n_clients + count_consoles(s, u) : 0);
}

static unsigned count_users(const struct server *s)
{
    const struct config *cfg = s->config;
    unsigned n = cfg->userlist != NULL ? userlist_count(cfg->userlist) : 0;
    const struct pool_user *u;
    bool has_console =
        cfg->userlist != NULL && userlist_find(cfg->userlist, ADMIN_CONSOLE_NAME) != NULL;

    for (const struct user_config *e = config_next_user(cfg, NULL); e != NULL;
         e = config_next_user(cfg, e)) {
        if (cfg->userlist == NULL || userlist_find(cfg->userlist, e->name) == NULL) {
            has_console = has_console || strcmp(e->name, ADMIN_CONSOLE_NAME) == 0;
            n++;
        }
    }
    list_for_each(&s->env->users, u, link) {
        if ((cfg->userlist == NULL || userlist_find(cfg->userlist, u->name) == NULL) &&
            config_user(cfg, u->name) == NULL) {
            has_console = has_console || strcmp(u->name, ADMIN_CONSOLE_NAME) == 0;
            n++;
        }
    }
    return has_console ? n : n + 1;
}

/* --- peers --- */

static void show_peers(struct server *s, struct admin_rows *rows)
{
    const struct config *cfg = s->config;

    for (const struct peer_config *p = config_next_peer(cfg, NULL); p != NULL;
         p = config_next_peer(cfg, p)) {
        struct admin_row *row = admin_rows_next(rows);

        if (row != NULL) {
            admin_put_int(row, p->id);
            admin_put_text(row, p->host);
            admin_put_int(row, p->target.port);
            admin_put_int(row, size_of(p->pool_size, cfg->settings.default_pool_size));
        }
    }
}

/* NULL: the entry of this process itself. */
static void put_peer_figures(struct admin_row *row, const struct peer *peer)
{
    unsigned n_connecting = peer != NULL ? peer_count_connecting(peer) : 0;

    admin_put_uint(row, peer != NULL ? peer_count_clients(&peer->active) : 0);
    admin_put_uint(row, peer != NULL ? peer_count_clients(&peer->waiting) : 0);
    admin_put_uint(row, peer != NULL ? peer->active.n - n_connecting : 0);
    admin_put_uint(row, n_connecting);
    admin_put_uint(row, peer != NULL ? peer->n_done : 0);
    admin_put_uint(row, peer != NULL ? peer->n_failed : 0);
}

static void show_peer_pools(struct server *s, struct admin_rows *rows)
{
    const struct config *cfg = s->config;

    for (const struct peer_config *p = config_next_peer(cfg, NULL); p != NULL;
         p = config_next_peer(cfg, p)) {
        struct admin_row *row = admin_rows_next(rows);

        if (row != NULL) {
            admin_put_int(row, p->id);
            put_peer_figures(row, peer_find(&s->peers, (unsigned)p->id));
        }
    }
}

/* --- lists --- */

static unsigned count_logins(const struct server *s)
{
    const struct client *c;
    unsigned n = 0;

    list_for_each(&s->logins, c, link) {
        n += c->state != CLIENT_CANCEL ? 1 : 0;
    }
    return n;
}

static unsigned count_peers(const struct config *cfg)
{
    unsigned n = 0;

    for (const struct peer_config *p = config_next_peer(cfg, NULL); p != NULL;
         p = config_next_peer(cfg, p)) {
        n++;
    }
    return n;
}

void admin_each_list(const struct server *s, admin_number_fn fn, void *arg)
{
    unsigned n_pools = 1;   /* the console's */
    unsigned n_servers = 0; /* the hubs as well: one for each row of SHOW SERVERS */
    unsigned n_peers = count_peers(s->config);
    const struct database *db;

    for (const struct pool *pool = admin_next_pool(s, NULL); pool != NULL;
         pool = admin_next_pool(s, pool)) {
        n_pools++;
    }
    list_for_each(&s->env->databases, db, link) {
        n_servers += db->n_connections;
    }
    const struct {
        const char *name;
        unsigned n;
    } lists[] = {
        {"databases", s->env->databases.n + 1},
        {"users", count_users(s)},
        {"peers", n_peers},
        {"pools", n_pools},
        {"peer_pools", n_peers},
        {"free_clients", 0}, /* none is kept for later */
        {"used_clients", s->n_clients},
        {"login_clients", count_logins(s)},
        {"free_servers", 0},
        {"used_servers", n_servers},
        {"dns_names", resolver_count_hosts(s->resolver)},
        {"dns_zones", resolver_count_zones(s->resolver)},
        {"dns_queries", resolver_count_pending(s->resolver)},
        {"dns_pending", 0},
    };

    for (size_t i = 0; i < ARRAY_LEN(lists); i++) {
        fn(arg, lists[i].name, lists[i].n);
    }
}

static void put_list(void *arg, const char *name, uint64_t n)
{
    struct admin_row *row = admin_rows_next(arg);

    if (row != NULL) {
        admin_put_text(row, name);
        admin_put_uint(row, n);
    }
}

static void show_lists(struct server *s, struct admin_rows *rows)
{
    admin_each_list(s, put_list, rows);
}

/* --- the rows of the table --- */

const struct admin_show_kind admin_show_pools = {
    .name = "POOLS", ADMIN_COLUMNS(pool_columns), .each = each_pool, .fill = fill_pool};
const struct admin_show_kind admin_show_databases = {.name = "DATABASES",
                                                     ADMIN_COLUMNS(database_columns),
                                                     .each = each_database,
                                                     .fill = fill_database};
const struct admin_show_kind admin_show_users = {
    .name = "USERS", ADMIN_COLUMNS(user_columns), .each = each_user, .fill = fill_user};
const struct admin_show_kind admin_show_peers = {
    .name = "PEERS", .begins_line = true, ADMIN_COLUMNS(peer_columns), .rows = show_peers};
const struct admin_show_kind admin_show_peer_pools = {
    .name = "PEER_POOLS", ADMIN_COLUMNS(peer_pool_columns), .rows = show_peer_pools};
const struct admin_show_kind admin_show_lists = {
    .name = "LISTS", ADMIN_COLUMNS(list_columns), .rows = show_lists};
