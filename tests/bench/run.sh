#!/bin/sh
# SPDX-License-Identifier: ISC
# One command for `make bench`: see README.md beside this file.
exec /usr/bin/python3 -B "$(dirname "$0")/run.py" "$@"
