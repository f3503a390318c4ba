#!/bin/sh
# SPDX-License-Identifier: ISC
# Writes the options part of pgpoold.ini.5.scd and the whole of pgpoold.ini.example anew from the table of options.
# To be run after a change of config/options.c; test_options fails until it was.
set -eu
top=$(cd "$(dirname "$0")/../.." && pwd)
tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT
cd "$top"
${CC:-gcc} -std=gnu17 -D_GNU_SOURCE -I. -o "$tmp/print_options" packaging/man/print_options.c \
    config/options.c config/option_types.c config/options_doc.c \
    daemon/util/buf.c daemon/util/num.c daemon/util/secret.c daemon/util/fatal.c
"$tmp/print_options" example > "$tmp/example"
"$tmp/print_options" man > "$tmp/options"
page=packaging/man/pgpoold.ini.5.scd
{
    sed '/^; OPTIONS BEGIN/q' "$page"
    cat "$tmp/options"
    sed -n '/^; OPTIONS END/,$p' "$page"
} > "$tmp/page"
grep -q '^; OPTIONS END' "$tmp/page"
cat "$tmp/page" > "$page"
cat "$tmp/example" > pgpoold.ini.example
