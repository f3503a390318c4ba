/* SPDX-License-Identifier: ISC */
#include "config/config.h"

#include "config/ini_file.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* ---- what the ini reader reports ---- */

enum section {
    SECTION_UNKNOWN, /* said at its heading; what stands in it is passed over */
    SECTION_SETTINGS,
    SECTION_DATABASES,
    SECTION_USERS,
    SECTION_PEERS,
};

struct config_loader {
    struct config *config;
    struct config_errors *errors;
    enum section section;
};

static enum section section_of(const char *name)
{
    static const struct {
        const char *name;
        enum section section;
    } sections[] = {
        {"pgpoold", SECTION_SETTINGS},    {"pgbouncer", SECTION_SETTINGS},
        {"databases", SECTION_DATABASES}, {"users", SECTION_USERS},
        {"peers", SECTION_PEERS},
    };

    for (size_t i = 0; i < ARRAY_LEN(sections); i++) {
        if (strcmp(name, sections[i].name) == 0) {
            return sections[i].section;
        }
    }
    return SECTION_UNKNOWN;
}

/* The file's name in a copy that lives as long as the configuration. NULL: out of memory. */
static const char *keep_file_name(struct config *c, const char *name)
{
    char **grown;

    if (c->n_files > 0 && strcmp(c->files[c->n_files - 1], name) == 0) {
        return c->files[c->n_files - 1];
    }
    grown = reallocarray(c->files, c->n_files + 1, sizeof(*grown));
    if (grown == NULL) {
        return NULL;
    }
    c->files = grown;
    grown[c->n_files] = strdup(name);
    return grown[c->n_files] == NULL ? NULL : grown[c->n_files++];
}

static void fault_unknown(const char *file, unsigned line, const char *key,
                          struct config_errors *errors)
{
    const char *nearest = option_nearest(OPTION_GLOBAL, key);

    if (nearest != NULL) {
        config_errors_add(errors, file, line, "%.60s: is not an option: perhaps %s is meant", key,
                          nearest);
    } else {
        config_errors_add(errors, file, line, "%.60s: is not an option: see pgpoold --help-config",
                          key);
    }
}

static void take_setting(struct config_loader *l, const struct ini_entry *e)
{
    const struct option *o = option_find(OPTION_GLOBAL, e->key);
    struct option_place *place;
    char why[CONFIG_WHY_SIZE];

    if (o == NULL) {
        fault_unknown(e->file, e->line, e->key, l->errors);
        return;
    }
    if (!option_set(o, OPTION_GLOBAL, &l->config->settings, e->value, why)) {
        config_errors_add(l->errors, e->file, e->line, "%s: %s", e->key, why);
        return;
    }
    place = &l->config->places[option_index(o)];
    place->file = keep_file_name(l->config, e->file);
    place->line = e->line;
    if (place->file == NULL) {
        config_errors_add(l->errors, e->file, e->line, "out of memory");
        place->line = 0;
    }
}

static void take_database(struct config_loader *l, const struct ini_entry *e)
{
    struct config *c = l->config;
    struct database_config *d = database_config_new(e->key, e->value, e->file, e->line, l->errors);
    struct database_config *old;

    if (d == NULL) {
        return;
    }
    if (d->is_autodb) {
        database_config_free(c->autodb);
        c->autodb = d;
        return;
    }
    HASH_FIND(hh, c->databases, d->name, strlen(d->name), old);
    if (old != NULL) { /* the later one counts */
        HASH_DEL(c->databases, old);
        database_config_free(old);
    }
    HASH_ADD_KEYPTR(hh, c->databases, d->name, strlen(d->name), d);
    if (d->hh.tbl == NULL) {
        config_errors_add(l->errors, e->file, e->line, "out of memory");
        database_config_free(d);
    }
}

static void take_user(struct config_loader *l, const struct ini_entry *e)
{
    struct config *c = l->config;
    struct user_config *u = user_config_new(e->key, e->value, e->file, e->line, l->errors);
    struct user_config *old;

    if (u == NULL) {
        return;
    }
    HASH_FIND(hh, c->users, u->name, strlen(u->name), old);
    if (old != NULL) {
        HASH_DEL(c->users, old);
        user_config_free(old);
    }
    HASH_ADD_KEYPTR(hh, c->users, u->name, strlen(u->name), u);
    if (u->hh.tbl == NULL) {
        config_errors_add(l->errors, e->file, e->line, "out of memory");
        user_config_free(u);
    }
}

