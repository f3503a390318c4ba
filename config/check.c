/* SPDX-License-Identifier: ISC */
/* Relations between options: what each of them allows alone, but not together. One small function
 * for each relation or group of them; a fault is reported at the place of the option that asks for
 * something. */
#include "config/config.h"
#include "config/ldap_options.h"
#include "config/networks.h"

#include "daemon/util/log.h"

#include <arpa/inet.h>
#include <errno.h>
#include <grp.h>
#include <pwd.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

struct checker {
    const struct settings *s;
    const struct option_place *places; /* may be NULL */
    struct config_errors *errors;
};

static void add_fault(const struct option_place *places, struct config_errors *errors,
                      const char *name, const char *what)
{
    const struct option_place *place = NULL;

    if (places != NULL) {
        place = &places[option_index(option_find(OPTION_GLOBAL, name))];
    }
    if (place == NULL || place->line == 0) {
        config_errors_add(errors, NULL, 0, "%s: %s", name, what);
    } else {
        config_errors_add(errors, place->file, place->line, "%s: %s", name, what);
    }
}

void config_fault(const struct option_place *places, struct config_errors *errors, const char *name,
                  const char *fmt, ...)
{
    char what[CONFIG_WHY_SIZE];
    va_list args;

    va_start(args, fmt);
    (void)vsnprintf(what, sizeof(what), fmt, args); /* cutting is meant */
    va_end(args);
    add_fault(places, errors, name, what);
}

PRINTF_LIKE(3, 4) static void fault(const struct checker *k, const char *name, const char *fmt, ...)
{
    char what[CONFIG_WHY_SIZE];
    va_list args;

    va_start(args, fmt);
    (void)vsnprintf(what, sizeof(what), fmt, args); /* cutting is meant */
    va_end(args);
    add_fault(k->places, k->errors, name, what);
}

/* ---- settings ---- */

static void check_readable(const struct checker *k, const char *name, const char *path)
{
    if (*path != '\0' && access(path, R_OK) != 0) {
        fault(k, name, "%s: cannot be read: %s", path, strerror(errno));
    }
}

static void check_files(const struct checker *k)
{
    check_readable(k, "client_tls_key_file", k->s->client_tls_key_file);
    check_readable(k, "client_tls_cert_file", k->s->client_tls_cert_file);
    check_readable(k, "client_tls_ca_file", k->s->client_tls_ca_file);
    check_readable(k, "server_tls_key_file", k->s->server_tls_key_file);
    check_readable(k, "server_tls_cert_file", k->s->server_tls_cert_file);
    check_readable(k, "server_tls_ca_file", k->s->server_tls_ca_file);
    check_readable(k, "resolv_conf", k->s->resolv_conf);
    check_readable(k, "auth_file", k->s->auth_file);
    check_readable(k, "http_auth_file", k->s->http_auth_file);
    if (k->s->auth_type == AUTH_TYPE_HBA) {
        check_readable(k, "auth_hba_file", k->s->auth_hba_file);
        check_readable(k, "auth_ident_file", k->s->auth_ident_file);
    }
    check_readable(k, "http_tls_key_file", k->s->http_tls_key_file);
    check_readable(k, "http_tls_cert_file", k->s->http_tls_cert_file);
}

/* Looking a name up would block, and a status page has no use for one. */
static bool is_address(const char *text)
{
    struct in6_addr addr;

    return strcmp(text, "*") == 0 || inet_pton(AF_INET, text, &addr) == 1 ||
           inet_pton(AF_INET6, text, &addr) == 1;
}

/* Does the daemon listen for clients on this address? Host names are not looked up. */
static bool is_listen_addr(const struct checker *k, const char *addr)
{
    const char *at = k->s->listen_addr;
    const char *word;
    size_t len;

    while ((word = option_list_next(&at, &len)) != NULL) {
        if (strcmp(addr, "*") == 0 || strncmp(word, "*", len) == 0 ||
            (strlen(addr) == len && strncmp(word, addr, len) == 0)) {
            return true;
        }
    }
    return false;
}

static void check_http_port(const struct checker *k, const char *addr)
{
    bool is_client_port = k->s->http_port == k->s->listen_port;

    if ((is_client_port || k->s->http_port == k->s->proxy_protocol_port) &&
        is_listen_addr(k, addr)) {
        fault(k, "http_port", "%d is %s, on %s: it needs a port of its own", k->s->http_port,
              is_client_port ? "listen_port" : "proxy_protocol_port", addr);
    }
}

