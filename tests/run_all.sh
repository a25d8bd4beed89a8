#!/bin/bash
# Everything that `make test` checks: lint, unit tests, the shim under real clients, end-to-end
# tests; with FULL=1 also the unit tests under sanitizers.  The last line is "N passed, N failed".
set -u
cd "$(dirname "$0")/.."
mode=release
build=build/$mode
passed=0; failed=0; skipped=0
results=$(mktemp -d); trap 'rm -rf "$results"' EXIT

step() { # step NAME COMMAND...: one test
  local name=$1 start=$SECONDS; shift
  if "$@" > "$results/log" 2>&1; then
    passed=$((passed + 1)); echo "ok $name ($((SECONDS - start))s)"
  else
    failed=$((failed + 1)); echo "not ok $name"; tail -n 40 "$results/log" | cut -c 1-300 | sed 's/^/#   /'
  fi
}

# unit BUILD_DIR SUITE: each case counts.  A suite runs in so many parts at once; many of its tests
# wait for a disk or a clock.
parts=$(($(nproc) * 3 / 2))
unit() {
  local part count=1
  [ "$(find "tests/$2" -name '*_test.cc' | wc -l)" -lt 20 ] || count=$parts
  for ((part = 0; part < count; part++)); do
    GTEST_TOTAL_SHARDS=$count GTEST_SHARD_INDEX=$part timeout -k 10 "${UNIT_TIMEOUT:-900}" \
      "$1/tests/$2_test" --gtest_brief=1 --gtest_output="xml:$results/$2.$part.xml" \
      > "$results/$2.$part.log" 2>&1 &
    echo $! > "$results/$2.$part.pid"
  done
  local all=0 bad=0 off=0 broken=
  for ((part = 0; part < count; part++)); do
    local report=$results/$2.$part.xml log=$results/$2.$part.log cases failures status=0
    wait "$(cat "$results/$2.$part.pid")" || status=$?
    cases=$(sed -n 's/.*<testsuites tests="\([0-9]*\)".*/\1/p' "$report" 2>/dev/null | head -n 1)
    failures=$(sed -n 's/.*<testsuites .*failures="\([0-9]*\)".*/\1/p' "$report" 2>/dev/null | head -n 1)
    if [ -z "$cases" ] || { [ $status -ne 0 ] && [ "${failures:-0}" = 0 ]; }; then
      broken+=" (part $part: exit status $status)"
    fi
    all=$((all + ${cases:-0})); bad=$((bad + ${failures:-0}))
    off=$((off + $(grep -c 'result="skipped"' "$report" 2>/dev/null || true)))
    [ $status -eq 0 ] || grep -E "FAILED|Failure|ERROR|SUMMARY|rror:" -A 6 "$log" |
      head -n 60 | cut -c 1-300 | sed 's/^/#   /'
  done
  passed=$((passed + all - bad - off)); failed=$((failed + bad)); skipped=$((skipped + off))
  echo "$1 $2: $((all - bad - off)) passed, $bad failed"
  [ -z "$broken" ] || { failed=$((failed + 1)); echo "not ok $1 $2$broken"; }
}

lines() { # lines COMMAND...: counts "ok NAME", "not ok NAME", "skip NAME"
  "$@" 2>&1 | tee "$results/lines"
  local status=${PIPESTATUS[0]}
  local ok bad off
  ok=$(grep -c '^ok ' "$results/lines"); bad=$(grep -c '^not ok ' "$results/lines")
  off=$(grep -c '^skip ' "$results/lines")
  [ "$status" -eq 0 ] || [ "$bad" -gt 0 ] || bad=1
  passed=$((passed + ok)); failed=$((failed + bad)); skipped=$((skipped + off))
}

finish() {
  [ $skipped -eq 0 ] || echo "$skipped skipped"
  echo "$passed passed, $failed failed"
  [ $failed -eq 0 ] && [ $passed -gt 0 ]
  exit
}

suites=$(for t in tests/*/*_test.cc; do basename "$(dirname "$t")"; done | sort -u)
jobs=-j$(nproc)
echo "== build"
step "build" make --no-print-directory "$jobs" all $(for s in $suites; do echo "$build/tests/${s}_test"; done) \
  "$build/tests/recorder" "$build/tests/fault_check" \
  $(for b in bench/*_bench.cc; do echo "$build/${b%.cc}"; done)
[ $failed -eq 0 ] || finish
echo "== lint";              step "lint" make --no-print-directory "$jobs" lint
echo "== unit tests";        for s in $suites; do unit "$build" "$s"; done
echo "== shim, real clients"; lines tests/preload/run.sh "$build"
echo "== fuzzers"
step "build fuzzers" make --no-print-directory "$jobs" fuzz
lines tests/fuzz/run.sh "$build" "${FUZZ_SECONDS:-60}"
echo "== end to end";        lines tests/system/run.sh "$build"
if [ -n "${FULL:-}" ]; then
  for san in address,undefined thread; do
    dir=build/$mode-${san//,/-}
    echo "== unit tests, $san"
    step "build $san" make --no-print-directory "$jobs" SAN=$san \
      $(for s in $suites; do echo "$dir/tests/${s}_test"; done)
    for s in $suites; do unit "$dir" "$s"; done
  done
fi
finish
