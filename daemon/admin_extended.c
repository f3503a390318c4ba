/* SPDX-License-Identifier: ISC */
/* The extended protocol on the console, as far as drivers need it to run statements without parameters: Parse, Bind,
 * Describe, Execute (also in parts) and Close with named and unnamed statements and portals. Portals live up to the Sync, as
 * they do outside of a transaction block. PG15 protocol, "Extended Query". */
#include "daemon/admin_internal.h"

#include "daemon/util/fatal.h"

#include <stdlib.h>
#include <string.h>

#define SQLSTATE_DUPLICATE_STATEMENT "42P05"
#define SQLSTATE_DUPLICATE_CURSOR "42P03"
#define SQLSTATE_INVALID_CURSOR_NAME "34000"

static const char *const no_parameters = "parameters are not supported on the console";

/* --- what was prepared --- */

static struct admin_prepared *find(const struct list *all, const char *name)
{
    struct admin_prepared *p;

    list_for_each(all, p, link) {
        if (strcmp(p->name, name) == 0) {
            return p;
        }
    }
    return NULL;
}

static void drop(struct list *all, struct admin_prepared *p)
{
    if (p != NULL) {
        list_remove(all, &p->link);
        admin_show_done(&p->show);
        free(p->text);
        free(p);
    }
}

void admin_prepared_drop_all(struct list *all)
{
    struct admin_prepared *p;

    list_for_each(all, p, link) {
        drop(all, p);
    }
}

static void fail(struct admin_session *a, const char *sqlstate, const char *text)
{
    admin_fail_text(a, ADMIN_EXTENDED, sqlstate, text);
}

/* false: the error is said. */
static bool keep(struct admin_session *a, struct list *all, const char *name, const char *text,
                 uint64_t binary)
{
    size_t len = strlen(name);
    struct admin_prepared *p = find(all, name);

    if (p != NULL && len > 0) {
        bool is_statement = all == &a->statements;

        fail(a, is_statement ? SQLSTATE_DUPLICATE_STATEMENT : SQLSTATE_DUPLICATE_CURSOR,
             is_statement ? "a prepared statement of this name exists"
                          : "a portal of this name exists");
        return false;
    }
    drop(all, p); /* the unnamed one gives way */
    if (all->n >= ADMIN_PREPARED_MAX) {
        fail(a, SQLSTATE_PROGRAM_LIMIT_EXCEEDED,
             "too many prepared statements or portals on the console");
        return false;
    }
    p = calloc(1, sizeof(*p) + len + 1);
    if (p != NULL) {
        memcpy(p->name, name, len + 1);
        p->binary = binary;
        p->text = strdup(text);
    }
    if (p == NULL || p->text == NULL) {
        free(p);
        fail(a, SQLSTATE_OUT_OF_MEMORY, "out of memory");
        return false;
    }
    list_add_tail(all, &p->link);
    return true;
}

static void put_empty(struct admin_session *a, uint8_t type)
{
    wire_end(&a->out, wire_begin(&a->out, type));
}

/* --- messages --- */

static void on_parse(struct admin_session *a, struct wire_reader *r)
{
    const char *name = wire_get_cstr(r);
    const char *text = wire_get_cstr(r);
    uint16_t n_types = wire_get_u16(r);
    struct admin_statement st;
    struct admin_meaning meaning;
    struct pg_error error;

    (void)wire_get_bytes(r, (size_t)n_types * 4); /* asked at once below */
    if (!wire_at_end(r)) {
        fail(a, SQLSTATE_PROTOCOL_VIOLATION, "malformed Parse message");
        return;
    }
    if (n_types > 0) {
        fail(a, SQLSTATE_FEATURE_NOT_SUPPORTED, no_parameters);
        return;
    }
    if (!admin_understand(text, &st, &meaning, &error)) {
        admin_fail(a, ADMIN_EXTENDED, &error);
        return;
    }
    admin_statement_done(&st);
    if (keep(a, &a->statements, name, text, 0)) {
        put_empty(a, '1');
    }
}

static const struct admin_show_kind *show_of(const char *text)
{
    struct admin_statement st;
    struct admin_meaning meaning;
    struct pg_error error;

    if (!admin_understand(text, &st, &meaning, &error)) {
        return NULL; /* not possible: it was understood at the Parse */
    }
    admin_statement_done(&st);
    return meaning.show;
}

/* The formats that a Bind asks for: none, one for all columns, or one each. false: they do not fit. */
static bool read_formats(struct wire_reader *r, unsigned n_columns, uint64_t *ret)
{
    uint16_t n = wire_get_u16(r);
    uint64_t binary = 0;

    for (unsigned i = 0; i < n; i++) {
        uint16_t format = wire_get_u16(r);

        if (!wire_ok(r) || format > 1 || (i >= n_columns && i > 0)) {
            return false;
        }
        binary |= (uint64_t)format << i;
    }
    if (n == 1 && (binary & 1) != 0) {
        binary = UINT64_MAX;
    } else if (n > 1 && n != n_columns) {
        return false;
    }
    *ret = binary;
    return true;
}

