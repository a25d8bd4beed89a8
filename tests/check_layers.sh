#!/bin/sh
# Fails if a directory includes from one that it must not know.  An unlisted one may include nothing
# but itself.  tests and bench may include all.
set -eu
bad=0
layer() { # layer DIR ALLOWED...
  dir=$1; shift
  [ -d "$dir" ] || return 0
  allowed=$(echo "$dir $*" | tr ' ' '|')
  if grep -sHnE '^#include "' "$dir"/*.h "$dir"/*.cc |
     grep -vE "#include \"($allowed)/[a-z0-9_]+\.(h|def)\"" |
     grep -vE '#include "absl/'; then
    echo "^ $dir/ may include only: $dir $*" >&2; bad=1
  fi
}
layer common
layer ltx                common
layer ipc                common
layer preload            common ipc
layer daemon/sqlite      common
layer daemon/db          common ltx daemon/sqlite
layer daemon/store       common ltx daemon/db daemon/sqlite
layer daemon/session     common ipc daemon/db daemon/store
layer daemon/replication common ltx daemon/db daemon/store
layer daemon/lease       common ltx
layer daemon/crypto      common ltx
layer daemon/archive     common ltx daemon/db daemon/store daemon/crypto
all=$(ls -d daemon/*/ 2>/dev/null | sed 's|/$||' | tr '\n' ' ')
layer daemon/cli         common ipc ltx daemon $all
layer daemon             common ipc ltx $all
for dir in $all; do
  case $dir in */sqlite | */db | */store | */session | */replication | */lease | */crypto | */archive | */cli) ;;
    *) layer "$dir" common ipc ltx daemon/sqlite daemon/db daemon/store ;;
  esac
done
# The shim and what it is linked with never use the hosted libraries.
shim_files="preload/*.h preload/*.cc common/msgpack.* common/endian.h common/raw_syscall.h
            common/sqlite_format.h common/page_ring.h ipc/protocol.h ipc/wanted.h ipc/codec.* ipc/client.*"
if grep -nE '#include ("absl|<(absl|fmt|spdlog|cstdio|iostream|fstream|string|vector|map|memory|functional|mutex|thread)[/>])' $shim_files; then
  echo "^ not in the shim" >&2; bad=1
fi
[ $bad = 0 ] && echo "layers: ok"
exit $bad
