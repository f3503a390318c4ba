/* SPDX-License-Identifier: ISC */
#include "daemon/admin_show.h"
#include "protocol/wire.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define N_ITEMS 1000U

/* What the shows below walk over. There is no server: its place is never looked at. */
static bool is_there[N_ITEMS];
static bool offers_twice;
static unsigned long_value_bytes;
static const char *names[N_ITEMS];

static const struct admin_column columns[] = {{"n", ADMIN_INT4}, {"text", ADMIN_TEXT}};

/* In no order at all. */
static void each_number(struct server *s, struct admin_walk *w)
{
    (void)s;
    for (unsigned i = 0; i < N_ITEMS; i++) {
        unsigned n = i * 7919 % N_ITEMS;

        if (is_there[n]) {
            admin_walk_see(w, (struct admin_key){.n = n}, &is_there[n], 0);
            if (offers_twice) {
                admin_walk_see(w, (struct admin_key){.n = n}, &is_there[n], 0);
            }
        }
    }
}

static void each_name(struct server *s, struct admin_walk *w)
{
    (void)s;
    for (unsigned i = 0; i < N_ITEMS; i++) {
        unsigned n = i * 7919 % N_ITEMS;

        if (is_there[n]) {
            admin_walk_see(w, (struct admin_key){.a = n % 2 == 0 ? NULL : "odd", .b = names[n]},
                           &is_there[n], 0);
        }
    }
}

static void fill_number(struct server *s, const struct admin_found *f, struct admin_row *row)
{
    static char text[4096];

    (void)s;
    memset(text, 'x', long_value_bytes);
    text[long_value_bytes] = '\0';
    admin_put_int(row, (const bool *)f->item - is_there);
    admin_put_text(row, text);
}

static void show_rows(struct server *s, struct admin_rows *rows)
{
    (void)s;
    for (unsigned i = 0; i < N_ITEMS; i++) {
        struct admin_row *row = is_there[i] ? admin_rows_next(rows) : NULL;

        if (row != NULL) {
            admin_put_int(row, i);
            admin_put_text(row, "");
        }
    }
}

static const struct admin_show_kind by_number = {
    .name = "N", ADMIN_COLUMNS(columns), .each = each_number, .fill = fill_number};
static const struct admin_show_kind by_name = {
    .name = "A", ADMIN_COLUMNS(columns), .each = each_name, .fill = fill_number};
static const struct admin_show_kind counted = {
    .name = "C", ADMIN_COLUMNS(columns), .rows = show_rows};

static void set_all(bool value)
{
    for (unsigned i = 0; i < N_ITEMS; i++) {
        is_there[i] = value;
    }
    offers_twice = false;
    long_value_bytes = 0;
}

/* The numbers of the rows in @out, in their order, behind the @n that are in @ret already. */
static unsigned read_rows(const struct buf *out, unsigned *ret, unsigned n)
{
    size_t at = 0;

    while (at < out->len) {
        const uint8_t *m = out->data + at;
        char text[16] = "";
        uint32_t len = wire_load_u32(m + 7);

        assert_int_equal(m[0], 'D');
        assert_int_equal(wire_load_u16(m + 5), 2);
        assert_true(len < sizeof(text));
        memcpy(text, m + 11, len);
        assert_true(n < 2 * N_ITEMS);
        ret[n++] = (unsigned)strtoul(text, NULL, 10);
        at += 1 + wire_load_u32(m + 1);
    }
    return n;
}

/* Shows everything; after each slice @between is called. */
static unsigned show_all(const struct admin_show_kind *kind, unsigned *ret,
                         void (*between)(unsigned slice))
{
    struct admin_show show;
    enum admin_show_step step;
    unsigned n = 0;
    unsigned slice = 0;

    admin_show_begin(&show, kind, 0);
    do {
        struct buf out = BUF_INIT(ADMIN_SLICE_MAX_BYTES);

        step = admin_show_step(&show, NULL, &out);
        assert_int_not_equal(step, ADMIN_SHOW_NO_MEMORY);
        n = read_rows(&out, ret, n);
        assert_true(out.len < ADMIN_SLICE_BYTES + 8192);
        buf_done(&out);
        if (between != NULL) {
            between(slice);
        }
        slice++;
        assert_true(slice <= 2 * N_ITEMS);
    } while (step == ADMIN_SHOW_MORE);
    admin_show_done(&show);
    admin_show_done(&show);
    return n;
}

