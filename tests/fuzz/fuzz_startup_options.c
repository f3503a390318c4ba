/* SPDX-License-Identifier: ISC */
/* Any text as the "options" of a StartupMessage, compared with a second reading of it that follows PostgreSQL's own
 * pg_split_opts(), getopt() and ParseLongOption() step by step. */
#include "daemon/util/fatal.h"
#include "protocol/startup.h"

#include <stdlib.h>
#include <string.h>

#define MAX_WORDS 200

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static bool keep(void *arg, const char *name, const char *value)
{
    struct buf *b = arg;

    return buf_append_fmt(b, "%s<%s>", name, value);
}

static bool is_space(char c)
{
    return c != '\0' && strchr(" \t\n\v\f\r", c) != NULL;
}

/* As pg_split_opts(): the words lie behind each other in @to. */
static unsigned split(const char *options, char *to, char **words)
{
    unsigned n = 0;

    while (*options != '\0') {
        bool escaped = false;

        while (is_space(*options)) {
            options++;
        }
        if (*options == '\0' || n == MAX_WORDS) {
            break;
        }
        words[n++] = to;
        for (; *options != '\0' && (escaped || !is_space(*options)); options++) {
            if (!escaped && *options == '\\') {
                escaped = true;
            } else {
                escaped = false;
                *to++ = *options;
            }
        }
        *to++ = '\0';
    }
    return n;
}

static bool set(struct buf *b, const char *setting)
{
    size_t name_len = strcspn(setting, "=");

    if (setting[name_len] != '=' || name_len == 0) {
        return false;
    }
    for (size_t i = 0; i < name_len; i++) {
        (void)buf_append_u8(b,
                            (uint8_t)(setting[i] == '-' ? '_' : setting[i])); /* asked at the end */
    }
    return buf_append_fmt(b, "<%s>", setting + name_len + 1);
}

static bool second_reading(char **words, unsigned n, struct buf *b)
{
    for (unsigned i = 0; i < n; i++) {
        const char *w = words[i];

        if (w[0] != '-' || (w[1] != 'c' && w[1] != '-')) {
            return false;
        }
        if (w[2] == '\0') {
            if (w[1] == '-' || ++i == n) {
                return false;
            }
            w = words[i];
        } else {
            w += 2;
        }
        if (!set(b, w)) {
            return false;
        }
    }
    return true;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct buf ours = BUF_INIT(4 * size + 100);
    struct buf theirs = BUF_INIT(4 * size + 100);
    char *options = strndup((const char *)data, size);
    char *storage = malloc(2 * size + 1);
    char *words[MAX_WORDS];
    unsigned n;

    fatal_unless(options != NULL && storage != NULL);
    n = split(options, storage, words);
    if (n < MAX_WORDS) {
        fatal_unless(startup_split_options(options, keep, &ours) ==
                     second_reading(words, n, &theirs));
        fatal_unless(strcmp(buf_cstr(&ours), buf_cstr(&theirs)) == 0);
    }
    buf_done(&ours);
    buf_done(&theirs);
    free(storage);
    free(options);
    return 0;
}
