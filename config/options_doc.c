/* SPDX-License-Identifier: ISC */
#include "config/options_doc.h"

#include "config/options.h"

#include <inttypes.h>
#include <string.h>

#define WIDTH 96

/* Puts @text down in lines of at most WIDTH bytes, each behind @prefix. */
static void print_wrapped(FILE *out, const char *prefix, const char *text)
{
    size_t column = 0;

    while (*text != '\0') {
        size_t len = strcspn(text, " ");

        if (column > 0 && column + 1 + len > WIDTH) {
            fputc('\n', out);
            column = 0;
        }
        if (column == 0) {
            fputs(prefix, out);
            column = strlen(prefix);
        } else {
            fputc(' ', out);
            column++;
        }
        fwrite(text, 1, len, out);
        column += len;
        text += len;
        text += strspn(text, " ");
    }
    fputc('\n', out);
}

/* ---- remarks: what the table says besides the help sentence ---- */

static void add_remark(struct buf *b, const char *fmt, ...) PRINTF_LIKE(2, 3);

static void add_remark(struct buf *b, const char *fmt, ...)
{
    va_list args;

    if (b->len > 0) {
        buf_append_u8(b, ' ');
    }
    va_start(args, fmt);
    buf_append_vfmt(b, fmt, args);
    va_end(args);
}

static void remark_bounds(const struct option *o, struct buf *b)
{
    switch (o->type) {
    case OPTION_INT:
    case OPTION_BYTES:
        add_remark(b, "Range: %" PRId64 " to %" PRId64 "%s%s.", o->least, o->most,
                   o->unit == NULL ? "" : " ", o->unit == NULL ? "" : o->unit);
        return;
    case OPTION_DURATION:
        add_remark(b, "In seconds.");
        return;
    case OPTION_BOOL:
    case OPTION_TRISTATE:
        add_remark(b, "0 or 1.");
        return;
    case OPTION_ENUM:
        for (unsigned i = 0; o->words[i] != NULL; i++) {
            buf_append_fmt(b, "%s%s",
                           i > 0        ? ", "
                           : b->len > 0 ? " One of "
                                        : "One of ",
                           o->words[i]);
        }
        buf_append_str(b, ".");
        return;
    case OPTION_MODE:
    case OPTION_STRING:
    case OPTION_SECRET:
        return;
    }
}

static void remark_elsewhere(const struct option *o, enum option_scope scope, struct buf *b)
{
    if (scope != OPTION_GLOBAL) {
        return;
    }
    if (option_is_in(o, OPTION_DATABASE) && option_is_in(o, OPTION_USER)) {
        add_remark(b, "May also be given for one database or user.");
    } else if (option_is_in(o, OPTION_DATABASE)) {
        add_remark(b, "May also be given for one database.");
    } else if (option_is_in(o, OPTION_USER)) {
        add_remark(b, "May also be given for one user.");
    }
}

static void remarks(const struct option *o, enum option_scope scope, struct buf *b)
{
    remark_bounds(o, b);
    for (size_t i = 0; i < ARRAY_LEN(o->aliases); i++) {
        if (o->aliases[i] != NULL) {
            add_remark(b, "Also written %s.", o->aliases[i]);
        }
    }
    remark_elsewhere(o, scope, b);
    if (!o->reload) {
        add_remark(b, "Changes take effect at a restart.");
    }
    if (o->own) {
        add_remark(b, "PgBouncer does not have this option.");
    }
}

struct chapter {
    enum option_scope scope;
    const char *section;
    const char *intro;
};

static const struct chapter chapters[] = {
    {OPTION_GLOBAL, "pgpoold",
     "Options of the service. The section may also be called [pgbouncer]."},
    {OPTION_DATABASE, "databases",
     "One entry for each database that clients may ask for: its name, then key=value pairs. The "
     "name * "
     "stands for all others. Names with other characters than letters, digits and _ stand in "
     "double quotes, values "
     "with blanks in single quotes. What an entry does not give is taken from [pgpoold]."},
    {OPTION_USER, "users",
     "Limits of single users, whatever the database is: name = key=value pairs. They go before "
     "those of the database."},
    {OPTION_PEER, "peers",
     "The other processes behind the same address: peer_id = key=value pairs. Cancel requests that "
     "belong to one of them "
     "are passed on to it."},
};

/* ---- --help-config ---- */

static void print_help_option(FILE *out, const struct option *o, enum option_scope scope)
{
    struct buf b = BUF_INIT(4096);

    if (scope == OPTION_GLOBAL) {
        fprintf(out, "  %s = %s\n", o->name, o->text);
    } else {
        fprintf(out, "  %s=\n", o->name);
    }
    print_wrapped(out, "      ", o->help);
    remarks(o, scope, &b);
    if (b.len > 0) {
        print_wrapped(out, "      ", buf_cstr(&b));
    }
    buf_done(&b);
}

void options_print_help(FILE *out)
{
    for (size_t i = 0; i < ARRAY_LEN(chapters); i++) {
        const struct option *o = NULL;
        const char *group = "";

        fprintf(out, "%s[%s]\n", i == 0 ? "" : "\n", chapters[i].section);
        print_wrapped(out, "", chapters[i].intro);
        while ((o = option_next(chapters[i].scope, o)) != NULL) {
            if (chapters[i].scope == OPTION_GLOBAL && strcmp(group, o->group) != 0) {
                group = o->group;
                fprintf(out, "\n  -- %s --\n", group);
            }
            print_help_option(out, o, chapters[i].scope);
        }
    }
}

