/* SPDX-License-Identifier: ISC */
/* inih as Debian builds it cuts lines at 199 bytes, takes " ;" inside a value for a comment and ':'
 * for '='. So it sees only the skeleton of the file: for each entry the line "key=", for each
 * section its heading. The reader below makes that skeleton from the physical lines, and the true
 * name and value reach the handler through its context. */
#include "config/ini_file.h"

#include "config/text_file.h"
#include "daemon/util/fatal.h"

#include <ini.h>
#include <stdlib.h>
#include <string.h>

#define SECTION_MAX 40 /* bytes; inih keeps 49 */

#define NO_SECTION "?" /* no name of a section, and nothing more is to be said about it */

struct ini_reader {
    struct text_file files[INI_FILE_DEPTH_MAX]; /* the innermost %include last */
    unsigned n_files;
    char section[SECTION_MAX + 1];
    bool skip; /* no section yet ("") or a wrong one (NO_SECTION): said once, at the first entry or
                  at the heading */
    char *key; /* of the entry that inih is about to report; point into the line */
    char *value;
    ini_entry_fn fn;
    void *arg;
    struct config_errors *errors;
};

static struct text_file *current(struct ini_reader *r)
{
    return &r->files[r->n_files - 1];
}

static void report(struct ini_reader *r, const char *key, const char *value)
{
    struct ini_entry e = {
        .file = current(r)->name,
        .line = current(r)->line,
        .section = r->section,
        .key = key,
        .value = value,
    };

    r->fn(r->arg, &e);
}

/* "[name]", already stripped. */
static bool read_section(struct ini_reader *r, char *line)
{
    char *name = line + 1;
    size_t len = strlen(name);

    r->skip = true;
    memcpy(r->section, NO_SECTION, sizeof(NO_SECTION));
    if (len < 2 || name[len - 1] != ']') {
        text_file_fault(current(r), "section without an end: [name] alone in its line");
        return false;
    }
    name[len - 1] = '\0';
    name = text_strip(name);
    len = strlen(name);
    if (len == 0 || len > SECTION_MAX ||
        name[strspn(name, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-")] !=
            '\0') {
        text_file_fault(current(r),
                        "[%.60s] is no name of a section: 1 to %d letters, digits, _ or -", name,
                        SECTION_MAX);
        return false;
    }
    memcpy(r->section, name, len + 1);
    r->skip = false;
    report(r, NULL, NULL);
    return true;
}

static void read_include(struct ini_reader *r, char *rest)
{
    struct text_file *from = current(r);
    char *path = text_strip(rest);

    if (path == rest || *path == '\0') {
        text_file_fault(from, "a line with %% that is no include: %%include FILE");
        return;
    }
    if (r->n_files == INI_FILE_DEPTH_MAX) {
        text_file_fault(from, "%%include %s: nested too deeply: at most %d files", path,
                        INI_FILE_DEPTH_MAX);
        return;
    }
    if (text_file_open(&r->files[r->n_files], path, from->name, from->line, r->errors)) {
        r->n_files++;
    }
}

/* Takes the quotes off a name in place: "a""b" is a"b. Returns what follows the closing quote, NULL
 * without one. */
static char *unquote_key(char *key)
{
    char *to = key;

    for (char *p = key + 1; *p != '\0'; p++) {
        if (*p == '"') {
            if (p[1] != '"') {
                *to = '\0';
                return p + 1;
            }
            p++;
        }
        *to++ = *p;
    }
    return NULL;
}

/* "name = value" or "\"na=me\" = value", already stripped. */
static bool read_entry(struct ini_reader *r, char *line)
{
    bool quoted = *line == '"';
    char *equals = quoted ? unquote_key(line) : strchr(line, '=');

    if (quoted && equals == NULL) {
        text_file_fault(current(r), "a quote without an end: \"name\" = value");
        return false;
    }
    if (quoted) {
        equals += strspn(equals, " \t");
    }
    if (equals == NULL || *equals != '=') {
        text_file_fault(current(r),
                        "a line without \"=\": name = value, or [section], or ; for a comment");
        return false;
    }
    r->value = text_strip(equals + 1);
    if (!quoted) {
        *equals = '\0';
        line = text_strip(line);
    }
    r->key = line;
    if (*line == '\0') {
        text_file_fault(current(r), "a name is missing before \"=\": name = value");
        return false;
    }
    return true;
}

static bool entry_has_place(struct ini_reader *r)
{
    if (!r->skip) {
        return true;
    }
    if (*r->section == '\0') {
        text_file_fault(current(r), "%.60s: stands before any section: put [pgpoold] above it",
                        r->key);
        memcpy(r->section, NO_SECTION, sizeof(NO_SECTION));
    }
    return false;
}

/* What inih calls in place of fgets: the next line of the skeleton. */
static char *read_skeleton(char *ret, int size, void *stream)
{
    struct ini_reader *r = stream;

    while (r->n_files > 0) {
        char *line = text_file_next(current(r));

        if (line == NULL) {
            text_file_done(current(r));
            r->n_files--;
            continue;
        }
        line = text_strip(line);
        if (*line == '\0' || *line == ';' || *line == '#') {
            continue;
        }
        if (*line == '%') {
            bool is_include = strncmp(line, "%include", 8) == 0;

            read_include(r, is_include ? line + 8 : line);
        } else if (*line == '[') {
            if (read_section(r, line)) {
                (void)snprintf(ret, (size_t)size, "[%s]\n", r->section); /* short: SECTION_MAX */
                return ret;
            }
        } else if (read_entry(r, line) && entry_has_place(r)) {
            (void)snprintf(ret, (size_t)size, "key=\n");
            return ret;
        }
    }
    return NULL;
}

static int take_entry(void *user, const char *section, const char *name UNUSED,
                      const char *value UNUSED)
{
    struct ini_reader *r = user;

    fatal_unless(strcmp(section, r->section) == 0);
    report(r, r->key, r->value);
    return 1;
}

static bool read_all(struct ini_reader *r)
{
    int verdict = ini_parse_stream(read_skeleton, r, take_entry, r);

    while (r->n_files > 0) { /* only when inih gave up, for want of memory */
        text_file_done(current(r));
        r->n_files--;
    }
    if (verdict != 0) {
        config_errors_add(r->errors, NULL, 0, "the ini reader gave up: out of memory");
    }
    return true;
}

bool ini_file_read(const char *path, ini_entry_fn fn, void *arg, struct config_errors *errors)
{
    struct ini_reader r = {.fn = fn, .arg = arg, .errors = errors, .skip = true, .n_files = 1};

    return text_file_open(&r.files[0], path, "", 0, errors) && read_all(&r);
}

bool ini_file_read_stream(FILE *in, const char *name, ini_entry_fn fn, void *arg,
                          struct config_errors *errors)
{
    struct ini_reader r = {.fn = fn, .arg = arg, .errors = errors, .skip = true, .n_files = 1};

    return text_file_wrap(&r.files[0], in, name, errors) && read_all(&r);
}
