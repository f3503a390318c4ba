/* SPDX-License-Identifier: ISC */
/* Dialogues between clients and PostgreSQL 15 as the machine is told of them; what the server answers in each was taken
 * down from a server. A script is a list of words:
 *
 *     >PBES     requests are sent; each may be followed by its origin: i(njected) a(nswered by us) x (doomed)
 *     <T+       a message comes: + part of the answer, ! end of it (the head is popped), 0 nothing to do with it,
 *               # absurd, * an error (what becomes void is named behind it)
 *     =3        so many requests are outstanding
 *     ~         what is ours to answer is answered
 *     skip copy doubt, noskip nocopy nodoubt     what the machine says of itself
 *
 * Requests: Q(uery) F(unctionCall) S(ync) P(arse) B(ind) D(escribe statement) d(escribe portal) E(xecute) C(lose)
 * c(opyDone or CopyFail). At its end nothing may be outstanding unless the script says how much is. */
#include "pool/inflight.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

static const char letters[INFLIGHT_KINDS + 1] = "QFSPBDdECc";

static const struct {
    const char *name;
    const char *script;
} cases[] = {
    /* the simple protocol */
    {"a query", ">Q <T+ <D+ <D+ <C+ <Z! =0"},
    {"a statement without rows", ">Q <C+ <Z!"},
    {"an empty query", ">Q <I+ <Z!"},
    {"several statements in one query", ">Q <T+ <D+ <C+ <C+ <I+ <T+ <C+ <Z!"},
    {"a query fails", ">Q <T+ <D+ <E* =1 noskip <Z!"},
    {"the second of two statements fails", ">Q <C+ <E* <Z!"},
    {"pipelined queries", ">QQQ =3 <C+ <Z! =2 <E* <Z! =1 <T+ <C+ <Z!"},
    {"a function call", ">F <V+ <Z!"},
    {"a function call fails", ">F <E* =1 noskip <Z!"},
    {"query, function call and sync in a row", ">QFS <C+ <Z! <V+ <Z! <Z!"},
    {"copy out", ">Q <H+ <d+ <d+ <c+ <C+ <Z!"},
    {"two times copy out", ">Q <H+ <d+ <c+ <C+ <H+ <d+ <c+ <C+ <Z!"},
    {"copy out fails half-way", ">Q <H+ <d+ <E* <Z!"},
    {"walsender: copy both", ">Q <W+ copy <d+ >c <d+ <c+ <C+ nocopy =1 <Z!"},
    {"walsender: end of a timeline", ">Q <W+ <c+ >c <T+ <D+ <C+ <C+ <Z!"},

    /* the extended protocol */
    {"parse, bind, execute, sync", ">PBES =4 <1! <2! <C! <Z!"},
    {"all of it", ">PDBdES <1! <t+ <T! <2! <T! <D+ <D+ <C! <Z!"},
    {"a statement that returns nothing", ">PDBdES <1! <t+ <n! <2! <n! <C! <Z!"},
    {"a portal in portions", ">PBEES <1! <2! <D+ <s! <D+ <C! <Z!"},
    {"an empty statement", ">PBES <1! <2! <I! <Z!"},
    {"close", ">CCS <3! <3! <Z!"},
    {"a lone sync", ">S <Z!"},
    {"copy out by execute", ">PBES <1! <2! <H+ <d+ <c+ <C! <Z!"},
    {"the error comes with the sync", ">PBES <1! <2! <C! <E* =1 noskip <Z!"},
    {"a simple query behind a sync", ">PBESQ <1! <2! <C! <Z! <T+ <D+ <C+ <Z!"},
    {"an execute is remembered up to the sync",
     ">PB norun <1! <2! >E ran <C! =0 ran >P ran >S norun <1! <Z! norun"},
    {"an execute is remembered up to a query", ">PBE ran >Q norun <1! <2! <C! <C+ <Z!"},
    {"requests without a sync", ">PB <1! <2! =0 noskip nocopy >E <C! >S <Z!"},

    /* errors and skipping */
    {"parse fails, sync was sent", ">PBdES <E*PBdE =1 noskip <Z!"},
    {"bind fails, sync was sent", ">PBES <1! <E*BE =1 <Z!"},
    {"execute fails, sync was sent", ">PBES <1! <2! <D+ <E*E =1 <Z!"},
    {"execute fails, sync comes later", ">PBE <1! <2! <E*E =0 skip >BE =0 skip >S =1 noskip <Z!"},
    {"describe fails, sync comes later", ">D <E*D skip >PBDdECc =0 >S <Z! noskip"},
    {"close is skipped too", ">PCS <E*PC <Z!"},
    {"a simple query in front of the sync is skipped",
     ">PQ synced <E*PQ =0 skip open >QF =0 open >S noskip synced <Z!"},
    {"the second segment goes on", ">PBESPBES <E*PBE =5 <Z! <1! <2! <C! <Z!"},
    {"each segment fails", ">PBESPBESPBES <1! <E*BE <Z! <1! <2! <E*E <Z! <E*PBE <Z!"},
    {"a failed segment, then a query", ">PSQ <E*P <Z! <C+ <Z!"},
    {"sync at once behind a sync", ">PSSS <E*P <Z! <Z! <Z!"},
    {"skipping ends with the first sync only", ">P <E*P >PSPS =3 <Z! <1! <Z!"},

    /* what comes at any time */
    {"notice before anything", "<N0 <A0 <S0 =0"},
    {"notices between", ">PBES <N+ <1! <A+ <2! <S+ <D+ <N+ <C! <N+ <Z! <A0"},
    {"notices in a query", ">Q <N+ <T+ <S+ <D+ <A+ <C+ <N+ <Z!"},
    {"notices while skipping", ">P <E*P <N0 <S0 skip >S <N+ <Z!"},
    {"notices while copying", ">Q <G+ <N+ <A+ <S+ copy >c <C+ <Z!"},
    {"an error while nothing runs", "<E0 =0 noskip"},

    /* ours among the client's */
    {"statement prepared before the bind", ">PiDiBES <1! <t+ <T! <2! <C! <Z!"},
    {"statement of ours fails", ">PiDiBES <E*PDBE =1 <Z!"},
    {"a query of ours before the client's", ">QiQ <T+ <D+ <C+ <Z! =1 <C+ <Z!"},
    {"parse answered by us in front", ">PaBES ~ =3 <2! <C! <Z!"},
    {"close answered by us in the middle", ">PBECaS <1! <2! <C! =2 ~ =1 <Z!"},
    {"close answered by us as the last", ">PBECa <1! <2! <C! ~ =0"},
    {"answers of ours void with the rest", ">PCaPaS <E*PCP =1 ~ <Z!"},
    {"answers of ours behind the sync stay", ">PSCaS <E*P <Z! ~ =1 <Z!"},
    {"doomed parse", ">PxBES <E*PBE <Z!"},
    {"doomed bind behind a good segment", ">PBESBxES <1! <2! <C! <Z! <E*BE <Z!"},
    {"a close of ours in front of a query", ">CiSiQ <3! <Z! <C+ <Z!"},

    /* copy in by a simple query */
    {"copy in", ">Q <G+ copy >c =2 <C+ nocopy =1 <Z!"},
    {"copy in, everything sent at once", ">Qc <G+ <C+ <Z!"},
    {"copy in, then the next query at once", ">QcQ <G+ <C+ <Z! <T+ <D+ <C+ <Z!"},
    {"CopyFail", ">Q <G+ >c <E* nocopy =1 <Z!"},
    {"copy in fails before its end was sent", ">Q <G+ <E* nocopy =1 >c <Z! =0"},
    {"copy in fails, its end comes after all is over", ">Q <G+ <E* <Z! >c =0 >Q <C+ <Z!"},
    {"copy in fails, its end and the next query are on their way", ">QcQ <G+ <E* =2 <Z! <C+ <Z!"},
    {"the same, end sent late", ">Q <G+ <E* >cQ <Z! =1 <C+ <Z!"},
    {"several copies in one query",
     ">Q <G+ >c <C+ nocopy <G+ copy >c <C+ <T+ <D+ <C+ <G+ >c <C+ <Z!"},
    {"several copies, everything sent at once", ">Qccc <G+ <C+ <G+ <C+ =2 <G+ <C+ =1 <Z!"},
    {"the first of several copies fails", ">Qccc <G+ <E* <Z! =0"},
    {"copy in and out in one query", ">Qc <G+ <C+ <H+ <d+ <c+ <C+ <Z!"},
    {"a sync during a copy by query is ignored", ">QS <G+ =1 >c <C+ <Z! =0"},
    {"the same when the copy is known of", ">Q <G+ >S =1 >c <C+ <Z! =0"},
    {"syncs between copies, everything sent at once", ">QcScS <G+ =5 <C+ =4 <G+ =3 <C+ <Z! <Z! =0"},
    {"syncs between copies, the first of which fails", ">QcScS <G+ <E* <Z! <Z! <Z! =0"},
    {"a message that a copy does not know: the server ends", ">Q <G+ >Q <E* <E* =2"},

    /* copy in by the extended protocol */
    {"copy in with sync behind its end", ">PBE <1! <2! <G+ copy >cS =3 <C! =1 <Z! nodoubt"},
    {"libpq: sync behind the execute", ">PBES <1! <2! <G+ =1 >cS =3 <C! nocopy =1 <Z! nodoubt"},
    {"sync comes after CopyInResponse", ">PBE <1! <2! <G+ >S =1 copy >cS <C! <Z! =0"},
    {"several early syncs", ">PBESSS <1! <2! <G+ =1 >SScS <C! <Z!"},
    {"extended copy, everything sent at once", ">PBEcS <1! <2! <G+ =3 <C! =1 <Z!"},
    {"two extended copies, everything sent at once",
     ">PBEcPBEcS <1! <2! <G+ <C! <1! <2! <G+ <C! =1 <Z!"},
    {"the first of two extended copies fails", ">PBEcPBEcS <1! <2! <G+ <E*EPBE =1 <Z!"},
    {"CopyDone twice", ">PBEccS <1! <2! <G+ <C! =1 <Z!"},
    {"CopyDone without a copy", ">PBEcS <1! <2! <C! =1 <Z!"},
    {"extended CopyFail", ">PBES <1! <2! <G+ >cS <E*E =1 nocopy noskip <Z!"},
    {"extended copy fails, its end comes later",
     ">PBE <1! <2! <G+ <E*E =0 skip nocopy >c =0 >S =1 <Z! nodoubt"},
    {"extended copy fails, libpq's late sync", ">PBES <1! <2! <G+ <E*E skip >cS =1 <Z!"},
    {"a copy that reads nothing, then one that does", ">QQcS <G+ <E* =4 <Z! <G+ <C+ <Z! =1 <Z!"},
    {"a copy that reads nothing, then a parse", ">QPS <G+ <E* nodoubt <Z! <1! <Z!"},
    {"copy in and execute in one segment", ">PBEcBES <1! <2! <G+ <C! <2! <C! <Z!"},

    /* "cannot copy to view": the early Sync may have been read by nobody, then it is answered as well */
    {"in doubt: early sync and an error", ">PBES <1! <2! <G+ nodoubt <E*E doubt"},
    {"in doubt: early sync, end sent", ">PBES <1! <2! <G+ >cS <E*E doubt <Z! doubt"},
    {"in doubt: a query", ">QS <G+ <E* doubt <Z!"},
    {"in doubt: the late ReadyForQuery answers nothing here", ">QS <G+ <E* <Z! <Z0 doubt"},
    {"no doubt: a ReadyForQuery too many is absurd", ">Q <C+ <Z! <Z# nodoubt"},
    {"in doubt: the second of two copies", ">QcScS <G+ <C+ <G+ <E* doubt <Z! <Z! =0"},
    {"no doubt: the early sync was of the copy before",
     ">PBESE <1! <2! <G+ >c <C! <G+ >c <E*E nodoubt skip"},

    /* answers that fit nothing */
    {"a ready nobody asked for", "<Z# <1# <T# <C# <G# =0"},
    {"answers of other requests to a parse",
     ">P <2# <3# <T# <D# <C# <Z# <s# <n# <t# <I# <G# <H# <W# <V# <d# <c# nocopy =1"},
    {"answers of other requests to a bind", ">B <1# <3# <T# <D# <C# <Z# <G# nocopy =1"},
    {"answers of other requests to a describe", ">D <1# <D# <C# <Z# <G# <H# nocopy =1"},
    {"a portal has no parameters", ">d <t# =1"},
    {"answers of other requests to an execute", ">E <1# <2# <3# <T# <n# <t# <Z# <V# <W# nocopy =1"},
    {"answers of other requests to a close", ">C <1# <2# <C# <Z# <D# =1"},
    {"answers of other requests to a sync", ">S <1# <2# <3# <C# <T# <D# <I# <G# <d# nocopy =1"},
    {"answers of other requests to a query", ">Q <1# <2# <3# <n# <t# <s# <V# =1"},
    {"answers of other requests to a function call", ">F <C# <T# <D# <G# <1# nocopy =1"},
    {"messages of a login", ">Q <R# <K# <v# <p# =1"},
    {"a copy within a copy", ">Q <G+ <G# <W# =1"},
    {"a copy ends without its tag", ">Q <G+ <Z# =1"},
    {"an extended copy ends without its tag", ">E <G+ <s# <I# =1"},
};

