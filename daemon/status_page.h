/* SPDX-License-Identifier: ISC */
/* The status page: one document that loads nothing but /status.json. Its source lies in daemon/web/ and is built into the
 * program. Each answer has a nonce of its own, without which the browser runs nothing (Content-Security-Policy). */
#ifndef PGPOOLD_DAEMON_STATUS_PAGE_H
#define PGPOOLD_DAEMON_STATUS_PAGE_H

#include "daemon/util/buf.h"

#define STATUS_PAGE_MAX_BYTES ((size_t)256 * 1024)
#define STATUS_PAGE_POLICY_BYTES 320

/* Appends the page to @out and puts the policy that belongs to it into @policy. */
void status_page_write(struct buf *out, char policy[STATUS_PAGE_POLICY_BYTES]);

#endif
