/* SPDX-License-Identifier: ISC */
/* One entry of [databases] or [users] and the settings around it, as the pools want them. */
#include "daemon/reload_internal.h"

#include "config/require_auth.h"
#include "daemon/util/log.h"

#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

/* --- targets --- */

/* Where a server's Unix socket is looked for when an entry names no host. As in PgBouncer that is unix_socket_dir; where
 * that is not given, Debian's directory if it is there, else /tmp, PostgreSQL's own default. */
static const char *default_socket_dir(const struct config *c)
{
    const struct option_place *place =
        &c->places[option_index(option_find(OPTION_GLOBAL, "unix_socket_dir"))];
    static const char debian[] = "/var/run/postgresql";
    struct stat st;

    if (place->line > 0 && *c->settings.unix_socket_dir != '\0') {
        return c->settings.unix_socket_dir;
    }
    return stat(debian, &st) == 0 && S_ISDIR(st.st_mode) ? debian : "/tmp";
}

static bool add_hosts(struct target *t, const struct config *c, const struct database_config *entry)
{
    for (unsigned i = 0; i < entry->n_hosts; i++) {
        const struct database_host *h = &entry->hosts[i];

        if (!target_add_host(t, *h->name == '\0' ? default_socket_dir(c) : h->name, h->port)) {
            return false;
        }
    }
    return true;
}

/* All texts of a template in one block: first the extra parameters, then the bytes. */
struct text_block {
    char *at;
    char *end;
};

static const char *put_text(struct text_block *b, const char *text)
{
    size_t size = strlen(text) + 1;
    char *copy = b->at;

    fatal_unless(size <= (size_t)(b->end - b->at));
    memcpy(copy, text, size);
    b->at += size;
    return copy;
}

#define MAX_EXTRA 2U

static bool fill_texts(struct target *t, const struct settings *set,
                       const struct database_config *entry)
{
    struct backend_connect_params *p = &t->template;
    const char *texts[] = {set->server_tls_ca_file,  set->server_tls_cert_file,
                           set->server_tls_key_file, entry->application_name,
                           entry->client_encoding,   entry->datestyle,
                           entry->timezone,          entry->require_auth};
    size_t size = MAX_EXTRA * sizeof(struct backend_startup_param);
    struct backend_startup_param *extra;
    struct text_block b;

    for (size_t i = 0; i < ARRAY_LEN(texts); i++) {
        size += strlen(texts[i]) + 1;
    }
    t->text = calloc(1, size);
    if (t->text == NULL) {
        return false;
    }
    extra = (void *)t->text;
    b = (struct text_block){(char *)(extra + MAX_EXTRA), t->text + size};
    p->sslrootcert = put_text(&b, set->server_tls_ca_file);
    p->sslcert = put_text(&b, set->server_tls_cert_file);
    p->sslkey = put_text(&b, set->server_tls_key_file);
    p->application_name = put_text(&b, entry->application_name);
    p->client_encoding = put_text(&b, entry->client_encoding);
    if (*entry->datestyle != '\0') {
        extra[p->n_extra++] =
            (struct backend_startup_param){"DateStyle", put_text(&b, entry->datestyle)};
    }
    if (*entry->timezone != '\0') {
        extra[p->n_extra++] =
            (struct backend_startup_param){"TimeZone", put_text(&b, entry->timezone)};
    }
    p->extra = extra;
    t->auth.text = put_text(&b, entry->require_auth);
    return true;
}

static enum tls_sslmode tls_mode(enum sslmode mode)
{
    switch (mode) {
    case SSLMODE_DISABLE:
        return TLS_DISABLE;
    case SSLMODE_ALLOW:
        return TLS_ALLOW;
    case SSLMODE_PREFER:
        return TLS_PREFER;
    case SSLMODE_REQUIRE:
        return TLS_REQUIRE;
    case SSLMODE_VERIFY_CA:
        return TLS_VERIFY_CA;
    case SSLMODE_VERIFY_FULL:
        return TLS_VERIFY_FULL;
    }
    unreachable();
}

