/* SPDX-License-Identifier: ISC */
/* PG16 libpq, "require_auth": a list of methods, or of methods with ! before each; "none" means that no question is asked. */
#include "config/require_auth.h"

#include "config/options.h"

#include <stdio.h>
#include <string.h>

#define NONE 0U

static const struct {
    const char *word;
    unsigned bits;
} words[] = {
    {"password", REQUIRE_AUTH_PASSWORD},
    {"md5", REQUIRE_AUTH_MD5},
    {"gss", REQUIRE_AUTH_GSS},
    {"sspi", REQUIRE_AUTH_SSPI},
    {"scram-sha-256", REQUIRE_AUTH_SCRAM},
    {"none", NONE},
};

static bool find_word(const char *word, size_t len, unsigned *ret)
{
    for (unsigned i = 0; i < ARRAY_LEN(words); i++) {
        if (strlen(words[i].word) == len && memcmp(words[i].word, word, len) == 0) {
            *ret = words[i].bits;
            return true;
        }
    }
    return false;
}

/* Puts one method into @r or takes it out. false: that was done already. */
static bool apply(struct require_auth *r, unsigned bits, bool negated)
{
    struct require_auth before = *r;

    if (bits == NONE) {
        r->must_ask = negated;
    } else if (negated) {
        r->methods &= ~bits;
    } else {
        r->methods |= bits;
    }
    return r->methods != before.methods || r->must_ask != before.must_ask;
}

bool require_auth_parse(const char *text, struct require_auth *ret, char *why, size_t why_size)
{
    struct require_auth r = {.methods = REQUIRE_AUTH_ALL};
    const char *given = text;
    bool all_negated = false;
    bool first = true;
    const char *word;
    size_t len;

    while ((word = option_list_next(&text, &len)) != NULL) {
        bool negated = *word == '!';
        unsigned bits = NONE;

        if (first && !negated) {
            r = (struct require_auth){.must_ask = true};
        }
        if (!first && negated != all_negated) {
            (void)snprintf(why, why_size,
                           "\"%.*s\" cannot be mixed with %s methods: all of them with ! or none",
                           (int)MIN(len, (size_t)60), word, negated ? "non-negative" : "negative");
            return false;
        }
        if (!find_word(word + negated, len - negated, &bits)) {
            (void)snprintf(why, why_size,
                           "\"%.*s\" is not known: a list of password, md5, gss, sspi, "
                           "scram-sha-256, none, or of these with ! before each",
                           (int)MIN(len, (size_t)60), word);
            return false;
        }
        if (!apply(&r, bits, negated)) {
            (void)snprintf(why, why_size, "\"%.*s\" stands there twice: once",
                           (int)MIN(len, (size_t)60), word);
            return false;
        }
        all_negated = negated;
        first = false;
    }
    if (first && *given != '\0') {
        (void)snprintf(why, why_size, "a list without a word: nothing, or methods");
        return false;
    }
    *ret = r;
    return true;
}
