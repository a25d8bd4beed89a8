#!/bin/sh
# What the compiler does not say and is cheap enough for every `make lint`.
set -eu
files=$(git ls-files --cached --others --exclude-standard '*.h' '*.cc' '*.c' '*.def')
files=$(for f in $files; do [ -f "$f" ] && echo "$f"; done)
bad=0
reject() { # reject REASON PATTERN [EXCEPT]
  if grep -nE "$2" $files /dev/null | grep -vE "${3:-^$}"; then echo "^ $1" >&2; bad=1; fi
}
reject 'leftover'                                     '\b(FIXME|XXX)\b'
reject 'tab or trailing blank'                        '	|[ ]$'
reject 'longer than 100 columns'                      '^.{101}' '^preload/hooks.def'
reject 'use the annotated Mutex (common/mutex.h)'     'std::(mutex|lock_guard|unique_lock|scoped_lock)' '^common/mutex'
# The crash test kills at random moments, the benchmark starts when PUB is up, and the sweeps' checker asks
# again until its deadline: no synchronisation.
reject 'wait for an event, do not sleep'              'sleep_for|sleep_until|[^_a-z]usleep|nanosleep|[^_a-z]sleep\(' '^(common/clock|tests/support|tests/daemon/replica_crash_test|tests/fault/check|bench/)'
reject 'TODO(perf|test|port): say which'              'TODO' 'TODO\((perf|test|port)\): '
# What shows that the header stands alone; `make lint` compiles those that have no source.
for f in $files; do
  header=${f%.cc}.h
  case $f in *.cc) [ -f "$header" ] || continue ;; *) continue ;; esac
  if [ "$(grep -m 1 '^#include' "$f")" != "#include \"$header\"" ]; then
    echo "$f: the first include is not its own header" >&2; bad=1
  fi
done
sources=$(for f in $files; do case $f in *.def) ;; *) echo "$f" ;; esac; done)
if ! echo "$sources" | xargs clang-format --dry-run -Werror; then
  echo "^ make format" >&2; bad=1
fi
[ $bad = 0 ] && echo "style: $(echo "$files" | wc -l) files"
exit $bad