/* ---- the man page ---- */

/* scdoc gives a meaning to these, also inside words. */
static void print_scdoc(FILE *out, const char *text)
{
    for (; *text != '\0'; text++) {
        if (strchr("\\*_<>#[]", *text) != NULL) {
            fputc('\\', out);
        }
        fputc(*text, out);
    }
}

static void print_man_option(FILE *out, const struct option *o, enum option_scope scope)
{
    struct buf b = BUF_INIT(4096);

    fputs("*", out);
    print_scdoc(out, o->name);
    fputs("*\n\t", out);
    print_scdoc(out, o->help);
    remarks(o, scope, &b);
    if (b.len > 0) {
        fputc(' ', out);
        print_scdoc(out, buf_cstr(&b));
    }
    buf_done(&b);
    if (scope == OPTION_GLOBAL && *o->text != '\0') {
        fputs("++\nDefault: ", out);
        print_scdoc(out, o->text);
    } else if (scope == OPTION_GLOBAL) {
        fputs("++\nNo default.", out);
    }
    fputs("\n\n", out);
}

void options_print_man(FILE *out)
{
    for (size_t i = 0; i < ARRAY_LEN(chapters); i++) {
        const struct option *o = NULL;
        const char *group = "";

        fprintf(out, "# SECTION [%s]\n\n", chapters[i].section);
        print_scdoc(out, chapters[i].intro);
        fputs("\n\n", out);
        while ((o = option_next(chapters[i].scope, o)) != NULL) {
            if (chapters[i].scope == OPTION_GLOBAL && strcmp(group, o->group) != 0) {
                group = o->group;
                fprintf(out, "## %s\n\n", group);
            }
            print_man_option(out, o, chapters[i].scope);
        }
    }
}

/* ---- the example file ---- */

static const char example_head[] =
    "; pgpoold.ini.example: every option of pgpoold with its default.\n"
    ";\n"
    "; A line with ; or # at its beginning is a comment; anywhere else these are plain "
    "characters.\n"
    "; Options are commented out below with their default values: take the ; away and change what\n"
    "; follows. Check the result with \"pgpoold --check-config FILE\", which reports all mistakes "
    "at once.\n"
    "; Durations are in seconds; fractions and the units ms, s, min, h, d may be used: 0.5 500ms "
    "2min.\n"
    "; A PgBouncer configuration can be used as it is. \"%include FILE\" takes in another file.\n"
    "\n";

static const char example_databases[] =
    "; Clients that ask for shop get the database shop of the server db1.\n"
    ";shop = host=db1.example.org port=5432\n"
    "; Under another name, always as the same user, with a small pool that is kept warm.\n"
    ";reports = host=db1.example.org dbname=shop user=reporter password='it''s secret' pool_size=5 "
    "min_pool_size=2\n"
    "; Two servers: whichever accepts writes.\n"
    ";ledger = host=db1.example.org,db2.example.org target_session_attrs=read-write\n"
    "; Every other database, over the Unix socket of this machine.\n"
    ";* = host=/var/run/postgresql\n"
    ";\n";

static const char example_users[] =
    ";batch = pool_mode=session max_user_connections=5 query_timeout=0\n"
    ";\n";

static const char example_peers[] = ";1 = host=/tmp/pgpoold1\n"
                                    ";2 = host=10.0.0.2 port=6432\n"
                                    ";\n";

static void print_example_entries(FILE *out, const struct chapter *c, const char *examples)
{
    const struct option *o = NULL;

    fputs(";;;\n", out);
    fprintf(out, ";;; [%s]\n", c->section);
    print_wrapped(out, ";;; ", c->intro);
    fputs(";;;\n", out);
    fprintf(out, "[%s]\n\n", c->section);
    fputs(examples, out);
    fputs("; Keys:\n", out);
    while ((o = option_next(c->scope, o)) != NULL) {
        struct buf b = BUF_INIT(4096);

        fprintf(out, ";   %s\n", o->name);
        buf_append_str(&b, o->help);
        remarks(o, c->scope, &b);
        print_wrapped(out, ";       ", buf_cstr(&b));
        buf_done(&b);
    }
    fputc('\n', out);
}

static void print_example_settings(FILE *out, const struct chapter *c)
{
    const struct option *o = NULL;
    const char *group = "";

    fputs(";;;\n", out);
    fprintf(out, ";;; [%s]\n", c->section);
    print_wrapped(out, ";;; ", c->intro);
    fputs(";;;\n", out);
    fprintf(out, "[%s]\n", c->section);
    while ((o = option_next(OPTION_GLOBAL, o)) != NULL) {
        struct buf b = BUF_INIT(4096);

        if (strcmp(group, o->group) != 0) {
            group = o->group;
            fprintf(out, "\n;; ---- %s ----\n", group);
        }
        buf_append_str(&b, o->help);
        remarks(o, OPTION_GLOBAL, &b);
        fputc('\n', out);
        print_wrapped(out, "; ", buf_cstr(&b));
        fprintf(out, ";%s =%s%s\n", o->name, *o->text == '\0' ? "" : " ", o->text);
        buf_done(&b);
    }
}

void options_print_example(FILE *out)
{
    fputs(example_head, out);
    print_example_settings(out, &chapters[OPTION_GLOBAL]);
    fputc('\n', out);
    print_example_entries(out, &chapters[OPTION_DATABASE], example_databases);
    print_example_entries(out, &chapters[OPTION_USER], example_users);
    print_example_entries(out, &chapters[OPTION_PEER], example_peers);
}
