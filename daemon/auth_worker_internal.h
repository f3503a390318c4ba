/* SPDX-License-Identifier: ISC */
/* Between auth_worker.c (threads and queue) and the doors to the libraries, auth_worker_pam.c and
 * auth_worker_ldap.c. What is declared here runs on the threads: it may not log, read the loop's
 * clock, or use anything else that belongs to the loop. */
#ifndef PGPOOLD_DAEMON_AUTH_WORKER_INTERNAL_H
#define PGPOOLD_DAEMON_AUTH_WORKER_INTERNAL_H

#include "daemon/auth_worker.h"

/* The copy of a request, and what comes of it. */
struct auth_job {
    enum auth_worker_kind kind;
    char *user;
    struct secret password;
    char *host;
    struct secret ldap_options; /* there may be a password in it */
    struct scram_keys scram;    /* SCRAM: those stored; when they fit, all of them */
    usec_t timeout_us;          /* from now on; not 0 */

    enum auth_verdict verdict; /* AUTH_VERDICT_FAILED at first */
    usec_t delay_us;           /* PAM: how long a wrong answer is to be held back */
    char why[AUTH_WORKER_WHY_SIZE];
};

/* May block for long. */
void auth_job_ask_pam(struct auth_job *job);
void auth_job_ask_ldap(struct auth_job *job);
/* Only takes its time. */
void auth_job_derive(struct auth_job *job);

/* The socket that the thread is about to wait for: it is shut down when the time is over or nobody
 * waits for the verdict any more, whatever the library does about its timeouts. Not closed here. */
void auth_job_watch(struct auth_job *job, int fd);
void auth_job_say(struct auth_job *job, enum auth_verdict verdict, const char *fmt, ...)
    PRINTF_LIKE(3, 4);

#endif