struct play {
    struct inflight f;
    struct prepared *prepared;
    const char *name;
    const char *script;
    const char *voids; /* still to come */
};

static void complain(const struct play *p, const char *at, const char *what)
{
    fail_msg("%s: %s, at \"%s\" of \"%s\"", p->name, what, at, p->script);
}

static enum inflight_origin origin_of(char c)
{
    switch (c) {
    case 'i':
        return INFLIGHT_INJECTED;
    case 'a':
        return INFLIGHT_ANSWERED;
    case 'x':
        return INFLIGHT_DOOMED;
    default:
        return INFLIGHT_OF_CLIENT;
    }
}

static const char *send_requests(struct play *p, const char *at)
{
    while (*at != '\0' && *at != ' ') {
        const char *letter = strchr(letters, *at);
        enum inflight_origin origin = origin_of(at[1]);
        bool is_named = strchr("PCD", *at) != NULL;

        if (letter == NULL) {
            complain(p, at, "no such request");
            return at;
        }
        assert_true(inflight_push(&p->f, (enum inflight_kind)(letter - letters), origin,
                                  is_named ? p->prepared : NULL, is_named ? 7 : 0));
        at += origin != INFLIGHT_OF_CLIENT ? 2 : 1;
    }
    return at;
}

static void on_void(void *arg, const struct inflight_entry *e)
{
    struct play *p = arg;

    if (*p->voids != letters[e->kind]) {
        complain(p, p->voids, "something else became void");
    }
    p->voids++;
}

