/* SPDX-License-Identifier: ISC */
/* The threads and their queue, with this file in place of PAM and LDAP: it says what the password
 * says, and where that is "hang", only when the test lets it. */
#include "daemon/auth_worker_internal.h"

#include <fcntl.h>
#include <semaphore.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

#define MANY (AUTH_WORKER_THREADS + AUTH_WORKER_QUEUE_MAX)

static struct loop *loop;
static struct auth_worker *worker;
static sem_t may_go;
static sem_t hangs;
static int sockets[2];

/* --- in place of the libraries --- */

static void ask(struct auth_job *job)
{
    char byte;

    if (strcmp(job->password.data, "hang") == 0) {
        (void)sem_post(&hangs);
        while (sem_wait(&may_go) != 0) {
        }
        job->verdict = AUTH_VERDICT_RIGHT;
    } else if (strcmp(job->password.data, "socket") == 0) {
        auth_job_watch(job, sockets[0]);
        (void)sem_post(&hangs);
        auth_job_say(job, AUTH_VERDICT_FAILED, "read %d", (int)read(sockets[0], &byte, 1));
    } else if (strcmp(job->password.data, "delay") == 0) {
        job->delay_us = 50 * USEC_PER_MSEC;
        auth_job_say(job, AUTH_VERDICT_WRONG, "later");
    } else if (strcmp(job->password.data, "right") == 0) {
        job->verdict = AUTH_VERDICT_RIGHT;
    } else {
        auth_job_say(job, AUTH_VERDICT_WRONG, "%s@%s", job->user, job->host);
    }
}

/* The linker takes these instead of the library's. */
void auth_job_ask_pam(struct auth_job *job)
{
    ask(job);
}

void auth_job_ask_ldap(struct auth_job *job)
{
    ask(job);
}

/* --- clients --- */

struct asker {
    struct auth_check *check;
    struct scram_keys keys; /* SCRAM, when they fit */
    unsigned n_answers;
    enum auth_verdict verdict;
    char why[AUTH_WORKER_WHY_SIZE];
};

static unsigned n_expected; /* answers until the loop may stop */

static void on_verdict(void *owner, enum auth_verdict verdict, const char *why)
{
    struct asker *a = owner;

    a->n_answers++;
    a->verdict = verdict;
    (void)snprintf(a->why, sizeof(a->why), "%s", why);
    if (verdict == AUTH_VERDICT_RIGHT) {
        a->keys = *auth_check_keys(a->check);
    }
    a->check = auth_check_free(a->check);
    if (--n_expected == 0) {
        loop_stop(loop);
    }
}

static int start(struct asker *a, const char *password)
{
    struct auth_worker_request request = {
        .kind = auth_worker_knows(AUTH_WORKER_PAM) ? AUTH_WORKER_PAM : AUTH_WORKER_LDAP,
        .user = "u",
        .password = password,
        .host = "h",
        .ldap_options = "",
        .timeout_us = strcmp(password, "socket") == 0 ? 20 * USEC_PER_MSEC : 0,
    };

    memset(a, 0, sizeof(*a));
    return auth_check_start(worker, &request, on_verdict, a, &a->check);
}

static void run_until(unsigned n)
{
    n_expected = n;
    loop_run(loop);
    assert_int_equal(n_expected, 0);
}

static void wait_hanging(unsigned n)
{
    while (n > 0) {
        n -= sem_wait(&hangs) == 0 ? 1 : 0;
    }
}

static void let_go(unsigned n)
{
    while (n-- > 0) {
        (void)sem_post(&may_go);
    }
}

static int set_up(void **state)
{
    (void)state;
    (void)sem_init(&may_go, 0, 0);
    (void)sem_init(&hangs, 0, 0);
    loop = loop_new();
    worker = auth_worker_new(loop);
    return worker == NULL ? -1 : 0;
}

static int tear_down(void **state)
{
    (void)state;
    worker = auth_worker_free(worker);
    loop = loop_free(loop);
    return 0;
}

/* --- tests --- */

static void test_verdicts(void **state)
{
    struct asker right;
    struct asker wrong;

    (void)state;
    assert_int_equal(start(&right, "right"), 0);
    assert_int_equal(start(&wrong, "wrong"), 0);
    assert_int_equal(right.n_answers + wrong.n_answers, 0);
    run_until(2);
    assert_int_equal(right.verdict, AUTH_VERDICT_RIGHT);
    assert_string_equal(right.why, "");
    assert_int_equal(wrong.verdict, AUTH_VERDICT_WRONG);
    assert_string_equal(wrong.why, "u@h");
}

static int derive(struct asker *a, const char *password, const struct scram_keys *stored)
{
    struct auth_worker_request request = {.kind = AUTH_WORKER_SCRAM,
                                          .user = "u",
                                          .password = password,
                                          .host = "",
                                          .ldap_options = "",
                                          .scram = stored};

    memset(a, 0, sizeof(*a));
    return auth_check_start(worker, &request, on_verdict, a, &a->check);
}

