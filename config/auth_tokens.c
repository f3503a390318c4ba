/* SPDX-License-Identifier: ISC */
#include "config/auth_tokens.h"

#include "daemon/util/buf.h"

#include <stdlib.h>
#include <string.h>

bool auth_token_is(const struct auth_token *t, const char *keyword)
{
    return !t->quoted && strcmp(t->text, keyword) == 0;
}

bool auth_field_add(struct auth_field *f, const char *text, bool quoted)
{
    struct auth_token *grown = reallocarray(f->tokens, f->n + 1, sizeof(*grown));

    if (grown == NULL) {
        return false;
    }
    f->tokens = grown;
    grown[f->n].quoted = quoted;
    grown[f->n].text = strdup(text);
    if (grown[f->n].text == NULL) {
        return false;
    }
    f->n++;
    return true;
}

void auth_field_done(struct auth_field *f)
{
    for (unsigned i = 0; i < f->n; i++) {
        free(f->tokens[i].text);
    }
    free(f->tokens);
    *f = (struct auth_field){0};
}

void auth_line_done(struct auth_line *l)
{
    for (unsigned i = 0; i < l->n; i++) {
        auth_field_done(&l->fields[i]);
    }
    free(l->fields);
    *l = (struct auth_line){0};
}

static bool is_blank(char c)
{
    return c == ' ' || c == '\t' || c == '\r' || c == '\n' || c == '\f' || c == '\v';
}

enum token_result {
    TOKEN_OK,
    TOKEN_NONE, /* the text is at its end, or a comment begins */
    TOKEN_E_QUOTE,
};

/* Reads one word off *@pos into @word. *@ret_comma: a comma follows, so the next word belongs to
 * the same field. */
static enum token_result take_token(const char **pos, struct buf *word, bool *ret_quoted,
                                    bool *ret_comma)
{
    const char *p = *pos;
    bool in_quote = false;

    while (is_blank(*p) || *p == ',') {
        p++;
    }
    if (*p == '\0' || *p == '#') {
        *pos = p;
        return TOKEN_NONE;
    }
    *ret_quoted = *p == '"';
    for (; *p != '\0' && (in_quote || (!is_blank(*p) && *p != ',' && *p != '#')); p++) {
        if (*p == '"') {
            if (!in_quote || p[1] != '"') {
                in_quote = !in_quote;
                continue;
            }
            p++; /* the second of a doubled quote stands for both */
        }
        buf_append_u8(word, (uint8_t)*p);
    }
    *ret_comma = *p == ',';
    *pos = p;
    return in_quote ? TOKEN_E_QUOTE : TOKEN_OK;
}

static struct auth_field *add_field(struct auth_line *l)
{
    struct auth_field *grown = reallocarray(l->fields, l->n + 1, sizeof(*grown));

    if (grown == NULL) {
        return NULL;
    }
    l->fields = grown;
    grown[l->n] = (struct auth_field){0};
    return &grown[l->n++];
}

bool auth_line_parse(const char *text, struct auth_line *ret, const char **ret_why)
{
    struct auth_line l = {0};
    struct buf word = BUF_INIT(TEXT_FILE_LINE_MAX + 1);
    struct auth_field *field = NULL; /* NULL: the next word begins one */
    enum token_result result;
    bool quoted = false;
    bool comma = false;

    while ((result = take_token(&text, &word, &quoted, &comma)) == TOKEN_OK) {
        field = field == NULL ? add_field(&l) : field;
        if (field == NULL || !auth_field_add(field, buf_cstr(&word), quoted) || !buf_ok(&word)) {
            *ret_why = "out of memory";
            goto fail;
        }
        if (!comma) {
            field = NULL;
        }
        buf_clear(&word);
    }
    if (result == TOKEN_E_QUOTE) {
        *ret_why = "a quote without an end: \"word\", and \"\" for a quote inside it";
        goto fail;
    }
    buf_done(&word);
    *ret = l;
    return true;

fail:
    buf_done(&word);
    auth_line_done(&l);
    return false;
}

/* Puts physical lines together while they end in a backslash. false: there are no more. */
static bool join_lines(struct text_file *in, struct buf *ret, unsigned *ret_line)
{
    char *line = text_file_next(in);

    if (line == NULL) {
        return false;
    }
    *ret_line = in->line;
    for (;;) {
        size_t len = strlen(line);
        bool goes_on = len > 0 && line[len - 1] == '\\';

        buf_append(ret, line, goes_on ? len - 1 : len);
        if (!goes_on) {
            return true;
        }
        line = text_file_next(in);
        if (line == NULL) {
            return true;
        }
    }
}

bool auth_line_read(struct text_file *in, struct auth_line *ret)
{
    struct buf text = BUF_INIT(TEXT_FILE_LINE_MAX);
    unsigned number;

    while (join_lines(in, &text, &number)) {
        struct auth_line l;
        const char *why = "longer than a line may be: at most 1 MiB, its continuations included";

        if (!buf_ok(&text) || !auth_line_parse(buf_cstr(&text), &l, &why)) {
            config_errors_add(in->errors, in->name, number, "%s", why);
        } else if (l.n > 0) {
            buf_done(&text);
            *ret = l;
            ret->line = number;
            return true;
        }
        buf_clear(&text);
    }
    buf_done(&text);
    return false;
}
