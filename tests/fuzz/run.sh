#!/bin/bash
# Runs every fuzzer, all at once, each on a copy of its corpus:  tests/fuzz/run.sh BUILD_DIR [SECONDS]
# Prints "ok NAME (N inputs)", or "not ok NAME" with the end of its output and the line that repeats the
# crash; exits 1 if any failed.  A fuzzer that has hardly run has failed too.
set -u
build=$1; seconds=${2:-60}
here=$(dirname "$(realpath "$0")")
scratch=$(mktemp -d); trap 'rm -rf "$scratch"' EXIT
min_inputs=1000
for fuzzer in "$build"/fuzz/*_fuzz; do
  name=$(basename "$fuzzer" _fuzz)
  mkdir -p "$scratch/$name"; cp "$here/corpus/$name"/* "$scratch/$name"
  "$fuzzer" -max_total_time="$seconds" -max_len=65536 -rss_limit_mb=2048 -print_final_stats=1 \
    -artifact_prefix="$build/fuzz/$name-" "$scratch/$name" > "$scratch/$name.log" 2>&1 &
  pids[$!]=$name
done
failed=0
for pid in "${!pids[@]}"; do
  name=${pids[$pid]}
  wait "$pid"; status=$?
  inputs=$(sed -n 's/^stat::number_of_executed_units: *//p' "$scratch/$name.log")
  if [ $status -eq 0 ] && [ "${inputs:-0}" -ge $min_inputs ]; then
    echo "ok $name ($inputs inputs)"
  else
    failed=1; echo "not ok $name (exit status $status, ${inputs:-no} inputs)"
    tail -n 30 "$scratch/$name.log" | cut -c 1-200 | sed 's/^/#   /'
    sed -n 's|.*Test unit written to \(.*\)|#   again: '"$build/fuzz/${name}_fuzz"' \1|p' "$scratch/$name.log"
  fi
done
exit $failed
