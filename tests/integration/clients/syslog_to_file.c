/* SPDX-License-Identifier: ISC */
/* Preloaded into a daemon under test: what it sends to syslog goes to the file $SYSLOG_TO_FILE, one line
 * "facility ident message" each. There is no /dev/log of our own without changing the machine's. */
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <syslog.h>
#include <unistd.h>

static char name[256];
static int place = LOG_USER;

void openlog(const char *ident, int option, int facility)
{
    (void)option;
    (void)snprintf(name, sizeof(name), "%s", ident);
    place = facility;
}

void closelog(void)
{
    name[0] = '\0';
}

static void put(const char *format, va_list args)
{
    char text[8192];
    int n = snprintf(text, sizeof(text), "%d %s ", place >> 3, name);
    int fd = open(getenv("SYSLOG_TO_FILE"), O_WRONLY | O_CREAT | O_APPEND, 0644);

    n += vsnprintf(text + n, sizeof(text) - (size_t)n - 1, format, args);
    text[n++] = '\n';
    if (fd < 0 || write(fd, text, (size_t)n) != n) {
        abort();
    }
    (void)close(fd);
}

void syslog(int priority, const char *format, ...)
{
    va_list args;

    (void)priority;
    va_start(args, format);
    put(format, args);
    va_end(args);
}

/* What syslog() becomes with -D_FORTIFY_SOURCE. */
void __syslog_chk(int priority, int flag, const char *format, ...);
void __syslog_chk(int priority, int flag, const char *format, ...)
{
    va_list args;

    (void)priority;
    (void)flag;
    va_start(args, format);
    put(format, args);
    va_end(args);
}