static enum target_role target_role(enum target_session_attrs attrs)
{
    switch (attrs) {
    case TARGET_SESSION_ATTRS_ANY:
        return TARGET_ANY;
    case TARGET_SESSION_ATTRS_READ_WRITE:
        return TARGET_READ_WRITE;
    case TARGET_SESSION_ATTRS_READ_ONLY:
        return TARGET_READ_ONLY;
    case TARGET_SESSION_ATTRS_PRIMARY:
        return TARGET_PRIMARY;
    case TARGET_SESSION_ATTRS_STANDBY:
        return TARGET_STANDBY;
    case TARGET_SESSION_ATTRS_PREFER_STANDBY:
        return TARGET_PREFER_STANDBY;
    }
    unreachable();
}

static enum channel_binding channel_binding(enum channel_binding_word word)
{
    switch (word) {
    case CHANNEL_BINDING_WORD_PREFER:
        return CHANNEL_BINDING_PREFER;
    case CHANNEL_BINDING_WORD_REQUIRE:
        return CHANNEL_BINDING_REQUIRE;
    case CHANNEL_BINDING_WORD_DISABLE:
        return CHANNEL_BINDING_DISABLE;
    }
    unreachable();
}

static void fill_auth(struct server_auth *a, const struct database_config *entry)
{
    static const struct {
        unsigned method;
        uint32_t kinds;
    } map[] = {
        {REQUIRE_AUTH_PASSWORD, 1U << SERVER_AUTH_CLEARTEXT},
        {REQUIRE_AUTH_MD5, 1U << SERVER_AUTH_MD5},
        {REQUIRE_AUTH_GSS, 1U << SERVER_AUTH_GSS | 1U << SERVER_AUTH_GSS_CONTINUE},
        {REQUIRE_AUTH_SSPI, 1U << SERVER_AUTH_SSPI | 1U << SERVER_AUTH_GSS_CONTINUE},
        {REQUIRE_AUTH_SCRAM,
         1U << SERVER_AUTH_SASL | 1U << SERVER_AUTH_SASL_CONTINUE | 1U << SERVER_AUTH_SASL_FINAL},
    };
    struct require_auth require = {0};
    char why[CONFIG_WHY_SIZE];

    /* databases.c has refused what is wrong; were it not so, nothing would be allowed */
    a->must_ask =
        !require_auth_parse(entry->require_auth, &require, why, sizeof(why)) || require.must_ask;
    for (unsigned i = 0; i < ARRAY_LEN(map); i++) {
        if ((require.methods & map[i].method) != 0) {
            a->allowed |= map[i].kinds;
        }
    }
    a->binding = channel_binding(entry->channel_binding);
}

static void fill_numbers(struct target *t, const struct settings *set)
{
    struct backend_connect_params *p = &t->template;
    unsigned protocols = 0;

    p->until = BACKEND_CONNECT_LOGIN;
    p->sslmode = tls_mode(set->server_tls_sslmode);
    if (tls_protocols_parse(set->server_tls_protocols,
                            &protocols)) { /* check.c has refused what is wrong */
        p->tls_min = tls_protocols_min(protocols);
        p->tls_max = tls_protocols_max(protocols);
    }
    p->tcp_keepalive = set->tcp_keepalive;
    p->tcp_keepidle_s = (unsigned)set->tcp_keepidle_s;
    p->tcp_keepintvl_s = (unsigned)set->tcp_keepintvl_s;
    p->tcp_keepcnt = (unsigned)set->tcp_keepcnt;
    p->tcp_user_timeout_ms = (unsigned)set->tcp_user_timeout_ms;
    p->tcp_socket_buffer_bytes = (unsigned)set->tcp_socket_buffer_bytes;
}

static bool fill_startup(struct target *t, struct params_table *table,
                         const struct database_config *entry)
{
    const struct param all[] = {{"application_name", entry->application_name},
                                {"client_encoding", entry->client_encoding},
                                {"DateStyle", entry->datestyle},
                                {"TimeZone", entry->timezone}};
    struct param given[ARRAY_LEN(all)];
    unsigned n = 0;

    for (size_t i = 0; i < ARRAY_LEN(all); i++) {
        if (*all[i].value != '\0') {
            given[n++] = all[i];
        }
    }
    if (n > 0) {
        t->startup = params_intern(table, given, n);
    }
    return n == 0 || t->startup != NULL;
}

