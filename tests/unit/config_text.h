/* SPDX-License-Identifier: ISC */
/* For the tests of config/: files made from texts, and lists of faults compared with what they
 * should say. */
#ifndef PGPOOLD_TESTS_CONFIG_TEXT_H
#define PGPOOLD_TESTS_CONFIG_TEXT_H

#include "config/config_errors.h"

#include <dirent.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

/* A stream that reads @text; the caller closes it. */
UNUSED static FILE *stream_of(const char *text)
{
    FILE *in = fmemopen((void *)(uintptr_t)text, strlen(text), "r");

    if (in == NULL && *text == '\0') {
        in = fopen("/dev/null", "r");
    }
    assert_non_null(in);
    return in;
}

/* Fails with @name unless the list is @expected: the texts, each with a newline behind it. Empties
 * the list. */
UNUSED static void assert_faults(const char *name, struct config_errors *e, const char *expected)
{
    char *all = NULL;
    size_t len;
    FILE *out = open_memstream(&all, &len);

    assert_non_null(out);
    for (unsigned i = 0; i < e->n; i++) {
        fprintf(out, "%s\n", e->text[i]);
    }
    fclose(out);
    if (strcmp(all, expected) != 0) {
        fail_msg("%s:\n--- expected\n%s--- got\n%s", name, expected, all);
    }
    free(all);
    config_errors_done(e);
}

/* A folder of files for one test program, and paths in it. */
struct test_dir {
    char path[64];
};

UNUSED static void test_dir_make(struct test_dir *d)
{
    snprintf(d->path, sizeof(d->path), "/tmp/pgpoold-test-XXXXXX");
    assert_non_null(mkdtemp(d->path));
}

/* The folder holds files only. */
UNUSED static void test_dir_remove(struct test_dir *d)
{
    DIR *dir = opendir(d->path);
    struct dirent *e;

    assert_non_null(dir);
    while ((e = readdir(dir)) != NULL) {
        if (e->d_name[0] != '.') {
            assert_int_equal(unlinkat(dirfd(dir), e->d_name, 0), 0);
        }
    }
    closedir(dir);
    assert_int_equal(rmdir(d->path), 0);
}

/* Valid until the eighth call after this one. */
UNUSED static const char *test_path(const struct test_dir *d, const char *name)
{
    static char paths[8][256];
    static unsigned next;
    char *path = paths[next++ % 8];

    snprintf(path, sizeof(paths[0]), "%s/%s", d->path, name);
    return path;
}

UNUSED static void test_write(const struct test_dir *d, const char *name, const char *text)
{
    FILE *out = fopen(test_path(d, name), "w");

    assert_non_null(out);
    assert_true(fputs(text, out) >= 0);
    assert_int_equal(fclose(out), 0);
}

#endif
