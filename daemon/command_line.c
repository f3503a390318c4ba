/* SPDX-License-Identifier: ISC */
/* Apart from main.c because getopt.h has a struct option of its own. */
#include "daemon/command_line.h"

#include "daemon/version.h"

#include <getopt.h>
#include <stdio.h>

static const char usage[] =
    "Usage: pgpoold [OPTION]... FILE.ini\n"
    "       pgpoold top [OPTION]... [CONNINFO]\n"
    "  -d, --daemon         go to the background\n"
    "  -q, --quiet          no log lines on stderr\n"
    "  -v, --verbose        more log lines; may be given twice\n"
    "  -u, --user=USER      system user to become when started as root\n"
    "  -R, --reboot         take sockets and connections over from the process that runs\n"
    "  -V, --version        print the version and exit\n"
    "  -h, --help           print this and exit\n"
    "      --check-config   print every error of the configuration; exit with 1, or with 0 when "
    "there is none\n"
    "      --help-config    print all options of the configuration and exit\n"
    "top shows the pools of a running daemon live: pgpoold top --help.\n";

enum { OPT_CHECK_CONFIG = 256, OPT_HELP_CONFIG };

static const struct option long_options[] = {
    {"daemon", no_argument, NULL, 'd'},
    {"quiet", no_argument, NULL, 'q'},
    {"verbose", no_argument, NULL, 'v'},
    {"user", required_argument, NULL, 'u'},
    {"reboot", no_argument, NULL, 'R'},
    {"version", no_argument, NULL, 'V'},
    {"help", no_argument, NULL, 'h'},
    {"check-config", no_argument, NULL, OPT_CHECK_CONFIG},
    {"help-config", no_argument, NULL, OPT_HELP_CONFIG},
    {NULL, 0, NULL, 0},
};

static enum command complain(void)
{
    (void)fputs("Try pgpoold --help.\n", stderr);
    return COMMAND_WRONG;
}

enum command command_line_read(int argc, char **argv, struct command_line *ret)
{
    enum command command = COMMAND_RUN;
    int c;

    *ret = (struct command_line){0};
    while ((c = getopt_long(argc, argv, "dqvu:RVh", long_options, NULL)) != -1) {
        switch (c) {
        case 'd':
            ret->options.is_daemon = true;
            break;
        case 'q':
            ret->options.is_quiet = true;
            break;
        case 'v':
            ret->options.verbose++;
            break;
        case 'u':
            ret->options.user = optarg;
            break;
        case 'R':
            ret->takes_over = true;
            break;
        case 'V':
            (void)puts(PGPOOLD_VERSION_TEXT);
            return COMMAND_DONE;
        case 'h':
            (void)fputs(usage, stdout);
            return COMMAND_DONE;
        case OPT_CHECK_CONFIG:
            command = COMMAND_CHECK_CONFIG;
            break;
        case OPT_HELP_CONFIG:
            return COMMAND_HELP_CONFIG;
        default: /* getopt has said what is wrong */
            return complain();
        }
    }
    if (optind + 1 != argc) {
        (void)fputs(optind == argc ? "pgpoold: the configuration file is missing\n"
                                   : "pgpoold: more than one configuration file\n",
                    stderr);
        return complain();
    }
    ret->ini_path = argv[optind];
    return command;
}
