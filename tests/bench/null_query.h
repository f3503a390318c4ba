/* SPDX-License-Identifier: ISC */
/* What the null server makes of a statement's text. Only the first word counts, and where it matters a
 * number or a name behind it; anything unknown is a SELECT of one small row. Pure: no I/O, no memory. */
#ifndef BENCH_NULL_QUERY_H
#define BENCH_NULL_QUERY_H

#include <stddef.h>
#include <stdint.h>

#define PLAN_WORD_MAX 64

enum plan_kind {
    PLAN_SELECT, /* one row */
    PLAN_EMPTY,  /* no statement at all */
    PLAN_TAG,    /* nothing but its tag: SET, RESET, SAVEPOINT, ... */
    PLAN_BEGIN,
    PLAN_COMMIT,
    PLAN_ROLLBACK,
    PLAN_DISCARD, /* DISCARD ALL: also forgets statements and channels */
    PLAN_LISTEN,
    PLAN_UNLISTEN,
    PLAN_NOTIFY,
    PLAN_BIG,      /* BIG n: n bytes of rows */
    PLAN_COPY_IN,  /* COPY x FROM STDIN */
    PLAN_COPY_OUT, /* COPY x TO STDOUT n: n bytes of CopyData */
    PLAN_DELAY,    /* DELAY us: one row, but later */
    PLAN_FAIL,     /* an error */
    PLAN_KINDS
};

struct plan {
    enum plan_kind kind;
    uint64_t number;          /* bytes or microseconds */
    char tag[PLAN_WORD_MAX];  /* of CommandComplete */
    char name[PLAN_WORD_MAX]; /* channel; "*" is all */
    char payload[PLAN_WORD_MAX];
};

/* Reads the first statement of @text into @ret; returns what is behind its semicolon, NULL at the end.
 * Semicolons within quotes are not understood: our texts have none. */
const char *plan_parse(const char *text, struct plan *ret);

#endif
