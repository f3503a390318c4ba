/* SPDX-License-Identifier: ISC */
/* The door to PAM. Runs on the threads of auth_worker.c. */
#include "daemon/auth_worker_internal.h"

#if WITH_PAM

#include <security/pam_appl.h>
#include <stdlib.h>
#include <string.h>

#define SERVICE "pgbouncer" /* as operators have it in /etc/pam.d */
/* Where the services are described, if not where PAM looks for them: for tests. */
#define CONFDIR_ENV "PGPOOLD_PAM_CONFDIR"

static void free_replies(struct pam_response *replies, int n)
{
    for (int i = 0; i < n; i++) {
        if (replies[i].resp != NULL) {
            explicit_bzero(replies[i].resp, strlen(replies[i].resp));
        }
        free(replies[i].resp);
    }
    free(replies);
}

/* Whatever is asked for without an echo is the password. What modules only say is for a person in
 * front of a terminal, and what else they ask nobody is there to answer. */
static int converse(int n, const struct pam_message **messages, struct pam_response **ret,
                    void *appdata)
{
    const struct auth_job *job = appdata;
    struct pam_response *replies;

    if (n <= 0 || n > PAM_MAX_NUM_MSG) {
        return PAM_CONV_ERR;
    }
    replies = calloc((size_t)n, sizeof(*replies));
    if (replies == NULL) {
        return PAM_BUF_ERR;
    }
    for (int i = 0; i < n; i++) {
        switch (messages[i]->msg_style) {
        case PAM_PROMPT_ECHO_OFF:
            replies[i].resp = strdup(job->password.data);
            if (replies[i].resp == NULL) {
                free_replies(replies, n);
                return PAM_BUF_ERR;
            }
            break;
        case PAM_ERROR_MSG:
        case PAM_TEXT_INFO:
            break;
        default:
            free_replies(replies, n);
            return PAM_CONV_ERR;
        }
    }
    *ret = replies;
    return PAM_SUCCESS;
}

/* Instead of a sleep on this thread, which would hold up other people's logins. */
static void note_delay(int result, unsigned usec, void *appdata)
{
    struct auth_job *job = appdata;

    if (result != PAM_SUCCESS) {
        job->delay_us = usec;
    }
}

static int begin(const struct pam_conv *conv, const struct auth_job *job, pam_handle_t **ret)
{
    const char *confdir = secure_getenv(CONFDIR_ENV);

    if (confdir != NULL && *confdir != '\0') {
        return pam_start_confdir(SERVICE, job->user, conv, confdir, ret);
    }
    return pam_start(SERVICE, job->user, conv, ret);
}

/* A function pointer that travels as a pointer to data: PAM wants it so. */
static int set_delay_fn(pam_handle_t *pam)
{
    void (*fn)(int, unsigned, void *) = note_delay;
    void *item;

    memcpy(&item, &fn, sizeof(item));
    return pam_set_item(pam, PAM_FAIL_DELAY, item);
}

static int authenticate(pam_handle_t *pam, const struct auth_job *job)
{
    int result = set_delay_fn(pam);

    if (result == PAM_SUCCESS && *job->host != '\0') {
        result = pam_set_item(pam, PAM_RHOST, job->host);
    }
    if (result == PAM_SUCCESS) {
        result = pam_authenticate(pam, PAM_SILENT | PAM_DISALLOW_NULL_AUTHTOK);
    }
    if (result == PAM_SUCCESS) {
        result = pam_acct_mgmt(pam, PAM_SILENT | PAM_DISALLOW_NULL_AUTHTOK);
    }
    return result;
}

/* A module may change whom it takes the user for; the session would be that of the name typed. */
static bool is_same_user(pam_handle_t *pam, const struct auth_job *job)
{
    const void *user = NULL;

    return pam_get_item(pam, PAM_USER, &user) == PAM_SUCCESS && user != NULL &&
           strcmp(user, job->user) == 0;
}

void auth_job_ask_pam(struct auth_job *job)
{
    const struct pam_conv conv = {.conv = converse, .appdata_ptr = job};
    pam_handle_t *pam = NULL;
    int result = begin(&conv, job, &pam);

    if (result != PAM_SUCCESS) {
        auth_job_say(job, AUTH_VERDICT_FAILED, "PAM cannot be used: %s",
                     pam_strerror(NULL, result));
        return;
    }
    result = authenticate(pam, job);
    if (result != PAM_SUCCESS) {
        auth_job_say(job, AUTH_VERDICT_WRONG, "PAM says no: %s", pam_strerror(pam, result));
    } else if (!is_same_user(pam, job)) {
        auth_job_say(job, AUTH_VERDICT_WRONG, "PAM takes the user for another one");
    } else {
        job->verdict = AUTH_VERDICT_RIGHT;
    }
    (void)pam_end(pam, result); /* nothing is left to be told of its failure */
}

#endif
