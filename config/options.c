/* SPDX-License-Identifier: ISC */
/* The table itself, and finding a row in it. Rows stand in the order of the documents: by heading,
 * and under it what an operator looks for first. A row fits on a few lines thanks to the macros at
 * the top; they also make the compiler compare the type of a row with the type of its field. */
#include "config/options.h"

#include "config/databases.h"
#include "daemon/util/fatal.h"

#include <string.h>

/* Offset of a field plus 1, and an error of the compiler when the field is not of the type that the
 * row says. */
#define AT(record, type, field)                                                                  \
    (offsetof(struct record, field) + 1 +                                                        \
     0 * sizeof(char[__builtin_types_compatible_p(__typeof__(((struct record *)0)->field), type) \
                         ? 1                                                                     \
                         : -1]))
#define G(type, field) [OPTION_GLOBAL] = AT(settings, type, field)
#define D(type, field) [OPTION_DATABASE] = AT(database_config, type, field)
#define U(type, field) [OPTION_USER] = AT(user_config, type, field)
#define P(type, field) [OPTION_PEER] = AT(peer_config, type, field)

#define G_INT(field) G(int, field)
#define D_INT(field) D(int, field)
#define U_INT(field) U(int, field)
#define P_INT(field) P(int, field)
#define G_STR(field) G(char *, field)
#define D_STR(field) D(char *, field)
#define P_STR(field) P(char *, field)
#define G_US(field) G(usec_t, field##_us)
#define D_US(field) D(usec_t, field##_us)
#define U_US(field) U(usec_t, field##_us)

/* The first cells of a row, by type. */
#define BOOLEAN(name_, text_) \
    .name = #name_, .type = OPTION_BOOL, .text = text_, .most = 1, .at = {G(bool, name_)}
#define INTEGER(name_, text_, least_, most_, ...)                                          \
    .name = #name_, .type = OPTION_INT, .text = text_, .least = (least_), .most = (most_), \
    .at = {__VA_ARGS__}
