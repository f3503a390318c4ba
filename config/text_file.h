/* SPDX-License-Identifier: ISC */
/* Reading a text file line by line, with the line's number for messages: what the readers of all
 * our files share. Faults of the file itself (not to be opened, a directory, a NUL byte, an endless
 * line) go to the list of errors. The lines may hold secrets, so their memory is wiped. */
#ifndef PGPOOLD_CONFIG_TEXT_FILE_H
#define PGPOOLD_CONFIG_TEXT_FILE_H

#include "config/config_errors.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>

#define TEXT_FILE_LINE_MAX (1024 * 1024) /* bytes of one line; more is a mistake, not a setting */

#define TEXT_FILE_BUFFER_BYTES ((size_t)4096)

struct text_file {
    /* name and line may be read, the rest is private */
    char *name;
    unsigned line; /* of the line that was read last */
    FILE *in;
    char *buf;
    size_t cap;
    char *stream_buf; /* of @in, when it is ours */
    struct config_errors *errors;
    bool owns_stream;
};

/* false: cannot be opened; @errors says so, at @from_file:@from_line where the file was asked for
 * ("" for nowhere). */
MUSTCHECK bool text_file_open(struct text_file *t, const char *path, const char *from_file,
                              unsigned from_line, struct config_errors *errors);
/* Over an open stream, which stays the caller's; false: out of memory, and @errors says so. */
MUSTCHECK bool text_file_wrap(struct text_file *t, FILE *in, const char *name,
                              struct config_errors *errors);
/* Closes and wipes. May run twice. */
void text_file_done(struct text_file *t);

/* The next line without its end of line, or NULL at the end. May be written to; valid until the
 * next call. */
char *text_file_next(struct text_file *t);

/* Adds a fault of the current line. */
#define text_file_fault(t, ...) config_errors_add((t)->errors, (t)->name, (t)->line, __VA_ARGS__)

/* Cuts blanks off both ends, in place. */
char *text_strip(char *text);

#endif
