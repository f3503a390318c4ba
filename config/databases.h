/* SPDX-License-Identifier: ISC */
/* The entries of [databases], [users] and [peers]: one record each, read from a list of key=value.
 * A field that was not given holds its mark, so that whoever uses it can take the next wider
 * setting; the records never look at the global settings themselves. Keys, bounds and help are rows
 * of the table in options.c. */
#ifndef PGPOOLD_CONFIG_DATABASES_H
#define PGPOOLD_CONFIG_DATABASES_H

#include "config/config_errors.h"
#include "config/options.h"
#include "daemon/util/hash.h"
#include "daemon/util/secret.h"

#include <stdint.h>

#define CONFIG_NAME_MAX 127   /* bytes of a database or user name in the ini */
#define DATABASE_HOSTS_MAX 64 /* hosts in one list */
#define DATABASE_PORT_DEFAULT 5432
#define PEER_ID_MAX 16383

struct database_host {
    char *name; /* host name, IPv4, IPv6, directory of a Unix socket ('/' or '@' first), or "" for
                 * the default socket directory */
    uint16_t port;
};

/* Not given: strings "", int and echo OPTION_UNSET, _us OPTION_UNSET_US, and POOL_MODE_UNSET. */
struct database_config {
    char *name;     /* "*" for the entry of all other databases */
    bool is_autodb; /* is "*", or was made from it */
    char *file;     /* where the entry was read, for messages */
    unsigned line;

    char *host;                  /* the list as written; "" is the default Unix socket */
    char *port;                  /* as written; "" is 5432 */
    struct database_host *hosts; /* host and port taken apart, never empty */
    unsigned n_hosts;
    char *dbname; /* on the server; "": as the entry's name (or, autodb, as the client asked) */
    char *user;   /* forced user; "": the client's own */
    struct secret password; /* of the forced user; not set: by auth_file or auth_query */

    char *auth_user;
    char *auth_dbname;
    char *auth_query;

    int pool_size; /* may be POOL_SIZE_UNLIMITED, never 0 */
    int min_pool_size;
    int reserve_pool_size;
    int max_db_connections;        /* 0: no limit */
    int max_db_client_connections; /* 0: no limit */
    enum pool_mode pool_mode;
    usec_t server_lifetime_us; /* may be 0 or USEC_NEVER, see settings */
    usec_t query_wait_timeout_us;
    char *connect_query;
    char *client_encoding;
    char *datestyle;
    char *timezone;
    char *application_name;
    enum load_balance_hosts load_balance_hosts;     /* never unset */
    enum target_session_attrs target_session_attrs; /* never unset */
    enum channel_binding_word channel_binding;      /* never unset */
    char *require_auth;                             /* as written, checked; see require_auth.h */
    int echo;                                       /* OPTION_UNSET, 0 or 1 */

    UT_hash_handle hh; /* private */
};

struct user_config {
    char *name;
    char *file;
    unsigned line;

    int pool_size; /* may be POOL_SIZE_UNLIMITED, never 0 */
    int reserve_pool_size;
    enum pool_mode pool_mode;
    int max_user_connections;
    int max_user_client_connections;
    usec_t query_timeout_us;
    usec_t query_wait_timeout_us;
    usec_t idle_transaction_timeout_us;
    usec_t transaction_timeout_us;
    usec_t client_idle_timeout_us;
    int echo; /* OPTION_UNSET, 0 or 1 */

    UT_hash_handle hh; /* private */
};

struct peer_config {
    int id; /* 1..PEER_ID_MAX */
    char *file;
    unsigned line;

    char *host;
    char *port;
    struct database_host target; /* host and port taken apart: one host only */
    int pool_size;               /* OPTION_UNSET: default_pool_size */

    UT_hash_handle hh; /* private */
};

/* Reads the text behind "name =". Faults, running out of memory among them, go to @errors with
 * @file and @line; then NULL. */
struct database_config *database_config_new(const char *name, const char *text, const char *file,
                                            unsigned line, struct config_errors *errors);
struct database_config *database_config_free(struct database_config *d);
/* The record of a database that no entry names, made from the entry "*": name and dbname are @name
 * where the entry leaves dbname open. Free it as any other. NULL: out of memory. */
struct database_config *database_config_from_autodb(const struct database_config *autodb,
                                                    const char *name);

struct user_config *user_config_new(const char *name, const char *text, const char *file,
                                    unsigned line, struct config_errors *errors);
struct user_config *user_config_free(struct user_config *u);

struct peer_config *peer_config_new(const char *id, const char *text, const char *file,
                                    unsigned line, struct config_errors *errors);
struct peer_config *peer_config_free(struct peer_config *p);

#endif
