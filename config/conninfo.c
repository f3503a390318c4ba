/* SPDX-License-Identifier: ISC */
#include "config/conninfo.h"

#include <stdlib.h>
#include <string.h>

#define BLANKS " \t\r\n\f\v"

bool conninfo_init(struct conninfo *c, const char *text)
{
    *c = (struct conninfo){.text = strdup(text), .len = strlen(text)};
    c->pos = c->text;
    return c->text != NULL;
}

void conninfo_done(struct conninfo *c)
{
    if (c->text != NULL) {
        explicit_bzero(c->text, c->len);
        free(c->text);
    }
    *c = (struct conninfo){0};
}

/* Takes the quotes off in place; @pos stands on the opening one. Returns what follows the closing
 * one, or NULL. */
static char *unquote_value(char *pos)
{
    char *to = pos;

    for (char *p = pos + 1; *p != '\0'; p++) {
        if (*p == '\'') {
            if (p[1] != '\'') {
                *to = '\0';
                return p + 1;
            }
            p++;
        }
        *to++ = *p;
    }
    return NULL;
}

enum conninfo_result conninfo_next(struct conninfo *c, struct conninfo_pair *ret,
                                   const char **ret_why)
{
    char *key = c->pos + strspn(c->pos, BLANKS);
    size_t key_len = strcspn(key, "=" BLANKS "'");
    char *equals = key + key_len + strspn(key + key_len, BLANKS);
    char *value;
    char *end;

    if (*key == '\0') {
        return CONNINFO_END;
    }
    if (key_len == 0) {
        *ret_why = "a key is missing before = or a quote: key=value pairs with blanks between them";
        return CONNINFO_BAD;
    }
    if (*equals != '=') {
        *ret_why = "a key without =: key=value pairs with blanks between them";
        return CONNINFO_BAD;
    }
    value = equals + 1 + strspn(equals + 1, BLANKS);
    if (*value != '\'') {
        end = value + strcspn(value, BLANKS);
    } else {
        end = unquote_value(value);
        if (end == NULL) {
            *ret_why = "a quote without an end: 'value', and '' for a quote inside it";
            return CONNINFO_BAD;
        }
        if (*end != '\0' && strchr(BLANKS, *end) == NULL) {
            *ret_why = "text right behind a closing quote: a blank there, and '' for a quote "
                       "inside the value";
            return CONNINFO_BAD;
        }
    }
    c->pos = *end == '\0' ? end : end + 1;
    key[key_len] = '\0';
    *end = '\0';
    ret->key = key;
    ret->value = value;
    return CONNINFO_PAIR;
}