struct target *reload_target(const struct server *s, const struct config *c,
                             const struct database_config *entry)
{
    struct target *t = target_new();

    if (t == NULL) {
        return NULL;
    }
    t->round_robin = entry->load_balance_hosts == LOAD_BALANCE_HOSTS_ROUND_ROBIN;
    t->role = target_role(entry->target_session_attrs);
    fill_auth(&t->auth, entry);
    t->dbname = strdup(*entry->dbname == '\0' ? entry->name : entry->dbname);
    fill_numbers(t, &c->settings);
    if (t->dbname == NULL || !add_hosts(t, c, entry) || !fill_texts(t, &c->settings, entry) ||
        !fill_startup(t, s->env->params, entry)) {
        return target_unref(t);
    }
    return t;
}

static bool same_text(const char *a, const char *b)
{
    return strcmp(a == NULL ? "" : a, b == NULL ? "" : b) == 0;
}

static bool same_template(const struct backend_connect_params *a,
                          const struct backend_connect_params *b)
{
    return a->sslmode == b->sslmode && same_text(a->sslrootcert, b->sslrootcert) &&
           same_text(a->sslcert, b->sslcert) && same_text(a->sslkey, b->sslkey) &&
           same_text(a->tls_min, b->tls_min) && same_text(a->tls_max, b->tls_max) &&
           a->tcp_keepalive == b->tcp_keepalive && a->tcp_keepidle_s == b->tcp_keepidle_s &&
           a->tcp_keepintvl_s == b->tcp_keepintvl_s && a->tcp_keepcnt == b->tcp_keepcnt &&
           a->tcp_user_timeout_ms == b->tcp_user_timeout_ms &&
           a->tcp_socket_buffer_bytes == b->tcp_socket_buffer_bytes;
}

bool reload_same_target(const struct target *a, const struct target *b)
{
    if (a->n_hosts != b->n_hosts || a->round_robin != b->round_robin || a->role != b->role ||
        a->auth.binding != b->auth.binding || !same_text(a->auth.text, b->auth.text) ||
        strcmp(a->dbname, b->dbname) != 0 || a->startup != b->startup ||
        !same_template(&a->template, &b->template)) {
        return false; /* equal sets of parameters are one object */
    }
    for (unsigned i = 0; i < a->n_hosts; i++) {
        if (a->hosts[i].port != b->hosts[i].port ||
            strcmp(a->hosts[i].name, b->hosts[i].name) != 0) {
            return false;
        }
    }
    return true;
}

/* --- secrets --- */

/* A verifier tells no key, but one that a client's login gave away for this very verifier is worth keeping. */
static bool keeps_learnt_keys(const struct credentials *known, const struct secret *verifier)
{
    struct scram_keys keys;
    bool keeps;

    if (!known->scram.has_client_key || !scram_secret_parse(verifier->data, &keys)) {
        return false;
    }
    keeps = secret_bytes_equal(keys.stored_key, known->scram.stored_key, sizeof(keys.stored_key)) &&
            secret_bytes_equal(keys.server_key, known->scram.server_key, sizeof(keys.server_key));
    scram_keys_wipe(&keys);
    return keeps;
}

/* false: out of memory. What is there already stays as it is, with all that was learnt beside it. */
static bool take_secret(struct credentials *to, const struct secret *from, enum secret_kind kind)
{
    switch (kind) {
    case SECRET_KIND_PLAIN:
        if (secret_is_set(&to->password) && secret_equals(&to->password, from->data, from->len)) {
            return true;
        }
        credentials_wipe(to);
        return secret_set(&to->password, from->data, from->len);
    case SECRET_KIND_MD5:
        if (secret_equals(from, to->md5, strlen(to->md5))) {
            return true;
        }
        credentials_wipe(to);
        fatal_unless(from->len == MD5_TEXT_BYTES);
        memcpy(to->md5, from->data, MD5_TEXT_SIZE);
        return true;
    case SECRET_KIND_SCRAM:
        if (!keeps_learnt_keys(to, from)) {
            credentials_wipe(to);
        }
        return true;
    case SECRET_KIND_EMPTY:
        credentials_wipe(to);
        return true;
    }
    unreachable();
}

static const struct userlist_entry *listed(const struct userlist *list, const char *name)
{
    return list == NULL ? NULL : userlist_find(list, name);
}

