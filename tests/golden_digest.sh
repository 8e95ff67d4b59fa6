#!/bin/sh
# Makes tests/golden_digest.inc anew, from the small run of test_same_bits.c (any ISA: they agree).
# usage: tests/golden_digest.sh build/release      run it only when a definition of bits changed on purpose
set -eu
here=$(cd "$(dirname "$0")" && pwd)
found=$("$1/tests/test_same_bits" --filter same_bits/scalar_too 2>&1 | sed -n 's/.*one digest: \([0-9a-f]*\).*/\1/p')
[ -n "$found" ]
printf '"%s"\n' "$found" >"$here/golden_digest.inc"
cat "$here/golden_digest.inc"
