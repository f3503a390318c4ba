/* SPDX-License-Identifier: ISC */
#include "daemon/util/secret.h"

#include "daemon/util/fatal.h"

#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

bool secret_set(struct secret *s, const void *data, size_t len)
{
    char *copy = malloc(len + 1);

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
        free(s->data);
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
