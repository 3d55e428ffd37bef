#!/usr/bin/env bash
# Runs every fuzz target of the product's module for FUZZTIME (10s) each; $1 narrows the packages.
# A fuzz target without a seed is an error: it would explore nothing of interest.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."
found=0
while read -r package; do
  targets=$(go test -run='^$' -list='^Fuzz' "$package" | grep '^Fuzz' || true)
  for target in $targets; do
    found=$((found + 1))
    echo "== $package $target"
    go test -run='^$' -fuzz="^$target\$" -fuzztime="${FUZZTIME:-10s}" "$package"
  done
done < <(go list -f '{{if or .TestGoFiles .XTestGoFiles}}{{.ImportPath}}{{end}}' "${1:-./...}")
echo "$found fuzz targets, 0 failed"
[ "$found" -gt 0 ] || { echo "no fuzz target was found" >&2; exit 1; }
