/* SPDX-License-Identifier: ISC */
#include "config/ident_regex.h"

#include <ctype.h>
#include <stdbool.h>
#include <string.h>

struct translation {
    const char *p; /* what is left of the expression */
    struct buf *out;
    unsigned depth;  /* of ( */
    bool can_repeat; /* something stands before that a quantifier may follow */
};

struct escape {
    char letter;
    const char *outside; /* of [ ] */
    const char *inside;  /* NULL: not possible */
    bool is_place;       /* matches a place, not a character: nothing to be repeated */
};

static const struct escape escapes[] = {
    {'d', "[0-9]", "0-9", false},
    {'D', "[^0-9]", NULL, false},
    {'w', "[[:alnum:]_]", "[:alnum:]_", false},
    {'W', "[^[:alnum:]_]", NULL, false},
    {'s', "[[:space:]]", "[:space:]", false},
    {'S', "[^[:space:]]", NULL, false},
    {'A', "^", NULL, true},
    {'Z', "$", NULL, true},
    {'m', "\\<", NULL, true},
    {'M', "\\>", NULL, true},
    {'y', "\\b", NULL, true},
    {'Y', "\\B", NULL, true},
};

static const char unknown_escape[] = "an escape that is not understood here: \\d \\D \\w \\W \\s "
                                     "\\S \\A \\Z \\m \\M \\y \\Y \\1, or "
                                     "\\ before a sign";

static const struct escape *find_escape(char letter)
{
    for (size_t i = 0; i < ARRAY_LEN(escapes); i++) {
        if (escapes[i].letter == letter) {
            return &escapes[i];
        }
    }
    return NULL;
}

static void put(struct translation *t, const char *text, size_t len)
{
    (void)buf_append(t->out, text, len); /* asked once at the end */
}

/* At the backslash. */
static const char *escape_outside(struct translation *t)
{
    char c = t->p[1];
    const struct escape *e = find_escape(c);

    if (c == '\0') {
        return "a \\ at its end: \\\\ for itself";
    }
    if (e != NULL) {
        put(t, e->outside, strlen(e->outside));
        t->can_repeat = !e->is_place;
    } else if (c >= '1' && c <= '9') {
        put(t, t->p, 2);
        t->can_repeat = true;
    } else if (isalnum((unsigned char)c) != 0) {
        return unknown_escape;
    } else { /* a sign for itself; these four are GNU's operators, but not PostgreSQL's */
        bool is_gnu = strchr("<>`'", c) != NULL;

        put(t, is_gnu ? &c : t->p, is_gnu ? 1 : 2);
        t->can_repeat = true;
    }
    t->p += 2;
    return NULL;
}

/* At the backslash, between [ and ]. There POSIX knows no escapes at all. */
static const char *escape_inside(struct translation *t)
{
    char c = t->p[1];
    const struct escape *e = find_escape(c);

    if (e != NULL && e->inside != NULL) {
        put(t, e->inside, strlen(e->inside));
    } else if (c == '\0' || isalnum((unsigned char)c) != 0) {
        return "an escape in [ ] that is not understood here: \\d, \\w, \\s, or \\ before a sign";
    } else if (strchr("]^-[", c) != NULL) {
        return "\\ before ] ^ - or [ in [ ] is not understood here: ] first, - last, ^ and [ "
               "elsewhere";
    } else {
        put(t, &c, 1);
    }
    t->p += 2;
    return NULL;
}

/* At "[:", "[." or "[=" within [ ]: up to its end as it is. */
static const char *named_class(struct translation *t)
{
    const char end[3] = {t->p[1], ']', '\0'};
    const char *close = strstr(t->p + 2, end);

    if (close == NULL || strncmp(t->p, "[:<:]", 5) == 0 || strncmp(t->p, "[:>:]", 5) == 0) {
        return "a class in [ ] that is not understood here: such as [[:alnum:]], and \\m, \\M for "
               "the "
               "ends of a word";
    }
    put(t, t->p, (size_t)(close + 2 - t->p));
    t->p = close + 2;
    return NULL;
}

/* At the [. */
static const char *bracket(struct translation *t)
{
    size_t lead = t->p[1] == '^' ? 2 : 1;

    lead += t->p[lead] == ']' ? 1 : 0; /* the first one is a character */
    put(t, t->p, lead);
    t->p += lead;
    while (*t->p != ']') {
        const char *why = NULL;

        if (*t->p == '\0') {
            return "a [ without its ]";
        }
        if (*t->p == '\\') {
            why = escape_inside(t);
        } else if (*t->p == '[' && t->p[1] != '\0' && strchr(":.=", t->p[1]) != NULL) {
            why = named_class(t);
        } else {
            put(t, t->p++, 1);
        }
        if (why != NULL) {
            return why;
        }
    }
    put(t, t->p++, 1);
    t->can_repeat = true;
    return NULL;
}

/* At * + ? or a { that begins a number. */
static const char *quantifier(struct translation *t)
{
    size_t len = 1;

    if (!t->can_repeat) {
        return "nothing to be repeated before * + ? or {";
    }
    if (*t->p == '{') {
        len = strcspn(t->p, "}");
        if (t->p[len] == '\0') {
            return "a { without its }";
        }
        len++;
    }
    put(t, t->p, len);
    t->p += len;
    t->can_repeat = false; /* PostgreSQL refuses ** as well */
    return *t->p == '?' ? "repetitions as short as possible (*? +? ?? }?) are not understood here"
                        : NULL;
}

static const char *step(struct translation *t)
{
    switch (*t->p) {
    case '\\':
        return escape_outside(t);
    case '[':
        return bracket(t);
    case '{':
        if (isdigit((unsigned char)t->p[1]) == 0) { /* for itself */
            put(t, "\\{", 2);
            t->p++;
            t->can_repeat = true;
            return NULL;
        }
        return quantifier(t);
    case '*':
    case '+':
    case '?':
        return quantifier(t);
    case '(':
        if (t->p[1] == '?') {
            return "(?...) is not understood here";
        }
        t->depth++;
        t->can_repeat = false;
        break;
    case ')':
        if (t->depth == 0) {
            return "a ) without its (";
        }
        t->depth--;
        t->can_repeat = true; /* all that is in ( ) */
        break;
    case '|':
    case '^':
    case '$':
        t->can_repeat = false;
        break;
    default:
        t->can_repeat = true;
        break;
    }
    put(t, t->p++, 1);
    return NULL;
}

const char *ident_regex_translate(const char *expression, struct buf *out)
{
    struct translation t = {.p = expression, .out = out};
    const char *why = NULL;

    if (strncmp(expression, "***", 3) == 0) {
        return "***: and ***= are not understood here";
    }
    while (why == NULL && *t.p != '\0') {
        why = step(&t);
    }
    if (why == NULL && !buf_ok(out)) {
        why = "out of memory";
    }
    return why;
}
