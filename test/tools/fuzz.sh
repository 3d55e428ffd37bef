#!/usr/bin/env bash
# Runs every fuzz target of the product's module for FUZZTIME (10s) each; $1 narrows the packages.
# A fuzz target without a seed is an error: it would explore nothing of interest.
#
# Go before 1.27 sometimes fails a target as its time ends, with "context deadline exceeded" for all
# it says and no failing input (golang/go#75804): the deadline of the whole reaches the coordinator
# before that of the workers. Such a run is repeated, twice at most; any other failure counts.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."
log=$(mktemp)
trap 'rm -f "$log"' EXIT

# fuzz runs one target.
fuzz() {
  for attempt in 1 2 3; do
    if go test -run='^$' -fuzz="^$2\$" -fuzztime="${FUZZTIME:-10s}" "$1" 2>&1 | tee "$log"; then
      return 0
    fi
    if ! grep -qxE '[[:space:]]*context deadline exceeded' "$log" || grep -q 'Failing input written' "$log"; then
      return 1
    fi
    echo "the end of its time was told as a failure: attempt $attempt"
  done
  return 1
}

found=0
while read -r package; do
  targets=$(go test -run='^$' -list='^Fuzz' "$package" | grep '^Fuzz' || true)
  for target in $targets; do
    found=$((found + 1))
    echo "== $package $target"
    fuzz "$package" "$target"
  done
done < <(go list -f '{{if or .TestGoFiles .XTestGoFiles}}{{.ImportPath}}{{end}}' "${1:-./...}")
echo "$found fuzz targets, 0 failed"
[ "$found" -gt 0 ] || { echo "no fuzz target was found" >&2; exit 1; }
