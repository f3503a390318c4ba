/* SPDX-License-Identifier: ISC */
/* Reading an ini file, the one door to inih. Lines may be of any length, ';' and '#' begin a
 * comment only at the start of a line, ';' and ':' inside a value or a name mean nothing, a section
 * may be opened again, and "%include FILE" takes another file's lines in at that place. Knows no
 * option: it hands over names and values with their places. */
#ifndef PGPOOLD_CONFIG_INI_FILE_H
#define PGPOOLD_CONFIG_INI_FILE_H

#include "config/config_errors.h"

#include <stdbool.h>
#include <stdio.h>

#define INI_FILE_DEPTH_MAX 10 /* files open at once through %include */

/* All borrowed, valid during the call. */
struct ini_entry {
    const char *file;
    unsigned line;
    const char *section;
    const char *key;   /* without its quotes, if it had some; NULL: a section begins here */
    const char *value; /* without blanks at its ends; may be "" */
};
typedef void (*ini_entry_fn)(void *arg, const struct ini_entry *e);

/* Reads @path to its end and calls @fn for each section and entry. Faults go to @errors; the lines
 * after one are still read. false: the file could not be opened. */
bool ini_file_read(const char *path, ini_entry_fn fn, void *arg, struct config_errors *errors);
/* The same from an open stream; @name stands for the file in messages. */
bool ini_file_read_stream(FILE *in, const char *name, ini_entry_fn fn, void *arg,
                          struct config_errors *errors);

#endif
