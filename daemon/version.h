/* SPDX-License-Identifier: ISC */
/* Our version, for -V, SHOW VERSION and the packages (the Makefile reads it here). */
#ifndef PGPOOLD_DAEMON_VERSION_H
#define PGPOOLD_DAEMON_VERSION_H

#define PGPOOLD_VERSION "0.1.0"
#define PGPOOLD_VERSION_TEXT "pgpoold " PGPOOLD_VERSION

#endif
