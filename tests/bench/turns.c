/* SPDX-License-Identifier: ISC */
/* Preloaded into a daemon (LD_PRELOAD): how long are the turns of its event loop? From the return of epoll_wait to the next
 * call, in CPU time of the thread, so that what other processes take away does not count. The figures lie in the file that
 * TURNS_FILE names, as the words below; load.py reads them while the daemon runs. Without TURNS_FILE nothing is measured. */
#include <dlfcn.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

#define STEP_US 10u
#define N_STEPS 2000u /* the last one: that long and longer */

struct turns {
    uint64_t n;
    uint64_t sum_us;
    uint64_t longest_us;
    uint64_t of_length[N_STEPS]; /* in steps of STEP_US */
};

typedef int epoll_wait_fn(int epfd, struct epoll_event *events, int maxevents, int timeout);

static struct turns *turns;
static epoll_wait_fn *real_wait;
static uint64_t began_us; /* 0: no turn has begun */

static uint64_t thread_us(void)
{
    struct timespec ts;

    (void)clock_gettime(CLOCK_THREAD_CPUTIME_ID, &ts);
    return (uint64_t)ts.tv_sec * 1000000u + (uint64_t)ts.tv_nsec / 1000u;
}

__attribute__((constructor)) static void begin(void)
{
    const char *name = getenv("TURNS_FILE");
    int fd = name == NULL ? -1 : open(name, O_RDWR | O_CREAT | O_CLOEXEC, 0644);
    void *at = MAP_FAILED;

    *(void **)&real_wait = dlsym(RTLD_NEXT, "epoll_wait");
    if (fd >= 0 && ftruncate(fd, sizeof(struct turns)) == 0) {
        at = mmap(NULL, sizeof(struct turns), PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    }
    if (fd >= 0) {
        close(fd);
    }
    turns = at == MAP_FAILED ? NULL : at;
}

static void end_turn(void)
{
    uint64_t us = thread_us() - began_us;
    uint64_t step = us / STEP_US;

    turns->n++;
    turns->sum_us += us;
    turns->longest_us = us > turns->longest_us ? us : turns->longest_us;
    turns->of_length[step < N_STEPS ? step : N_STEPS - 1]++;
}

/* Called by the loop's thread only, and without http_port by the loop only. */
int epoll_wait(int epfd, struct epoll_event *events, int maxevents, int timeout)
{
    int n;

    if (turns == NULL) {
        return real_wait(epfd, events, maxevents, timeout);
    }
    if (began_us != 0) {
        end_turn();
    }
    n = real_wait(epfd, events, maxevents, timeout);
    began_us = thread_us();
    return n;
}
