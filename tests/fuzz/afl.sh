#!/bin/sh
# SPDX-License-Identifier: ISC
# Runs the fuzz targets that `make afl` built under AFL++: afl.sh SECONDS [TARGET]. What it finds stays in build/afl/found;
# a crash belongs into tests/fuzz/corpus. The last line is "N passed, N failed".
set -eu
cd "$(dirname "$0")/../.."
seconds=$1
only=${2:-}
passed=0
failed=0

export AFL_NO_UI=1 AFL_SKIP_CPUFREQ=1 AFL_NO_AFFINITY=1 AFL_I_DONT_CARE_ABOUT_MISSING_CRASHES=1
export ASAN_OPTIONS=abort_on_error=1:symbolize=0:detect_leaks=0 UBSAN_OPTIONS=abort_on_error=1:symbolize=0

for program in build/afl/tests/fuzz/fuzz_*; do
    name=$(basename "$program")
    case $name in *.*) continue ;; esac
    [ -z "$only" ] || [ "$only" = "$name" ] || continue
    found=build/afl/found/$name
    rm -rf "$found"
    mkdir -p "$found"
    if ! afl-fuzz -i "tests/fuzz/corpus/$name" -o "$found" -V "$seconds" -m none -t 10000 -- "$program" >"$found/log" 2>&1; then
        echo "$name: afl-fuzz failed:"
        tail -n 5 "$found/log"
        failed=$((failed + 1))
        continue
    fi
    crashes=$(find "$found/default/crashes" "$found/default/hangs" -name 'id*' | wc -l)
    runs=$(sed -n 's/^execs_done *: *//p' "$found/default/fuzzer_stats")
    echo "$name: $runs runs, $crashes crashes and hangs"
    if [ "$crashes" -eq 0 ]; then passed=$((passed + 1)); else failed=$((failed + 1)); fi
done
echo "$passed passed, $failed failed"
[ "$failed" -eq 0 ] && [ "$passed" -gt 0 ]
