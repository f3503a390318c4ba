/* SPDX-License-Identifier: ISC */
#include "daemon/status_page.h"

#include "daemon/util/secret.h"

#include <stdio.h>
#include <string.h>

#define NONCE_BYTES 16

/* daemon/web/files.S */
extern const char status_page_html[];
extern const uint64_t status_page_html_len;
extern const char status_page_css[];
extern const uint64_t status_page_css_len;
extern const char status_page_js[];
extern const uint64_t status_page_js_len;

struct text {
    const char *at;
    size_t len;
};

/* Appends @html with "{{name}}" replaced. */
static void fill_in(struct buf *out, struct text html, const struct text *names,
                    const struct text *values, size_t n)
{
    const char *end = html.at + html.len;

    while (html.at < end) {
        const char *mark = memmem(html.at, (size_t)(end - html.at), "{{", 2);
        size_t i = 0;

        if (mark == NULL) {
            mark = end;
        }
        (void)buf_append(out, html.at, (size_t)(mark - html.at));
        html.at = mark;
        while (i < n && ((size_t)(end - mark) < names[i].len ||
                         memcmp(mark, names[i].at, names[i].len) != 0)) {
            i++;
        }
        if (i < n) {
            (void)buf_append(out, values[i].at, values[i].len);
            html.at += names[i].len;
        } else if (mark < end) {
            (void)buf_append(out, mark, 2);
            html.at += 2;
        }
    }
}

void status_page_write(struct buf *out, char policy[STATUS_PAGE_POLICY_BYTES])
{
    static const struct text names[] = {{"{{nonce}}", 9}, {"{{css}}", 7}, {"{{js}}", 6}};
    uint8_t random[NONCE_BYTES];
    char nonce[2 * NONCE_BYTES + 1];
    const struct text values[] = {
        {nonce, 2 * NONCE_BYTES},
        {status_page_css, (size_t)status_page_css_len},
        {status_page_js, (size_t)status_page_js_len},
    };
    const struct text html = {status_page_html, (size_t)status_page_html_len};

    secret_random(random, sizeof(random));
    for (size_t i = 0; i < sizeof(random); i++) {
        (void)snprintf(nonce + 2 * i, 3, "%02x", random[i]);
    }
    (void)snprintf(
        policy, STATUS_PAGE_POLICY_BYTES,
        "default-src 'none'; style-src 'nonce-%s'; script-src 'nonce-%s'; connect-src 'self'; "
        "img-src data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
        nonce, nonce);
    fill_in(out, html, names, values, ARRAY_LEN(names));
}
