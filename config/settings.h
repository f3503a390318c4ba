/* SPDX-License-Identifier: ISC */
/* The record of the global settings and the enums in it. Filled only through the table in
 * options.c. Strings are owned by the record and freed by it alone. Nothing here logs, reads a file
 * or keeps state. */
#ifndef PGPOOLD_CONFIG_SETTINGS_H
#define PGPOOLD_CONFIG_SETTINGS_H

#include "config/config_errors.h"
#include "daemon/util/clock.h"
#include "daemon/util/macros.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct option;

/* Marks of optional fields of database, user and peer entries: "not given, take the next wider
 * setting". */
#define OPTION_UNSET (-1)                /* int fields, and the tri-state echo */
#define OPTION_UNSET_US (UINT64_MAX - 1) /* usec_t fields */
/* A duration without end; only server_lifetime = -1 has it. Larger than any age, so a plain
 * comparison works. */
#define USEC_NEVER UINT64_MAX
/* A pool size of 0 in the ini: no limit. Larger than any size, and small enough to be added to
 * without overflow. */
#define POOL_SIZE_UNLIMITED (1 << 30)

enum pool_mode {
    POOL_MODE_SESSION,
    POOL_MODE_TRANSACTION,
    POOL_MODE_STATEMENT,
    POOL_MODE_UNSET, /* only in database and user entries */
};

/* The first nine may be the value of auth_type, the last two only come from an HBA rule. */
enum auth_type {
    AUTH_TYPE_ANY,
    AUTH_TYPE_TRUST,
    AUTH_TYPE_PLAIN,
    AUTH_TYPE_MD5,
    AUTH_TYPE_CERT,
    AUTH_TYPE_SCRAM,
    AUTH_TYPE_HBA,
    AUTH_TYPE_PAM,
    AUTH_TYPE_LDAP,
    AUTH_TYPE_PEER,
    AUTH_TYPE_REJECT,
};

enum sslmode {
    SSLMODE_DISABLE,
    SSLMODE_ALLOW,
    SSLMODE_PREFER,
    SSLMODE_REQUIRE,
    SSLMODE_VERIFY_CA,
    SSLMODE_VERIFY_FULL,
};

enum load_balance_hosts {
    LOAD_BALANCE_HOSTS_DISABLE,
    LOAD_BALANCE_HOSTS_ROUND_ROBIN, /* the default */
};

enum target_session_attrs {
    TARGET_SESSION_ATTRS_ANY, /* the default */
    TARGET_SESSION_ATTRS_READ_WRITE,
    TARGET_SESSION_ATTRS_READ_ONLY,
    TARGET_SESSION_ATTRS_PRIMARY,
    TARGET_SESSION_ATTRS_STANDBY,
    TARGET_SESSION_ATTRS_PREFER_STANDBY,
};

enum channel_binding_word {
    CHANNEL_BINDING_WORD_PREFER, /* the default */
    CHANNEL_BINDING_WORD_REQUIRE,
    CHANNEL_BINDING_WORD_DISABLE,
};

enum log_format_word {
    LOG_FORMAT_PLAIN,
    LOG_FORMAT_JSON,
};

enum abandoned_query {
    ABANDONED_QUERY_CANCEL, /* send a cancel request, then roll back */
    ABANDONED_QUERY_WAIT,   /* let it run to its end, then roll back */
    ABANDONED_QUERY_CLOSE,  /* close the server connection */
};

enum notify_mode {
    NOTIFY_MODE_RELAY,  /* LISTEN works in every pool mode */
    NOTIFY_MODE_REFUSE, /* LISTEN in transaction and statement mode is answered with an error */
    NOTIFY_MODE_OFF,    /* passed through and not looked at, as PgBouncer does */
};

enum notify_gap {
    NOTIFY_GAP_DISCONNECT,
    NOTIFY_GAP_NOTICE,
};

/* One field for each global option, under the option's name. Strings are owned, never NULL, "" when
 * not given. _us: microseconds, 0 is off unless the option's help says otherwise. Counts: 0 is "no
 * limit" unless it says otherwise; default_pool_size is POOL_SIZE_UNLIMITED then. Lists are kept as
 * written: see option_list_has(). Written through option_set() only: texts that are "" are shared,
 * not allocated. */
struct settings {
    /* where to listen, who we are */
    char *listen_addr;
    int listen_port;
    int listen_backlog;
    char *unix_socket_dir;
    unsigned unix_socket_mode; /* permission bits */
    char *unix_socket_group;
    bool so_reuseport;
    int proxy_protocol_port;   /* 0: none */
    char *proxy_protocol_from; /* networks_have() */
    int peer_id;
    char *user;
    char *pidfile;
    char *job_name;
    char *conffile;
    char *resolv_conf;

    /* metrics and status page */
    int http_port; /* 0: off */
    char *http_addr;
    char *http_tls_key_file;
    char *http_tls_cert_file;
    char *http_auth_file;
    int http_max_connections;
    usec_t http_timeout_us;
    int metrics_max_extra;

