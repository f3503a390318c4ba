/* SPDX-License-Identifier: ISC */
/* Preloaded into a daemon under test: memory runs out, and the wall clock jumps, when the test says so. What is to happen
 * stands in the file $FAULTS_FILE, which test and daemon have mapped; faults.py has the other side of struct control.
 * It stands in front of the sanitizers as well (ASAN_OPTIONS=verify_asan_link_order=0). */
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <malloc.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

struct control {
    int64_t calls;       /* counted up by each allocation */
    int64_t fail_from;   /* the number of the first that fails; 0: none does */
    int64_t fail_times;  /* how many do, one after the other */
    int64_t failed;      /* how many have */
    int64_t in_use;      /* bytes */
    int64_t budget;      /* no more than these, bytes; 0: no limit */
    int64_t wall_offset; /* seconds that the wall clock is off */
    int64_t no_app_data; /* new TLS sessions find no memory for their owner's pointer */
};

static struct control unused;
static struct control *control = &unused;

/* What is allocated before the libraries are ready, by dlsym() and the sanitizer's own start too. Never given back. */
static _Alignas(16) char early[1 << 20];
static size_t n_early;
static bool is_ready;

static void *(*real_malloc)(size_t);
static void *(*real_calloc)(size_t, size_t);
static void *(*real_realloc)(void *, size_t);
static int (*real_memalign)(void **, size_t, size_t);
static void (*real_free)(void *);
static int (*real_clock)(clockid_t, struct timespec *);

static void *find(const char *name)
{
    return dlsym(RTLD_NEXT, name);
}