static const char *take_answer(struct play *p, const char *at)
{
    static const char marks[] = {
        [INFLIGHT_GOES_ON] = '+', [INFLIGHT_COMPLETES] = '!', [INFLIGHT_FAILS] = '*',
        [INFLIGHT_NONE] = '0',    [INFLIGHT_ABSURD] = '#',
    };
    enum inflight_step step = inflight_step(&p->f, (uint8_t)*at);

    if (marks[step] != at[1]) {
        complain(p, at, "another verdict");
    }
    p->voids = at + 2;
    if (step == INFLIGHT_COMPLETES) {
        inflight_pop(&p->f);
    } else if (step == INFLIGHT_FAILS) {
        inflight_fail(&p->f, on_void, p);
    }
    if (*p->voids != ' ' && *p->voids != '\0') {
        complain(p, p->voids, "did not become void");
    }
    return p->voids;
}

static void check_state(struct play *p, const char *word, size_t len)
{
    static const struct {
        const char *word;
        size_t offset;
        bool is;
    } states[] = {
        {"skip", offsetof(struct inflight, skipping), true},
        {"noskip", offsetof(struct inflight, skipping), false},
        {"copy", offsetof(struct inflight, copy_in), true},
        {"nocopy", offsetof(struct inflight, copy_in), false},
        {"doubt", offsetof(struct inflight, doubtful), true},
        {"nodoubt", offsetof(struct inflight, doubtful), false},
        {"open", offsetof(struct inflight, unsynced), true},
        {"synced", offsetof(struct inflight, unsynced), false},
        {"ran", offsetof(struct inflight, executes), true},
        {"norun", offsetof(struct inflight, executes), false},
    };

    for (size_t i = 0; i < ARRAY_LEN(states); i++) {
        if (strlen(states[i].word) == len && strncmp(states[i].word, word, len) == 0) {
            if (*(const bool *)((const char *)&p->f + states[i].offset) != states[i].is) {
                complain(p, word, "is not so");
            }
            return;
        }
    }
    complain(p, word, "no such word");
}