static void check_all(const unsigned *shown, unsigned n)
{
    assert_int_equal(n, N_ITEMS);
    for (unsigned i = 0; i < n; i++) {
        assert_int_equal(shown[i], i);
    }
}

static void test_everything_is_shown_once_and_in_order(void **state)
{
    unsigned shown[2 * N_ITEMS];

    (void)state;
    set_all(true);
    check_all(shown, show_all(&by_number, shown, NULL));
    check_all(shown, show_all(&counted, shown, NULL));
    offers_twice = true;
    check_all(shown, show_all(&by_number, shown, NULL));
}

static void test_sizes_round_a_slice(void **state)
{
    static const unsigned sizes[] = {
        0, 1, ADMIN_SLICE_ROWS - 1, ADMIN_SLICE_ROWS, ADMIN_SLICE_ROWS + 1, 2 * ADMIN_SLICE_ROWS};
    unsigned shown[2 * N_ITEMS];

    (void)state;
    for (size_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
        set_all(false);
        for (unsigned n = 0; n < sizes[i]; n++) {
            is_there[n] = true;
        }
        assert_int_equal(show_all(&by_number, shown, NULL), sizes[i]);
        assert_int_equal(show_all(&by_name, shown, NULL), sizes[i]);
        assert_int_equal(show_all(&counted, shown, NULL), sizes[i]);
        offers_twice = true;
        assert_int_equal(show_all(&by_number, shown, NULL), sizes[i]);
    }
}

static void test_a_slice_of_long_rows_ends_early(void **state)
{
    unsigned shown[2 * N_ITEMS];

    (void)state;
    set_all(true);
    long_value_bytes = 4000;
    check_all(shown, show_all(&by_number, shown, NULL));
}

static void drop_every_third(unsigned slice)
{
    if (slice == 0) {
        for (unsigned i = 0; i < N_ITEMS; i += 3) {
            is_there[i] = false;
        }
    }
}

static void test_what_stays_is_shown_once_whatever_goes(void **state)
{
    const struct admin_show_kind *kinds[] = {&by_number, &by_name};

    (void)state;
    for (size_t k = 0; k < sizeof(kinds) / sizeof(kinds[0]); k++) {
        unsigned shown[2 * N_ITEMS];
        unsigned times[N_ITEMS] = {0};
        unsigned n;

        set_all(true);
        n = show_all(kinds[k], shown, drop_every_third);
        for (unsigned i = 0; i < n; i++) {
            times[shown[i]]++;
        }
        for (unsigned i = 0; i < N_ITEMS; i++) {
            assert_true(i % 3 == 0 ? times[i] <= 1 : times[i] == 1);
        }
    }
}

/* In portions of @limit rows; returns how often it was stopped. */
static unsigned show_in_parts(const struct admin_show_kind *kind, uint64_t limit, unsigned *ret,
                              unsigned *ret_n)
{
    struct admin_show show;
    enum admin_show_step step;
    unsigned n_stops = 0;
    unsigned n = 0;
    unsigned n_before = 0;

    admin_show_begin(&show, kind, 0);
    admin_show_limit(&show, limit);
    do {
        struct buf out = BUF_INIT(ADMIN_SLICE_MAX_BYTES);

        step = admin_show_step(&show, NULL, &out);
        n = read_rows(&out, ret, n);
        buf_done(&out);
        assert_true(n - n_before <= limit);
        if (step == ADMIN_SHOW_LIMIT) {
            assert_int_equal(n - n_before, limit);
            n_before = n;
            n_stops++;
            admin_show_limit(&show, limit);
        }
    } while (step == ADMIN_SHOW_MORE || step == ADMIN_SHOW_LIMIT);
    assert_int_equal(step, ADMIN_SHOW_DONE);
    admin_show_done(&show);
    *ret_n = n;
    return n_stops;
}