static void check_http_addr(const struct checker *k)
{
    const char *at = k->s->http_addr;
    const char *word;
    size_t len;

    if (*at == '\0') {
        fault(k, "http_addr", "nowhere to listen for http_port: an address, or *");
    }
    while ((word = option_list_next(&at, &len)) != NULL) {
        char text[INET6_ADDRSTRLEN];

        (void)snprintf(text, sizeof(text), "%.*s", (int)MIN(len, sizeof(text)), word);
        if (!is_address(text)) {
            fault(k, "http_addr", "\"%.60s\" is not an address: numbers, or *", text);
        }
        check_http_port(k, text);
    }
}

static void check_http(const struct checker *k)
{
    const struct settings *s = k->s;

    if (s->http_port == 0) {
        return;
    }
    check_http_addr(k);
    if ((*s->http_tls_key_file == '\0') != (*s->http_tls_cert_file == '\0')) {
        fault(k, *s->http_tls_key_file == '\0' ? "http_tls_cert_file" : "http_tls_key_file",
              "HTTPS needs http_tls_key_file and http_tls_cert_file: set both or none");
    }
}

static void check_directory(const struct checker *k, const char *name, const char *path)
{
    struct stat st;

    if (stat(path, &st) != 0) {
        fault(k, name, "%s: %s: a directory that is there", path, strerror(errno));
    } else if (!S_ISDIR(st.st_mode)) {
        fault(k, name, "%s: not a directory: a directory", path);
    }
}

/* A file that is made when it is not there. */
static void check_place_of(const struct checker *k, const char *name, const char *path)
{
    const char *slash = strrchr(path, '/');
    char *folder;

    if (slash == NULL || slash == path) {
        return;
    }
    folder = strndup(path, (size_t)(slash - path));
    if (folder == NULL || access(folder, F_OK) != 0) {
        fault(k, name, "%s: %s: a file in a directory that is there", path, strerror(errno));
    }
    free(folder);
}

static void check_system(const struct checker *k)
{
    const struct settings *s = k->s;

    check_place_of(k, "logfile", s->logfile);
    check_place_of(k, "pidfile", s->pidfile);
    if (*s->user != '\0' && getpwnam(s->user) == NULL) {
        fault(k, "user", "there is no system user %.60s: one of this system, or none", s->user);
    }
    if (*s->unix_socket_group != '\0' && getgrnam(s->unix_socket_group) == NULL) {
        fault(k, "unix_socket_group", "there is no group %.60s: one of this system, or none",
              s->unix_socket_group);
    }
}

static void check_pools(const struct checker *k)
{
    if (k->s->min_pool_size > k->s->default_pool_size) {
        fault(k, "min_pool_size", "%d is more than default_pool_size: at most %d",
              k->s->min_pool_size, k->s->default_pool_size);
    }
}

static bool sslmode_verifies(enum sslmode mode)
{
    return mode == SSLMODE_VERIFY_CA || mode == SSLMODE_VERIFY_FULL;
}

static void check_client_tls(const struct checker *k)
{
    const struct settings *s = k->s;

    if (s->client_tls_sslmode == SSLMODE_DISABLE) {
        return;
    }
    if (*s->client_tls_key_file == '\0' || *s->client_tls_cert_file == '\0') {
        fault(k, "client_tls_sslmode",
              "TLS without %s: set client_tls_key_file and client_tls_cert_file",
              *s->client_tls_key_file == '\0' ? "a key" : "a certificate");
    }
    if (sslmode_verifies(s->client_tls_sslmode) && *s->client_tls_ca_file == '\0') {
        fault(k, "client_tls_sslmode",
              "nobody to trust for client certificates: set client_tls_ca_file");
    }
}

static void check_server_tls(const struct checker *k)
{
    const struct settings *s = k->s;

    if (sslmode_verifies(s->server_tls_sslmode) && *s->server_tls_ca_file == '\0') {
        fault(k, "server_tls_sslmode",
              "nobody to trust for server certificates: set server_tls_ca_file");
    }
    if (*s->server_tls_key_file != '\0' && *s->server_tls_cert_file == '\0') {
        fault(k, "server_tls_key_file", "a key without a certificate: set server_tls_cert_file");
    }
    if (*s->server_tls_cert_file != '\0' && *s->server_tls_key_file == '\0') {
        fault(k, "server_tls_cert_file", "a certificate without a key: set server_tls_key_file");
    }
}