static const char *play_word(struct play *p, const char *at)
{
    const struct inflight_entry *head;

    switch (*at) {
    case '>':
        return send_requests(p, at + 1);
    case '<':
        return take_answer(p, at + 1);
    case '=':
        if (p->f.n != (uint32_t)(at[1] - '0')) {
            complain(p, at, "another number is outstanding");
        }
        return at + 2;
    case '~':
        while ((head = inflight_head(&p->f)) != NULL && head->origin == INFLIGHT_ANSWERED) {
            inflight_pop(&p->f);
        }
        return at + 1;
    default:
        check_state(p, at, strcspn(at, " "));
        return at + strcspn(at, " ");
    }
}

static void test_dialogues(void **state)
{
    struct stmt_table *t = stmt_table_new();
    struct stmt *stmt = stmt_intern(t, "select 1\0\0", 11);

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct play p = {
            .prepared = prepared_new("s", stmt), .name = cases[i].name, .script = cases[i].script};
        const char *at = p.script;

        inflight_init(&p.f);
        while (*at != '\0') {
            at = play_word(&p, at);
            at += *at == ' ';
        }
        if (p.f.n != 0 && strchr("123456789", p.script[strlen(p.script) - 1]) == NULL) {
            complain(&p, at, "something is outstanding in the end");
        }
        if (p.f.n == 0 && p.prepared->refs != 1) {
            complain(&p, at, "references are left");
        }
        inflight_done(&p.f);
        inflight_done(&p.f);
        assert_int_equal(p.prepared->refs, 1);
        (void)prepared_unref(p.prepared);
    }
    (void)stmt_unref(stmt);
    (void)stmt_table_free(t);
}