static void test_a_limit_stops_after_just_so_many_rows(void **state)
{
    static const unsigned limits[] = {
        1,   7,       ADMIN_SLICE_ROWS - 1, ADMIN_SLICE_ROWS, ADMIN_SLICE_ROWS + 1, 500,
        999, N_ITEMS, N_ITEMS + 1};
    const struct admin_show_kind *kinds[] = {&by_number, &counted};
    unsigned shown[2 * N_ITEMS];
    unsigned n;

    (void)state;
    for (size_t k = 0; k < sizeof(kinds) / sizeof(kinds[0]); k++) {
        for (size_t i = 0; i < sizeof(limits) / sizeof(limits[0]); i++) {
            set_all(true);
            assert_int_equal(show_in_parts(kinds[k], limits[i], shown, &n), N_ITEMS / limits[i]);
            check_all(shown, n);
            offers_twice = true;
            assert_int_equal(show_in_parts(kinds[k], limits[i], shown, &n), N_ITEMS / limits[i]);
            check_all(shown, n);
        }
        set_all(false);
        assert_int_equal(show_in_parts(kinds[k], 1, shown, &n), 0);
        assert_int_equal(n, 0);
    }
}

static void test_an_end_in_the_middle_frees_everything(void **state)
{
    struct admin_show show;
    struct buf out = BUF_INIT(ADMIN_SLICE_MAX_BYTES);

    (void)state;
    set_all(true);
    admin_show_begin(&show, &by_name, 0);
    assert_int_equal(admin_show_step(&show, NULL, &out), ADMIN_SHOW_MORE);
    admin_show_done(&show); /* the leak checker looks */
    buf_done(&out);
}

static void test_a_full_buffer_is_told(void **state)
{
    struct admin_show show;
    struct buf out = BUF_INIT(100);

    (void)state;
    set_all(true);
    admin_show_begin(&show, &by_number, 0);
    assert_int_equal(admin_show_step(&show, NULL, &out), ADMIN_SHOW_NO_MEMORY);
    admin_show_done(&show);
    buf_done(&out);
}

static void test_kinds_are_whole(void **state)
{
    const struct admin_show_kind *kind;

    (void)state;
    for (unsigned i = 0; (kind = admin_show_at(i)) != NULL; i++) {
        assert_ptr_equal(admin_show_find(kind->name), kind);
        assert_true((kind->each != NULL) == (kind->fill != NULL));
        assert_true((kind->each != NULL) != (kind->rows != NULL));
        assert_true(kind->n_columns <= 64); /* one bit each */
    }
    assert_ptr_equal(admin_show_find("pools"), &admin_show_pools);
    assert_null(admin_show_find("nothing"));
}

static void test_each_parameter_has_its_kind(void **state)
{
    const struct admin_parameter *p;

    (void)state;
    for (unsigned i = 0; (p = admin_parameter_at(i)) != NULL; i++) {
        const struct admin_show_kind *kind = admin_show_find(p->name);

        assert_non_null(kind);
        assert_string_equal(kind->name, p->name);
        assert_string_equal(kind->columns[0].name, p->name);
        assert_true(kind->is_parameter);
    }
    assert_null(admin_parameter_find("nothing"));
}

static int make_names(void **state)
{
    static char texts[N_ITEMS][8];

    (void)state;
    for (unsigned i = 0; i < N_ITEMS; i++) {
        texts[i][0] = (char)('a' + i / 100);
        texts[i][1] = (char)('a' + i / 10 % 10);
        texts[i][2] = (char)('a' + i % 10);
        names[i] = texts[i];
    }
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_everything_is_shown_once_and_in_order),
        cmocka_unit_test(test_sizes_round_a_slice),
        cmocka_unit_test(test_a_slice_of_long_rows_ends_early),
        cmocka_unit_test(test_what_stays_is_shown_once_whatever_goes),
        cmocka_unit_test(test_a_limit_stops_after_just_so_many_rows),
        cmocka_unit_test(test_an_end_in_the_middle_frees_everything),
        cmocka_unit_test(test_a_full_buffer_is_told),
        cmocka_unit_test(test_kinds_are_whole),
        cmocka_unit_test(test_each_parameter_has_its_kind),
    };

    return cmocka_run_group_tests(tests, make_names, NULL);
}
