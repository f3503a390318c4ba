/* SPDX-License-Identifier: ISC */
#include "daemon/tls_check.h"

#include <string.h>
#include <unistd.h>

static enum tls_sslmode client_tls_mode(enum sslmode mode)
{
    return mode == SSLMODE_VERIFY_CA     ? TLS_VERIFY_CA
           : mode == SSLMODE_VERIFY_FULL ? TLS_VERIFY_FULL
                                         : TLS_PREFER;
}

struct tls_settings tls_client_settings(const struct settings *set)
{
    return (struct tls_settings){.sslmode = client_tls_mode(set->client_tls_sslmode),
                                 .key_file = set->client_tls_key_file,
                                 .cert_file = set->client_tls_cert_file,
                                 .ca_file = set->client_tls_ca_file,
                                 .protocols = set->client_tls_protocols,
                                 .ciphers = set->client_tls_ciphers,
                                 .tls13_ciphers = set->client_tls13_ciphers,
                                 .dheparams = set->client_tls_dheparams,
                                 .ecdhcurve = set->client_tls_ecdhcurve};
}

static bool is_readable(const char *path)
{
    return *path != '\0' && access(path, R_OK) == 0;
}

static void fault(const struct config *c, struct config_errors *errors, const char *option,
                  const struct tls_error *err)
{
    config_fault(c->places, errors, option, "TLS setup failed: %s", err->text);
}

/* Each group of files alone, so that one that is wrong does not hide the next. */
static void check_files(const struct config *c, const struct tls_settings *all,
                        const char *key_option, const char *ca_option, struct config_errors *errors)
{
    struct tls_settings own = {.key_file = all->key_file, .cert_file = all->cert_file};
    struct tls_settings ca = {.ca_file = all->ca_file};
    struct tls_error err = {""};

    if (is_readable(own.key_file) && is_readable(own.cert_file) &&
        !tls_check_connecting(&own, &err)) {
        fault(c, errors, key_option, &err);
    }
    if (is_readable(ca.ca_file) && !tls_check_connecting(&ca, &err)) {
        fault(c, errors, ca_option, &err);
    }
}

static void check_ciphers(const struct config *c, const char *list, const char *option,
                          struct config_errors *errors)
{
    bool is_13 = strstr(option, "tls13") != NULL;
    struct tls_settings tls = {.ciphers = is_13 ? "" : list, .tls13_ciphers = is_13 ? list : ""};
    struct tls_error err = {""};

    if (!tls_check_connecting(&tls, &err)) {
        fault(c, errors, option, &err);
    }
}

static void check_clients(const struct config *c, struct config_errors *errors)
{
    struct tls_settings tls = tls_client_settings(&c->settings);
    unsigned n_before = config_errors_count(errors);
    struct tls_error err = {""};
    struct tls_context *ctx;

    if (c->settings.client_tls_sslmode == SSLMODE_DISABLE) {
        return;
    }
    check_files(c, &tls, "client_tls_key_file", "client_tls_ca_file", errors);
    check_ciphers(c, tls.ciphers, "client_tls_ciphers", errors);
    check_ciphers(c, tls.tls13_ciphers, "client_tls13_ciphers", errors);
    if (config_errors_count(errors) > n_before || !is_readable(tls.key_file) ||
        !is_readable(tls.cert_file)) {
        return;
    }
    ctx = tls_context_new(&tls, &err);
    if (ctx == NULL) {
        fault(c, errors,
              strncmp(err.text, "ecdhcurve", 9) == 0 ? "client_tls_ecdhcurve"
                                                     : "client_tls_sslmode",
              &err);
    }
    (void)tls_context_free(ctx); /* returns NULL by custom */
}

static void check_servers(const struct config *c, struct config_errors *errors)
{
    const struct settings *set = &c->settings;
    struct tls_settings tls = {.key_file = set->server_tls_key_file,
                               .cert_file = set->server_tls_cert_file,
                               .ca_file = set->server_tls_ca_file};

    if (set->server_tls_sslmode == SSLMODE_DISABLE) {
        return;
    }
    check_files(c, &tls, "server_tls_key_file", "server_tls_ca_file", errors);
    check_ciphers(c, set->server_tls_ciphers, "server_tls_ciphers", errors);
    check_ciphers(c, set->server_tls13_ciphers, "server_tls13_ciphers", errors);
}

void tls_check(const struct config *c, struct config_errors *errors)
{
    check_clients(c, errors);
    check_servers(c, errors);
}
