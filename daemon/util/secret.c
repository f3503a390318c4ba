/* SPDX-License-Identifier: ISC */
#include "daemon/util/secret.h"

#include "daemon/util/fatal.h"

#include <pthread.h>
#include <stdatomic.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/random.h>

/* AddressSanitizer watches blocks as it does those of malloc(), and what only a secret points to is no leak. */
#if defined(__SANITIZE_ADDRESS__)
#define HAS_ASAN 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer)
#define HAS_ASAN 1
#endif
#endif
#ifdef HAS_ASAN
#include <sanitizer/asan_interface.h>
#include <sanitizer/lsan_interface.h>
#define LEAK_CHECK_ROOT(at, size) __lsan_register_root_region(at, size)
#else
#define ASAN_POISON_MEMORY_REGION(at, size) ((void)(at), (void)(size))
#define ASAN_UNPOISON_MEMORY_REGION(at, size) ((void)(at), (void)(size))
#define LEAK_CHECK_ROOT(at, size) ((void)(at), (void)(size))
#endif

/* Blocks of a few sizes; what was freed is used again, and no page but those of the largest is ever given back, so there is
 * never more than there once was. Threads that check passwords have secrets too. */
#define CHUNK_BYTES ((size_t)64 * 1024)
#define N_SIZES 9 /* 64 bytes, then twice as many each */
#define BLOCK_MAX_BYTES ((size_t)64 << (N_SIZES - 1))

union block {
    union block *next; /* while it is free */
    char bytes[64];
};

/* Ahead of what secret_alloc_sized() gives. */
struct head {
    _Alignas(16) size_t size;
};

/* Its blocks begin one block behind its own beginning. */
struct chunk {
    struct chunk *next;
};

static pthread_mutex_t arena_mutex = PTHREAD_MUTEX_INITIALIZER;
static union block *free_blocks[N_SIZES];
static struct chunk *chunks;
/* Around all chunks; read without the mutex: whoever has a pointer into one has it from behind their change. */
static _Atomic(uintptr_t) lowest = UINTPTR_MAX;
static _Atomic(uintptr_t) highest;

static void *map_pages(size_t size)
{
    void *at = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

    if (at == MAP_FAILED) {
        return NULL;
    }
    (void)madvise(at, size,
                  MADV_DONTDUMP); /* without it a core holds them, nothing else is amiss */
    return at;
}

/* The mutex is held. */
static void add_chunk(unsigned size_class, size_t block_bytes)
{
    struct chunk *c = map_pages(CHUNK_BYTES);
    uintptr_t at = (uintptr_t)c;

    if (c == NULL) {
        return;
    }
    LEAK_CHECK_ROOT(c, CHUNK_BYTES);
    c->next = chunks;
    chunks = c;
    if (at < lowest) {
        lowest = at;
    }
    if (at + CHUNK_BYTES > highest) {
        highest = at + CHUNK_BYTES;
    }
    for (size_t i = sizeof(union block); i + block_bytes <= CHUNK_BYTES; i += block_bytes) {
        union block *block = (void *)((char *)c + i);

        block->next = free_blocks[size_class];
        free_blocks[size_class] = block;
        ASAN_POISON_MEMORY_REGION(block, block_bytes);
    }
}

/* Its list; N_SIZES: larger than any of them. */
static unsigned size_class(size_t size, size_t *ret_bytes)
{
    unsigned i = 0;

    *ret_bytes = sizeof(union block);
    while (i < N_SIZES && *ret_bytes < size) {
        *ret_bytes *= 2;
        i++;
    }
    return i;
}

