/* SPDX-License-Identifier: ISC */
#include "daemon/util/secret.h"

#include "daemon/util/fatal.h"

#include <pthread.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/random.h>

/* Secrets lie on pages of their own that no core dump contains. Blocks of a few sizes; what was freed is used again, and no
 * page is ever given back, so there is never more than there once was. Threads that check passwords have secrets too. */
#define CHUNK_BYTES ((size_t)64 * 1024)
#define N_SIZES 6 /* 64 bytes, four times as many each, up to a chunk */

union block {
    union block *next; /* while it is free */
    char bytes[64];
};

static pthread_mutex_t arena_mutex = PTHREAD_MUTEX_INITIALIZER;
static union block *free_blocks[N_SIZES];

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

/* Its list; N_SIZES: larger than any of them. */
static unsigned size_class(size_t size, size_t *ret_bytes)
{
    unsigned i = 0;

    *ret_bytes = sizeof(union block);
    while (i < N_SIZES && *ret_bytes < size) {
        *ret_bytes *= 4;
        i++;
    }
    return i;
}

static char *take_block(size_t size)
{
    size_t bytes;
    unsigned i = size_class(size, &bytes);
    union block *block;
    char *chunk;

    if (i == N_SIZES) {
        return map_pages(size);
    }
    (void)pthread_mutex_lock(&arena_mutex); /* cannot fail, nor below: it is never held twice */
    if (free_blocks[i] == NULL && (chunk = map_pages(CHUNK_BYTES)) != NULL) {
        for (size_t at = 0; at < CHUNK_BYTES; at += bytes) {
            block = (void *)(chunk + at);
            block->next = free_blocks[i];
            free_blocks[i] = block;
        }
    }
    block = free_blocks[i];
    if (block != NULL) {
        free_blocks[i] = block->next;
    }
    (void)pthread_mutex_unlock(&arena_mutex);
    return (char *)block;
}

static void give_block(char *data, size_t size)
{
    size_t bytes;
    unsigned i = size_class(size, &bytes);
    union block *block = (void *)data;

    if (i == N_SIZES) {
        (void)munmap(data, size);
        return;
    }
    (void)pthread_mutex_lock(&arena_mutex);
    block->next = free_blocks[i];
    free_blocks[i] = block;
    (void)pthread_mutex_unlock(&arena_mutex);
}

bool secret_set(struct secret *s, const void *data, size_t len)
{
    char *copy = take_block(len + 1);

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
    if (s->data != NULL) {
        explicit_bzero(s->data, s->len);
        give_block(s->data, s->len + 1);
    }
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