/* Nobody is asked: the thread derives the keys itself. */
static void test_scram_secrets(void **state)
{
    const struct scram_salt salt = {.bytes = (const uint8_t *)"salt", .len = 4, .iterations = 10};
    struct scram_keys stored;
    struct scram_keys mock;
    struct scram_keys slow;
    struct asker a[4];

    (void)state;
    assert_int_equal(scram_keys_derive("secret", 6, &salt, &stored), SCRAM_OK);
    stored.has_client_key = false;
    mock = stored;
    mock.is_mock = true;
    slow = stored;
    slow.iterations = SCRAM_ITERATIONS_DERIVE_MAX + 1;
    assert_int_equal(derive(&a[0], "secret", &stored), 0);
    assert_int_equal(derive(&a[1], "Secret", &stored), 0);
    assert_int_equal(derive(&a[2], "secret", &mock), 0);
    assert_int_equal(derive(&a[3], "secret", &slow), 0);
    run_until(4);
    assert_int_equal(a[0].verdict, AUTH_VERDICT_RIGHT);
    assert_true(a[0].keys.has_client_key);
    assert_memory_equal(a[0].keys.stored_key, stored.stored_key, SCRAM_KEY_BYTES);
    for (unsigned i = 1; i < 4; i++) {
        assert_int_equal(a[i].verdict, AUTH_VERDICT_WRONG);
    }
}

static void test_delay(void **state)
{
    struct asker late;
    struct asker gone;
    usec_t began_us;

    (void)state;
    clock_update();
    began_us = clock_now_us();
    assert_int_equal(start(&late, "delay"), 0);
    run_until(1);
    assert_true(clock_now_us() - began_us >= 50 * USEC_PER_MSEC);
    assert_int_equal(late.verdict, AUTH_VERDICT_WRONG);
    assert_int_equal(start(&gone, "delay"), 0);
    assert_int_equal(start(&late, "wrong"), 0);
    run_until(1);
    gone.check = auth_check_free(gone.check);
    assert_int_equal(start(&late, "delay"), 0);
    run_until(1);
    assert_int_equal(gone.n_answers, 0);
}

static void test_full_queue(void **state)
{
    static struct asker askers[MANY];
    struct asker late;

    (void)state;
    for (unsigned i = 0; i < AUTH_WORKER_THREADS; i++) {
        assert_int_equal(start(&askers[i], "hang"), 0);
    }
    wait_hanging(AUTH_WORKER_THREADS);
    for (unsigned i = AUTH_WORKER_THREADS; i < MANY; i++) {
        assert_int_equal(start(&askers[i], "right"), 0);
    }
    assert_int_equal(start(&late, "right"), AUTH_CHECK_E_FULL);
    askers[MANY - 1].check = auth_check_free(askers[MANY - 1].check);
    assert_int_equal(start(&late, "right"), 0); /* who gives up leaves a place */
    let_go(AUTH_WORKER_THREADS);
    run_until(MANY);
    for (unsigned i = 0; i < MANY - 1; i++) {
        assert_int_equal(askers[i].n_answers, 1);
        assert_int_equal(askers[i].verdict, AUTH_VERDICT_RIGHT);
    }
    assert_int_equal(askers[MANY - 1].n_answers, 0);
    assert_int_equal(late.n_answers, 1);
}

static void test_who_gives_up_is_not_answered(void **state)
{
    struct asker gone[AUTH_WORKER_THREADS];
    struct asker other;

    (void)state;
    for (unsigned i = 0; i < AUTH_WORKER_THREADS; i++) {
        assert_int_equal(start(&gone[i], "hang"), 0);
    }
    wait_hanging(AUTH_WORKER_THREADS);
    for (unsigned i = 0; i < AUTH_WORKER_THREADS; i++) {
        gone[i].check = auth_check_free(gone[i].check);
    }
    assert_int_equal(start(&other, "right"), 0);
    let_go(AUTH_WORKER_THREADS);
    run_until(1);
    assert_int_equal(other.n_answers, 1);
    for (unsigned i = 0; i < AUTH_WORKER_THREADS; i++) {
        assert_int_equal(gone[i].n_answers, 0);
    }
}

static void test_a_socket_is_shut_down_in_time(void **state)
{
    struct asker late;
    struct asker gone;

    (void)state;
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, sockets), 0);
    assert_int_equal(start(&late, "socket"), 0);
    run_until(1);
    assert_int_equal(late.verdict, AUTH_VERDICT_FAILED);
    assert_string_equal(late.why, "read 0");
    (void)close(sockets[0]);
    (void)close(sockets[1]);
    wait_hanging(1);

    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, sockets), 0);
    assert_int_equal(start(&gone, "socket"), 0);
    wait_hanging(1);
    gone.check = auth_check_free(gone.check);
    worker = auth_worker_free(worker); /* and so the thread ends in time to be joined */
    (void)close(sockets[0]);
    (void)close(sockets[1]);
}

static void test_the_end_waits_for_nobody(void **state)
{
    struct asker gone[AUTH_WORKER_THREADS];

    (void)state;
    for (unsigned i = 0; i < AUTH_WORKER_THREADS; i++) {
        assert_int_equal(start(&gone[i], "hang"), 0);
    }
    wait_hanging(AUTH_WORKER_THREADS);
    for (unsigned i = 0; i < AUTH_WORKER_THREADS; i++) {
        gone[i].check = auth_check_free(gone[i].check);
    }
    worker = auth_worker_free(worker); /* or this never returns */
    let_go(AUTH_WORKER_THREADS);
}

static void test_never_used(void **state)
{
    (void)state;
    worker = auth_worker_free(worker);
    assert_null(auth_worker_free(NULL));
    assert_null(auth_check_free(NULL));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_verdicts, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_scram_secrets, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_delay, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_full_queue, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_who_gives_up_is_not_answered, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_a_socket_is_shut_down_in_time, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_never_used, set_up, tear_down),
        /* the last one: what is left behind goes on for a moment */
        cmocka_unit_test_setup_teardown(test_the_end_waits_for_nobody, set_up, tear_down),
    };

    if (!auth_worker_knows(AUTH_WORKER_PAM) && !auth_worker_knows(AUTH_WORKER_LDAP)) {
        return 0; /* this build has nothing to ask */
    }
    return cmocka_run_group_tests(tests, NULL, NULL);
}