static void on_bind(struct admin_session *a, struct wire_reader *r)
{
    const char *portal = wire_get_cstr(r);
    const char *name = wire_get_cstr(r);
    uint16_t n_formats = wire_get_u16(r);
    const struct admin_prepared *p = wire_ok(r) ? find(&a->statements, name) : NULL;
    const struct admin_show_kind *show;
    uint64_t binary;
    uint16_t n_parameters;

    (void)wire_get_bytes(r, (size_t)n_formats * 2); /* asked at once below */
    n_parameters = wire_get_u16(r);
    if (!wire_ok(r)) {
        fail(a, SQLSTATE_PROTOCOL_VIOLATION, "malformed Bind message");
        return;
    }
    if (p == NULL) {
        fail(a, SQLSTATE_INVALID_STATEMENT_NAME, "prepared statement did not exist");
        return;
    }
    if (n_parameters > 0) {
        fail(a, SQLSTATE_FEATURE_NOT_SUPPORTED, no_parameters);
        return;
    }
    show = show_of(p->text);
    if (!read_formats(r, show != NULL ? show->n_columns : 0, &binary) || !wire_at_end(r)) {
        fail(a, SQLSTATE_PROTOCOL_VIOLATION, "malformed Bind message");
        return;
    }
    if (keep(a, &a->portals, portal, p->text, binary)) {
        put_empty(a, '2');
    }
}

static void on_describe(struct admin_session *a, struct wire_reader *r)
{
    uint8_t kind = wire_get_u8(r);
    const char *name = wire_get_cstr(r);
    const struct admin_prepared *p;
    const struct admin_show_kind *show;

    if (!wire_at_end(r) || (kind != 'S' && kind != 'P')) {
        fail(a, SQLSTATE_PROTOCOL_VIOLATION, "malformed Describe message");
        return;
    }
    p = find(kind == 'S' ? &a->statements : &a->portals, name);
    if (p == NULL) {
        fail(a, kind == 'S' ? SQLSTATE_INVALID_STATEMENT_NAME : SQLSTATE_INVALID_CURSOR_NAME,
             kind == 'S' ? "prepared statement did not exist" : "portal does not exist");
        return;
    }
    if (kind == 'S') {
        size_t start = wire_begin(&a->out, 't');

        wire_put_u16(&a->out, 0);
        wire_end(&a->out, start);
    }
    show = show_of(p->text);
    if (show != NULL && show->n_columns > 0) {
        admin_show_describe(show, p->binary, &a->out);
    } else {
        put_empty(a, 'n');
    }
}

static void on_execute(struct admin_session *a, struct wire_reader *r)
{
    const char *name = wire_get_cstr(r);
    uint32_t limit = wire_get_u32(r);
    struct admin_prepared *p;

    if (!wire_at_end(r)) {
        fail(a, SQLSTATE_PROTOCOL_VIOLATION, "malformed Execute message");
        return;
    }
    p = find(&a->portals, name);
    if (p == NULL) {
        fail(a, SQLSTATE_INVALID_CURSOR_NAME, "portal does not exist");
        return;
    }
    p->limit = limit <= INT32_MAX ? limit : 0; /* a negative one is none, as for PostgreSQL */
    if (p->state == ADMIN_PORTAL_NEW) {
        admin_run(a, p->text, p);
    } else {
        admin_run_on(a, p);
    }
}

static void on_close(struct admin_session *a, struct wire_reader *r)
{
    uint8_t kind = wire_get_u8(r);
    const char *name = wire_get_cstr(r);
    struct list *all = kind == 'S' ? &a->statements : &a->portals;

    if (!wire_at_end(r) || (kind != 'S' && kind != 'P')) {
        fail(a, SQLSTATE_PROTOCOL_VIOLATION, "malformed Close message");
        return;
    }
    drop(all, find(all, name));
    put_empty(a, '3');
}

void admin_extended_message(struct admin_session *a, uint8_t type, const uint8_t *body, size_t len)
{
    struct wire_reader r;

    wire_reader_init(&r, body, len);
    switch (type) {
    case 'P':
        on_parse(a, &r);
        return;
    case 'B':
        on_bind(a, &r);
        return;
    case 'D':
        on_describe(a, &r);
        return;
    case 'E':
        on_execute(a, &r);
        return;
    case 'C':
        on_close(a, &r);
        return;
    default:
        unreachable();
    }
}

void admin_extended_sync(struct admin_session *a)
{
    admin_prepared_drop_all(&a->portals);
}
