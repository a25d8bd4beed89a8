#!/bin/sh
# Runs the README's commands that are marked with <!-- test -->, in order, as a newcomer would.
set -eu
cd "$(dirname "$0")/../.."
script=$(mktemp)
trap 'rm -f "$script"' EXIT
awk '/^<!-- test -->$/ { marked = 1; next }
     marked && /^```sh$/ { inside = 1; next }
     inside && /^```$/ { inside = 0; marked = 0 }
     inside' README.md > "$script"
[ -s "$script" ] || { echo "the README has no marked commands"; exit 1; }
sh -eux "$script"
