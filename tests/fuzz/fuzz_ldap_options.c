/* SPDX-License-Identifier: ISC */
/* Any text as the options of method ldap, and any name for a user: up to the first line end, and
 * what is behind it. The name adds nothing that means something. */
#include "config/hba.h"
#include "config/ldap_options.h"
#include "daemon/util/fatal.h"

#include <stdlib.h>
#include <string.h>

#define ROOM (1024 * 1024)

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static size_t count(const char *text, const char *set)
{
    size_t n = 0;

    for (; *text != '\0'; text++) {
        n += strchr(set, *text) != NULL;
    }
    return n;
}

/* As many brackets and stars as with a name that has none. */
static void check_filter(const struct ldap_options *o, const char *user)
{
    struct buf got = BUF_INIT(ROOM);
    struct buf plain = BUF_INIT(ROOM);

    ldap_options_put_filter(o, user, &got);
    ldap_options_put_filter(o, "x", &plain);
    if (buf_ok(&got) && buf_ok(&plain)) {
        fatal_unless(count(buf_cstr(&got), "()*&|=") == count(buf_cstr(&plain), "()*&|="));
    }
    buf_done(&got);
    buf_done(&plain);
}

static void check_bind_name(const struct ldap_options *o, const char *user)
{
    struct buf got = BUF_INIT(ROOM);
    struct buf plain = BUF_INIT(ROOM);

    if (ldap_options_put_bind_name(o, user, &got) && ldap_options_put_bind_name(o, "x", &plain) &&
        buf_ok(&got) && buf_ok(&plain)) {
        fatal_unless(count(buf_cstr(&got), ",=+;\"") == count(buf_cstr(&plain), ",=+;\""));
    }
    buf_done(&got);
    buf_done(&plain);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    char why[CONFIG_WHY_SIZE];
    char *text = strndup((const char *)data, size);
    char *user = text == NULL ? NULL : strchr(text, '\n');
    struct buf uris = BUF_INIT(ROOM);
    struct ldap_options o;
    char *options;

    fatal_unless(text != NULL);
    if (user != NULL) {
        *user++ = '\0';
    }
    options = hba_ldap_options(text, why);
    if (options != NULL && ldap_options_read(options, &o, why)) {
        ldap_options_put_uris(&o, &uris);
        fatal_unless(uris.len > 0);
        if (o.does_search) {
            check_filter(&o, user == NULL ? "" : user);
        } else {
            check_bind_name(&o, user == NULL ? "" : user);
        }
        ldap_options_done(&o);
    }
    buf_done(&uris);
    free(options);
    free(text);
    return 0;
}
