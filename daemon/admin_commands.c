/* SPDX-License-Identifier: ISC */
#include "daemon/admin_commands.h"

#include "daemon/admin_count.h"
#include "daemon/admin_suspend.h"
#include "daemon/handover.h"
#include "daemon/reload.h"
#include "daemon/version.h"

#include "daemon/util/fatal.h"
#include "daemon/util/num.h"

#include <ctype.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#define SQLSTATE_INSUFFICIENT_PRIVILEGE "42501"
#define SQLSTATE_INVALID_PARAMETER_VALUE "22023"
#define SQLSTATE_WRONG_STATE "55000" /* object_not_in_prerequisite_state */

#define NO_CLIENT "invalid client pointer supplied" /* scripts match it */

void admin_error_set(struct pg_error *error, const char *sqlstate, const char *fmt, ...)
{
    va_list args;

    *error = (struct pg_error){.severity = "ERROR"};
    (void)snprintf(error->sqlstate, sizeof(error->sqlstate), "%s", sqlstate);
    va_start(args, fmt);
    (void)vsnprintf(error->message, sizeof(error->message), fmt, args); /* cut is meant */
    va_end(args);
}

void admin_error_set_invalid(struct pg_error *error, const char *text, const char *why)
{
    char shown[ERROR_TEXT_MAX_BYTES - 64];

    admin_error_set(error, SQLSTATE_SYNTAX_ERROR, "invalid command '%s', use SHOW HELP;",
                    log_escape(shown, sizeof(shown), text));
    (void)snprintf(error->detail, sizeof(error->detail), "%s", why);
}

/* The word behind the command; NULL: there is none. */
static const char *argument(const struct admin_statement *st)
{
    return st->n > 1 ? st->tokens[1].text : NULL;
}

/* In PgBouncer's words. */
static void log_command(const struct client *c, const char *what, const char *about)
{
    char text[256];

    if (about == NULL) {
        client_log(c, LOG_LOG_LEVEL, "%s command issued", what);
        return;
    }
    (void)log_escape(text, sizeof(text), about);
    if (strcmp(what, "SHUTDOWN") == 0) { /* a word of the command, and no name */
        for (char *p = text; *p != '\0'; p++) {
            *p = (char)toupper((unsigned char)*p);
        }
        client_log(c, LOG_LOG_LEVEL, "%s %s command issued", what, text);
        return;
    }
    client_log(c, LOG_LOG_LEVEL, "%s '%s' command issued", what, text);
}

/* --- databases --- */

/* The database that the command names. NULL: there is none, and *error says so. @what: what the command would do. */
static struct database *named_database(struct server *s, const struct admin_statement *st,
                                       const char *what, struct pg_error *error)
{
    const char *name = argument(st);
    struct database *db;

    if (config_name_is_console(name)) {
        admin_error_set(error, SQLSTATE_WRONG_STATE, "cannot %s admin db: %s", what, name);
        return NULL;
    }
    db = reload_find_database(s, name);
    if (db == NULL) {
        admin_error_set(error, SQLSTATE_INVALID_CATALOG_NAME, "no such database: %s", name);
    }
    return db;
}

static bool is_draining(const struct server *s, struct pg_error *error)
{
    if (s->state == SERVER_WAITS_FOR_SERVERS || s->state == SERVER_WAITS_FOR_CLIENTS ||
        s->state == SERVER_ENDS) {
        admin_error_set(error, SQLSTATE_CANNOT_CONNECT_NOW, "%s", SERVER_SHUTDOWN_TEXT);
        return true;
    }
    return false;
}

/* Done at once, or from now on waited for. */
static enum admin_verdict wait_for(enum admin_wait_for what, const char *database, struct server *s,
                                   struct admin_wait *wait, struct pg_error *error)
{
    enum admin_verdict verdict;
    unsigned left;

    *wait = (struct admin_wait){.what = what};
    if (database != NULL) {
        wait->database = strdup(database);
        if (wait->database == NULL) {
            admin_error_set(error, SQLSTATE_OUT_OF_MEMORY, "out of memory");
            return ADMIN_FAILED;
        }
    }
    verdict = admin_wait_look(wait, s, &left, error);
    if (verdict != ADMIN_WAITS) {
        admin_wait_done(wait);
    }
    return verdict;
}

