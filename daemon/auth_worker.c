/* SPDX-License-Identifier: ISC */
/* A check has two halves. struct auth_check is the loop's, struct task is what the threads see. A
 * task is in the queue, then with a thread, then in the list of those that are done; the mutex
 * guards these lists, the watched socket and task->check, by which a thread's task finds its way back. Whoever gives up
 * a check cuts that tie. */
#include "daemon/auth_worker_internal.h"

#include "daemon/util/fatal.h"
#include "daemon/util/list.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

/* At the end of the process: so long a busy thread may take to finish properly. */
#define END_WAIT_MS 300
#define DEFAULT_TIMEOUT_US (60 * USEC_PER_SEC)
#define MAX_DELAY_US (10 * USEC_PER_SEC)

struct task {
    struct list_node link; /* in queue or done; in none while a thread has it */
    struct auth_job job;
    struct hall *hall;
    struct auth_check *check; /* NULL: given up */
    bool is_queued;
    bool is_over; /* no time is left for it */
    int watch_fd; /* a duplicate of the socket that its thread waits for; -1: none */
};

struct hall;

struct worker {
    pthread_t thread;
    struct hall *hall;
    bool has_ended; /* or is about to */
};

/* What the threads share with the loop. Lives as long as the longest of them. */
struct hall {
    pthread_mutex_t mutex;
    pthread_cond_t work;  /* something was queued, or it is the end */
    pthread_cond_t ended; /* a thread has ended */
    struct list queue;
    struct list done;
    struct worker workers[AUTH_WORKER_THREADS];
    unsigned n_started;
    unsigned n_ended;
    unsigned n_idle;
    unsigned n_refs; /* the threads', and the loop's */
    bool is_closed;
    struct auth_worker *worker; /* NULL: the loop's half is gone */
};

struct auth_worker {
    struct loop *loop;
    struct loop_wakeup wakeup;
    struct hall *hall; /* NULL: not used so far */
};

struct auth_check {
    struct auth_worker *worker;
    struct task *task; /* ours as soon as it is done */
    bool is_done;
    struct loop_timer timer; /* before the verdict: its deadline; then: what it is held back */
    auth_check_fn fn;
    void *owner;
};

/* --- tasks --- */

static struct task *task_free(struct task *t)
{
    if (t == NULL) {
        return NULL;
    }
    if (t->watch_fd >= 0) {
        (void)close(t->watch_fd); /* a duplicate: nothing is lost with it */
    }
    secret_done(&t->job.password);
    secret_done(&t->job.ldap_options);
    free(t->job.user);
    free(t->job.host);
    return secret_free(t, sizeof(*t));
}

static struct task *task_new(const struct auth_worker_request *request)
{
    struct task *t = secret_alloc(sizeof(*t));

    if (t == NULL) {
        return NULL;
    }
    t->watch_fd = -1;
    t->job.kind = request->kind;
    t->job.timeout_us = request->timeout_us != 0 ? request->timeout_us : DEFAULT_TIMEOUT_US;
    t->job.verdict = AUTH_VERDICT_FAILED;
    if (request->scram != NULL) {
        t->job.scram = *request->scram;
    }
    t->job.user = strdup(request->user);
    t->job.host = strdup(request->host);
    if (t->job.user == NULL || t->job.host == NULL ||
        !secret_set(&t->job.password, request->password, strlen(request->password)) ||
        !secret_set(&t->job.ldap_options, request->ldap_options, strlen(request->ldap_options))) {
        return task_free(t);
    }
    return t;
}

/* The mutex is held. */
static void interrupt(struct task *t)
{
    t->is_over = true;
    if (t->watch_fd >= 0) {
        (void)shutdown(t->watch_fd, SHUT_RDWR); /* fails when it is closed already: just as well */
    }
}