static void test_entry_carries_what_was_pushed(void **state)
{
    struct stmt_table *t = stmt_table_new();
    struct stmt *stmt = stmt_intern(t, "x", 1);
    struct prepared *p = prepared_new("name", stmt);
    struct inflight f;
    const struct inflight_entry *e;

    (void)state;
    inflight_init(&f);
    assert_null(inflight_head(&f));
    assert_true(inflight_is_empty(&f));
    assert_false(inflight_describes(&f, p));
    assert_true(inflight_push(&f, INFLIGHT_DESCRIBE_STATEMENT, INFLIGHT_INJECTED, p, 77));
    e = inflight_head(&f);
    assert_int_equal(e->kind, INFLIGHT_DESCRIBE_STATEMENT);
    assert_int_equal(e->origin, INFLIGHT_INJECTED);
    assert_int_equal(e->server_id, 77);
    assert_ptr_equal(e->prepared, p);
    assert_int_equal(p->refs, 2);
    assert_true(inflight_describes(&f, p));
    inflight_pop(&f);
    assert_int_equal(p->refs, 1);
    assert_false(inflight_describes(&f, p));
    assert_true(inflight_push(&f, INFLIGHT_DESCRIBE_STATEMENT, INFLIGHT_OF_CLIENT, p, 77));
    assert_false(inflight_describes(&f, p));
    inflight_done(&f);
    (void)prepared_unref(p);
    (void)stmt_unref(stmt);
    (void)stmt_table_free(t);
}

/* What is put in comes out in order, however the ring lies when it grows. */
static void test_order_over_growth(void **state)
{
    static const uint32_t depths[] = {1, 7, 8, 9, 63, 64, 65, 1000};

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(depths); i++) {
        struct inflight f;
        uint32_t in = 0;
        uint32_t out = 0;

        inflight_init(&f);
        for (unsigned round = 0; round < 5; round++) {
            while (f.n < depths[i]) {
                assert_true(inflight_push(&f, INFLIGHT_BIND, INFLIGHT_OF_CLIENT, NULL, ++in));
            }
            for (uint32_t left = round % 2 == 0 ? depths[i] / 3 : 0; f.n > left;) {
                assert_int_equal(inflight_head(&f)->server_id, ++out);
                assert_int_equal(inflight_step(&f, '2'), INFLIGHT_COMPLETES);
                inflight_pop(&f);
            }
        }
        inflight_done(&f);
    }
}

static void test_seventy_thousand_in_flight(void **state)
{
    struct inflight f;

    (void)state;
    inflight_init(&f);
    for (uint32_t i = 0; i < 70000; i++) {
        assert_int_equal(inflight_is_full(&f), i >= INFLIGHT_MAX);
        assert_true(inflight_push(&f, i % 2 == 0 ? INFLIGHT_CLOSE : INFLIGHT_SYNC,
                                  INFLIGHT_OF_CLIENT, NULL, i));
    }
    for (uint32_t i = 0; i < 70000; i++) {
        assert_int_equal(inflight_head(&f)->server_id, i);
        assert_int_equal(inflight_step(&f, i % 2 == 0 ? '3' : 'Z'), INFLIGHT_COMPLETES);
        inflight_pop(&f);
    }
    assert_true(inflight_is_empty(&f));
    assert_ptr_equal(f.entries, f.first); /* the memory of a long pipeline is given back */
    inflight_done(&f);
}

