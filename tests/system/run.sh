#!/bin/sh
# The end-to-end tests, one after the other:  tests/system/run.sh BUILD_DIR [PATTERN]
# PATTERN (of grep) chooses by name.  Prints "ok NAME (Ns)", "not ok NAME (Ns)" with the end of its
# output, or "skip NAME (why)"; exits 1 if any failed.
set -u
build=$(realpath "$1"); pattern=${2:-.}
here=$(dirname "$(realpath "$0")")
log=$(mktemp)
test_pid=
# shellcheck disable=SC2086 # absent or one word
trap 'rm -f "$log"; [ -z "$test_pid" ] || kill $test_pid 2>/dev/null' EXIT
trap 'exit 1' INT TERM
failed=0
for file in "$here"/*_test.py "$here"/*_test.sh; do
  name=$(basename "$file"); name=${name%_test.*}
  echo "$name" | grep -qE "$pattern" || continue
  started=$(date +%s)
  timeout -k 30 "${TEST_TIMEOUT:-600}" "$file" "$build" > "$log" 2>&1 &
  test_pid=$!
  wait $test_pid; status=$?
  test_pid=
  seconds=$(($(date +%s) - started))
  case $status in
    0) echo "ok $name (${seconds}s)" ;;
    77) echo "skip $name ($(sed -n 's/^SKIPPED: //p' "$log"))" ;;
    *) failed=1
      echo "not ok $name (${seconds}s, exit status $status)"
      tail -n 60 "$log" | cut -c 1-300 | sed 's/^/#   /' ;;
  esac
done
exit $failed
