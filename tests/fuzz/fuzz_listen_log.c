/* SPDX-License-Identifier: ISC */
/* Any run of statements and answers against a model that remembers everything: all savepoints,
 * by name and place, and all changes in an array. One byte a step: what happens, and to which of
 * four names. */
#include "daemon/util/fatal.h"
#include "pool/listen_log.h"

#include <stdint.h>
#include <stdio.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define STEPS 400

struct model {
    struct {
        char name;
        unsigned n_changes;
    } marks[STEPS];
    struct {
        enum sql_kind kind;
        char name;
    } changes[STEPS];
    unsigned n_marks;
    unsigned n_changes;
    unsigned n_committed; /* of the changes */
};

static const struct {
    enum sql_kind kind;
    const char *tag;
} kinds[] = {
    {SQL_LISTEN, "LISTEN"},       {SQL_UNLISTEN, "UNLISTEN"}, {SQL_UNLISTEN_ALL, "UNLISTEN"},
    {SQL_SAVEPOINT, "SAVEPOINT"}, {SQL_RELEASE, "RELEASE"},   {SQL_ROLLBACK_TO, "ROLLBACK"},
    {SQL_COMMIT, "COMMIT"},       {SQL_ROLLBACK, "ROLLBACK"}, {SQL_OTHER, "SELECT 1"},
    {SQL_DISCARD, "DISCARD ALL"},
};

static unsigned find_mark(const struct model *m, char name)
{
    for (unsigned i = m->n_marks; i > 0; i--) {
        if (m->marks[i - 1].name == name) {
            return i - 1;
        }
    }
    return STEPS;
}

static void model_change(struct model *m, enum sql_kind kind, char name)
{
    m->changes[m->n_changes].kind = kind;
    m->changes[m->n_changes].name = name;
    m->n_changes++;
}

/* false: PostgreSQL would refuse it. */
static bool model_run(struct model *m, enum sql_kind kind, char name)
{
    unsigned at = find_mark(m, name);

    if (kind == SQL_LISTEN || kind == SQL_UNLISTEN || kind == SQL_UNLISTEN_ALL) {
        model_change(m, kind, name);
    } else if (kind == SQL_SAVEPOINT) {
        m->marks[m->n_marks].name = name;
        m->marks[m->n_marks].n_changes = m->n_changes;
        m->n_marks++;
    } else if (kind == SQL_COMMIT) {
        m->n_committed = m->n_changes;
        m->n_marks = 0;
    } else if (kind == SQL_ROLLBACK) {
        m->n_changes = m->n_committed;
        m->n_marks = 0;
    } else if (kind == SQL_DISCARD) {
        m->n_changes = 0;
        m->n_marks = 0;
        model_change(m, SQL_UNLISTEN_ALL, 'a');
        m->n_committed = m->n_changes;
    } else if (kind == SQL_RELEASE || kind == SQL_ROLLBACK_TO) {
        if (at == STEPS) {
            return false;
        }
        m->n_marks = kind == SQL_RELEASE ? at : at + 1;
        m->n_changes = kind == SQL_RELEASE ? m->n_changes : m->marks[at].n_changes;
    }
    return true;
}

static void step(struct listen_log *log, struct model *m, uint8_t byte, uint32_t seq)
{
    unsigned k = (byte >> 2) % (unsigned)ARRAY_LEN(kinds);
    struct sql_statement st = {.kind = kinds[k].kind};
    bool is_change = k < 3;

    st.name[0] = (char)('a' + (byte & 3));
    if (!model_run(m, st.kind, st.name[0])) {
        return; /* a savepoint that is not there: the error of a transaction is a step of its own */
    }
    if (is_change || listen_log_is_active(log)) { /* as the caller does */
        fatal_unless(listen_log_expect(log, seq, &st) == 0);
    }
    fatal_unless(listen_log_complete(log, kinds[k].tag) == 0);
}

static void compare(struct listen_log *log, struct model *m)
{
    struct listen_change ch;

    for (unsigned i = 0; i < m->n_committed; i++) {
        fatal_unless(listen_log_take(log, &ch));
        fatal_unless(ch.kind == m->changes[i].kind);
        fatal_unless(ch.kind == SQL_UNLISTEN_ALL || ch.name[0] == m->changes[i].name);
    }
    fatal_unless(!listen_log_take(log, &ch));
    memmove(&m->changes[0], &m->changes[m->n_committed],
            (m->n_changes - m->n_committed) * sizeof(m->changes[0]));
    for (unsigned i = 0; i < m->n_marks; i++) {
        m->marks[i].n_changes -= m->n_committed;
    }
    m->n_changes -= m->n_committed;
    m->n_committed = 0;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct model m = {.n_marks = 0};
    struct listen_log log;
    uint32_t seq = UINT32_MAX - 20;

    listen_log_init(&log);
    for (size_t i = 0; i < size && i < STEPS; i++) {
        if (data[i] < 240) {
            step(&log, &m, data[i], seq);
        } else if (data[i] < 246) { /* the round ends within a transaction */
            (void)listen_log_ready(&log, seq++, 'T');
            compare(&log, &m);
        } else if (data[i] < 251) { /* with its commit */
            (void)model_run(&m, SQL_COMMIT, 'a');
            (void)listen_log_ready(&log, seq++, 'I');
            compare(&log, &m);
        } else { /* with an error */
            (void)model_run(&m, SQL_ROLLBACK, 'a');
            listen_log_error(&log, seq);
            (void)listen_log_ready(&log, seq++, 'I');
            compare(&log, &m);
        }
    }
    listen_log_done(&log);
    return 0;
}