static void count_void(void *arg, const struct inflight_entry *e)
{
    (void)e;
    (*(unsigned *)arg)++;
}

static void test_seventy_thousand_become_void(void **state)
{
    struct inflight f;
    unsigned n_void = 0;

    (void)state;
    inflight_init(&f);
    for (uint32_t i = 0; i < 70000; i++) {
        assert_true(inflight_push(&f, INFLIGHT_PARSE, INFLIGHT_OF_CLIENT, NULL, i));
    }
    assert_int_equal(inflight_step(&f, 'E'), INFLIGHT_FAILS);
    inflight_fail(&f, count_void, &n_void);
    assert_int_equal(n_void, 70000);
    assert_true(inflight_is_empty(&f) && inflight_is_skipping(&f));
    inflight_done(&f);
    assert_false(inflight_is_skipping(&f));
}

/* A client that waits for a lock with its COPY can pile Syncs up: forgetting them must not take long. */
static void test_copy_with_a_pile_of_syncs(void **state)
{
    struct inflight f;

    (void)state;
    inflight_init(&f);
    assert_true(inflight_push(&f, INFLIGHT_EXECUTE, INFLIGHT_OF_CLIENT, NULL, 0));
    for (uint32_t i = 1; i < INFLIGHT_MAX - 2; i++) {
        assert_true(inflight_push(&f, INFLIGHT_SYNC, INFLIGHT_OF_CLIENT, NULL, 0));
    }
    assert_true(inflight_push(&f, INFLIGHT_COPY_END, INFLIGHT_OF_CLIENT, NULL, 0));
    assert_true(inflight_push(&f, INFLIGHT_SYNC, INFLIGHT_OF_CLIENT, NULL, 4711));
    assert_int_equal(inflight_step(&f, 'G'), INFLIGHT_GOES_ON);
    assert_int_equal(f.n, 3);
    assert_int_equal(inflight_step(&f, 'C'), INFLIGHT_COMPLETES);
    inflight_pop(&f);
    assert_int_equal(inflight_head(&f)->server_id, 4711);
    inflight_done(&f);
}

static void test_many_copies_in_one_pipeline(void **state)
{
    struct inflight f;

    (void)state;
    inflight_init(&f);
    for (uint32_t i = 0; i < 32000; i++) {
        assert_true(inflight_push(&f, INFLIGHT_EXECUTE, INFLIGHT_OF_CLIENT, NULL, i));
        assert_true(inflight_push(&f, INFLIGHT_COPY_END, INFLIGHT_OF_CLIENT, NULL, 0));
    }
    for (uint32_t i = 0; i < 32000; i++) {
        assert_int_equal(inflight_head(&f)->server_id, i);
        assert_int_equal(inflight_step(&f, 'G'), INFLIGHT_GOES_ON);
        assert_int_equal(inflight_step(&f, 'C'), INFLIGHT_COMPLETES);
        inflight_pop(&f);
    }
    assert_true(inflight_is_empty(&f));
    inflight_done(&f);
}

/* Every type byte to every request: a verdict, and only known types get past. */
static void test_every_type_to_every_request(void **state)
{
    (void)state;
    for (unsigned kind = 0; kind < INFLIGHT_COPY_END; kind++) {
        for (unsigned type = 0; type < 256; type++) {
            struct inflight f;
            enum inflight_step step;

            inflight_init(&f);
            assert_true(inflight_push(&f, (enum inflight_kind)kind, INFLIGHT_OF_CLIENT, NULL, 0));
            step = inflight_step(&f, (uint8_t)type);
            if (step != INFLIGHT_ABSURD &&
                (type == 0 || strchr("123ACDEGHINSTVWZcdnst", (int)type) == NULL)) {
                fail_msg("type %u is taken as an answer to %c", type, letters[kind]);
            }
            assert_int_not_equal(step, INFLIGHT_NONE);
            assert_int_equal(f.n, 1);
            inflight_done(&f);
        }
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_dialogues),
        cmocka_unit_test(test_entry_carries_what_was_pushed),
        cmocka_unit_test(test_order_over_growth),
        cmocka_unit_test(test_seventy_thousand_in_flight),
        cmocka_unit_test(test_seventy_thousand_become_void),
        cmocka_unit_test(test_copy_with_a_pile_of_syncs),
        cmocka_unit_test(test_many_copies_in_one_pipeline),
        cmocka_unit_test(test_every_type_to_every_request),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
