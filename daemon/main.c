/* SPDX-License-Identifier: ISC */
/* The way up and the way down of the process. What may be wrong is found before anything changes: the whole
 * configuration is read and checked, then pid file, sockets and privileges are taken, then the loop starts. Until the
 * log is set up everything is said on stderr, which the operator who started us reads, with -d too. */
#include "config/options_doc.h"
#include "daemon/command_line.h"
#include "daemon/daemonize.h"
#include "daemon/listener.h"
#include "daemon/metrics_http.h"
#include "daemon/reload.h"
#include "daemon/server.h"
#include "daemon/signals.h"
#include "daemon/systemd.h"
#include "daemon/takeover.h"
#include "daemon/tls_check.h"
#include "daemon/top.h"
#include "daemon/util/hash.h"
#include "daemon/util/log.h"
#include "daemon/version.h"
#include "protocol/tls.h"

#include <errno.h>
#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

/* What a run holds, from its start to its end. */
struct run {
    struct command_line cmd;
    struct config *config;     /* until the server has it */
    struct list listeners;     /* until the server has them */
    struct metrics_http *http; /* likewise */
    struct pidfile pidfile;
    struct takeover *takeover; /* -R, and there was an old process; until the server has it */
    struct loop *loop;
    struct server *server;
    int parent_fd; /* -1: no parent waits */
};

static void print_errors(const struct config_errors *e)
{
    for (unsigned i = 0; i < e->n; i++) {
        (void)fprintf(stderr, "%s\n", e->text[i]);
    }
    if (e->n_dropped > 0) {
        (void)fprintf(stderr, "and %u more\n", e->n_dropped);
    }
}

/* --- the steps of the start; each that fails adds to @errors --- */

static bool read_config(struct run *r, struct config_errors *errors)
{
    char why[CONFIG_WHY_SIZE];

    r->config = config_load_with(r->cmd.ini_path, tls_check, errors);
    if (r->config == NULL) {
        return false;
    }
    if (r->cmd.options.user != NULL &&
        !option_set(option_find(OPTION_GLOBAL, "user"), OPTION_GLOBAL, &r->config->settings,
                    r->cmd.options.user, why)) {
        config_errors_add(errors, NULL, 0, "--user: %s", why);
        return false;
    }
    return true;
}

static bool check_start(const struct run *r, struct config_errors *errors)
{
    const struct settings *set = &r->config->settings;

    if (geteuid() == 0 && *set->user == '\0') {
        config_errors_add(errors, NULL, 0,
                          "pgpoold will not run as root: set user, or start it as somebody else");
        return false;
    }
    if (!r->cmd.options.is_daemon) {
        return true;
    }
    if (*set->pidfile == '\0') {
        config_errors_add(errors, NULL, 0,
                          "pidfile: a process in the background needs one: set pidfile");
    }
    if (*set->logfile == '\0' && !set->syslog) {
        config_errors_add(
            errors, NULL, 0,
            "logfile: nobody would read the log in the background: set logfile or syslog");
    }
    return config_errors_is_empty(errors);
}

/* Before the fork: systemd gives them to one process number. */
static bool adopt_sockets(struct run *r, struct config_errors *errors)
{
    struct systemd_sockets got;
    int n = systemd_sockets(&got);
    bool ok;

    if (n < 0) {
        config_errors_add(errors, NULL, 0, "sockets from systemd: %s", strerror(-n));
        return false;
    }
    ok = true;
    for (int i = 0; i < n && ok; i++) {
        ok = listeners_adopt(&r->listeners, got.first_fd + i, got.names == NULL ? "" : got.names[i],
                             errors);
    }
    systemd_sockets_done(&got);
    return ok;
}

/* -R: what the old process offers; without one the start is as usual. */
static bool take_over(struct run *r, struct config_errors *errors)
{
    if (!list_is_empty(&r->listeners)) {
        config_errors_add(errors, NULL, 0, "-R: not together with sockets from systemd");
        return false;
    }
    switch (takeover_begin(&r->config->settings, &r->listeners, &r->takeover, errors)) {
    case TAKEOVER_NOBODY:
        r->cmd.takes_over = false;
        return true;
    case TAKEOVER_OFFER:
        return true;
    case TAKEOVER_FAILED:
        return false;
    }
    return false;
}

static bool take_process(struct run *r, struct config_errors *errors)
{
    const struct settings *set = &r->config->settings;

    if (r->cmd.options.is_daemon) {
        r->parent_fd = daemonize(errors);
        if (r->parent_fd < 0) {
            return false;
        }
    }
    if (r->cmd.takes_over && !take_over(r, errors)) {
        return false;
    }
    if (*set->pidfile != '\0' &&
        (r->takeover == NULL || !takeover_pidfile(r->takeover, set->pidfile, &r->pidfile)) &&
        !pidfile_claim(&r->pidfile, set->pidfile, errors)) {
        return false;
    }
    if ((r->takeover != NULL || list_is_empty(&r->listeners)) &&
        !listeners_open(&r->listeners, set, errors)) {
        return false;
    }
    if (!metrics_http_open(set, r->cmd.takes_over, &r->http, errors)) {
        return false;
    }
    return privileges_drop(set->user, &r->pidfile, errors);
}

