#!/bin/sh
# SPDX-License-Identifier: ISC
# Is the program hardened as it should be? check-hardening.sh PROGRAM. Prints what is missing.
set -eu
program=$1
bad=0
want() {
    echo "$program: $1" >&2
    bad=1
}
header=$(readelf -hW "$program")
segments=$(readelf -lW "$program")
dynamic=$(readelf -dW "$program")
symbols=$(readelf --dyn-syms -W "$program")
has() { printf '%s\n' "$1" | grep -qE "$2"; }

has "$header" 'Type: +DYN' || want "is not position-independent (PIE)"
has "$segments" 'GNU_RELRO' || want "has no RELRO"
has "$dynamic" 'BIND_NOW|FLAGS_1.* NOW' || want "binds symbols lazily: RELRO is not full"
has "$segments" 'GNU_STACK.* RW ' || want "has an executable stack"
has "$segments" 'LOAD.* RWE ' && want "has a segment that can be written and executed"
has "$dynamic" 'TEXTREL' && want "has text relocations"
has "$dynamic" 'RPATH|RUNPATH' && want "has a path for libraries of its own"
has "$symbols" '__stack_chk_fail' || want "is without stack protector"
has "$symbols" '__(memcpy|snprintf|vsnprintf|memset|read|recv)_chk' || want "is without _FORTIFY_SOURCE"
exit $bad
