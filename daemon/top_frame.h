/* SPDX-License-Identifier: ISC */
/* Makes the text of one screen of `pgpoold top` out of a sample, and nothing else: no terminal, no clock. Names come
 * from strangers, so whatever could steer a terminal is replaced. */
#ifndef PGPOOLD_DAEMON_TOP_FRAME_H
#define PGPOOLD_DAEMON_TOP_FRAME_H

#include "daemon/top_sample.h"
#include "daemon/util/buf.h"

struct top_screen {
    const char *title;  /* where we look, and when */
    const char *notice; /* what is wrong; NULL: nothing */
    unsigned rows;      /* 0: as many lines as there are */
    unsigned columns;   /* 0: as wide as the names want */
    bool is_terminal;   /* lines overwrite those of the last frame */
    bool is_coloured;
};

#define TOP_FRAME_BYTES_MAX ((size_t)4 << 20)

/* Appends to @out. @before may be empty: then rates are the daemon's own averages. */
void top_frame(struct buf *out, const struct top_screen *screen, const struct top_sample *now,
               const struct top_sample *before);

#endif
