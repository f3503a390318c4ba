/* SPDX-License-Identifier: ISC */
/* What each type of option knows to do with its field: read text, print, compare, copy. The field
 * is found by the offset in the option's row, whose type options.c has had checked by the
 * compiler. */
#include "config/options.h"

#include "daemon/util/fatal.h"
#include "daemon/util/num.h"
#include "daemon/util/secret.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#define SHOWN_MAX 60 /* bytes of a wrong value that its error text repeats */

/* All strings that were not given, so that a record without any owns no memory. Never written,
 * never freed. */
static char no_text[1] = "";

static void *field_of(const struct option *o, enum option_scope scope, void *record)
{
    fatal_unless(option_is_in(o, scope));
    return (char *)record + o->at[scope] - 1;
}

static const void *field_in(const struct option *o, enum option_scope scope, const void *record)
{
    fatal_unless(option_is_in(o, scope));
    return (const char *)record + o->at[scope] - 1;
}

static void replace_string(char **field, char *with)
{
    if (*field != no_text) {
        free(*field);
    }
    *field = with;
}

/* A copy that a field may own; NULL: out of memory. */
static char *dup_string(const char *text)
{
    return *text == '\0' ? no_text : strdup(text);
}

PRINTF_LIKE(2, 3) static bool refuse(char *why, const char *fmt, ...)
{
    va_list args;

    va_start(args, fmt);
    (void)vsnprintf(why, CONFIG_WHY_SIZE, fmt, args); /* cutting is meant */
    va_end(args);
    return false;
}

/* ---- reading ---- */

static bool read_bool(const char *text, bool *ret, char *why)
{
    static const struct {
        const char *word;
        bool value;
    } words[] = {{"1", true},   {"0", false},  {"on", true},   {"off", false},
                 {"yes", true}, {"no", false}, {"true", true}, {"false", false}};

    for (size_t i = 0; i < ARRAY_LEN(words); i++) {
        if (strcasecmp(text, words[i].word) == 0) {
            *ret = words[i].value;
            return true;
        }
    }
    return refuse(why,
                  "\"%.*s\" is neither on nor off: 0 or 1 (also off, on, no, yes, false, true)",
                  SHOWN_MAX, text);
}

static const char *unit_of(const struct option *o)
{
    return o->unit == NULL ? "" : o->unit;
}

static bool read_number(const struct option *o, const char *text, int64_t *ret, char *why)
{
    const char *blank = o->unit == NULL ? "" : " ";
    const char *digits = *text == '-' ? text + 1 : text;

    if (num_parse_i64(text, o->least, o->most, ret)) {
        return true;
    }
    if (*digits == '\0' || digits[strspn(digits, "0123456789")] != '\0') {
        return refuse(why, "\"%.*s\" is not a whole number: %" PRId64 " to %" PRId64 "%s%s",
                      SHOWN_MAX, text, o->least, o->most, blank, unit_of(o));
    }
    return refuse(why, "%.*s is too %s: %" PRId64 " to %" PRId64 "%s%s", SHOWN_MAX, text,
                  *text == '-' || num_parse_i64(text, 0, o->least, ret) ? "small" : "large",
                  o->least, o->most, blank, unit_of(o));
}

static bool read_mode(const struct option *o, const char *text, unsigned *ret, char *why)
{
    unsigned mode = 0;

    for (const char *p = text; *p >= '0' && *p <= '7' && mode <= o->most; p++) {
        mode = mode * 8 + (unsigned)(*p - '0');
    }
    if (*text == '\0' || text[strspn(text, "01234567")] != '\0' || mode > o->most) {
        return refuse(why, "\"%.*s\" is not a file mode: octal 0000 to 0777", SHOWN_MAX, text);
    }
    *ret = mode;
    return true;
}

