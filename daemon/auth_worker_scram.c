/* SPDX-License-Identifier: ISC */
/* A password against a SCRAM secret: PBKDF2 with as many iterations as the secret says, up to half a second. Runs on the
 * threads of auth_worker.c. */
#include "daemon/auth_worker_internal.h"

#include <string.h>

#define TRACES_BYTES ((size_t)16 * 1024) /* of stack; more than a derivation uses */

#if defined(__has_attribute) && __has_attribute(zero_call_used_regs)
#define ZERO_REGISTERS __attribute__((zero_call_used_regs("all")))
#else
#define ZERO_REGISTERS
#endif

static __attribute__((noinline)) void derive(struct auth_job *job)
{
    struct scram_salt salt = {
        .bytes = job->scram.salt, .len = job->scram.salt_len, .iterations = job->scram.iterations};
    struct scram_keys keys = {.iterations = 0};
    enum scram_verdict v = scram_keys_derive(job->password.data, job->password.len, &salt, &keys);

    if (v != SCRAM_OK) {
        auth_job_say(job, v == SCRAM_E_INTERNAL ? AUTH_VERDICT_FAILED : AUTH_VERDICT_WRONG,
                     "the password cannot be compared with the SCRAM secret: %s",
                     scram_verdict_text(v));
    } else if (job->scram.is_mock ||
               !secret_bytes_equal(keys.stored_key, job->scram.stored_key, SCRAM_KEY_BYTES)) {
        auth_job_say(job, AUTH_VERDICT_WRONG, "%s", "");
    } else {
        job->scram = keys;
        auth_job_say(job, AUTH_VERDICT_RIGHT, "%s", "");
    }
    scram_keys_wipe(&keys);
}

/* Pieces of keys stay in vector registers and dead stack frames, and this thread may sleep for ever now. The sanitizer would put
 * @frames elsewhere. */
ZERO_REGISTERS static __attribute__((noinline, no_sanitize_address)) void wipe_traces(void)
{
    uint8_t frames[TRACES_BYTES];

    explicit_bzero(frames, sizeof(frames));
}

void auth_job_derive(struct auth_job *job)
{
    derive(job);
    wipe_traces();
}