void auth_job_say(struct auth_job *job, enum auth_verdict verdict, const char *fmt, ...)
{
    va_list args;

    job->verdict = verdict;
    va_start(args, fmt);
    (void)vsnprintf(job->why, sizeof(job->why), fmt, args); /* cut is meant */
    va_end(args);
}

/* --- on the threads --- */

void auth_job_watch(struct auth_job *job, int fd)
{
    struct task *t = container_of(job, struct task, job);
    /* Our own number for it: the library may close its one any time, and somebody else get that. */
    int copy = fcntl(fd, F_DUPFD_CLOEXEC, 3);

    (void)pthread_mutex_lock(&t->hall->mutex);
    if (t->watch_fd >= 0) {
        (void)close(t->watch_fd);
    }
    t->watch_fd = copy;
    if (t->is_over) {
        interrupt(t);
    }
    (void)pthread_mutex_unlock(&t->hall->mutex);
}

static void ask(struct auth_job *job)
{
    if (!auth_worker_knows(job->kind)) {
        auth_job_say(job, AUTH_VERDICT_FAILED, "not in this build");
        return;
    }
    switch (job->kind) {
    case AUTH_WORKER_PAM:
#if WITH_PAM
        auth_job_ask_pam(job);
#endif
        break;
    case AUTH_WORKER_LDAP:
#if WITH_LDAP
        auth_job_ask_ldap(job);
#endif
        break;
    case AUTH_WORKER_SCRAM:
        auth_job_derive(job);
        break;
    }
}

/* The mutex is held. */
static struct task *take(struct hall *h)
{
    struct task *t;

    while (list_is_empty(&h->queue) && !h->is_closed) {
        h->n_idle++;
        (void)pthread_cond_wait(&h->work, &h->mutex); /* does not fail: both are ours and alive */
        h->n_idle--;
    }
    if (h->is_closed) {
        return NULL;
    }
    t = list_entry(list_first(&h->queue), struct task, link);
    list_remove(&h->queue, &t->link);
    t->is_queued = false;
    return t;
}

/* The mutex is held, and given back. */
static void leave(struct hall *h)
{
    bool is_last = --h->n_refs == 0;

    (void)pthread_mutex_unlock(&h->mutex);
    if (!is_last) {
        return;
    }
    (void)pthread_cond_destroy(&h->work);
    (void)pthread_cond_destroy(&h->ended);
    (void)pthread_mutex_destroy(&h->mutex);
    free(h);
}

static void *run(void *arg)
{
    struct worker *self = arg;
    struct hall *h = self->hall;
    struct task *t;

    (void)pthread_mutex_lock(&h->mutex);
    while ((t = take(h)) != NULL) {
        (void)pthread_mutex_unlock(&h->mutex);
        ask(&t->job);
        secret_done(&t->job.password);
        secret_done(&t->job.ldap_options);
        (void)pthread_mutex_lock(&h->mutex);
        if (h->worker == NULL) {
            (void)task_free(t);
            continue;
        }
        list_add_tail(&h->done, &t->link);
        loop_wakeup_send(h->worker->loop, &h->worker->wakeup);
    }
    self->has_ended = true;
    h->n_ended++;
    (void)pthread_cond_signal(&h->ended);
    leave(h);
    return NULL;
}

/* --- the loop's side: threads --- */

static struct hall *hall_new(struct auth_worker *w)
{
    struct hall *h = calloc(1, sizeof(*h));
    pthread_condattr_t monotonic;

    if (h == NULL) {
        return NULL;
    }
    /* These cannot fail on Linux, but for the attributes, which want no memory there. */
    (void)pthread_mutex_init(&h->mutex, NULL);
    (void)pthread_cond_init(&h->work, NULL);
    (void)pthread_condattr_init(&monotonic);
    (void)pthread_condattr_setclock(&monotonic, CLOCK_MONOTONIC);
    (void)pthread_cond_init(&h->ended, &monotonic);
    (void)pthread_condattr_destroy(&monotonic);
    list_init(&h->queue);
    list_init(&h->done);
    h->worker = w;
    h->n_refs = 1;
    return h;
}