static void take_peer(struct config_loader *l, const struct ini_entry *e)
{
    struct config *c = l->config;
    struct peer_config *p = peer_config_new(e->key, e->value, e->file, e->line, l->errors);
    struct peer_config *old;

    if (p == NULL) {
        return;
    }
    HASH_FIND(hh, c->peers, &p->id, sizeof(p->id), old);
    if (old != NULL) {
        HASH_DEL(c->peers, old);
        peer_config_free(old);
    }
    HASH_ADD(hh, c->peers, id, sizeof(p->id), p);
    if (p->hh.tbl == NULL) {
        config_errors_add(l->errors, e->file, e->line, "out of memory");
        peer_config_free(p);
    }
}

static void take_entry(void *arg, const struct ini_entry *e)
{
    struct config_loader *l = arg;

    if (e->key == NULL) {
        l->section = section_of(e->section);
        if (l->section == SECTION_UNKNOWN) {
            config_errors_add(
                l->errors, e->file, e->line,
                "[%s]: is not a section: pgpoold (or pgbouncer), databases, users, peers",
                e->section);
        }
        return;
    }
    switch (l->section) {
    case SECTION_UNKNOWN:
        return;
    case SECTION_SETTINGS:
        take_setting(l, e);
        return;
    case SECTION_DATABASES:
        take_database(l, e);
        return;
    case SECTION_USERS:
        take_user(l, e);
        return;
    case SECTION_PEERS:
        take_peer(l, e);
        return;
    }
}

/* ---- the files that the settings name ---- */

struct named_files {
    struct userlist *userlist;
    struct userlist *http_users;
    struct hba *hba;
    struct ident *ident;
};

static void named_files_done(struct named_files *f)
{
    f->userlist = userlist_free(f->userlist);
    f->http_users = userlist_free(f->http_users);
    f->hba = hba_free(f->hba);
    f->ident = ident_free(f->ident);
}

/* Basic authentication brings the password itself; a hash would have to be worked out anew for each request. */
static struct userlist *load_http_users(const char *path, struct config_errors *errors)
{
    struct userlist *list = userlist_load(path, errors);
    const struct userlist_entry *e = NULL;

    while (list != NULL && (e = userlist_next(list, e)) != NULL) {
        if (e->kind != SECRET_KIND_PLAIN) {
            config_errors_add(
                errors, NULL, 0,
                "%s: user \"%.60s\" has no password in plain text: nothing else will do "
                "for http_auth_file",
                path, e->name);
        }
    }
    return list;
}

/* Of what is not, check.c tells, with the place of the option. */
static bool is_readable(const char *path)
{
    return *path != '\0' && access(path, R_OK) == 0;
}

static void named_files_load(const struct settings *s, struct named_files *ret,
                             struct config_errors *errors)
{
    *ret = (struct named_files){0};
    if (is_readable(s->auth_file)) {
        ret->userlist = userlist_load(s->auth_file, errors);
    }
    if (is_readable(s->http_auth_file)) {
        ret->http_users = load_http_users(s->http_auth_file, errors);
    }
    if (s->auth_type != AUTH_TYPE_HBA) {
        return;
    }
    if (is_readable(s->auth_hba_file)) {
        ret->hba = hba_load(s->auth_hba_file, errors);
    }
    if (is_readable(s->auth_ident_file)) {
        ret->ident = ident_load(s->auth_ident_file, errors);
    }
}

static void named_files_put(struct config *c, const struct named_files *f)
{
    struct named_files old = {c->userlist, c->http_users, c->hba, c->ident};

    c->userlist = f->userlist;
    c->http_users = f->http_users;
    c->hba = f->hba;
    c->ident = f->ident;
    named_files_done(&old);
}

/* ---- life ---- */

static struct config *config_new(const char *path)
{
    struct config *c = calloc(1, sizeof(*c));

    if (c == NULL) {
        return NULL;
    }
    c->path = strdup(path);
    c->places = calloc(option_count(), sizeof(*c->places));
    if (!settings_init(&c->settings) || c->path == NULL || c->places == NULL) {
        return config_free(c);
    }
    return c;
}

static void set_conffile(struct config *c, struct config_errors *errors)
{
    char why[CONFIG_WHY_SIZE];

    if (*c->settings.conffile == '\0' && !option_set(option_find(OPTION_GLOBAL, "conffile"),
                                                     OPTION_GLOBAL, &c->settings, c->path, why)) {
        config_errors_add(errors, c->path, 0, "%s", why);
    }
}

struct config *config_load(const char *path, struct config_errors *errors)
{
    return config_load_with(path, NULL, errors);
}

struct config *config_load_with(const char *path, config_check_fn check,
                                struct config_errors *errors)
{
    unsigned n_before = config_errors_count(errors);
    struct config *c = config_new(path);
    struct config_loader l = {.config = c, .errors = errors};
    struct named_files files;

