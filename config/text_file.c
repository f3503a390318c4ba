/* SPDX-License-Identifier: ISC */
#include "config/text_file.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

bool text_file_wrap(struct text_file *t, FILE *in, const char *name, struct config_errors *errors)
{
    *t = (struct text_file){.in = in, .errors = errors, .name = strdup(name)};
    if (t->name == NULL) {
        config_errors_add(errors, name, 0, "out of memory");
        return false;
    }
    return true;
}

bool text_file_open(struct text_file *t, const char *path, const char *from_file,
                    unsigned from_line, struct config_errors *errors)
{
    FILE *in = fopen(path, "re");

    if (in == NULL) {
        config_errors_add(errors, from_file, from_line, "%s: cannot be opened: %s", path,
                          strerror(errno));
        *t = (struct text_file){0};
        return false;
    }
    if (!text_file_wrap(t, in, path, errors)) {
        (void)fclose(in); /* was only read */
        *t = (struct text_file){0};
        return false;
    }
    t->owns_stream = true;
    /* Buffers of our own, which are wiped: there are passwords in these files. */
    t->stream_buf = malloc(TEXT_FILE_BUFFER_BYTES);
    t->buf = malloc(TEXT_FILE_BUFFER_BYTES);
    if (t->stream_buf == NULL || t->buf == NULL ||
        setvbuf(in, t->stream_buf, _IOFBF, TEXT_FILE_BUFFER_BYTES) != 0) {
        text_file_fault(t, "out of memory");
        text_file_done(t);
        return false;
    }
    t->cap =
        TEXT_FILE_BUFFER_BYTES; /* few lines are longer, so few are copied by a growing buffer */
    return true;
}

void text_file_done(struct text_file *t)
{
    if (t->buf != NULL) {
        explicit_bzero(t->buf, t->cap);
    }
    free(t->buf);
    free(t->name);
    if (t->owns_stream) {
        (void)fclose(t->in); /* was only read */
    }
    if (t->stream_buf != NULL) {
        explicit_bzero(t->stream_buf, TEXT_FILE_BUFFER_BYTES);
        free(t->stream_buf);
    }
    *t = (struct text_file){0};
}

char *text_file_next(struct text_file *t)
{
    for (;;) {
        ssize_t len = getline(&t->buf, &t->cap, t->in);
        size_t n;

        if (len < 0) {
            if (!feof(t->in)) {
                config_errors_add(t->errors, t->name, 0, "cannot be read: %s", strerror(errno));
            }
            return NULL;
        }
        n = (size_t)len;
        t->line++;
        if (n > TEXT_FILE_LINE_MAX) {
            text_file_fault(t, "line of %zu bytes: at most %d", n, TEXT_FILE_LINE_MAX);
            continue;
        }
        if (memchr(t->buf, '\0', n) != NULL) {
            text_file_fault(t, "a NUL byte in this line: text only");
            continue;
        }
        if (n > 0 && t->buf[n - 1] == '\n') {
            t->buf[--n] = '\0';
        }
        if (n > 0 && t->buf[n - 1] == '\r') {
            t->buf[--n] = '\0';
        }
        if (t->line == 1 &&
            strncmp(t->buf, "\xef\xbb\xbf", 3) == 0) { /* what some editors put in front of UTF-8 */
            return t->buf + 3;
        }
        return t->buf;
    }
}

char *text_strip(char *text)
{
    size_t len;

    text += strspn(text, " \t\r\f\v");
    for (len = strlen(text); len > 0 && strchr(" \t\r\f\v", text[len - 1]) != NULL; len--) {
        text[len - 1] = '\0';
    }
    return text;
}