#define BYTES(name_, text_, least_, most_)                                                   \
    .name = #name_, .type = OPTION_BYTES, .unit = "bytes", .text = text_, .least = (least_), \
    .most = (most_), .at = {G(size_t, name_##_bytes)}
#define DURATION(name_, text_, ...)                                            \
    .name = #name_, .type = OPTION_DURATION, .unit = "seconds", .text = text_, \
    .most = DURATION_MOST_US, .at = {__VA_ARGS__}
#define CHOICE(name_, text_, words_, ...) \
    .name = #name_, .type = OPTION_ENUM, .text = text_, .words = words_, .at = {__VA_ARGS__}
#define STRING(name_, text_, ...) \
    .name = #name_, .type = OPTION_STRING, .text = text_, .at = {__VA_ARGS__}

#define ALIAS(...) .aliases = {__VA_ARGS__}
#define RELOAD .reload = true
#define OWN .own = true

#define DURATION_MOST_US ((int64_t)INT32_MAX * (int64_t)USEC_PER_SEC)
#define COUNT_MOST 1000000 /* of connections */

static const char *const pool_mode_words[] = {"session", "transaction", "statement", NULL};
static const char *const auth_type_words[] = {"any",           "trust", "plain", "md5",  "cert",
                                              "scram-sha-256", "hba",   "pam",   "ldap", NULL};
static const char *const sslmode_words[] = {"disable",   "allow",       "prefer", "require",
                                            "verify-ca", "verify-full", NULL};
static const char *const load_balance_words[] = {"disable", "round-robin", NULL};
static const char *const session_attrs_words[] = {
    "any", "read-write", "read-only", "primary", "standby", "prefer-standby", NULL};
static const char *const channel_binding_words[] = {"prefer", "require", "disable", NULL};
static const char *const abandoned_words[] = {"cancel", "wait", "close", NULL};
static const char *const log_format_words[] = {"plain", "json", NULL};
static const char *const notify_mode_words[] = {"relay", "refuse", "off", NULL};
static const char *const notify_gap_words[] = {"disconnect", "notice", NULL};

#define AUTH_QUERY_DEFAULT                                                            \
    "SELECT rolname, CASE WHEN rolvaliduntil < now() THEN NULL ELSE rolpassword END " \
    "FROM pg_authid WHERE rolname=$1 AND rolcanlogin"

static const struct option options[] = {
#define GROUP .group = "Listening and process"
    {STRING(listen_addr, "", G_STR(listen_addr)), GROUP,
     .help = "Comma-separated addresses or host names to accept TCP connections on; * means all of "
             "them. While it is empty only the Unix socket is served."},
    {INTEGER(listen_port, "6432", 1, 65535, G_INT(listen_port)), GROUP,
     .help = "Port for TCP, and part of the name of the Unix socket."},
    {STRING(unix_socket_dir, "/tmp", G_STR(unix_socket_dir)), GROUP,
     .help =
         "Directory of the Unix socket; a name that begins with @ is an abstract one. Empty: no "
         "Unix socket. Entries of [databases] without a host also look for their server here."},
    {.name = "unix_socket_mode",
     .type = OPTION_MODE,
     .text = "0777",
     .most = 0777,
     .at = {G(unsigned, unix_socket_mode)},
     GROUP,
     .help = "Permissions of the Unix socket, octal."},
    {STRING(unix_socket_group, "", G_STR(unix_socket_group)), GROUP,
     .help = "Group that the Unix socket is given to. Empty: the group of the process."},
    {INTEGER(listen_backlog, "128", 1, COUNT_MOST, G_INT(listen_backlog)), GROUP,
     .help = "How many connections the kernel may keep waiting to be accepted."},
    {BOOLEAN(so_reuseport, "0"), GROUP,
     .help =
         "Lets several processes listen on the same port; the kernel spreads new connections over "
         "them. Cancel requests find their process by peer_id and [peers]."},
    {INTEGER(proxy_protocol_port, "0", 0, 65535, G_INT(proxy_protocol_port)), OWN, GROUP,
     .help =
         "One more TCP port on listen_addr, for load balancers that say who the client is: each "
         "connection begins with a header of the PROXY protocol, version 1 or 2. That address "
         "then counts in logs, HBA rules and SHOW. 0: none."},
    {STRING(proxy_protocol_from, "", G_STR(proxy_protocol_from)), OWN, RELOAD, GROUP,
     .help = "Comma-separated addresses and networks (10.0.0.0/8) of the load balancers that "
             "proxy_protocol_port is for; a connection from elsewhere is closed."},
    {INTEGER(peer_id, "0", 0, PEER_ID_MAX, G_INT(peer_id)), RELOAD, GROUP,
     .help = "Number of this process among the entries of [peers]. 0: there are no peers."},
    {STRING(user, "", G_STR(user)), GROUP, .help = "System user to become when started as root."},
    {STRING(pidfile, "", G_STR(pidfile)), GROUP,
     .help = "File for the process id. A process that goes to the background needs one."},
    {STRING(conffile, "", G_STR(conffile)), RELOAD, GROUP,
     .help = "Path of the configuration file. Setting it makes the next RELOAD read another file."},
    {STRING(job_name, "pgpoold", G_STR(job_name)), ALIAS("service_name"), GROUP,
     .help = "Name of this service: the program name in syslog where syslog_ident is not given."},
    {STRING(resolv_conf, "", G_STR(resolv_conf)), GROUP,
     .help = "A resolv.conf of its own for looking up host names; name servers in it may have a "
             "port, as 127.0.0.1:5353 or [::1]:5353. Empty: the system's. Read again at RELOAD."},
#undef GROUP

#define GROUP .group = "Metrics and status page (HTTP)"
    {INTEGER(http_port, "0", 0, 65535, G_INT(http_port)), OWN, GROUP,
     .help = "Port for HTTP: /metrics for Prometheus, /healthz, /readyz, and a status page at /. "
             "0: none of it."},
    {STRING(http_addr, "127.0.0.1", G_STR(http_addr)), OWN, GROUP,
     .help = "Comma-separated numeric addresses for HTTP; * means all of them. Whoever reaches "
             "them sees names of databases and users, hence only this host unless said otherwise."},
    {STRING(http_tls_key_file, "", G_STR(http_tls_key_file)), OWN, RELOAD, GROUP,
     .help = "Private key for HTTPS, PEM. With it and http_tls_cert_file nothing but HTTPS is "
             "spoken, TLS 1.2 or later."},
    {STRING(http_tls_cert_file, "", G_STR(http_tls_cert_file)), OWN, RELOAD, GROUP,
     .help = "Certificate for HTTPS, PEM, followed by its chain."},
    {STRING(http_auth_file, "", G_STR(http_auth_file)), OWN, RELOAD, GROUP,
     .help = "Users who may see metrics and status page: lines of \"name\" \"password\" as in "
             "auth_file, the passwords in plain text (HTTP basic authentication). /healthz and "
             "/readyz stay open to all. Empty: everybody may see everything."},
    {INTEGER(http_max_connections, "64", 1, 10000, G_INT(http_max_connections)), OWN, RELOAD, GROUP,
     .help = "HTTP connections at the same time; further ones are closed at once."},
    {DURATION(http_timeout, "15", G_US(http_timeout)), .least = 100000, OWN, RELOAD, GROUP,
     .help =
         "How long one HTTP request may take from its first byte to the last of its answer, and "
         "how long an idle connection is kept."},
    {INTEGER(metrics_max_extra, "100", 0, 10000, G_INT(metrics_max_extra)), OWN, RELOAD, GROUP,
     .help = "Databases, users and pools that no configuration names (auto-databases, users of "
             "auth_query) and that have metrics of their own all the same, so many of each. What "
             "comes later is summed up as \"other\"."},
#undef GROUP

#define GROUP .group = "Logging"
    {CHOICE(log_format, "plain", log_format_words, G(enum log_format_word, log_format)), OWN,
     RELOAD, GROUP,
     .help =
         "plain: lines for people and for PgBouncer's tools. json: one object in each line, for "
         "log collectors; syslog goes on getting plain text."},
    {STRING(logfile, "", G_STR(logfile)), RELOAD, GROUP,
     .help = "File to append log lines to; opened anew at RELOAD, which suits logrotate."},
    {BOOLEAN(syslog, "0"), RELOAD, GROUP, .help = "Send log lines to syslog."},
    {STRING(syslog_ident, "pgpoold", G_STR(syslog_ident)), RELOAD, GROUP,
     .help = "Program name in syslog."},
    {STRING(syslog_facility, "daemon", G_STR(syslog_facility)), RELOAD, GROUP,
     .help = "Facility in syslog: auth, authpriv, daemon, user, local0 to local7."},
    {INTEGER(verbose, "0", 0, 10, G_INT(verbose)), RELOAD, GROUP,
     .help = "0 logs the life of the service, 1 also the states of its connections, 2 also "
             "those that change with each transaction."},
    {BOOLEAN(log_connections, "1"), RELOAD, GROUP, .help = "Log each login."},
    {BOOLEAN(log_disconnections, "1"), RELOAD, GROUP,
     .help = "Log each end of a connection with its reason."},
    {BOOLEAN(log_pooler_errors, "1"), RELOAD, GROUP,
     .help = "Log the errors that pgpoold itself sends to clients."},
    {BOOLEAN(log_stats, "1"), RELOAD, GROUP,
     .help =
         "Write a line of averages over all databases into the log, once in each stats_period."},
    {DURATION(stats_period, "60", G_US(stats_period)), .least = 100000, RELOAD, GROUP,
     .help = "How often the averages of SHOW STATS are worked out."},
    {BOOLEAN(echo, "0"), OWN, RELOAD, GROUP,
     .help =
         "Log every statement with its duration. Passwords are left out, and values of "
         "parameters while echo_parameters is off. May also be given for one database or user."},
    {BOOLEAN(echo_parameters, "0"), OWN, RELOAD, GROUP,
     .help = "Statements in the log show the values of their parameters, which may be anybody's "
             "secrets. Never those of a statement with a password in it."},
    {DURATION(log_min_duration, "0", G_US(log_min_duration)), OWN, RELOAD, GROUP,
     .help = "Log statements that take at least this long, whether echo is on or not. 0: none."},
#undef GROUP

#define GROUP .group = "Pools"
    {CHOICE(pool_mode, "session", pool_mode_words, G(enum pool_mode, pool_mode),
            D(enum pool_mode, pool_mode), U(enum pool_mode, pool_mode)),
     .unset = POOL_MODE_UNSET, RELOAD, GROUP,
     .help =
         "When a server connection goes back to its pool: at the end of the client's session, of "
         "the transaction, or of each statement."},
    {INTEGER(default_pool_size, "20", 0, COUNT_MOST, G_INT(default_pool_size)), ALIAS("maxsize"),
     .zero_unlimited = true, RELOAD, GROUP,
     .help = "Most server connections of one pool, that is of one pair of database and user. 0: no "
             "limit."},
    {INTEGER(min_pool_size, "0", 0, COUNT_MOST, G_INT(min_pool_size), D_INT(min_pool_size)),
     ALIAS("minsize"), RELOAD, GROUP,
     .help =
         "Server connections that a pool keeps open. Where the entry of a database forces a user "
         "they are opened at start, else as soon as the pool has had a client."},
    {INTEGER(reserve_pool_size, "0", 0, COUNT_MOST, G_INT(reserve_pool_size),
             D_INT(reserve_pool_size), U_INT(reserve_pool_size)),
     ALIAS("reserve_pool"), RELOAD, GROUP,
     .help = "Additional server connections of a pool for clients that have waited too long."},
    {DURATION(reserve_pool_timeout, "5", G_US(reserve_pool_timeout)), RELOAD, GROUP,
     .help = "How long a client waits before the reserve is used for it. 0: the reserve is never "
             "used."},
    {INTEGER(max_client_conn, "100", 1, COUNT_MOST, G_INT(max_client_conn)), RELOAD, GROUP,
     .help =
         "Most client connections altogether, also those that have not logged in yet, which "
         "client_login_timeout ends. Remember the limit of open files, which clients and servers "
         "share."},
    {INTEGER(max_db_connections, "0", 0, COUNT_MOST, G_INT(max_db_connections),
             D_INT(max_db_connections)),
     RELOAD, GROUP,
     .help = "Most server connections to one database, whoever the user is. 0: no limit."},
    {INTEGER(max_db_client_connections, "0", 0, COUNT_MOST, G_INT(max_db_client_connections),
             D_INT(max_db_client_connections)),
     RELOAD, GROUP, .help = "Most client connections to one database. 0: no limit."},
    {INTEGER(max_user_connections, "0", 0, COUNT_MOST, G_INT(max_user_connections),
             U_INT(max_user_connections)),
     RELOAD, GROUP,
     .help = "Most server connections of one user, whatever the database is. 0: no limit."},
    {INTEGER(max_user_client_connections, "0", 0, COUNT_MOST, G_INT(max_user_client_connections),
             U_INT(max_user_client_connections)),
     RELOAD, GROUP, .help = "Most client connections of one user. 0: no limit."},
    {BOOLEAN(server_round_robin, "0"), RELOAD, GROUP,
     .help = "Use the server connections of a pool in turn. Otherwise the one used last is taken "
             "first, so that a pool can shrink when there is little to do."},
    {DURATION(pool_idle_timeout, "0", G_US(pool_idle_timeout)), RELOAD, GROUP,
     .help = "A pool without any connection is forgotten after this time. 0: never."},
    {DURATION(autodb_idle_timeout, "3600", G_US(autodb_idle_timeout)), RELOAD, GROUP,
     .help = "A database that was made from the entry * is forgotten after this time without use. "
             "0: never."},
    {INTEGER(max_prepared_statements, "200", 0, COUNT_MOST, G_INT(max_prepared_statements)), RELOAD,
     GROUP,
     .help =
         "Named prepared statements to keep on each server connection in transaction and "
         "statement mode. 0: prepared statements are not followed from one server connection to "
         "the next."},
    {STRING(ignore_startup_parameters, "", G_STR(ignore_startup_parameters)), RELOAD, GROUP,
     .help = "Comma-separated startup parameters of clients to drop unread. All others are put in "
             "force on the server, and one that the server does not know or like ends the login "
             "with the server's error."},
    {STRING(track_extra_parameters, "IntervalStyle", G_STR(track_extra_parameters)), GROUP,
     .help = "Comma-separated parameters to keep in step between client and server besides the "
             "usual ones. Only those that the server reports on its own can be followed."},
    {BOOLEAN(application_name_add_host, "0"), RELOAD, GROUP,
     .help =
         "Put the address and port of the client, or its process over a Unix socket, behind the "
         "application_name set at login; who sets none is called app."},
    {BOOLEAN(disable_pqexec, "0"), GROUP,
     .help = "Refuse the simple query protocol, through which one message may carry several "
             "statements: only clients that always use the extended one can work. The console "
             "stays open."},
    {STRING(login_notify_message, "", G_STR(login_notify_message)), RELOAD, GROUP,
     .help = "A text that each client gets as a NOTICE after login. Empty: none."},
#undef GROUP

#define GROUP .group = "Logging in"
    {CHOICE(auth_type, "md5", auth_type_words, G(enum auth_type, auth_type)), RELOAD, GROUP,
     .help =
         "How clients prove who they are: scram-sha-256; md5 (also takes SCRAM secrets, by "
         "SCRAM); plain (clear text); cert (a client certificate); hba (by the rules of "
         "auth_hba_file); pam (clear text, checked by the PAM service pgbouncer; auth_file is "
         "ignored); ldap (clear text, checked by an LDAP server, see auth_ldap_options); trust (no "
         "proof, but the user must be known); any (no proof, and each database entry must force a "
         "user). With pam and ldap the password also opens the server connections."},
    {STRING(auth_file, "", G_STR(auth_file)), RELOAD, GROUP,
     .help = "File with lines of \"user\" \"secret\". A secret may be plain text, an md5 hash or a "
             "SCRAM verifier."},
    {STRING(auth_hba_file, "", G_STR(auth_hba_file)), RELOAD, GROUP,
     .help = "Rules in the format of pg_hba.conf, for auth_type hba."},
    {STRING(auth_ident_file, "", G_STR(auth_ident_file)), RELOAD, GROUP,
     .help = "Map of outside names to users in the format of pg_ident.conf, for rules with map=."},
    {STRING(auth_user, "", G_STR(auth_user), D_STR(auth_user)), RELOAD, GROUP,
     .help = "User to run auth_query as for users that auth_file does not name. Its own secret "
             "must be in auth_file."},
    {STRING(auth_query, AUTH_QUERY_DEFAULT, G_STR(auth_query), D_STR(auth_query)), RELOAD, GROUP,
     .help =
         "Query that gives a user's name and secret; $1 is the name. Better than a superuser as "
         "auth_user is a SECURITY DEFINER function that this query calls."},
    {DURATION(auth_query_cache, "0", G_US(auth_query_cache)), OWN, RELOAD, GROUP,
     .help =
         "How long the answer of auth_query for a user is used again. A login that fails with it "
         "asks anew, or the next one does; an old password works that much longer. 0: each "
         "login asks."},
    {STRING(auth_dbname, "", G_STR(auth_dbname), D_STR(auth_dbname)), RELOAD, GROUP,
     .help =
         "Entry of [databases] in which auth_query runs. Empty: in the database the client asked "
         "for."},
    {STRING(auth_ldap_options, "", G_STR(auth_ldap_options)), RELOAD, GROUP,
     .help =
         "Options for auth_type ldap, and for ldap in HBA rules that have none; written as there: "
         "ldapserver, ldapport, ldapscheme, ldaptls, ldapprefix and ldapsuffix for a simple "
         "bind; ldapbasedn, ldapbinddn, ldapbindpasswd, ldapsearchattribute, ldapsearchfilter "
         "or ldapurl for a search before it. CAs and the like come from ldap.conf(5)."},
    {STRING(admin_users, "", G_STR(admin_users)), RELOAD, GROUP,
     .help = "Comma-separated users who may run every command on the console."},
    {STRING(stats_users, "", G_STR(stats_users)), RELOAD, GROUP,
     .help = "Comma-separated users who may run SHOW commands on the console, except SHOW FDS."},
    {INTEGER(scram_iterations, "4096", 1, 10000000, G_INT(scram_iterations)), RELOAD, GROUP,
     .help =
         "Rounds of hashing when a SCRAM verifier is made from a plain-text secret. More rounds "
         "make guessing slower, and logins too."},
#undef GROUP

#define GROUP .group = "Server connections"
    {STRING(connect_query, "", G_STR(connect_query), D_STR(connect_query)), ALIAS("on_connect"),
     RELOAD, GROUP,
     .help = "SQL to run once on each new server connection before a client has it. When it fails, "
             "that is in the log and the connection is used all the same."},
    {STRING(server_reset_query, "DISCARD ALL", G_STR(server_reset_query)), RELOAD, GROUP,
     .help =
         "SQL that cleans a server connection before another client has it. It is run in session "
         "mode only, unless server_reset_query_always is on."},
    {BOOLEAN(server_reset_query_always, "0"), RELOAD, GROUP,
     .help = "Run server_reset_query in transaction and statement mode too."},
    {STRING(server_check_query, "<empty>", G_STR(server_check_query)), RELOAD, GROUP,
     .help = "Query that shows that an idle server connection still works. The word <empty> stands "
             "for an empty query, which is the cheapest. Empty: no check."},
    {DURATION(server_check_delay, "30", G_US(server_check_delay)), RELOAD, GROUP,
     .help = "A server connection that was idle for longer is checked before it is used again. 0: "
             "always."},
    {DURATION(server_lifetime, "3600", G_US(server_lifetime), D_US(server_lifetime)),
     ALIAS("pool_recycle"), .least = -1, .or_never = true, RELOAD, GROUP,
     .help =
         "A server connection that is older is closed as soon as it is free. 0: after its first "
         "use; -1: never."},
    {INTEGER(server_lifetime_jitter, "10", 0, 90, G_INT(server_lifetime_jitter)), .unit = "percent",
     OWN, RELOAD, GROUP,
     .help = "Each server connection lives shorter than server_lifetime by a random part of up to "
             "this size, so that those opened together do not all end together."},
    {DURATION(server_idle_timeout, "600", G_US(server_idle_timeout)), RELOAD, GROUP,
     .help = "A server connection that was idle for longer is closed, down to min_pool_size. 0: "
             "never."},
    {DURATION(server_connect_timeout, "15", G_US(server_connect_timeout)), RELOAD, GROUP,
     .help = "Longest time to open a server connection and log in there. 0: no limit."},
    {DURATION(server_login_retry, "15", G_US(server_login_retry)), RELOAD, GROUP,
     .help = "After a server connection failed to open, wait this long before the next attempt; "
             "clients that wait meanwhile get the server's error. 0: try again at once."},
    {BOOLEAN(server_fast_close, "0"), RELOAD, GROUP,
     .help = "In session mode, close a server connection that must be reopened (RECONNECT, changed "
             "entry) at the end of its transaction instead of its session."},
    {DURATION(rollback_timeout, "10", G_US(rollback_timeout)), OWN, RELOAD, GROUP,
     .help =
         "Longest time to roll back the transaction that a vanished client left behind; then its "
         "server connection is closed. 0: no limit."},
    {CHOICE(abandoned_query, "cancel", abandoned_words, G(enum abandoned_query, abandoned_query)),
     OWN, RELOAD, GROUP,
     .help = "What happens to a query whose client has vanished: cancel it on the server, wait for "
             "its end, or close the server connection. Until the server is done, the connection "
             "counts in its pool."},
#undef GROUP

#define GROUP .group = "Time limits"
    {DURATION(query_wait_timeout, "120", G_US(query_wait_timeout), D_US(query_wait_timeout),
              U_US(query_wait_timeout)),
     RELOAD, GROUP, .help = "Longest wait of a client for a server connection. 0: no limit."},
    {DURATION(query_wait_notify, "5", G_US(query_wait_notify)), RELOAD, GROUP,
     .help = "After this time a waiting client is told so by a NOTICE. 0: never."},
    {DURATION(query_timeout, "0", G_US(query_timeout), U_US(query_timeout)), ALIAS("timeout"),
     RELOAD, GROUP,
     .help =
         "Longest time for one query. Set it a little above the server's statement_timeout, as a "
         "guard against a network that hangs. 0: no limit."},
    {DURATION(transaction_timeout, "0", G_US(transaction_timeout), U_US(transaction_timeout)),
     RELOAD, GROUP, .help = "Longest time for one transaction. 0: no limit."},
    {DURATION(idle_transaction_timeout, "0", G_US(idle_transaction_timeout),
              U_US(idle_transaction_timeout)),
     RELOAD, GROUP,
     .help = "Longest time that a client may do nothing inside a transaction. 0: no limit."},
    {DURATION(client_idle_timeout, "0", G_US(client_idle_timeout), U_US(client_idle_timeout)),
     RELOAD, GROUP,
     .help = "Longest time that a client may do nothing outside a transaction. 0: no limit."},
    {DURATION(client_login_timeout, "60", G_US(client_login_timeout)), RELOAD, GROUP,
     .help = "Longest time from a client's connect to the end of its login. 0: no limit."},
    {DURATION(cancel_wait_timeout, "10", G_US(cancel_wait_timeout)), RELOAD, GROUP,
     .help = "Longest wait of a cancel request for its turn. 0: no limit."},
    {DURATION(suspend_timeout, "10", G_US(suspend_timeout)), RELOAD, GROUP,
     .help = "How long SUSPEND waits for buffers to run empty before the connections that are "
             "left are closed. A restart with -R is given up after that time."},
#undef GROUP

#define GROUP .group = "LISTEN and NOTIFY"
    {CHOICE(notify_mode, "relay", notify_mode_words, G(enum notify_mode, notify_mode)), OWN, RELOAD,
     GROUP,
     .help =
         "LISTEN in transaction and statement mode. relay: it works as on a connection of one's "
         "own, through one additional server connection for each pool that has listeners; "
         "refuse: it is answered with an error; off: it is passed on unseen, and nobody is ever "
         "notified. In session mode the server itself notifies its client, whatever this says."},
    {CHOICE(notify_gap, "disconnect", notify_gap_words, G(enum notify_gap, notify_gap)), OWN,
     RELOAD, GROUP,
     .help = "When the connection that receives notifications was lost, some may be missing. "
             "disconnect: the listeners' connections end with an error, as their own would have; "
             "notice: they stay, and get a WARNING then and another one when notifications come "
             "again."},
    {INTEGER(notify_queue_size, "1024", 1, 10000000, G_INT(notify_queue_size)), .unit = "messages",
     OWN, RELOAD, GROUP,
     .help = "Notifications that may wait for a client that is inside a transaction or reads too "
             "slowly, 16 MiB at most. One more ends its connection with an error."},
    {INTEGER(max_listen_channels, "1000", 1, COUNT_MOST, G_INT(max_listen_channels)), OWN, RELOAD,
     GROUP, .help = "Most channels that one client may listen to at a time."},
    {DURATION(notify_hub_idle, "60", G_US(notify_hub_idle)), OWN, RELOAD, GROUP,
     .help = "How long the connection that receives notifications stays open after its last "
             "listener has gone. 0: it is closed at once."},
#undef GROUP

#define GROUP .group = "TLS towards clients"
    {CHOICE(client_tls_sslmode, "disable", sslmode_words, G(enum sslmode, client_tls_sslmode)),
     RELOAD, GROUP,
     .help = "disable: no TLS; allow and prefer: as the client likes; require: only with TLS; "
             "verify-ca and verify-full: also only with a valid client certificate. Needs key and "
             "certificate. With client_tls_ca_file a client may show a certificate in each mode, "
             "for HBA rules with cert; it has to be valid."},
    {STRING(client_tls_key_file, "", G_STR(client_tls_key_file)), RELOAD, GROUP,
     .help = "Private key, PEM."},
    {STRING(client_tls_cert_file, "", G_STR(client_tls_cert_file)), RELOAD, GROUP,
     .help = "Certificate that belongs to the key, with its chain, PEM."},
    {STRING(client_tls_ca_file, "", G_STR(client_tls_ca_file)), RELOAD, GROUP,
     .help = "Certificates of those who may sign client certificates, PEM."},
    {STRING(client_tls_protocols, "secure", G_STR(client_tls_protocols)), RELOAD, GROUP,
     .help = "Comma-separated TLS versions: tlsv1.0, tlsv1.1, tlsv1.2, tlsv1.3; secure stands for "
             "1.2 and 1.3, all for every one."},
    {STRING(client_tls_ciphers, "default", G_STR(client_tls_ciphers)), RELOAD, GROUP,
     .help =
         "Ciphers up to TLS 1.2, as an OpenSSL list. default and secure: OpenSSL's strong ones."},
    {STRING(client_tls13_ciphers, "", G_STR(client_tls13_ciphers)), RELOAD, GROUP,
     .help = "Cipher suites of TLS 1.3, colon-separated. Empty: OpenSSL's choice."},
    {STRING(client_tls_ecdhcurve, "auto", G_STR(client_tls_ecdhcurve)), RELOAD, GROUP,
     .help = "Curve for the ECDH key exchange: a name, or auto, or none."},
    {STRING(client_tls_dheparams, "auto", G_STR(client_tls_dheparams)), RELOAD, GROUP,
     .help = "Strength of the DHE key exchange: auto, legacy or none."},
#undef GROUP

#define GROUP .group = "TLS towards servers"
    {CHOICE(server_tls_sslmode, "prefer", sslmode_words, G(enum sslmode, server_tls_sslmode)),
     RELOAD, GROUP,
     .help = "disable: no TLS; allow: only if the server insists; prefer: if the server has it; "
             "require: always; verify-ca: and the server's certificate must be valid; verify-full: "
             "and name the host."},
    {STRING(server_tls_ca_file, "", G_STR(server_tls_ca_file)), RELOAD, GROUP,
     .help = "Certificates of those who may sign server certificates, PEM."},
    {STRING(server_tls_key_file, "", G_STR(server_tls_key_file)), RELOAD, GROUP,
     .help = "Private key to show to servers that ask for a client certificate, PEM."},
    {STRING(server_tls_cert_file, "", G_STR(server_tls_cert_file)), RELOAD, GROUP,
     .help = "Certificate that belongs to that key, PEM."},
    {STRING(server_tls_protocols, "secure", G_STR(server_tls_protocols)), RELOAD, GROUP,
     .help = "TLS versions, as in client_tls_protocols."},
    {STRING(server_tls_ciphers, "default", G_STR(server_tls_ciphers)), RELOAD, GROUP,
     .help = "Ciphers up to TLS 1.2, as in client_tls_ciphers."},
    {STRING(server_tls13_ciphers, "", G_STR(server_tls13_ciphers)), RELOAD, GROUP,
     .help = "Cipher suites of TLS 1.3, as in client_tls13_ciphers."},
#undef GROUP

#define GROUP .group = "Network"
    {DURATION(dns_max_ttl, "15", G_US(dns_max_ttl)), RELOAD, GROUP,
     .help = "An answer of the DNS is used for at most this long, even if its own TTL is longer."},
    {DURATION(dns_nxdomain_ttl, "15", G_US(dns_nxdomain_ttl)), RELOAD, GROUP,
     .help = "A host name that could not be found is looked up again after this time."},
    {DURATION(dns_zone_check_period, "0", G_US(dns_zone_check_period)), RELOAD, GROUP,
     .help =
         "How often to look whether the serial of a DNS zone has changed, and then to look up its "
         "names again. 0: never."},
    {BOOLEAN(tcp_keepalive, "1"), RELOAD, GROUP, .help = "Turn TCP keepalive on."},
    {INTEGER(tcp_keepidle, "0", 0, 32767, G_INT(tcp_keepidle_s)), .unit = "seconds", RELOAD, GROUP,
     .help = "Silence before the first keepalive probe. 0: the system's default."},
    {INTEGER(tcp_keepintvl, "0", 0, 32767, G_INT(tcp_keepintvl_s)), .unit = "seconds", RELOAD,
     GROUP, .help = "Time between keepalive probes. 0: the system's default."},
    {INTEGER(tcp_keepcnt, "0", 0, 127, G_INT(tcp_keepcnt)), RELOAD, GROUP,
     .help =
         "Probes without an answer until the connection counts as dead. 0: the system's default."},
    {INTEGER(tcp_user_timeout, "0", 0, INT32_MAX, G_INT(tcp_user_timeout_ms)),
     .unit = "milliseconds", RELOAD, GROUP,
     .help =
         "How long sent bytes may stay unacknowledged until the connection counts as dead. 0: the "
         "system's default."},
    {INTEGER(tcp_defer_accept, "1", 0, 32767, G_INT(tcp_defer_accept_s)), .unit = "seconds", RELOAD,
     GROUP,
     .help =
         "Let the kernel hand over a new client only when it has sent something, for up to this "
         "long. 0: hand it over at once."},
    {BYTES(tcp_socket_buffer, "0", 0, INT32_MAX), RELOAD, GROUP,
     .help = "Size of the kernel's buffers of a connection. 0: the system's default."},
    {BYTES(pkt_buf, "4096", 256, 1048576), GROUP,
     .help =
         "Accepted for the sake of existing files; buffers here grow with what waits, up to fixed "
         "bounds."},
    {BYTES(max_packet_size, "2147483647", 1024, INT32_MAX), RELOAD, GROUP,
     .help = "Largest message that is let through."},
    {INTEGER(sbuf_loopcnt, "5", 0, COUNT_MOST, G_INT(sbuf_loopcnt)), RELOAD, GROUP,
     .help =
         "How many buffers of one connection are served before the others have their turn. 0: no "
         "limit, so a large result may keep everybody waiting."},
#undef GROUP

#define GROUP .group = "Entries"
    {STRING(host, NULL, D_STR(host), P_STR(host)), RELOAD, GROUP,
     .help =
         "Host name, address, or directory of a Unix socket; for a database also several of them, "
         "comma-separated. Not given: the Unix socket in unix_socket_dir."},
    {STRING(port, NULL, D_STR(port), P_STR(port)), RELOAD, GROUP,
     .help =
         "Port of the server, 5432 if not given (of a peer: 6432). With several hosts one port for "
         "all, or a comma-separated list of as many."},
    {STRING(dbname, NULL, D_STR(dbname)), RELOAD, GROUP,
     .help = "Name of the database on the server. Not given: the name of the entry."},
    {STRING(user, NULL, D_STR(user)), RELOAD, GROUP,
     .help = "Log in on the server as this user, whoever the client is. Then all clients of this "
             "database share one pool."},
    {.name = "password",
     .type = OPTION_SECRET,
     .at = {D(struct secret, password)},
     RELOAD,
     GROUP,
     .help = "Secret of that user on the server. Not given: from auth_file or auth_query."},
    {INTEGER(pool_size, NULL, 0, COUNT_MOST, D_INT(pool_size), U_INT(pool_size), P_INT(pool_size)),
     ALIAS("maxsize"), .zero_unlimited = true, RELOAD, GROUP,
     .help = "Most server connections of a pool of this database or user; of a peer, connections "
             "to it for cancel requests. 0: no limit. Not given: default_pool_size."},
    {STRING(client_encoding, NULL, D_STR(client_encoding)), RELOAD, GROUP,
     .help = "client_encoding to ask the server for at connect."},
    {STRING(datestyle, NULL, D_STR(datestyle)), RELOAD, GROUP,
     .help = "DateStyle to ask the server for at connect."},
    {STRING(timezone, NULL, D_STR(timezone)), RELOAD, GROUP,
     .help = "TimeZone to ask the server for at connect."},
    {STRING(application_name, NULL, D_STR(application_name)), RELOAD, GROUP,
     .help = "application_name to ask the server for at connect."},
    {CHOICE(load_balance_hosts, NULL, load_balance_words,
            D(enum load_balance_hosts, load_balance_hosts)),
     .unset = LOAD_BALANCE_HOSTS_ROUND_ROBIN, RELOAD, GROUP,
     .help = "With several hosts: round-robin (if not given) uses them in turn, disable uses the "
             "first that answers."},
    {CHOICE(target_session_attrs, NULL, session_attrs_words,
            D(enum target_session_attrs, target_session_attrs)),
     .unset = TARGET_SESSION_ATTRS_ANY, OWN, RELOAD, GROUP,
     .help = "Which of the hosts will do, as in libpq: any (if not given), read-write, read-only, "
             "primary, standby, prefer-standby. Looked at after each login to a server; while none "
             "fits queries wait, and a look is taken every second. A server that says that it has "
             "changed is left when its transaction ends."},
    {CHOICE(channel_binding, NULL, channel_binding_words,
            D(enum channel_binding_word, channel_binding)),
     .unset = CHANNEL_BINDING_WORD_PREFER, OWN, RELOAD, GROUP,
     .help =
         "As in libpq: prefer (if not given) binds SCRAM to the TLS connection where the server "
         "offers it, require refuses servers that do not, disable never does."},
    {STRING(require_auth, NULL, D_STR(require_auth)), OWN, RELOAD, GROUP,
     .help =
         "As in libpq: the authentication methods that the server may ask for, of password, "
         "md5, gss, sspi, scram-sha-256, none (it asks for nothing), or with ! before each "
         "those that it may not. Not given: whatever it asks for; a clear-text password is sent "
         "over TLS or a Unix socket only."},
    {.name = "echo",
     .type = OPTION_TRISTATE,
     .most = 1,
     .at = {D(int, echo), U(int, echo)},
     OWN,
     RELOAD,
     GROUP,
     .help = "As the global echo, for this database or user."},
#undef GROUP
};

unsigned option_count(void)
{
    return (unsigned)ARRAY_LEN(options);
}

unsigned option_index(const struct option *o)
{
    return (unsigned)(o - options);
}

const struct option *option_next(enum option_scope scope, const struct option *prev)
{
    for (unsigned i = prev == NULL ? 0 : option_index(prev) + 1; i < option_count(); i++) {
        if (option_is_in(&options[i], scope)) {
            return &options[i];
        }
    }
    return NULL;
}

const struct option *option_next_by_name(enum option_scope scope, const struct option *prev)
{
    const struct option *best = NULL;
    const struct option *o = NULL;

    while ((o = option_next(scope, o)) != NULL) {
        if ((prev == NULL || strcmp(o->name, prev->name) > 0) &&
            (best == NULL || strcmp(o->name, best->name) < 0)) {
            best = o;
        }
    }
    return best;
}

static bool answers_to(const struct option *o, const char *name)
{
    if (strcmp(o->name, name) == 0) {
        return true;
    }
    for (size_t i = 0; i < ARRAY_LEN(o->aliases); i++) {
        if (o->aliases[i] != NULL && strcmp(o->aliases[i], name) == 0) {
            return true;
        }
    }
    return false;
}

const struct option *option_find(enum option_scope scope, const char *name)
{
    const struct option *o = NULL;

    while ((o = option_next(scope, o)) != NULL) {
        if (answers_to(o, name)) {
            return o;
        }
    }
    return NULL;
}

#define NEAREST_NAME_MAX \
    48 /* longer than any option; a longer unknown name is like none of them \
                             */

/* Levenshtein distance; both texts are at most NEAREST_NAME_MAX long. */
static unsigned edit_distance(const char *a, const char *b)
{
    unsigned row[NEAREST_NAME_MAX + 1];
    size_t n_b = strlen(b);

    for (unsigned j = 0; j <= n_b; j++) {
        row[j] = j;
    }
    for (unsigned i = 1; a[i - 1] != '\0'; i++) {
        unsigned diagonal = row[0];

        row[0] = i;
        for (size_t j = 1; j <= n_b; j++) {
            unsigned change = diagonal + (a[i - 1] != b[j - 1]);
            unsigned insert_or_drop = MIN(row[j], row[j - 1]) + 1;

            diagonal = row[j];
            row[j] = MIN(change, insert_or_drop);
        }
    }
    return row[n_b];
}

static void look_nearer(const char *name, const char *known, const char **best,
                        unsigned *best_distance)
{
    unsigned distance;

    if (known == NULL) {
        return;
    }
    fatal_unless(strlen(known) <= NEAREST_NAME_MAX);
    distance = edit_distance(name, known);
    if (distance < *best_distance) {
        *best = known;
        *best_distance = distance;
    }
}

const char *option_nearest(enum option_scope scope, const char *name)
{
    size_t len = strlen(name);
    unsigned distance =
        len < 4 ? 2 : 3; /* more than two letters wrong is too far, or more than a third */
    const char *best = NULL;
    const struct option *o = NULL;

    if (len > NEAREST_NAME_MAX) {
        return NULL;
    }
    distance = MAX(distance, (unsigned)len / 3 + 1);
    while ((o = option_next(scope, o)) != NULL) {
        look_nearer(name, o->name, &best, &distance);
        for (size_t i = 0; i < ARRAY_LEN(o->aliases); i++) {
            look_nearer(name, o->aliases[i], &best, &distance);
        }
    }
    return best;
}

const char *option_list_next(const char **list, size_t *ret_len)
{
    const char *start = *list;
    size_t len;

    start += strspn(start, ", \t");
    len = strcspn(start, ",");
    *list = start + len;
    while (len > 0 && (start[len - 1] == ' ' || start[len - 1] == '\t')) {
        len--;
    }
    if (len == 0) {
        return NULL;
    }
    *ret_len = len;
    return start;
}

bool option_list_has(const char *list, const char *word)
{
    size_t word_len = strlen(word);
    const char *item;
    size_t len;

    while ((item = option_list_next(&list, &len)) != NULL) {
        if (len == word_len && memcmp(item, word, len) == 0) {
            return true;
        }
    }
    return false;
}

const char *pool_mode_name(enum pool_mode mode)
{
    return mode == POOL_MODE_UNSET ? "" : pool_mode_words[mode];
}

const char *auth_type_name(enum auth_type type)
{
    switch (type) {
    case AUTH_TYPE_ANY:
    case AUTH_TYPE_TRUST:
    case AUTH_TYPE_PLAIN:
    case AUTH_TYPE_MD5:
    case AUTH_TYPE_CERT:
    case AUTH_TYPE_SCRAM:
    case AUTH_TYPE_HBA:
    case AUTH_TYPE_PAM:
    case AUTH_TYPE_LDAP:
        return auth_type_words[type];
    case AUTH_TYPE_PEER:
        return "peer";
    case AUTH_TYPE_REJECT:
        return "reject";
    }
    unreachable();
}

const char *load_balance_hosts_name(enum load_balance_hosts how)
{
    return load_balance_words[how];
}

const char *option_default_text(const struct option *o)
{
    if (o->text == NULL || strcmp(o->name, "verbose") == 0) {
        return ""; /* PgBouncer shows no default for verbose, and scripts compare */
    }
    return o->text;
}