static bool make_server(struct run *r, struct config_errors *errors)
{
    backend_connect_global_init();
    if (resolve_global_init() != 0) {
        config_errors_add(errors, NULL, 0, "out of memory");
        return false;
    }
    r->loop = loop_new();
    clock_update();
    r->server = server_new(r->loop, r->config, r->cmd.ini_path);
    if (r->server == NULL) {
        config_errors_add(errors, NULL, 0, "out of memory");
        return false;
    }
    r->config = NULL;
    r->server->options = r->cmd.options;
    r->server->pidfile = &r->pidfile;
    r->server->env->is_held = r->takeover != NULL;
    if (!reload_start(r->server, errors)) {
        return false;
    }
    if (!signals_start(r->server) || !systemd_start(r->server)) {
        config_errors_add(errors, NULL, 0, "out of memory");
        return false;
    }
    return true;
}

static void warn_descriptors(const struct config *c, uint64_t limit)
{
    uint64_t needed = server_descriptors_needed(c);

    if (limit < needed) {
        log_warning("max_client_conn = %d and the pools may need %" PRIu64
                    " open files, the limit is %" PRIu64
                    ": raise it (LimitNOFILE= of systemd, ulimit -n) or lower max_client_conn",
                    c->settings.max_client_conn, needed, limit);
    }
}

static void warn_of_config(const struct config *c)
{
    struct config_errors warnings = CONFIG_ERRORS_INIT;

    config_warnings(c, &warnings);
    for (unsigned i = 0; i < warnings.n; i++) {
        log_warning("%s", warnings.text[i]);
    }
    config_errors_done(&warnings);
}

static void greet(const struct run *r, uint64_t limit)
{
    log_info("process up: " PGPOOLD_VERSION_TEXT ", max expected fd use: %" PRIu64
             ", limit %" PRIu64,
             server_descriptors_needed(r->server->config), limit);
    warn_descriptors(r->server->config, limit);
    warn_of_config(r->server->config);
}

/* Nothing that came over is ours when it fails: no destructor may speak on those sockets. */
static void run_takeover(struct run *r, struct config_errors *errors)
{
    struct takeover *t = r->takeover;

    r->takeover = NULL; /* the server's from here on */
    if (!takeover_run(t, r->server, &r->listeners, errors)) {
        print_errors(errors);
        for (unsigned i = 0; i < errors->n; i++) {
            log_error("%s", errors->text[i]);
        }
        log_done();
        _exit(1);
    }
    pidfile_write_again(&r->pidfile);
}

static bool start_http(struct run *r, struct config_errors *errors)
{
    r->server->http = take_ptr(r->http);
    return r->server->http == NULL || metrics_http_start(r->server->http, r->server, errors);
}

/* --- the whole --- */

static bool start(struct run *r)
{
    struct config_errors errors = CONFIG_ERRORS_INIT;
    uint64_t limit = 0;
    bool ok = read_config(r, &errors) && check_start(r, &errors);

    if (ok) {
        limit = rlimit_raise();
        ok = adopt_sockets(r, &errors) && take_process(r, &errors) && make_server(r, &errors);
    }
    if (ok && r->takeover != NULL) {
        run_takeover(r, &errors);
    }
    if (ok) {
        greet(r, limit);
        ok = start_http(r, &errors) && listeners_start(r->server, &r->listeners, &errors);
    }
    if (ok) {
        if (r->parent_fd >= 0) {
            daemonize_done(r->parent_fd);
            r->parent_fd = -1;
        }
        if (r->cmd.takes_over) {
            systemd_take_over(r->server);
        } else {
            systemd_ready(r->server);
        }
    } else {
        print_errors(&errors);
    }
    config_errors_done(&errors);
    return ok;
}

static void clean_up(struct run *r)
{
    listeners_close(&r->listeners);
    r->http = metrics_http_free(r->http);
    r->takeover = takeover_free(r->takeover);
    r->server = server_free(r->server);
    r->loop = loop_free(r->loop);
    r->config = config_free(r->config);
    resolve_global_done();
    pidfile_done(&r->pidfile);
    if (r->parent_fd >= 0) {
        (void)close(r->parent_fd); /* tells the parent that it did not work */
    }
    log_done();
}

static int check_config(const char *path)
{
    struct config_errors errors = CONFIG_ERRORS_INIT;
    struct config *c = config_load_with(path, tls_check, &errors);
    int status = c == NULL ? 1 : 0;

    print_errors(&errors);
    config_errors_done(&errors);
    if (c != NULL) {
        config_warnings(c, &errors);
    }
    for (unsigned i = 0; i < errors.n; i++) {
        (void)fprintf(stderr, "warning: %s\n", errors.text[i]);
    }
    config_errors_done(&errors);
    config_free(c);
    return status;
}

static int run_daemon(const struct command_line *cmd)
{
    struct run r = {.cmd = *cmd, .pidfile = PIDFILE_NONE, .parent_fd = -1};
    int status = 1;

    list_init(&r.listeners);
    signals_hold();
    if (start(&r)) {
        loop_run(r.loop);
        log_info("process ends");
        status = 0;
    }
    clean_up(&r);
    return status;
}

int main(int argc, char **argv)
{
    struct command_line cmd;

    (void)signal(SIGPIPE, SIG_IGN); /* a lost peer is an error of write(2), not our end */
    tls_global_init();
    hash_seed_init();
    if (argc > 1 && strcmp(argv[1], "top") == 0) {
        return top_main(argc - 1, argv + 1);
    }
    switch (command_line_read(argc, argv, &cmd)) {
    case COMMAND_RUN:
        return run_daemon(&cmd);
    case COMMAND_CHECK_CONFIG:
        return check_config(cmd.ini_path);
    case COMMAND_HELP_CONFIG:
        options_print_help(stdout);
        return 0;
    case COMMAND_DONE:
        return 0;
    case COMMAND_WRONG:
        return 1;
    }
    return 1;
}
