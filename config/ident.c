/* SPDX-License-Identifier: ISC */
#include "config/ident.h"

#include "config/auth_tokens.h"
#include "config/ident_regex.h"
#include "daemon/util/fatal.h"

#include <regex.h>
#include <stdlib.h>
#include <string.h>

#define NAME_MAX_BYTES 1024 /* of what is matched: longer names fit no line */

enum system_user_kind {
    SYSTEM_USER_PLAIN,
    SYSTEM_USER_REGEX,
};

enum pg_user_kind {
    PG_USER_PLAIN,
    PG_USER_GROUP, /* contains \1, to be replaced by the first group of the expression */
    PG_USER_ALL,
};

struct ident_line {
    char *map;
    char *system_user;
    char *pg_user;
    enum system_user_kind system_kind;
    enum pg_user_kind pg_kind;
    regex_t regex; /* only with SYSTEM_USER_REGEX */
};

struct ident {
    struct ident_line *lines;
    unsigned n;
};

/* ---- loading ---- */

static void line_done(struct ident_line *l)
{
    if (l->system_kind == SYSTEM_USER_REGEX) {
        regfree(&l->regex);
    }
    free(l->map);
    free(l->system_user);
    free(l->pg_user);
}

/* On success the line owns a compiled expression. */
static bool compile(struct ident_line *l, const char *expression, struct config_errors *errors,
                    const char *file, unsigned line)
{
    struct buf posix = BUF_INIT(IDENT_REGEX_GROWTH * strlen(expression) + 1);
    const char *refused = ident_regex_translate(expression, &posix);
    char why[200];
    int error;

    if (refused == NULL) {
        error = regcomp(&l->regex, buf_cstr(&posix), REG_EXTENDED);
        if (error != 0) {
            (void)regerror(error, &l->regex, why, sizeof(why));
            refused = why;
        }
    }
    buf_done(&posix);
    if (refused != NULL) {
        config_errors_add(errors, file, line, "\"/%.60s\": %s", expression, refused);
        return false;
    }
    l->system_kind = SYSTEM_USER_REGEX;
    if (l->pg_kind == PG_USER_GROUP && l->regex.re_nsub == 0) {
        config_errors_add(errors, file, line,
                          "\\1 without a group in the expression \"/%.60s\": ( ) in it",
                          expression);
        return false;
    }
    return true;
}

static bool read_pg_user(struct ident_line *l, const struct auth_token *t, struct text_file *in,
                         unsigned line)
{
    if (auth_token_is(t, "all")) {
        l->pg_kind = PG_USER_ALL;
    } else if (!t->quoted && (*t->text == '+' || *t->text == '/')) {
        config_errors_add(in->errors, in->name, line,
                          "\"%.60s\": database users cannot be given by %s here: a name, or all",
                          t->text, *t->text == '+' ? "role" : "expression");
        return false;
    } else if (strstr(t->text, "\\1") != NULL) {
        l->pg_kind = PG_USER_GROUP;
    }
    return true;
}

static bool read_line(struct ident_line *l, const struct auth_line *from, struct text_file *in)
{
    const char *expression = NULL;

    if (from->n != 3 || from->fields[0].n != 1 || from->fields[1].n != 1 ||
        from->fields[2].n != 1) {
        config_errors_add(in->errors, in->name, from->line,
                          "%u fields, or a comma in one: map system-user database-user", from->n);
        return false;
    }
    if (!read_pg_user(l, &from->fields[2].tokens[0], in, from->line)) {
        return false;
    }
    l->map = strdup(from->fields[0].tokens[0].text);
    l->system_user = strdup(from->fields[1].tokens[0].text);
    l->pg_user = strdup(from->fields[2].tokens[0].text);
    if (l->map == NULL || l->system_user == NULL || l->pg_user == NULL) {
        config_errors_add(in->errors, in->name, from->line, "out of memory");
        return false;
    }
    if (*l->system_user == '/') { /* in quotes too, as in PostgreSQL */
        expression = l->system_user + 1;
        return compile(l, expression, in->errors, in->name, from->line);
    }
    if (l->pg_kind == PG_USER_GROUP) {
        l->pg_kind = PG_USER_PLAIN; /* without an expression the two letters are just a name */
    }
    return true;
}