static enum admin_verdict run_pause(struct client *c, const struct admin_statement *st,
                                    struct admin_wait *wait, struct pg_error *error)
{
    struct server *s = c->server;
    const char *name = argument(st);
    struct database *db;

    if (is_draining(s, error)) {
        return ADMIN_FAILED;
    }
    if (name == NULL) {
        if (s->is_paused || s->state == SERVER_SUSPENDED) {
            admin_error_set(error, SQLSTATE_WRONG_STATE, "already suspended/paused");
            return ADMIN_FAILED;
        }
        server_pause_all(s);
        return wait_for(ADMIN_WAIT_PAUSE, NULL, s, wait, error);
    }
    db = named_database(s, st, "pause", error);
    if (db == NULL) {
        return ADMIN_FAILED;
    }
    server_pause(db);
    return wait_for(ADMIN_WAIT_PAUSE, name, s, wait, error);
}

/* Ends what holds all databases. Who was paused by name is nobody's but his who names it: he may be about to move it. */
static enum admin_verdict resume_all(struct server *s, struct pg_error *error)
{
    if (!s->is_paused && s->state != SERVER_SUSPENDED) {
        const struct database *db;

        admin_error_set(error, SQLSTATE_WRONG_STATE, "pooler is not paused/suspended");
        list_for_each(&s->env->databases, db, link) {
            if (db->is_paused_by_name) {
                (void)snprintf(error->hint, sizeof(error->hint),
                               "Databases that were paused by name are resumed by name.");
            }
        }
        return ADMIN_FAILED;
    }
    server_resume_all(s);
    return ADMIN_DONE;
}

static enum admin_verdict run_resume(struct client *c, const struct admin_statement *st,
                                     struct admin_wait *wait, struct pg_error *error)
{
    struct server *s = c->server;
    const char *name = argument(st);
    struct database *db;

    (void)wait;
    if (s->state == SERVER_WAITS_FOR_SERVERS && is_draining(s, error)) {
        return ADMIN_FAILED;
    }
    if (name == NULL) {
        return resume_all(s, error);
    }
    db = config_name_is_console(name) ? NULL : named_database(s, st, "resume", error);
    if (db == NULL && !config_name_is_console(name)) {
        return ADMIN_FAILED;
    }
    if (db == NULL || !db->is_paused_by_name) {
        admin_error_set(error, SQLSTATE_WRONG_STATE, "database %s is not paused", name);
        if (db != NULL && db->pause != DATABASE_RUNS) {
            (void)snprintf(error->hint, sizeof(error->hint),
                           "All databases are: RESUME without a name ends that.");
        }
        return ADMIN_FAILED;
    }
    server_resume(s, db);
    return ADMIN_DONE;
}

static enum admin_verdict set_disabled(struct client *c, const struct admin_statement *st,
                                       bool is_disabled, struct pg_error *error)
{
    struct database *db = named_database(c->server, st, is_disabled ? "disable" : "enable", error);

    if (db == NULL) {
        return ADMIN_FAILED;
    }
    db->is_disabled = is_disabled;
    return ADMIN_DONE;
}

static enum admin_verdict run_disable(struct client *c, const struct admin_statement *st,
                                      struct admin_wait *wait, struct pg_error *error)
{
    (void)wait;
    return set_disabled(c, st, true, error);
}

static enum admin_verdict run_enable(struct client *c, const struct admin_statement *st,
                                     struct admin_wait *wait, struct pg_error *error)
{
    (void)wait;
    return set_disabled(c, st, false, error);
}

/* Does @fn to all pools; @only: of one database. */
static void for_pools(const struct server *s, const struct database *only,
                      void (*fn)(struct pool *pool))
{
    for (struct pool *pool = admin_next_pool(s, NULL); pool != NULL;
         pool = admin_next_pool(s, pool)) {
        if (only == NULL || pool->db == only) {
            fn(pool);
        }
    }
}

static enum admin_verdict run_reconnect(struct client *c, const struct admin_statement *st,
                                        struct admin_wait *wait, struct pg_error *error)
{
    const struct database *only = NULL;

