/* SPDX-License-Identifier: ISC */
#include "daemon/util/fatal.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

void fatal_bug(const char *file, int line, const char *what)
{
    char text[512];
    int n = snprintf(text, sizeof(text), "pgpoold: bug: %s:%d: %s\n", file, line, what);

    if (n > 0) {
        size_t len = MIN((size_t)n, sizeof(text) - 1);

        (void)!write(STDERR_FILENO, text, len); /* we abort either way */
    }
    abort();
}

void fatal_exit(const char *fmt, ...)
{
    va_list args;

    va_start(args, fmt);
    (void)fputs("pgpoold: ", stderr);
    (void)vfprintf(stderr, fmt, args);
    (void)fputc('\n', stderr);
    va_end(args);
    exit(EXIT_FAILURE);
}