/* The microseconds of one of the unit that @suffix names, 0 if none. */
static usec_t usec_per_unit(const char *suffix)
{
    static const struct {
        const char *name;
        usec_t us;
    } units[] = {{"", USEC_PER_SEC},         {"s", USEC_PER_SEC},
                 {"ms", USEC_PER_MSEC},      {"min", 60 * USEC_PER_SEC},
                 {"h", 3600 * USEC_PER_SEC}, {"d", 86400 * USEC_PER_SEC}};

    for (size_t i = 0; i < ARRAY_LEN(units); i++) {
        if (strcmp(suffix, units[i].name) == 0) {
            return units[i].us;
        }
    }
    return 0;
}

enum duration_verdict {
    DURATION_OK,
    DURATION_E_FORM,
    DURATION_E_LARGE,
};

static enum duration_verdict parse_duration(const char *text, usec_t most_us, usec_t *ret)
{
    const char *p = text;
    uint64_t whole = 0;
    uint64_t millionths = 0;
    bool rest = false; /* something smaller than a millionth: rounded up, so that it cannot become
                          0, which is off */
    bool too_large = false;
    unsigned n_digits = 0;
    usec_t unit_us;
    usec_t us;

    for (; *p >= '0' && *p <= '9'; p++, n_digits++) {
        whole = whole * 10 + (uint64_t)(*p - '0');
        if (whole > most_us) {
            too_large = true;
            whole = most_us;
        }
    }
    if (*p == '.') {
        uint64_t weight = 100000;

        for (p++; *p >= '0' && *p <= '9'; p++, n_digits++) {
            millionths += weight * (uint64_t)(*p - '0');
            rest = rest || (weight == 0 && *p != '0');
            weight /= 10;
        }
    }
    unit_us = usec_per_unit(p);
    if (n_digits == 0 || unit_us == 0) {
        return DURATION_E_FORM;
    }
    if (too_large || whole > most_us / unit_us) {
        return DURATION_E_LARGE;
    }
    us = whole * unit_us + (millionths * unit_us + (rest ? 1 : 0) + 999999) / 1000000;
    if (us > most_us) {
        return DURATION_E_LARGE;
    }
    *ret = us;
    return DURATION_OK;
}

/* Seconds without needless digits. */
static void format_seconds(usec_t us, char *ret, size_t size)
{
    size_t len;

    (void)snprintf(ret, size, "%" PRIu64 ".%06" PRIu64, us / USEC_PER_SEC, us % USEC_PER_SEC);
    for (len = strlen(ret); ret[len - 1] == '0'; len--) {
        ret[len - 1] = '\0';
    }
    if (ret[len - 1] == '.') {
        ret[len - 1] = '\0';
    }
}

static bool read_duration(const struct option *o, const char *text, usec_t *ret, char *why)
{
    char least[32];
    char most[32];
    const char *never = o->or_never ? ", or -1 for never" : "";
    usec_t us = 0;

    if (o->or_never && strcmp(text, "-1") == 0) {
        *ret = USEC_NEVER;
        return true;
    }
    format_seconds(o->least < 0 ? 0 : (usec_t)o->least, least, sizeof(least));
    format_seconds((usec_t)o->most, most, sizeof(most));
    switch (parse_duration(text, (usec_t)o->most, &us)) {
    case DURATION_E_FORM:
        return refuse(
            why,
            "\"%.*s\" is not a duration: seconds, %s to %s, fractions allowed, or a number "
            "with the unit ms, s, min, h or d%s",
            SHOWN_MAX, text, least, most, never);
    case DURATION_E_LARGE:
        return refuse(why, "%.*s is too large: %s to %s seconds%s", SHOWN_MAX, text, least, most,
                      never);
    case DURATION_OK:
        if (o->least > 0 && us < (usec_t)o->least) {
            return refuse(why, "%.*s is too small: %s to %s seconds%s", SHOWN_MAX, text, least,
                          most, never);
        }
        *ret = us;
        return true;
    }
    unreachable();
}