void reload_apply_secret(struct pool_user *user, const struct userlist *before,
                         const struct userlist *now)
{
    const struct userlist_entry *e = listed(now, user->name);

    if (e == NULL) {
        if (listed(before, user->name) != NULL) {
            credentials_wipe(
                user->credentials); /* taken off the list; what auth_query told otherwise stays */
        }
        return;
    }
    if (!take_secret(user->credentials, &e->secret, e->kind)) {
        log_error("user %s: out of memory: its password is not known until the next reload",
                  user->name);
    }
}

/* Of the entry; without one, of the forced user in auth_file. */
static bool apply_forced(struct database *db, const struct config *c,
                         const struct database_config *entry)
{
    const struct userlist_entry *e;

    db->has_forced_user = *entry->user != '\0';
    if (secret_is_set(&entry->password)) {
        return take_secret(db->forced, &entry->password,
                           secret_kind_of(entry->password.data, entry->password.len));
    }
    if (!db->has_forced_user) {
        credentials_wipe(db->forced);
        return true;
    }
    e = listed(c->userlist, entry->user);
    if (e == NULL) {
        credentials_wipe(db->forced);
        return true;
    }
    return take_secret(db->forced, &e->secret, e->kind);
}

/* --- limits --- */

static unsigned first_set(int a, int b, int c)
{
    return (unsigned)(a != OPTION_UNSET ? a : b != OPTION_UNSET ? b : c);
}

static usec_t first_set_us(usec_t a, usec_t b)
{
    return a != OPTION_UNSET_US ? a : b;
}

bool reload_apply_entry(struct database *db, const struct config *c,
                        const struct database_config *entry)
{
    const struct settings *set = &c->settings;

    db->max_connections =
        first_set(entry->max_db_connections, OPTION_UNSET, set->max_db_connections);
    db->max_clients =
        first_set(entry->max_db_client_connections, OPTION_UNSET, set->max_db_client_connections);
    return apply_forced(db, c, entry);
}

void reload_apply_user(struct pool_user *user, const struct config *c)
{
    const struct user_config *u = config_user(c, user->name);
    const struct settings *set = &c->settings;

    user->max_connections = first_set(u == NULL ? OPTION_UNSET : u->max_user_connections,
                                      OPTION_UNSET, set->max_user_connections);
    user->max_clients = first_set(u == NULL ? OPTION_UNSET : u->max_user_client_connections,
                                  OPTION_UNSET, set->max_user_client_connections);
}

static uint8_t abandoned_how(enum abandoned_query how)
{
    switch (how) {
    case ABANDONED_QUERY_CANCEL:
        return POOL_ABANDONED_CANCEL;
    case ABANDONED_QUERY_WAIT:
        return POOL_ABANDONED_WAIT;
    case ABANDONED_QUERY_CLOSE:
        return POOL_ABANDONED_CLOSE;
    }
    unreachable();
}

static uint8_t mode_of(enum pool_mode user, enum pool_mode database, enum pool_mode global)
{
    enum pool_mode mode = user != POOL_MODE_UNSET       ? user
                          : database != POOL_MODE_UNSET ? database
                                                        : global;

    switch (mode) {
    case POOL_MODE_SESSION:
        return POOL_SESSION;
    case POOL_MODE_TRANSACTION:
        return POOL_TRANSACTION;
    case POOL_MODE_STATEMENT:
        return POOL_STATEMENT;
    case POOL_MODE_UNSET:
        break;
    }
    unreachable();
}

/* What neither an entry nor a user can say otherwise. */
static struct pool_limits global_limits(const struct settings *set)
{
    return (struct pool_limits){
        .reserve_timeout_us = set->reserve_pool_timeout_us,
        .query_wait_notify_us = set->query_wait_notify_us,
        .hub_idle_us = set->notify_hub_idle_us,
        .query_timeout_us = set->query_timeout_us,
        .transaction_timeout_us = set->transaction_timeout_us,
        .idle_transaction_timeout_us = set->idle_transaction_timeout_us,
        .client_idle_timeout_us = set->client_idle_timeout_us,
        .cancel_wait_timeout_us = set->cancel_wait_timeout_us,
        .lifetime_jitter = (unsigned)set->server_lifetime_jitter,
        .server_idle_timeout_us = set->server_idle_timeout_us,
        .server_connect_timeout_us = set->server_connect_timeout_us,
        .server_login_retry_us = set->server_login_retry_us,
        .server_check_delay_us = set->server_check_delay_us,
        .rollback_timeout_us = set->rollback_timeout_us,
        .max_prepared = (unsigned)set->max_prepared_statements,
        .round_robin = set->server_round_robin,
        .reset_always = set->server_reset_query_always,
        .fast_close = set->server_fast_close,
        .log_min_duration_us = set->log_min_duration_us,
        .abandoned = abandoned_how(set->abandoned_query),
    };
}

