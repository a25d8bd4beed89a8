#!/bin/bash
# The end-to-end tests, TEST_JOBS at a time (default: three for two processors, since they wait more
# than they work):  tests/system/run.sh BUILD_DIR [PATTERN]
# PATTERN (of grep) chooses by name.  Prints "ok NAME (Ns)", "not ok NAME (Ns)" with the end of its
# output, or "skip NAME (why)"; exits 1 if any failed.
set -u
build=$(realpath "$1"); pattern=${2:-.}
here=$(dirname "$(realpath "$0")")
jobs=${TEST_JOBS:-$(($(nproc) * 3 / 2))}
logs=$(mktemp -d)
trap 'kill $(jobs -p) 2>/dev/null; wait; rm -rf "$logs"' EXIT
trap 'exit 1' INT TERM

run_one() { # run_one FILE: one test, reported in one piece
  local file=$1 name log started status test_pid
  name=$(basename "$file"); name=${name%_test.*}
  log=$logs/$name
  started=$SECONDS
  trap 'kill $test_pid 2>/dev/null; exit 1' TERM
  timeout -k 30 "${TEST_TIMEOUT:-600}" "$file" "$build" > "$log" 2>&1 &
  test_pid=$!
  wait $test_pid; status=$?
  {
    flock 9
    case $status in
      0) echo "ok $name ($((SECONDS - started))s)" ;;
      77) echo "skip $name ($(sed -n 's/^SKIPPED: //p' "$log"))" ;;
      *) touch "$logs/failed"
        echo "not ok $name ($((SECONDS - started))s, exit status $status)"
        tail -n 60 "$log" | cut -c 1-300 | sed 's/^/#   /' ;;
    esac
  } 9> "$logs/lock"
}

for file in "$here"/*_test.py "$here"/*_test.sh; do
  basename "$file" | sed 's/_test\..*//' | grep -qE "$pattern" || continue
  while [ "$(jobs -rp | wc -l)" -ge "$jobs" ]; do wait -n; done
  run_one "$file" &
done
wait
[ ! -e "$logs/failed" ]