static bool read_word(const struct option *o, const char *text, int *ret, char *why)
{
    char allowed[CONFIG_WHY_SIZE / 2];
    struct buf list = BUF_INIT(sizeof(allowed) - 1);

    for (int i = 0; o->words[i] != NULL; i++) {
        if (strcasecmp(text, o->words[i]) == 0) {
            *ret = i;
            buf_done(&list);
            return true;
        }
        buf_append_fmt(&list, "%s%s", i == 0 ? "" : ", ", o->words[i]);
    }
    (void)snprintf(allowed, sizeof(allowed), "%s", buf_cstr(&list));
    buf_done(&list);
    return refuse(why, "\"%.*s\" is not known: one of %s", SHOWN_MAX, text, allowed);
}

static bool read_string(const char *text, char **field, char *why)
{
    char *copy = dup_string(text);

    if (copy == NULL) {
        return refuse(why, "out of memory");
    }
    replace_string(field, copy);
    return true;
}

bool option_set(const struct option *o, enum option_scope scope, void *record, const char *text,
                char *why)
{
    void *field = field_of(o, scope, record);
    bool on = false; /* read_bool() sets it; gcc at -O3 does not see that */
    int64_t number;

    switch (o->type) {
    case OPTION_BOOL:
        return read_bool(text, field, why);
    case OPTION_TRISTATE:
        if (!read_bool(text, &on, why)) {
            return false;
        }
        *(int *)field = on;
        return true;
    case OPTION_INT:
        if (!read_number(o, text, &number, why)) {
            return false;
        }
        *(int *)field = o->zero_unlimited && number == 0 ? POOL_SIZE_UNLIMITED : (int)number;
        return true;
    case OPTION_BYTES:
        if (!read_number(o, text, &number, why)) {
            return false;
        }
        *(size_t *)field = (size_t)number;
        return true;
    case OPTION_DURATION:
        return read_duration(o, text, field, why);
    case OPTION_MODE:
        return read_mode(o, text, field, why);
    case OPTION_ENUM:
        return read_word(o, text, field, why);
    case OPTION_STRING:
        return read_string(text, field, why);
    case OPTION_SECRET:
        if (!secret_set(field, text, strlen(text))) {
            return refuse(why, "out of memory");
        }
        return true;
    }
    unreachable();
}

/* ---- printing ---- */

static void print_duration(usec_t us, struct buf *out)
{
    char text[32];

    if (us == OPTION_UNSET_US) {
        return;
    }
    if (us == USEC_NEVER) {
        buf_append_str(out, "-1");
        return;
    }
    format_seconds(us, text, sizeof(text));
    buf_append_str(out, text);
}

static void print_int(const struct option *o, int value, struct buf *out)
{
    if (value == OPTION_UNSET) {
        return;
    }
    buf_append_fmt(out, "%d", o->zero_unlimited && value == POOL_SIZE_UNLIMITED ? 0 : value);
}

void option_print(const struct option *o, enum option_scope scope, const void *record,
                  struct buf *out)
{
    const void *field = field_in(o, scope, record);
    const char *word;

    switch (o->type) {
    case OPTION_BOOL:
        buf_append_str(out, *(const bool *)field ? "1" : "0");
        return;
    case OPTION_TRISTATE:
    case OPTION_INT:
        print_int(o, *(const int *)field, out);
        return;
    case OPTION_BYTES:
        buf_append_fmt(out, "%zu", *(const size_t *)field);
        return;
    case OPTION_DURATION:
        print_duration(*(const usec_t *)field, out);
        return;
    case OPTION_MODE:
        buf_append_fmt(out, "%04o", *(const unsigned *)field);
        return;
    case OPTION_ENUM:
        word = o->words[*(
            const int *)field]; /* the unset mark of pool_mode is the NULL behind the last word */
        buf_append_str(out, word == NULL ? "" : word);
        return;
    case OPTION_STRING:
        buf_append_str(out, *(char *const *)field);
        return;
    case OPTION_SECRET:
        buf_append_str(out, secret_is_set(field) ? "***" : "");
        return;
    }
    unreachable();
}