__attribute__((constructor)) static void start(void)
{
    const char *name = getenv("FAULTS_FILE");
    int fd = name != NULL ? open(name, O_RDWR | O_CLOEXEC) : -1;
    void (*sanitizer_start)(void) = (void (*)(void))dlsym(RTLD_DEFAULT, "__asan_init");
    void *at;

    if (sanitizer_start != NULL) {
        sanitizer_start();
    }
    real_malloc = find("malloc");
    real_calloc = find("calloc");
    real_realloc = find("realloc");
    real_memalign = find("posix_memalign");
    real_free = find("free");
    is_ready = true;
    if (fd < 0) {
        return;
    }
    at = mmap(NULL, sizeof(*control), PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    (void)close(fd);
    if (at != MAP_FAILED) {
        control = at;
    }
}

static void *from_early(size_t size)
{
    void *at = early + n_early;

    n_early += (size + 15) & ~(size_t)15;
    if (n_early > sizeof(early)) {
        abort();
    }
    return at;
}

static bool is_early(const void *ptr)
{
    return (const char *)ptr >= early && (const char *)ptr < early + sizeof(early);
}

/* FAULTS_TRACE=1: where it was, on stderr. Only with ASan. */
static void tell(void)
{
    void (*trace)(void) = (void (*)(void))dlsym(RTLD_DEFAULT, "__sanitizer_print_stack_trace");

    if (trace != NULL && getenv("FAULTS_TRACE") != NULL) {
        trace();
    }
}

static __thread bool is_spared;

/* libpq does not look whether this has worked when it puts its connection into the BIO of a new TLS session, and ends the
 * process when the BIO is used (PostgreSQL 15, my_SSL_set_fd()). None of ours: its allocations do not fail. */
int BIO_set_ex_data(void *bio, int index, void *data)
{
    int (*real)(void *, int, void *) = (int (*)(void *, int, void *))find("BIO_set_ex_data");
    int result;

    is_spared = true;
    result = real(bio, index, data);
    is_spared = false;
    return result;
}

/* Where libpq forgets a session that it has just made. */
int SSL_set_ex_data(void *ssl, int index, void *data)
{
    int (*real)(void *, int, void *) = (int (*)(void *, int, void *))find("SSL_set_ex_data");

    if (control->no_app_data != 0 && data != NULL) {
        __atomic_add_fetch(&control->failed, 1, __ATOMIC_RELAXED);
        return 0;
    }
    return real(ssl, index, data);
}

static bool fails(size_t size)
{
    static __thread bool nested;
    int64_t number = __atomic_add_fetch(&control->calls, 1, __ATOMIC_RELAXED);
    bool now = !is_spared && ((control->fail_from != 0 && number >= control->fail_from &&
                number - control->fail_from < control->fail_times) ||
               (control->budget != 0 && control->in_use + (int64_t)size > control->budget));

    if (now && !nested) {
        nested = true;
        tell();
        nested = false;
        __atomic_add_fetch(&control->failed, 1, __ATOMIC_RELAXED);
        errno = ENOMEM;
    }
    return now && !nested;
}

static void *taken(void *ptr)
{
    if (ptr != NULL) {
        __atomic_add_fetch(&control->in_use, (int64_t)malloc_usable_size(ptr), __ATOMIC_RELAXED);
    }
    return ptr;
}

static void given_back(void *ptr)
{
    __atomic_sub_fetch(&control->in_use, (int64_t)malloc_usable_size(ptr), __ATOMIC_RELAXED);
}

void *malloc(size_t size)
{
    if (!is_ready) {
        return from_early(size);
    }
    return fails(size) ? NULL : taken(real_malloc(size));
}

void *calloc(size_t n, size_t size)
{
    if (!is_ready) {
        return from_early(n * size); /* fresh from a static array: zero */
    }
    return fails(n * size) ? NULL : taken(real_calloc(n, size));
}

void *realloc(void *ptr, size_t size)
{
    void *fresh;
    size_t before;

    if (!is_ready || is_early(ptr)) {
        before = (size_t)(early + sizeof(early) - (char *)ptr);
        fresh = malloc(size);
        if (fresh != NULL && ptr != NULL) {
            memcpy(fresh, ptr, size < before ? size : before);
        }
        return fresh;
    }
    before = ptr != NULL ? malloc_usable_size(ptr) : 0;
    if (size > 0 && fails(size > before ? size - before : 0)) {
        return NULL;
    }
    fresh = real_realloc(ptr, size);
    if (fresh != NULL || size == 0) {
        __atomic_sub_fetch(&control->in_use, (int64_t)before, __ATOMIC_RELAXED);
    }
    return taken(fresh);
}

void *reallocarray(void *ptr, size_t n, size_t size)
{
    size_t bytes;

    if (__builtin_mul_overflow(n, size, &bytes)) {
        errno = ENOMEM;
        return NULL;
    }
    return realloc(ptr, bytes);
}

int posix_memalign(void **ret, size_t align, size_t size)
{
    int error;

    if (!is_ready || fails(size)) {
        return ENOMEM;
    }
    error = real_memalign(ret, align, size);
    if (error == 0) {
        (void)taken(*ret);
    }
    return error;
}

void *aligned_alloc(size_t align, size_t size)
{
    void *at;

    return posix_memalign(&at, align, size) == 0 ? at : NULL;
}

/* The sanitizer's own would not come by here. */
char *strndup(const char *text, size_t most)
{
    size_t len = strnlen(text, most);
    char *copy = malloc(len + 1);

    if (copy != NULL) {
        memcpy(copy, text, len);
        copy[len] = '\0';
    }
    return copy;
}

char *strdup(const char *text)
{
    return strndup(text, strlen(text));
}

void free(void *ptr)
{
    if (ptr != NULL && !is_early(ptr) && is_ready) {
        given_back(ptr);
        real_free(ptr);
    }
}

int clock_gettime(clockid_t clock, struct timespec *ret)
{
    int rc;

    if (real_clock == NULL) {
        real_clock = find("clock_gettime");
    }
    rc = real_clock(clock, ret);
    if (clock == CLOCK_REALTIME || clock == CLOCK_REALTIME_COARSE) {
        ret->tv_sec += control->wall_offset;
    }
    return rc;
}

int gettimeofday(struct timeval *restrict ret, void *restrict zone)
{
    struct timespec now;

    (void)zone;
    (void)clock_gettime(CLOCK_REALTIME, &now); /* cannot fail with a clock that there is */
    ret->tv_sec = now.tv_sec;
    ret->tv_usec = now.tv_nsec / 1000;
    return 0;
}

time_t time(time_t *ret)
{
    struct timespec now;

    (void)clock_gettime(CLOCK_REALTIME, &now);
    if (ret != NULL) {
        *ret = now.tv_sec;
    }
    return now.tv_sec;
}