static void *take_block(size_t size)
{
    size_t bytes;
    unsigned i = size_class(size, &bytes);
    union block *block;

    if (i == N_SIZES) {
        return map_pages(size);
    }
    (void)pthread_mutex_lock(&arena_mutex); /* cannot fail, nor below: it is never held twice */
    if (free_blocks[i] == NULL) {
        add_chunk(i, bytes);
    }
    block = free_blocks[i];
    if (block != NULL) {
        ASAN_UNPOISON_MEMORY_REGION(block, MAX(size, sizeof(block->next)));
        free_blocks[i] = block->next;
        block->next = NULL; /* all else is zero since it was freed, or ever */
    }
    (void)pthread_mutex_unlock(&arena_mutex);
    return block;
}

static void give_block(void *data, size_t size)
{
    size_t bytes;
    unsigned i = size_class(size, &bytes);
    union block *block = data;

    if (i == N_SIZES) {
        (void)munmap(data, size);
        return;
    }
    explicit_bzero(data, size);
    (void)pthread_mutex_lock(&arena_mutex);
    block->next = free_blocks[i];
    free_blocks[i] = block;
    ASAN_POISON_MEMORY_REGION(block, bytes);
    (void)pthread_mutex_unlock(&arena_mutex);
}

void *secret_alloc(size_t size)
{
    return take_block(size);
}

void *secret_free(void *at, size_t size)
{
    if (at != NULL) {
        give_block(at, size);
    }
    return NULL;
}

void *secret_alloc_sized(size_t size)
{
    struct head *h = size > BLOCK_MAX_BYTES - sizeof(*h) ? NULL : take_block(sizeof(*h) + size);

    if (h == NULL) {
        return NULL;
    }
    h->size = size;
    return h + 1;
}

void secret_free_sized(void *at)
{
    struct head *h = (struct head *)at - 1;

    give_block(h, sizeof(*h) + h->size);
}

size_t secret_size(const void *at)
{
    return ((const struct head *)at - 1)->size;
}

bool secret_owns(const void *at)
{
    uintptr_t where = (uintptr_t)at;
    bool found = false;

    if (LIKELY(where < atomic_load_explicit(&lowest, memory_order_relaxed) ||
               where >= atomic_load_explicit(&highest, memory_order_relaxed))) {
        return false;
    }
    (void)pthread_mutex_lock(&arena_mutex);
    for (const struct chunk *c = chunks; c != NULL && !found; c = c->next) {
        found = where - (uintptr_t)c < CHUNK_BYTES;
    }
    (void)pthread_mutex_unlock(&arena_mutex);
    return found;
}

bool secret_set(struct secret *s, const void *data, size_t len)
{
    char *copy = secret_alloc(len + 1);

    secret_done(s);
    if (copy == NULL) {
        return false;
    }
    memcpy(copy, data, len);
    copy[len] = '\0';
    s->data = copy;
    s->len = len;
    return true;
}

void secret_done(struct secret *s)
{
    (void)secret_free(s->data, s->len + 1);
    *s = (struct secret){0};
}

bool secret_bytes_equal(const void *a, const void *b, size_t len)
{
    const volatile uint8_t *x = a;
    const volatile uint8_t *y = b;
    unsigned difference = 0;

    for (size_t i = 0; i < len; i++) {
        difference |= (unsigned)(x[i] ^ y[i]);
    }
    return difference == 0;
}

bool secret_equals(const struct secret *s, const void *data, size_t len)
{
    return s->data != NULL && s->len == len && secret_bytes_equal(s->data, data, len);
}

void secret_random(void *ret, size_t len)
{
    static uint8_t pool[512]; /* drawn ahead; each byte is wiped when it is handed out */
    static size_t left;
    uint8_t *out = ret;

    while (len > 0) {
        size_t n;

        if (left == 0) {
            if (getrandom(pool, sizeof(pool), 0) != (ssize_t)sizeof(pool)) {
                fatal_exit("no random bytes from the kernel");
            }
            left = sizeof(pool);
        }
        n = MIN(len, left);
        memcpy(out, pool + left - n, n);
        explicit_bzero(pool + left - n, n);
        left -= n;
        out += n;
        len -= n;
    }
}