/* The threads take the loop's signal mask, in which nothing is blocked: what PAM modules start
 * inherits it. The kernel gives signals to the main thread while that does not block them, and
 * libev's handler would do on any. */
static int start_thread(struct hall *h)
{
    struct worker *w = &h->workers[h->n_started];
    int error;

    w->hall = h;
    error = pthread_create(&w->thread, NULL, run, w); /* it waits for the mutex */
    if (error == 0) {
        h->n_started++;
        h->n_refs++;
    }
    return -error;
}

/* Puts @t into the queue. The mutex is held. */
static int enqueue(struct hall *h, struct task *t)
{
    int error = 0;

    if (h->queue.n >= AUTH_WORKER_QUEUE_MAX) {
        return AUTH_CHECK_E_FULL;
    }
    if (h->queue.n >= h->n_idle && h->n_started < AUTH_WORKER_THREADS) {
        error = start_thread(h);
    }
    if (h->n_started == 0) {
        return error;
    }
    t->hall = h;
    t->is_queued = true;
    list_add_tail(&h->queue, &t->link);
    (void)pthread_cond_signal(&h->work);
    return 0;
}

/* --- the loop's side: answers --- */

static void answer(struct auth_check *check)
{
    const struct auth_job *job = &check->task->job;

    check->fn(check->owner, job->verdict, job->why); /* frees @check */
}

static void on_timer(struct loop_timer *timer)
{
    struct auth_check *check = container_of(timer, struct auth_check, timer);

    if (check->is_done) {
        answer(check);
        return;
    }
    (void)pthread_mutex_lock(&check->worker->hall->mutex);
    interrupt(check->task);
    (void)pthread_mutex_unlock(&check->worker->hall->mutex);
}

/* One that is done and has still somebody who asked. */
static struct auth_check *next_done(struct hall *h)
{
    struct auth_check *check = NULL;

    (void)pthread_mutex_lock(&h->mutex);
    while (check == NULL && !list_is_empty(&h->done)) {
        struct task *t = list_entry(list_first(&h->done), struct task, link);

        list_remove(&h->done, &t->link);
        check = t->check;
        if (check == NULL) {
            (void)task_free(t);
        } else {
            check->is_done = true;
        }
    }
    (void)pthread_mutex_unlock(&h->mutex);
    return check;
}

static void on_wakeup(struct loop_wakeup *wakeup)
{
    struct auth_worker *w = container_of(wakeup, struct auth_worker, wakeup);
    struct auth_check *check;

    while ((check = next_done(w->hall)) != NULL) {
        usec_t delay_us = check->task->job.delay_us;

        loop_timer_stop(w->loop, &check->timer);
        if (delay_us == 0 || check->task->job.verdict == AUTH_VERDICT_RIGHT) {
            answer(check);
        } else {
            loop_timer_set(w->loop, &check->timer, MIN(delay_us, MAX_DELAY_US));
        }
    }
}

/* --- life --- */

bool auth_worker_knows(enum auth_worker_kind kind)
{
    switch (kind) {
    case AUTH_WORKER_PAM:
        return WITH_PAM != 0;
    case AUTH_WORKER_LDAP:
        return WITH_LDAP != 0;
    case AUTH_WORKER_SCRAM:
        return true;
    }
    unreachable();
}

struct auth_worker *auth_worker_new(struct loop *loop)
{
    struct auth_worker *w = calloc(1, sizeof(*w));

    if (w != NULL) {
        w->loop = loop;
    }
    return w;
}