/* ---- life of a field ---- */

void option_unset(const struct option *o, enum option_scope scope, void *record)
{
    void *field = field_of(o, scope, record);

    switch (o->type) {
    case OPTION_BOOL:
        *(bool *)field = false;
        return;
    case OPTION_TRISTATE:
    case OPTION_INT:
        *(int *)field = OPTION_UNSET;
        return;
    case OPTION_BYTES:
        *(size_t *)field = 0;
        return;
    case OPTION_DURATION:
        *(usec_t *)field = OPTION_UNSET_US;
        return;
    case OPTION_MODE:
        *(unsigned *)field = 0;
        return;
    case OPTION_ENUM:
        *(int *)field = o->unset;
        return;
    case OPTION_STRING:
        *(char **)field = no_text;
        return;
    case OPTION_SECRET:
        *(struct secret *)field = (struct secret){0};
        return;
    }
    unreachable();
}

void option_clear(const struct option *o, enum option_scope scope, void *record)
{
    void *field = field_of(o, scope, record);

    if (o->type == OPTION_STRING) {
        replace_string(field, no_text);
    } else if (o->type == OPTION_SECRET) {
        secret_done(field);
    }
    option_unset(o, scope, record);
}

static bool copy_string(char **to, const char *from)
{
    char *copy = dup_string(from);

    if (copy == NULL) {
        return false;
    }
    replace_string(to, copy);
    return true;
}

static bool copy_secret(struct secret *to, const struct secret *from)
{
    struct secret copy = {0};

    if (secret_is_set(from) && !secret_set(&copy, from->data, from->len)) {
        return false;
    }
    secret_done(to);
    *to = copy;
    return true;
}

bool option_copy(const struct option *o, enum option_scope scope, void *to, const void *from)
{
    void *target = field_of(o, scope, to);
    const void *source = field_in(o, scope, from);

    switch (o->type) {
    case OPTION_BOOL:
        *(bool *)target = *(const bool *)source;
        return true;
    case OPTION_TRISTATE:
    case OPTION_INT:
    case OPTION_ENUM:
        *(int *)target = *(const int *)source;
        return true;
    case OPTION_BYTES:
        *(size_t *)target = *(const size_t *)source;
        return true;
    case OPTION_DURATION:
        *(usec_t *)target = *(const usec_t *)source;
        return true;
    case OPTION_MODE:
        *(unsigned *)target = *(const unsigned *)source;
        return true;
    case OPTION_STRING:
        return copy_string(target, *(char *const *)source);
    case OPTION_SECRET:
        return copy_secret(target, source);
    }
    unreachable();
}

static bool secrets_are_equal(const struct secret *a, const struct secret *b)
{
    if (!secret_is_set(a) || !secret_is_set(b)) {
        return secret_is_set(a) == secret_is_set(b);
    }
    return secret_equals(a, b->data, b->len);
}

bool option_is_equal(const struct option *o, enum option_scope scope, const void *a, const void *b)
{
    const void *x = field_in(o, scope, a);
    const void *y = field_in(o, scope, b);

    switch (o->type) {
    case OPTION_BOOL:
        return *(const bool *)x == *(const bool *)y;
    case OPTION_TRISTATE:
    case OPTION_INT:
    case OPTION_ENUM:
        return *(const int *)x == *(const int *)y;
    case OPTION_BYTES:
        return *(const size_t *)x == *(const size_t *)y;
    case OPTION_DURATION:
        return *(const usec_t *)x == *(const usec_t *)y;
    case OPTION_MODE:
        return *(const unsigned *)x == *(const unsigned *)y;
    case OPTION_STRING:
        return strcmp(*(char *const *)x, *(char *const *)y) == 0;
    case OPTION_SECRET:
        return secrets_are_equal(x, y);
    }
    unreachable();
}
