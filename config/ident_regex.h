/* SPDX-License-Identifier: ISC */
/* The expressions of ident maps are PostgreSQL's "advanced regular expressions"; the C library has POSIX's extended ones.
 * They look the same and differ in what a backslash means, also inside [ ]. This rewrites the first into the second where
 * that is possible, and refuses where the two would silently let in other people. One difference is left: what the group
 * of (...)+ or (...)* stands for when it has matched several times, so \1 had better not be such a one. Pure: text in, text out.
 * PG15, "POSIX Regular Expressions". */
#ifndef PGPOOLD_CONFIG_IDENT_REGEX_H
#define PGPOOLD_CONFIG_IDENT_REGEX_H

#include "daemon/util/buf.h"

/* No result is longer than this many times the expression. */
#define IDENT_REGEX_GROWTH 16

/* Appends to @out what regcomp() with REG_EXTENDED is to be given. NULL, or what is wrong: a text for a fault. */
MUSTCHECK const char *ident_regex_translate(const char *expression, struct buf *out);

#endif