static bool begin(struct auth_worker *w)
{
    struct sigaction action;

    if (w->hall != NULL) {
        return true;
    }
    w->hall = hall_new(w);
    if (w->hall == NULL) {
        return false;
    }
    loop_wakeup_start(w->loop, &w->wakeup, on_wakeup);
    /* libev's default loop collects every child of the process; PAM modules wait for theirs. */
    memset(&action, 0, sizeof(action));
    action.sa_handler = SIG_DFL;
    (void)sigaction(SIGCHLD, &action, NULL);
    return true;
}

static void drop(struct list *tasks)
{
    while (!list_is_empty(tasks)) {
        struct task *t = list_entry(list_first(tasks), struct task, link);

        list_remove(tasks, &t->link);
        (void)task_free(t);
    }
}

/* Those that wait end at once, a busy one perhaps in time; one that hangs is left behind. */
static void close_hall(struct hall *h)
{
    struct timespec until;
    pthread_t ended[AUTH_WORKER_THREADS];
    unsigned n = 0;

    (void)clock_gettime(CLOCK_MONOTONIC, &until);
    until.tv_nsec += END_WAIT_MS * 1000000L;
    until.tv_sec += until.tv_nsec / 1000000000L;
    until.tv_nsec %= 1000000000L;
    (void)pthread_mutex_lock(&h->mutex);
    h->is_closed = true;
    h->worker = NULL;
    (void)pthread_cond_broadcast(&h->work);
    while (h->n_ended < h->n_started && pthread_cond_timedwait(&h->ended, &h->mutex, &until) == 0) {
    }
    for (unsigned i = 0; i < h->n_started; i++) {
        if (h->workers[i].has_ended) {
            ended[n++] = h->workers[i].thread;
        } else {
            (void)pthread_detach(h->workers[i].thread);
        }
    }
    drop(&h->queue);
    drop(&h->done);
    leave(h);
    while (n > 0) {
        (void)pthread_join(ended[--n], NULL);
    }
}

struct auth_worker *auth_worker_free(struct auth_worker *w)
{
    if (w == NULL) {
        return NULL;
    }
    if (w->hall != NULL) {
        close_hall(w->hall);
        loop_wakeup_stop(w->loop, &w->wakeup);
    }
    free(w);
    return NULL;
}

/* --- use --- */

int auth_check_start(struct auth_worker *w, const struct auth_worker_request *request,
                     auth_check_fn fn, void *owner, struct auth_check **ret)
{
    struct auth_check *check;
    struct task *t;
    int error;

    if (!begin(w)) {
        return -ENOMEM;
    }
    check = calloc(1, sizeof(*check));
    t = task_new(request);
    if (check == NULL || t == NULL) {
        free(check);
        (void)task_free(t);
        return -ENOMEM;
    }
    *check = (struct auth_check){.worker = w, .task = t, .fn = fn, .owner = owner};
    loop_timer_init(&check->timer, on_timer);
    t->check = check;
    (void)pthread_mutex_lock(&w->hall->mutex);
    error = enqueue(w->hall, t);
    (void)pthread_mutex_unlock(&w->hall->mutex);
    if (error != 0) {
        free(check);
        (void)task_free(t);
        return error;
    }
    loop_timer_set(w->loop, &check->timer, t->job.timeout_us);
    *ret = check;
    return 0;
}

const struct scram_keys *auth_check_keys(const struct auth_check *check)
{
    return &check->task->job.scram;
}

struct auth_check *auth_check_free(struct auth_check *check)
{
    struct hall *h;
    struct task *t;

    if (check == NULL) {
        return NULL;
    }
    h = check->worker->hall;
    t = check->task;
    loop_timer_stop(check->worker->loop, &check->timer);
    if (!check->is_done) {
        (void)pthread_mutex_lock(&h->mutex);
        t->check = NULL;
        if (t->is_queued) {
            list_remove(&h->queue, &t->link);
        } else {
            interrupt(t);
            t = NULL; /* with a thread, or done and not collected yet: freed then */
        }
        (void)pthread_mutex_unlock(&h->mutex);
    }
    (void)task_free(t);
    free(check);
    return NULL;
}
