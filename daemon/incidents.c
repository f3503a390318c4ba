/* SPDX-License-Identifier: ISC */
#include "daemon/incidents.h"

#include "daemon/util/clock.h"

#include <stdbool.h>
#include <string.h>

static const char *skip_digits(const char *s)
{
    return s + strspn(s, "0123456789");
}

/* "...127.0.0.1:5123 ..." and "...127.0.0.1:61000 ..." are the same thing twice. */
static bool is_same(const char *a, const char *b)
{
    for (;;) {
        a = skip_digits(a);
        b = skip_digits(b);
        if (*a != *b) {
            return false;
        }
        if (*a == '\0') {
            return true;
        }
        a++;
        b++;
    }
}

/* "C-0x55d0c8a0: shop/app@...": the address of an object tells people nothing. */
static const char *without_address(const char *message)
{
    const char *end = strchr(message, ' ');

    if ((strncmp(message, "C-0x", 4) == 0 || strncmp(message, "S-0x", 4) == 0) && end != NULL) {
        return end + 1;
    }
    return message;
}

void incidents_note(void *arg, enum log_level level, const char *message)
{
    struct incidents *all = arg;
    struct incident now = {.wall_us = clock_wall_now_us(), .n = 1, .level = level};
    unsigned at = 0;

    (void)log_escape(now.text, sizeof(now.text), without_address(message));
    while (at < all->n && !is_same(all->entries[at].text, now.text)) {
        at++;
    }
    if (at < all->n) {
        now.n += all->entries[at].n;
    } else if (all->n < INCIDENTS_MAX) {
        all->n++;
    } else {
        at = INCIDENTS_MAX - 1;
    }
    memmove(&all->entries[1], &all->entries[0], at * sizeof(all->entries[0]));
    all->entries[0] = now;
}

const struct incident *incidents_at(const struct incidents *all, unsigned i)
{
    return i < all->n ? &all->entries[i] : NULL;
}