static bool add_line(struct ident *m, const struct auth_line *from, struct text_file *in)
{
    struct ident_line l = {.system_kind = SYSTEM_USER_PLAIN, .pg_kind = PG_USER_PLAIN};
    struct ident_line *grown;

    if (!read_line(&l, from, in)) {
        line_done(&l);
        return false;
    }
    grown = reallocarray(m->lines, m->n + 1, sizeof(*grown));
    if (grown == NULL) {
        config_errors_add(in->errors, in->name, from->line, "out of memory");
        line_done(&l);
        return false;
    }
    m->lines = grown;
    m->lines[m->n++] = l;
    return true;
}

/* Consumes @in. */
static struct ident *read_all(struct text_file *in, struct config_errors *errors, unsigned n_before)
{
    struct ident *m = calloc(1, sizeof(*m));
    struct auth_line line;

    if (m == NULL) {
        config_errors_add(errors, in->name, 0, "out of memory");
    }
    while (m != NULL && auth_line_read(in, &line)) {
        (void)add_line(m, &line, in); /* its faults are in the list */
        auth_line_done(&line);
    }
    text_file_done(in);
    return config_errors_count(errors) == n_before ? m : ident_free(m);
}

struct ident *ident_load(const char *path, struct config_errors *errors)
{
    unsigned n_before = config_errors_count(errors);
    struct text_file in;

    return text_file_open(&in, path, "", 0, errors) ? read_all(&in, errors, n_before) : NULL;
}

struct ident *ident_load_stream(FILE *stream, const char *name, struct config_errors *errors)
{
    unsigned n_before = config_errors_count(errors);
    struct text_file in;

    return text_file_wrap(&in, stream, name, errors) ? read_all(&in, errors, n_before) : NULL;
}

struct ident *ident_free(struct ident *m)
{
    if (m != NULL) {
        for (unsigned i = 0; i < m->n; i++) {
            line_done(&m->lines[i]);
        }
        free(m->lines);
        free(m);
    }
    return NULL;
}

/* ---- matching ---- */

/* Is @user the text of @l's database user with the first \1 replaced by @group? */
static bool group_gives(const struct ident_line *l, const char *group, size_t group_len,
                        const char *user)
{
    const char *mark = strstr(l->pg_user, "\\1");
    size_t before = (size_t)(mark - l->pg_user);
    size_t after = strlen(mark + 2);

    return strlen(user) == before + group_len + after && memcmp(user, l->pg_user, before) == 0 &&
           memcmp(user + before, group, group_len) == 0 &&
           memcmp(user + before + group_len, mark + 2, after) == 0;
}

static bool line_fits(const struct ident_line *l, const char *system_user, const char *user)
{
    regmatch_t found[2];

    if (l->system_kind == SYSTEM_USER_PLAIN) {
        if (strcmp(l->system_user, system_user) != 0) {
            return false;
        }
    } else if (regexec(&l->regex, system_user, ARRAY_LEN(found), found, 0) != 0) {
        return false;
    }
    switch (l->pg_kind) {
    case PG_USER_PLAIN:
        return strcmp(l->pg_user, user) == 0;
    case PG_USER_ALL:
        return true;
    case PG_USER_GROUP:
        return found[1].rm_so >= 0 && group_gives(l, system_user + found[1].rm_so,
                                                  (size_t)(found[1].rm_eo - found[1].rm_so), user);
    }
    unreachable();
}

bool ident_match(const struct ident *m, const char *map, const char *system_user, const char *user)
{
    if (map == NULL || *map == '\0') {
        return strcmp(system_user, user) == 0;
    }
    if (m == NULL || strlen(system_user) > NAME_MAX_BYTES) {
        return false;
    }
    for (unsigned i = 0; i < m->n; i++) {
        if (strcmp(m->lines[i].map, map) == 0 && line_fits(&m->lines[i], system_user, user)) {
            return true;
        }
    }
    return false;
}

bool ident_has_map(const struct ident *m, const char *map)
{
    for (unsigned i = 0; m != NULL && i < m->n; i++) {
        if (strcmp(m->lines[i].map, map) == 0) {
            return true;
        }
    }
    return false;
}