    (void)wait;
    if (argument(st) != NULL) {
        only = named_database(c->server, st, "reconnect", error);
        if (only == NULL) {
            return ADMIN_FAILED;
        }
    }
    for_pools(c->server, only, pool_reconnect);
    return ADMIN_DONE;
}

static enum admin_verdict run_wait_close(struct client *c, const struct admin_statement *st,
                                         struct admin_wait *wait, struct pg_error *error)
{
    if (argument(st) != NULL && named_database(c->server, st, "wait in", error) == NULL) {
        return ADMIN_FAILED;
    }
    return wait_for(ADMIN_WAIT_CLOSE, argument(st), c->server, wait, error);
}

/* --- KILL --- */

static void kill_pool(struct pool *pool)
{
    struct pg_error why;

    pg_error_set(&why, SQLSTATE_ADMIN_SHUTDOWN, "database removed"); /* so PgBouncer says */
    (void)snprintf(why.detail, sizeof(why.detail),
                   "KILL has ended all connections of database \"%.256s\".", pool->db->name);
    pool_kill(pool, &why);
    while (!list_is_empty(&pool->clients)) {
        client_close(list_entry(list_first(&pool->clients), struct client, link), &why);
    }
}

static enum admin_verdict run_kill(struct client *c, const struct admin_statement *st,
                                   struct admin_wait *wait, struct pg_error *error)
{
    struct server *s = c->server;
    struct database *only = NULL;

    (void)wait;
    if (is_draining(s, error)) {
        return ADMIN_FAILED;
    }
    if (argument(st) == NULL) { /* paused first: nothing that is killed comes back */
        server_pause_all(s);
    } else {
        only = named_database(s, st, "kill", error);
        if (only == NULL) {
            return ADMIN_FAILED;
        }
        server_pause(only);
    }
    for_pools(s, only, kill_pool);
    return ADMIN_DONE;
}

static struct client *find_in(const struct list *clients, uint64_t id)
{
    struct client *c;

    list_for_each(clients, c, link) {
        if (c->id == id) {
            return c;
        }
    }
    return NULL;
}

static struct client *find_client(const struct server *s, uint64_t id)
{
    struct client *c;

    for (uint32_t i = 0; i < s->n_slots; i++) {
        if (s->slots[i] != NULL && s->slots[i]->id == id) {
            return s->slots[i];
        }
    }
    c = find_in(&s->consoles, id);
    return c != NULL ? c : find_in(&s->logins, id);
}

static enum admin_verdict run_kill_client(struct client *c, const struct admin_statement *st,
                                          struct admin_wait *wait, struct pg_error *error)
{
    struct client *victim;
    struct pg_error why;
    uint64_t id;

    (void)wait;
    if (!num_parse_u64(argument(st), UINT64_MAX, &id)) {
        admin_error_set(error, SQLSTATE_INVALID_PARAMETER_VALUE, "%s", NO_CLIENT);
        return ADMIN_FAILED;
    }
    victim = find_client(c->server, id);
    if (victim == NULL) {
        admin_error_set(error, SQLSTATE_INVALID_PARAMETER_VALUE, "client not found");
        return ADMIN_FAILED;
    }
    pg_error_set(&why, SQLSTATE_ADMIN_SHUTDOWN, "admin forced disconnect");
    if (victim->lease.state == LEASE_HELD) {
        backend_kill(victim->lease.backend, "killed with its client", &why);
    }
    client_close(victim, &why);
    return c->state == CLIENT_CONSOLE ? ADMIN_DONE : ADMIN_GONE;
}

/* --- the process --- */

static enum admin_verdict run_suspend(struct client *c, const struct admin_statement *st,
                                      struct admin_wait *wait, struct pg_error *error)
{
    struct server *s = c->server;

    (void)st;
    if (is_draining(s, error)) {
        return ADMIN_FAILED;
    }
    if (s->is_paused || s->state == SERVER_SUSPENDED) {
        admin_error_set(error, SQLSTATE_WRONG_STATE, "already suspended/paused");
        return ADMIN_FAILED;
    }
    if (!admin_suspend(s)) {
        admin_error_set(error, SQLSTATE_OUT_OF_MEMORY, "out of memory");
        return ADMIN_FAILED;
    }
    return wait_for(ADMIN_WAIT_SUSPEND, NULL, s, wait, error);
}

