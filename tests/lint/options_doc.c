/* SPDX-License-Identifier: ISC */
/* Prints the documents that come from the table of options: options_doc help|man|example. The Makefile puts the text
 * into the man page and into pgpoold.ini.example. */
#include "config/options_doc.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

int main(int argc, char **argv)
{
    static const struct {
        const char *name;
        void (*print)(FILE *out);
    } documents[] = {
        {"help", options_print_help},
        {"man", options_print_man},
        {"example", options_print_example},
    };

    for (size_t i = 0; argc == 2 && i < sizeof(documents) / sizeof(documents[0]); i++) {
        if (strcmp(argv[1], documents[i].name) == 0) {
            documents[i].print(stdout);
            return fflush(stdout) == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
        }
    }
    (void)fputs("usage: options_doc help|man|example\n", stderr);
    return EXIT_FAILURE;
}
