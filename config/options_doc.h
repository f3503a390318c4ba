/* SPDX-License-Identifier: ISC */
/* The documents that are written from the table of options, so that they cannot lag behind it. */
#ifndef PGPOOLD_CONFIG_OPTIONS_DOC_H
#define PGPOOLD_CONFIG_OPTIONS_DOC_H

#include <stdio.h>

void options_print_help(FILE *out);    /* pgpoold --help-config */
void options_print_man(FILE *out);     /* the options part of pgpoold.ini(5), as scdoc text */
void options_print_example(FILE *out); /* pgpoold.ini.example */

#endif
