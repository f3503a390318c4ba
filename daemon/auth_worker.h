/* SPDX-License-Identifier: ISC */
/* Asks somebody outside whether a password is right: PAM or an LDAP server, whose libraries block; or compares it with a
 * SCRAM secret, which takes long. So it happens on a few threads, started when first needed. A thread sees a copy of the request and
 * writes the verdict beside it, nothing else of the daemon; the answer comes from the loop.
 *
 * The queue is bounded. A request that is given up is forgotten at once; when a thread works on it
 * already, its verdict is dropped. A thread that hangs inside a library holds up nothing but its
 * share of the logins: neither the loop nor the end of the process waits for it. */
#ifndef PGPOOLD_DAEMON_AUTH_WORKER_H
#define PGPOOLD_DAEMON_AUTH_WORKER_H

#include "daemon/util/loop.h"
#include "daemon/util/secret.h"
#include "protocol/scram.h"

struct auth_worker; /* the threads and their queue */
struct auth_check;  /* one request */

#define AUTH_WORKER_THREADS 4
#define AUTH_WORKER_QUEUE_MAX 128 /* requests that no thread has taken yet */
#define AUTH_WORKER_WHY_SIZE 256

enum auth_worker_kind {
    AUTH_WORKER_PAM,
    AUTH_WORKER_LDAP,
    AUTH_WORKER_SCRAM,
};

struct auth_worker_request {
    enum auth_worker_kind kind;
    const char *user;
    const char *password;     /* not "": to LDAP that would be a login as nobody */
    const char *host;         /* PAM: of the client, for access rules and logs of its modules */
    const char *ldap_options; /* as hba_ldap_options() gives them */
    const struct scram_keys *scram; /* SCRAM: what is stored of the password; else NULL */
    usec_t timeout_us;              /* how long anybody waits for the verdict; 0: a default */
};

enum auth_verdict {
    AUTH_VERDICT_RIGHT,
    AUTH_VERDICT_WRONG,  /* or no such user, or an account that may not log in */
    AUTH_VERDICT_FAILED, /* could not be found out, whoever the user is */
};

/* @why: for the log, "" when there is nothing to say; may hold bytes of a peer. */
typedef void (*auth_check_fn)(void *owner, enum auth_verdict verdict, const char *why);

enum {
    AUTH_CHECK_E_FULL = 1, /* too many are being asked about */
};

/* --- life --- */

/* Starts no thread. NULL: out of memory. */
struct auth_worker *auth_worker_new(struct loop *loop);
/* Every check must be gone before. Threads that hang are left behind after a moment. */
struct auth_worker *auth_worker_free(struct auth_worker *w);

/* --- use --- */

/* @fn is called once, from the loop, never before this function has returned; it has to free the
 * check. 0, AUTH_CHECK_E_FULL, or -errno. */
MUSTCHECK int auth_check_start(struct auth_worker *w, const struct auth_worker_request *request,
                               auth_check_fn fn, void *owner, struct auth_check **ret);
/* SCRAM, in @fn, with AUTH_VERDICT_RIGHT: the keys of the password, ClientKey too. Borrowed from the check. */
const struct scram_keys *auth_check_keys(const struct auth_check *check);
/* Gives up, or is done with the answer. NULL is fine; returns NULL. */
struct auth_check *auth_check_free(struct auth_check *check);

/* --- questions --- */

/* Has this build got the library? */
bool auth_worker_knows(enum auth_worker_kind kind);

#endif