    /* logging */
    char *logfile;
    bool syslog;
    char *syslog_ident;
    char *syslog_facility;
    bool log_connections;
    bool log_disconnections;
    bool log_pooler_errors;
    bool log_stats;
    usec_t stats_period_us;
    int verbose;
    bool echo;
    bool echo_parameters;
    enum log_format_word log_format;
    usec_t log_min_duration_us;

    /* the pools */
    enum pool_mode pool_mode;
    int default_pool_size; /* may be POOL_SIZE_UNLIMITED, never 0 */
    int min_pool_size;
    int reserve_pool_size;
    usec_t reserve_pool_timeout_us;
    int max_client_conn;
    int max_db_connections;
    int max_db_client_connections;
    int max_user_connections;
    int max_user_client_connections;
    bool server_round_robin;
    usec_t autodb_idle_timeout_us;
    usec_t pool_idle_timeout_us;
    char *ignore_startup_parameters; /* list */
    char *track_extra_parameters;    /* list */
    int max_prepared_statements;
    bool application_name_add_host;
    bool disable_pqexec;
    char *login_notify_message;

    /* logging in */
    enum auth_type auth_type;
    char *auth_file;
    char *auth_hba_file;
    char *auth_ident_file;
    char *auth_user;
    char *auth_dbname;
    char *auth_query;
    char *auth_ldap_options;
    char *admin_users; /* list */
    char *stats_users; /* list */
    int scram_iterations;

    /* server connections */
    char *connect_query;
    char *server_reset_query;
    bool server_reset_query_always;
    char *server_check_query; /* "<empty>": an empty query is sent; "": no check */
    usec_t server_check_delay_us;
    usec_t server_lifetime_us;  /* 0: used once, then closed; USEC_NEVER: no end */
    int server_lifetime_jitter; /* percent */
    usec_t server_idle_timeout_us;
    usec_t server_connect_timeout_us;
    usec_t server_login_retry_us;
    bool server_fast_close;
    usec_t rollback_timeout_us;
    enum abandoned_query abandoned_query;

    /* deadlines */
    usec_t client_idle_timeout_us;
    usec_t client_login_timeout_us;
    usec_t query_timeout_us;
    usec_t query_wait_timeout_us;
    usec_t query_wait_notify_us;
    usec_t cancel_wait_timeout_us;
    usec_t idle_transaction_timeout_us;
    usec_t transaction_timeout_us;
    usec_t suspend_timeout_us;
    usec_t auth_query_cache_us;

    /* LISTEN and NOTIFY */
    enum notify_mode notify_mode;
    enum notify_gap notify_gap;
    int notify_queue_size; /* messages a client may have waiting */
    int max_listen_channels;
    usec_t notify_hub_idle_us;

    /* TLS towards clients */
    enum sslmode client_tls_sslmode;
    char *client_tls_key_file;
    char *client_tls_cert_file;
    char *client_tls_ca_file;
    char *client_tls_protocols;
    char *client_tls_ciphers;
    char *client_tls13_ciphers;
    char *client_tls_ecdhcurve;
    char *client_tls_dheparams;

    /* TLS towards servers */
    enum sslmode server_tls_sslmode;
    char *server_tls_key_file;
    char *server_tls_cert_file;
    char *server_tls_ca_file;
    char *server_tls_protocols;
    char *server_tls_ciphers;
    char *server_tls13_ciphers;

    /* the network */
    usec_t dns_max_ttl_us;
    usec_t dns_nxdomain_ttl_us;
    usec_t dns_zone_check_period_us;
    size_t pkt_buf_bytes;
    size_t max_packet_size_bytes;
    int sbuf_loopcnt;
    int tcp_defer_accept_s; /* these five go to the kernel as they are; 0 leaves its default */
    bool tcp_keepalive;
    int tcp_keepcnt;
    int tcp_keepidle_s;
    int tcp_keepintvl_s;
    int tcp_user_timeout_ms;
    size_t tcp_socket_buffer_bytes;
};

/* ---- life ---- */

/* Fills @s with the defaults. false: out of memory; @s is then empty but may be given to
 * settings_done(). */
MUSTCHECK bool settings_init(struct settings *s);
/* Deep copy into an uninitialised record; as above. */
MUSTCHECK bool settings_copy(struct settings *ret, const struct settings *from);
/* Frees the strings. May run twice. */
void settings_done(struct settings *s);

/* ---- use ---- */

/* RELOAD: gives @next the running value of each option that cannot change without a restart; for
 * each that was to change adds a warning. The rest of @next stays as it is.
 * false: out of memory. */
MUSTCHECK bool settings_keep_fixed(struct settings *next, const struct settings *running,
                                   struct config_errors *warnings);

/* ---- questions ---- */

const char *pool_mode_name(enum pool_mode mode); /* "" for POOL_MODE_UNSET */
const char *auth_type_name(enum auth_type type);
const char *load_balance_hosts_name(enum load_balance_hosts how);

#endif