static void limit_by_user(struct pool_limits *lim, const struct user_config *u)
{
    lim->query_timeout_us = first_set_us(u->query_timeout_us, lim->query_timeout_us);
    lim->query_wait_timeout_us = first_set_us(u->query_wait_timeout_us, lim->query_wait_timeout_us);
    lim->transaction_timeout_us =
        first_set_us(u->transaction_timeout_us, lim->transaction_timeout_us);
    lim->idle_transaction_timeout_us =
        first_set_us(u->idle_transaction_timeout_us, lim->idle_transaction_timeout_us);
    lim->client_idle_timeout_us =
        first_set_us(u->client_idle_timeout_us, lim->client_idle_timeout_us);
}

/* Where both an entry of [users] and one of [databases] say something, the user's counts, as in PgBouncer. */
static struct pool_limits limits_of(const struct pool *pool, const struct config *c,
                                    const struct database_config *d)
{
    const struct user_config *u = config_user(c, pool->user->name);
    const struct settings *set = &c->settings;
    struct pool_limits lim = global_limits(set);

    lim.size =
        first_set(u == NULL ? OPTION_UNSET : u->pool_size, d->pool_size, set->default_pool_size);
    lim.min_size = MIN(first_set(d->min_pool_size, OPTION_UNSET, set->min_pool_size), lim.size);
    lim.reserve_size = first_set(u == NULL ? OPTION_UNSET : u->reserve_pool_size,
                                 d->reserve_pool_size, set->reserve_pool_size);
    if (lim.reserve_timeout_us == 0) {
        lim.reserve_size = 0; /* "0: the reserve is never used" */
    }
    lim.query_wait_timeout_us = first_set_us(d->query_wait_timeout_us, set->query_wait_timeout_us);
    lim.server_lifetime_us = first_set_us(d->server_lifetime_us, set->server_lifetime_us);
    lim.mode = mode_of(u == NULL ? POOL_MODE_UNSET : u->pool_mode, d->pool_mode, set->pool_mode);
    lim.echo = first_set(u == NULL ? OPTION_UNSET : u->echo, d->echo, set->echo) != 0;
    lim.echo_parameters = set->echo_parameters;
    lim.forced_user = *d->user != '\0' && strcmp(d->user, pool->user->name) == 0;
    if (u != NULL) {
        limit_by_user(&lim, u);
    }
    if (lim.mode == POOL_SESSION) {
        lim.max_prepared = 0; /* the client's own connection: nothing to follow */
    }
    return lim;
}

/* password= without user= is for everybody, except auth_user: that one is in auth_file. */
static bool has_forced_password(const struct pool *pool, const struct config *c,
                                const struct database_config *d)
{
    const char *auth_user = *d->auth_user != '\0' ? d->auth_user : c->settings.auth_user;

    return *d->user == '\0' && secret_is_set(&d->password) &&
           strcmp(auth_user, pool->user->name) != 0;
}

/* What opens the server connections of a forced user: the entry's password, auth_file's, or else what that user itself has
 * proved when it logged in here. */
static bool uses_forced(const struct pool *pool)
{
    const struct credentials *forced = pool->db->forced;

    return pool->limits.forced_user && (secret_is_set(&forced->password) || *forced->md5 != '\0');
}

bool reload_apply_pool(struct pool *pool, const struct config *c)
{
    const struct database_config *d = reload_entry(pool->db);
    const struct settings *set = &c->settings;
    const char *check = set->server_check_query;
    struct pool_limits lim;

    if (d == NULL) {
        return true; /* its entry is gone, and so will be the pool */
    }
    lim = limits_of(pool, c, d);
    pool_set_limits(pool, &lim);
    pool->credentials = uses_forced(pool) || has_forced_password(pool, c, d)
                            ? pool->db->forced
                            : pool->user->credentials;
    return pool_set_queries(pool, *d->connect_query == '\0' ? set->connect_query : d->connect_query,
                            set->server_reset_query, strcmp(check, "<empty>") == 0 ? " " : check);
}