static enum admin_verdict run_shutdown(struct client *c, const struct admin_statement *st,
                                       struct admin_wait *wait, struct pg_error *error)
{
    struct server *s = c->server;

    if (argument(st) == NULL) {
        server_end(s,
                   SERVER_SHUTDOWN_TEXT); /* at the end of this turn: the answer goes out before */
        return ADMIN_DONE;
    }
    if (admin_statement_is(st, 1, "WAIT_FOR_SERVERS")) {
        server_wait_for(s, SERVER_WAITS_FOR_SERVERS);
    } else if (admin_statement_is(st, 1, "WAIT_FOR_CLIENTS")) {
        server_wait_for(s, SERVER_WAITS_FOR_CLIENTS);
    } else {
        admin_error_set_invalid(error, st->text,
                                "SHUTDOWN takes nothing, WAIT_FOR_SERVERS or WAIT_FOR_CLIENTS.");
        return ADMIN_FAILED;
    }
    return wait_for(ADMIN_WAIT_SHUTDOWN, NULL, s, wait, error);
}

/* Not for people: the new process of an online restart says it. */
static enum admin_verdict run_takeover(struct client *c, const struct admin_statement *st,
                                       struct admin_wait *wait, struct pg_error *error)
{
    const char *why;

    (void)wait;
    if (strcmp(argument(st), "1") != 0) { /* TAKEOVER_PROTOCOL */
        admin_error_set(error, SQLSTATE_FEATURE_NOT_SUPPORTED,
                        "this process hands over in another way: " PGPOOLD_VERSION_TEXT);
        return ADMIN_FAILED;
    }
    why = handover_begin(c);
    if (why != NULL) {
        admin_error_set(error, SQLSTATE_WRONG_STATE, "%s", why);
        return ADMIN_FAILED;
    }
    conn_done(&c->conn,
              c->server->loop); /* the new process may have answered already: not ours to read */
    client_close_quiet(c, "takes over");
    return ADMIN_GONE;
}

/* The faults as far as there is room, the first in the message. */
static void set_faults(struct pg_error *error, const struct config_errors *faults)
{
    size_t len = 0;

    for (unsigned i = 0; i < faults->n && len < sizeof(error->detail); i++) {
        len += (size_t)snprintf(error->detail + len, sizeof(error->detail) - len, "%s%s",
                                i > 0 ? "\n" : "", faults->text[i]); /* cut is meant */
    }
}

static enum admin_verdict run_reload(struct client *c, const struct admin_statement *st,
                                     struct admin_wait *wait, struct pg_error *error)
{
    struct config_errors faults = CONFIG_ERRORS_INIT;
    bool ok = reload_again(c->server, &faults);

    (void)st;
    (void)wait;
    if (!ok) {
        admin_error_set(error, SQLSTATE_CONFIG_FILE_ERROR,
                        "RELOAD failed, see logs for additional details");
        set_faults(error, &faults);
    }
    config_errors_done(&faults);
    return ok ? ADMIN_DONE : ADMIN_FAILED;
}

/* --- SET --- */

/* What drivers set at the beginning of a session: without meaning here, but no reason to refuse them. */
static bool is_of_session(const char *name)
{
    static const char *const names[] = {
        "extra_float_digits",
        "client_min_messages",
        "search_path",
        "statement_timeout",
        "lock_timeout",
        "idle_in_transaction_session_timeout",
        "bytea_output",
        "session",
        "time",
        "names",
    };

    for (size_t i = 0; i < ARRAY_LEN(names); i++) {
        if (strcasecmp(names[i], name) == 0) {
            return true;
        }
    }
    return admin_parameter_find(name) != NULL;
}

static enum admin_verdict run_set(struct client *c, const struct admin_statement *st,
                                  struct admin_wait *wait, struct pg_error *error)
{
    struct config_errors faults = CONFIG_ERRORS_INIT;
    const char *name = argument(st);
    bool ok;

