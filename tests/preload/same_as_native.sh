#!/bin/sh
# Each probe (probes/*.cc) must print the same, and exit the same, natively, under the shim in a
# directory without a daemon's mark, and in one with it.
#   same_as_native.sh BUILD_DIR
set -eu
build=$(realpath "$1"); here=$(dirname "$(realpath "$0")")
shim=$build/liblitefs.so; out=$build/probes; bad=0
mkdir -p "$out"
for source in "$here"/probes/*.cc; do
  name=$(basename "$source" .cc); probe=$out/$name
  [ "$probe" -nt "$source" ] || ${CXX:-g++} -std=c++20 -O1 -w -pthread -o "$probe" "$source"
  for way in native shim managed; do
    dir=$(mktemp -d); preload=$shim
    [ $way = native ] && preload=
    [ $way = managed ] && mkdir "$dir/.litefs"
    (cd "$dir"; rc=0; LD_PRELOAD=$preload "$probe" > "$probe.$way" 2>&1 || rc=$?; echo "exit $rc" >> "$probe.$way")
    rm -rf "$dir"
  done
  if diff -u "$probe.native" "$probe.shim" && diff -u "$probe.native" "$probe.managed"; then
    echo "ok probe $name"
  else
    echo "not ok probe $name"; bad=1
  fi
done
exit $bad
