/* SPDX-License-Identifier: ISC */
/* Prints what is written from the table of options: "man" for the options part of pgpoold.ini(5), "example" for
 * pgpoold.ini.example. Run by update.sh; not part of the daemon. */
#include "config/options_doc.h"

#include <stdio.h>
#include <string.h>

int main(int argc, char **argv)
{
    if (argc == 2 && strcmp(argv[1], "man") == 0) {
        options_print_man(stdout);
    } else if (argc == 2 && strcmp(argv[1], "example") == 0) {
        options_print_example(stdout);
    } else {
        fputs("usage: print_options man|example\n", stderr);
        return 2;
    }
    return fflush(stdout) == 0 ? 0 : 1;
}
