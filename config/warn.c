/* SPDX-License-Identifier: ISC */
/* Nothing here stops a start: each is a set-up that somebody may want, and most who have it do not. */
#include "config/config.h"

#include <string.h>

/* ---- who can log in, here and there ---- */

static bool proves_nothing(enum auth_type type)
{
    return type == AUTH_TYPE_TRUST || type == AUTH_TYPE_CERT;
}

/* Are there secrets, and none of them a password? Those of people who only use the console do not count. */
static bool has_verifiers_only(const struct config *c)
{
    const struct userlist_entry *e = NULL;
    bool found = false;

    while (c->userlist != NULL && (e = userlist_next(c->userlist, e)) != NULL) {
        if (option_list_has(c->settings.admin_users, e->name) ||
            option_list_has(c->settings.stats_users, e->name)) {
            continue;
        }
        if (e->kind != SECRET_KIND_SCRAM) {
            return false;
        }
        found = true;
    }
    return found;
}

static bool brings_its_password(const struct database_config *d)
{
    return *d->user != '\0' && d->password.len > 0;
}

/* The first entry whose server connections are opened with what auth_file holds; NULL: none. */
static const struct database_config *first_without_password(const struct config *c)
{
    const struct database_config *d = NULL;

    while ((d = config_next_database(c, d)) != NULL) {
        if (!brings_its_password(d)) {
            return d;
        }
    }
    return c->autodb != NULL && !brings_its_password(c->autodb) ? c->autodb : NULL;
}

static void warn_of_verifiers(const struct config *c, struct config_errors *warnings)
{
    const struct settings *s = &c->settings;

    if (proves_nothing(s->auth_type) && *s->server_tls_cert_file == '\0' && has_verifiers_only(c) &&
        first_without_password(c) != NULL) {
        config_fault(c->places, warnings, "auth_type",
                     "%s: clients give no key away, and auth_file has nothing but SCRAM verifiers, "
                     "which open no "
                     "server: plain passwords in auth_file, user= and password= in [databases], or "
                     "scram-sha-256",
                     auth_type_name(s->auth_type));
    }
}

static bool asks_for_secret(enum auth_type type)
{
    return type == AUTH_TYPE_MD5 || type == AUTH_TYPE_SCRAM || type == AUTH_TYPE_PLAIN ||
           type == AUTH_TYPE_TRUST || type == AUTH_TYPE_CERT;
}

static bool asks_servers(const struct config *c)
{
    const struct database_config *d = NULL;

    while ((d = config_next_database(c, d)) != NULL) {
        if (*d->auth_user != '\0') {
            return true;
        }
    }
    return *c->settings.auth_user != '\0' || (c->autodb != NULL && *c->autodb->auth_user != '\0');
}

static void warn_of_nobody(const struct config *c, struct config_errors *warnings)
{
    const struct settings *s = &c->settings;

    if (asks_for_secret(s->auth_type) && *s->auth_file == '\0' && !asks_servers(c)) {
        config_fault(c->places, warnings, "auth_type",
                     "%s: nobody can log in without auth_file or auth_user: set one of them",
                     auth_type_name(s->auth_type));
    }
}

/* ---- names that lead nowhere ---- */

static void warn_of_auth_dbname(const struct config *c, const struct database_config *d,
                                struct config_errors *warnings)
{
    if (*d->auth_dbname != '\0' && c->autodb == NULL &&
        config_database(c, d->auth_dbname) == NULL) {
        config_errors_add(
            warnings, d->file, d->line,
            "database %s: auth_dbname: there is no database %.60s: an entry of [databases]",
            d->name, d->auth_dbname);
    }
}

static void warn_of_names(const struct config *c, struct config_errors *warnings)
{
    const struct settings *s = &c->settings;
    const struct database_config *d = NULL;

    if (*s->auth_dbname != '\0' && c->autodb == NULL &&
        config_database(c, s->auth_dbname) == NULL) {
        config_fault(c->places, warnings, "auth_dbname",
                     "there is no database %.60s: an entry of [databases]", s->auth_dbname);
    }
    while ((d = config_next_database(c, d)) != NULL) {
        warn_of_auth_dbname(c, d, warnings);
    }
    if (*s->auth_hba_file != '\0' && s->auth_type != AUTH_TYPE_HBA) {
        config_fault(c->places, warnings, "auth_hba_file", "is not read: only auth_type hba does");
    }
}

void config_warnings(const struct config *c, struct config_errors *warnings)
{
    warn_of_verifiers(c, warnings);
    warn_of_nobody(c, warnings);
    warn_of_names(c, warnings);
}
