/* SPDX-License-Identifier: ISC */
#include "pool/replication.h"

#include <stddef.h>
#include <string.h>
#include <strings.h>

static const struct {
    const char *name;
    const char *parameter;
} kinds[REPLICATION_KINDS] = {
    [REPLICATION_NONE] = {"none", NULL},
    [REPLICATION_PHYSICAL] = {"physical", "true"},
    [REPLICATION_LOGICAL] = {"logical", "database"},
};

const char *replication_name(enum replication kind)
{
    return kinds[kind].name;
}

const char *replication_parameter(enum replication kind)
{
    return kinds[kind].parameter;
}

/* PostgreSQL takes each beginning of a word that cannot be the other one's: "o" alone is neither on nor off. */
static const struct {
    const char *word;
    size_t least;
    enum replication kind;
} words[] = {
    {"true", 1, REPLICATION_PHYSICAL}, {"yes", 1, REPLICATION_PHYSICAL},
    {"on", 2, REPLICATION_PHYSICAL},   {"1", 1, REPLICATION_PHYSICAL},
    {"false", 1, REPLICATION_NONE},    {"no", 1, REPLICATION_NONE},
    {"off", 2, REPLICATION_NONE},      {"0", 1, REPLICATION_NONE},
};

bool replication_parse(const char *text, enum replication *ret)
{
    size_t len = strlen(text);

    if (strcmp(text, "database") == 0) { /* the one word whose case counts */
        *ret = REPLICATION_LOGICAL;
        return true;
    }
    for (size_t i = 0; i < ARRAY_LEN(words); i++) {
        if (len >= words[i].least && strncasecmp(text, words[i].word, len) == 0) {
            *ret = words[i].kind;
            return true;
        }
    }
    return false;
}