    (void)wait;
    if (option_find(OPTION_GLOBAL, name) == NULL && is_of_session(name)) {
        return ADMIN_DONE;
    }
    if (!c->is_admin) {
        admin_error_set(error, SQLSTATE_INSUFFICIENT_PRIVILEGE, "admin access needed");
        return ADMIN_FAILED;
    }
    if (st->n != 4 || st->is_longer ||
        (st->tokens[2].kind != ADMIN_TOKEN_EQUALS && !admin_statement_is(st, 2, "TO"))) {
        admin_error_set_invalid(
            error, st->text,
            "The form is SET key = value, with a value of several words in quotes.");
        return ADMIN_FAILED;
    }
    ok = reload_set(c->server, name, st->tokens[3].text, &faults);
    if (!ok) {
        admin_error_set(error, SQLSTATE_INVALID_PARAMETER_VALUE, "SET failed");
        set_faults(error, &faults);
    }
    config_errors_done(&faults);
    return ok ? ADMIN_DONE : ADMIN_FAILED;
}

/* --- the table --- */

static const struct admin_command commands[] = {
#define NO_DATABASE "a database is required"
    {"SET", "SET key = arg", NULL, 1, ADMIN_TOKENS_MAX, ADMIN_FOR_ALL,
     run_set}, /* looks itself who may what */
    {"RELOAD", "RELOAD", NULL, 0, 0, ADMIN_FOR_ADMINS, run_reload},
    {"PAUSE", "PAUSE [<db>]", NULL, 0, 1, ADMIN_FOR_ADMINS, run_pause},
    {"RESUME", "RESUME [<db>]", NULL, 0, 1, ADMIN_FOR_ADMINS, run_resume},
    {"DISABLE", "DISABLE <db>", NO_DATABASE, 1, 1, ADMIN_FOR_ADMINS, run_disable},
    {"ENABLE", "ENABLE <db>", NO_DATABASE, 1, 1, ADMIN_FOR_ADMINS, run_enable},
    {"RECONNECT", "RECONNECT [<db>]", NULL, 0, 1, ADMIN_FOR_ADMINS, run_reconnect},
    {"KILL", "KILL [<db>]", NULL, 0, 1, ADMIN_FOR_ADMINS, run_kill},
    {"KILL_CLIENT", "KILL_CLIENT <client_id>", NO_CLIENT, 1, 1, ADMIN_FOR_ADMINS, run_kill_client},
    {"SUSPEND", "SUSPEND", NULL, 0, 0, ADMIN_FOR_ADMINS, run_suspend},
    {"SHUTDOWN", "SHUTDOWN [WAIT_FOR_SERVERS|WAIT_FOR_CLIENTS]", NULL, 0, 1, ADMIN_FOR_ADMINS,
     run_shutdown},
    {"WAIT_CLOSE", "WAIT_CLOSE [<db>]", NULL, 0, 1, ADMIN_FOR_ADMINS, run_wait_close},
    {"TAKEOVER", "TAKEOVER <protocol>", NULL, 1, 1, ADMIN_FOR_ADMINS, run_takeover},
#undef NO_DATABASE
};

const struct admin_command *const admin_command_set = &commands[0];

const struct admin_command *admin_command_at(unsigned i)
{
    return i < ARRAY_LEN(commands) ? &commands[i] : NULL;
}

const struct admin_command *admin_command_find(const struct admin_statement *st)
{
    for (size_t i = 0; i < ARRAY_LEN(commands); i++) {
        if (admin_statement_is(st, 0, commands[i].name)) {
            return &commands[i];
        }
    }
    return NULL;
}

static void set_wrong_form(const struct admin_command *command, const struct admin_statement *st,
                           struct pg_error *error)
{
    char form[128];

    (void)snprintf(form, sizeof(form), "The form is %s.", command->usage); /* always fits */
    if (st->n == 1 && command->lacks != NULL) {
        admin_error_set(error, SQLSTATE_SYNTAX_ERROR, "%s", command->lacks);
        (void)snprintf(error->detail, sizeof(error->detail), "%s", form);
        return;
    }
    admin_error_set_invalid(error, st->text, form);
}

enum admin_verdict admin_command_run(const struct admin_command *command, struct client *c,
                                     const struct admin_statement *st, struct admin_wait *wait,
                                     struct pg_error *error)
{
    unsigned n_words = st->n - 1;