static void check_protocols(const struct checker *k, const char *name, const char *list)
{
    static const char known[] =
        "secure, all, legacy, fast, tlsv1, tlsv1.0, tlsv1.1, tlsv1.2, tlsv1.3"; /* itself a list */
    const char *word;
    size_t len;

    while ((word = option_list_next(&list, &len)) != NULL) {
        char copy[16];

        if (len < sizeof(copy)) {
            memcpy(copy, word, len);
            copy[len] = '\0';
        }
        if (len >= sizeof(copy) || !option_list_has(known, copy)) {
            fault(k, name,
                  "\"%.*s\" is not known: secure, all, or of tlsv1.0, tlsv1.1, tlsv1.2, tlsv1.3 a "
                  "list",
                  (int)MIN(len, (size_t)60), word);
        }
    }
}

static void check_words(const struct checker *k)
{
    check_protocols(k, "client_tls_protocols", k->s->client_tls_protocols);
    check_protocols(k, "server_tls_protocols", k->s->server_tls_protocols);
    if (*k->s->client_tls_dheparams != '\0' &&
        !option_list_has("auto, legacy, none", k->s->client_tls_dheparams)) {
        fault(k, "client_tls_dheparams", "\"%.60s\" is not known: auto, legacy, none",
              k->s->client_tls_dheparams);
    }
    if (!log_facility_is_known(k->s->syslog_facility)) {
        fault(k, "syslog_facility",
              "\"%.60s\" is not known: auth, authpriv, daemon, user, local0 to local7",
              k->s->syslog_facility);
    }
}

static void check_auth_query(const struct checker *k)
{
    if (*k->s->auth_user != '\0' && strstr(k->s->auth_query, "$1") == NULL) {
        fault(k, "auth_query",
              "does not ask for the user, whose name is $1: a query with $1 in it");
    }
    if (config_name_is_console(k->s->auth_dbname)) {
        fault(k, "auth_dbname",
              "cannot use the reserved \"%s\" database as an auth_dbname: any other",
              k->s->auth_dbname);
    }
}

/* What this build has no library for. NULL: it can do @type. */
static const char *lacks(enum auth_type type)
{
    if (type == AUTH_TYPE_PAM && WITH_PAM == 0) {
        return "pam: this program was built without PAM: another method, or a build WITH_PAM=1";
    }
    if (type == AUTH_TYPE_LDAP && WITH_LDAP == 0) {
        return "ldap: this program was built without LDAP: another method, or a build WITH_LDAP=1";
    }
    return NULL;
}

/* @options: as hba_ldap_options() gives them. */
static bool ldap_options_are_right(const char *options, char *why)
{
    struct ldap_options o;
    bool ok = ldap_options_read(options, &o, why);

    if (ok) {
        ldap_options_done(&o);
    }
    return ok;
}

static void check_ldap(const struct checker *k)
{
    char why[CONFIG_WHY_SIZE];
    char *options = hba_ldap_options(k->s->auth_ldap_options, why);

    if (options == NULL) {
        fault(k, "auth_ldap_options", "%s", why);
    } else if (*options != '\0') {
        if (!ldap_options_are_right(options, why)) {
            fault(k, "auth_ldap_options", "%s", why);
        }
    } else if (k->s->auth_type == AUTH_TYPE_LDAP) {
        fault(k, "auth_type", "ldap without a server: set auth_ldap_options");
    }
    if (lacks(k->s->auth_type) != NULL) {
        fault(k, "auth_type", "%s", lacks(k->s->auth_type));
    }
    if (options != NULL) {
        explicit_bzero(options, strlen(options)); /* may hold ldapbindpasswd */
    }
    free(options);
}

static void check_auth(const struct checker *k)
{
    const struct settings *s = k->s;

    if (s->auth_type == AUTH_TYPE_HBA && *s->auth_hba_file == '\0') {
        fault(k, "auth_type", "hba without rules: set auth_hba_file");
    }
    if (s->auth_type == AUTH_TYPE_CERT && !sslmode_verifies(s->client_tls_sslmode)) {
        fault(k, "auth_type",
              "cert without client certificates: set client_tls_sslmode to verify-full");
    }
    check_auth_query(k);
    check_ldap(k);
}

static void check_socket_path(const struct checker *k)
{
    const size_t most = sizeof(((struct sockaddr_un *)0)->sun_path) - sizeof("/.s.PGSQL.65535");
    const char *path = k->s->unix_socket_dir;

    if (strlen(path) > most) {
        fault(k, "unix_socket_dir", "%zu bytes are too long for a socket's path: at most %zu",
              strlen(path), most);
    } else if (*path != '\0' && *path != '@') {
        check_directory(k, "unix_socket_dir", path);
    }
}