    if (c == NULL) {
        config_errors_add(errors, path, 0, "out of memory");
        return NULL;
    }
    if (ini_file_read(path, take_entry, &l, errors)) {
        set_conffile(c, errors);
        named_files_load(&c->settings, &files, errors);
        named_files_put(c, &files);
        config_check_settings(&c->settings, c->places, errors);
        config_check_entries(c, errors);
        if (check != NULL) {
            check(c, errors);
        }
    }
    return config_errors_count(errors) == n_before ? c : config_free(c);
}

struct config *config_free(struct config *c)
{
    struct database_config *d;
    struct database_config *next_d;
    struct user_config *u;
    struct user_config *next_u;
    struct peer_config *p;
    struct peer_config *next_p;
    struct named_files none = {0};

    if (c == NULL) {
        return NULL;
    }
    HASH_ITER(hh, c->databases, d, next_d) {
        HASH_DEL(c->databases, d);
        database_config_free(d);
    }
    HASH_ITER(hh, c->users, u, next_u) {
        HASH_DEL(c->users, u);
        user_config_free(u);
    }
    HASH_ITER(hh, c->peers, p, next_p) {
        HASH_DEL(c->peers, p);
        peer_config_free(p);
    }
    database_config_free(c->autodb);
    named_files_put(c, &none);
    settings_done(&c->settings);
    for (unsigned i = 0; i < c->n_files; i++) {
        free(c->files[i]);
    }
    free(c->files);
    free(c->places);
    free(c->path);
    free(c);
    return NULL;
}

/* ---- SET ---- */

static bool names_a_file(const struct option *o)
{
    return strcmp(o->name, "auth_type") == 0 || strcmp(o->name, "auth_file") == 0 ||
           strcmp(o->name, "auth_hba_file") == 0 || strcmp(o->name, "auth_ident_file") == 0 ||
           strcmp(o->name, "http_auth_file") == 0;
}

/* The relations are looked at in a trial configuration: the entries of @c with the new settings and
 * files. */
static void check_trial(const struct config *c, const struct settings *next,
                        const struct named_files *files, struct config_errors *errors)
{
    struct config trial = *c;

    trial.settings = *next;
    trial.userlist = files->userlist;
    trial.hba = files->hba;
    trial.ident = files->ident;
    config_check_settings(next, NULL, errors);
    config_check_entries(&trial, errors);
}

bool config_set(struct config *c, const char *name, const char *text, struct config_errors *errors)
{
    unsigned n_before = config_errors_count(errors);
    const struct option *o = option_find(OPTION_GLOBAL, name);
    struct named_files files = {c->userlist, c->http_users, c->hba, c->ident};
    struct settings next;
    char why[CONFIG_WHY_SIZE];
    bool new_files;

    if (o == NULL) {
        fault_unknown(NULL, 0, name, errors);
        return false;
    }
    if (!o->reload) {
        config_errors_add(errors, NULL, 0,
                          "%s: cannot change at run time: set it in the file and restart", o->name);
        return false;
    }
    if (!settings_copy(&next, &c->settings)) {
        config_errors_add(errors, NULL, 0, "out of memory");
        return false;
    }
    if (!option_set(o, OPTION_GLOBAL, &next, text, why)) {
        config_errors_add(errors, NULL, 0, "%s: %s", o->name, why);
        settings_done(&next);
        return false;
    }
    new_files = names_a_file(o);
    if (new_files) {
        named_files_load(&next, &files, errors);
    }
    check_trial(c, &next, &files, errors);
    if (config_errors_count(errors) != n_before) {
        if (new_files) {
            named_files_done(&files);
        }
        settings_done(&next);
        return false;
    }
    if (new_files) {
        named_files_put(c, &files);
    }
    settings_done(&c->settings);
    c->settings = next;
    return true;
}

/* ---- questions ---- */

const struct database_config *config_database(const struct config *c, const char *name)
{
    struct database_config *d;

    HASH_FIND(hh, c->databases, name, strlen(name), d);
    return d;
}

const struct user_config *config_user(const struct config *c, const char *name)
{
    struct user_config *u;

    HASH_FIND(hh, c->users, name, strlen(name), u);
    return u;
}

const struct database_config *config_next_database(const struct config *c,
                                                   const struct database_config *prev)
{
    return prev == NULL ? c->databases : prev->hh.next;
}

const struct user_config *config_next_user(const struct config *c, const struct user_config *prev)
{
    return prev == NULL ? c->users : prev->hh.next;
}

const struct peer_config *config_next_peer(const struct config *c, const struct peer_config *prev)
{
    return prev == NULL ? c->peers : prev->hh.next;
}

bool config_name_is_console(const char *database)
{
    return strcmp(database, "pgbouncer") == 0 || strcmp(database, "pgpoold") == 0;
}