    if (command->right == ADMIN_FOR_ADMINS && !c->is_admin) {
        admin_error_set(error, SQLSTATE_INSUFFICIENT_PRIVILEGE, "admin access needed");
        return ADMIN_FAILED;
    }
    if (n_words < command->least || n_words > command->most) {
        set_wrong_form(command, st, error);
        return ADMIN_FAILED;
    }
    log_command(c, command->name, argument(st)); /* never the value of a SET */
    return command->run(c, st, wait, error);
}

/* --- waiting --- */

void admin_wait_done(struct admin_wait *wait)
{
    free(wait->database);
    *wait = (struct admin_wait){.what = ADMIN_WAIT_NOTHING};
}

static unsigned count_backends(const struct server *s, const struct database *only,
                               bool (*counts)(const struct backend *b))
{
    unsigned n = 0;

    for (const struct pool *pool = admin_next_pool(s, NULL); pool != NULL;
         pool = admin_next_pool(s, pool)) {
        if (only != NULL && pool->db != only) {
            continue;
        }
        for (unsigned i = 0; i < BACKEND_CLOSED; i++) {
            const struct backend *b;

            list_for_each(&pool->backends[i], b, link) {
                n += counts(b) ? 1 : 0;
            }
        }
    }
    return n;
}

static bool is_in_use(const struct backend *b)
{
    return b->state != BACKEND_IDLE && !b->is_hub;
}

/* The hub is nobody's to hand back: whoever keeps it renews it. */
static bool is_to_be_closed(const struct backend *b)
{
    return admin_backend_is_obsolete(b) && !b->is_hub;
}

static enum admin_verdict look_at_pause(const struct server *s, const struct database *db,
                                        unsigned *ret_left, struct pg_error *error)
{
    if (db != NULL ? db->pause != DATABASE_PAUSED : !s->is_paused) {
        admin_error_set(error, SQLSTATE_QUERY_CANCELED, "PAUSE ended by RESUME");
        return ADMIN_FAILED;
    }
    if (server_is_drained(s, db)) {
        return ADMIN_DONE;
    }
    *ret_left = count_backends(s, db, is_in_use);
    return ADMIN_WAITS;
}

static enum admin_verdict look_at_suspend(struct server *s, unsigned *ret_left,
                                          struct pg_error *error)
{
    if (s->state != SERVER_SUSPENDED) {
        admin_error_set(error, SQLSTATE_QUERY_CANCELED, "SUSPEND ended by RESUME");
        return ADMIN_FAILED;
    }
    *ret_left = admin_suspend_go_on(s);
    return *ret_left == 0 ? ADMIN_DONE : ADMIN_WAITS;
}

static enum admin_verdict look_at_shutdown(const struct server *s, unsigned *ret_left)
{
    switch (s->state) {
    case SERVER_WAITS_FOR_SERVERS:
        *ret_left = count_backends(s, NULL, is_in_use);
        return server_is_drained(s, NULL) ? ADMIN_DONE : ADMIN_WAITS;
    case SERVER_WAITS_FOR_CLIENTS:
        *ret_left = server_clients_left(s);
        return *ret_left == 0 ? ADMIN_DONE : ADMIN_WAITS;
    case SERVER_ENDS:
        return ADMIN_DONE;
    case SERVER_RUNS:
    case SERVER_SUSPENDED:
        break; /* nothing leads back to these */
    }
    unreachable();
}

enum admin_verdict admin_wait_look(const struct admin_wait *wait, struct server *s,
                                   unsigned *ret_left, struct pg_error *error)
{
    const struct database *db = NULL;

    *ret_left = 0;
    if (wait->database != NULL) {
        db = database_find(s->env, wait->database);
        if (db == NULL) { /* gone with all its connections */
            return ADMIN_DONE;
        }
    }
    switch (wait->what) {
    case ADMIN_WAIT_PAUSE:
        return look_at_pause(s, db, ret_left, error);
    case ADMIN_WAIT_CLOSE:
        *ret_left = count_backends(s, db, is_to_be_closed);
        return *ret_left == 0 ? ADMIN_DONE : ADMIN_WAITS;
    case ADMIN_WAIT_SUSPEND:
        return look_at_suspend(s, ret_left, error);
    case ADMIN_WAIT_SHUTDOWN:
        return look_at_shutdown(s, ret_left);
    case ADMIN_WAIT_NOTHING:
        break;
    }
    unreachable();
}
