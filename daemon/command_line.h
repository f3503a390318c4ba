/* SPDX-License-Identifier: ISC */
/* The command line. What it says outranks the file, at a reload too. */
#ifndef PGPOOLD_DAEMON_COMMAND_LINE_H
#define PGPOOLD_DAEMON_COMMAND_LINE_H

#include "daemon/util/macros.h"

#include <stdbool.h>

struct server_options {
    bool is_daemon;   /* -d */
    bool is_quiet;    /* -q */
    unsigned verbose; /* how many -v */
    const char *user; /* -u; NULL: not given; lives as long as the process */
};

enum command {
    COMMAND_RUN,
    COMMAND_CHECK_CONFIG,
    COMMAND_HELP_CONFIG,
    COMMAND_DONE,  /* -V, -h: all is said */
    COMMAND_WRONG, /* what is wrong was said on stderr */
};

struct command_line {
    struct server_options options;
    const char *ini_path;
    bool takes_over; /* -R */
};

/* Texts in @ret point into @argv. */
MUSTCHECK enum command command_line_read(int argc, char **argv, struct command_line *ret);

#endif