static void check_proxy_protocol(const struct checker *k)
{
    char why[CONFIG_WHY_SIZE];

    if (!networks_check(k->s->proxy_protocol_from, why)) {
        fault(k, "proxy_protocol_from", "%s", why);
    }
    if (k->s->proxy_protocol_port == 0) {
        return;
    }
    if (k->s->proxy_protocol_port == k->s->listen_port) {
        fault(k, "proxy_protocol_port", "%d is listen_port: it needs a port of its own",
              k->s->proxy_protocol_port);
    }
    if (*k->s->proxy_protocol_from == '\0') {
        fault(k, "proxy_protocol_port",
              "proxy_protocol_from must name the load balancers: whoever may send the header may "
              "claim any address");
    }
}

void config_check_settings(const struct settings *s, const struct option_place *places,
                           struct config_errors *errors)
{
    struct checker k = {s, places, errors};

    check_pools(&k);
    check_client_tls(&k);
    check_server_tls(&k);
    check_words(&k);
    check_auth(&k);
    check_socket_path(&k);
    check_http(&k);
    check_proxy_protocol(&k);
    check_files(&k);
    check_system(&k);
}

/* ---- entries ---- */

static void check_database(const struct config *c, const struct database_config *d,
                           struct config_errors *errors)
{
    const struct settings *s = &c->settings;
    int pool_size = d->pool_size == OPTION_UNSET ? s->default_pool_size : d->pool_size;
    const char *auth_user = *d->auth_user == '\0' ? s->auth_user : d->auth_user;

    /* That of all databases may be more: a smaller pool keeps what it can. Unset: less than any. */
    if (d->min_pool_size > pool_size) {
        config_errors_add(errors, d->file, d->line,
                          "database %s: min_pool_size: %d is more than pool_size%s: at most %d",
                          d->name, d->min_pool_size,
                          d->pool_size == OPTION_UNSET ? " (default_pool_size)" : "", pool_size);
    }
    if (s->auth_type == AUTH_TYPE_ANY && *d->user == '\0') {
        config_errors_add(errors, d->file, d->line,
                          "database %s: user: is missing, but auth_type any takes no user from "
                          "clients: user=NAME",
                          d->name);
    }
    if (*d->auth_query != '\0' && *auth_user != '\0' && strstr(d->auth_query, "$1") == NULL) {
        config_errors_add(errors, d->file, d->line,
                          "database %s: auth_query: does not ask for the user, whose name is $1: a "
                          "query with $1 in it",
                          d->name);
    }
}

static void check_rule(const struct config *c, const struct hba_rule *r,
                       struct config_errors *errors)
{
    const struct settings *s = &c->settings;
    char why[CONFIG_WHY_SIZE];

    if (lacks(r->method) != NULL) {
        config_errors_add(errors, r->file, r->line, "%s", lacks(r->method));
    }
    if (*r->ldap_options != '\0' && !ldap_options_are_right(r->ldap_options, why)) {
        config_errors_add(errors, r->file, r->line, "%s", why);
    }
    if (r->method == AUTH_TYPE_CERT &&
        (s->client_tls_sslmode == SSLMODE_DISABLE || *s->client_tls_ca_file == '\0')) {
        config_errors_add(errors, r->file, r->line,
                          "cert: client certificates are not asked for: set client_tls_sslmode and "
                          "client_tls_ca_file");
    }
    if (*r->map != '\0' && (c->ident != NULL || *s->auth_ident_file == '\0') &&
        !ident_has_map(c->ident, r->map)) {
        config_errors_add(errors, r->file, r->line,
                          "map=%.60s: there is no such map: a line for it in auth_ident_file",
                          r->map);
    }
    if (r->method == AUTH_TYPE_LDAP && *r->ldap_options == '\0' && *s->auth_ldap_options == '\0') {
        config_errors_add(
            errors, r->file, r->line,
            "ldap: without a server: options ldapserver= or ldapurl= here, or auth_ldap_options");
    }
}

void config_check_entries(const struct config *c, struct config_errors *errors)
{
    const struct database_config *d = NULL;
    const struct hba_rule *r = NULL;

    while ((d = config_next_database(c, d)) != NULL) {
        check_database(c, d, errors);
    }
    if (c->autodb != NULL) {
        check_database(c, c->autodb, errors);
    }
    while ((r = hba_next(c->hba, r)) != NULL) {
        check_rule(c, r, errors);
    }
}
