#!/bin/sh
# The shim's contract with its host process, checked on the linked file: it exports exactly the hooks
# of preload/hooks.def, imports only what preload/imports.allow lists, needs only libc, and hooks
# every 64-bit and fortified sibling that libc has of each hook.
#   check_symbols.sh liblitefs.so
set -eu
shim=$1
tmp=$(mktemp -d); trap 'rm -rf "$tmp"' EXIT
export LC_ALL=C
fail() { echo "check_symbols: $*" >&2; exit 1; }

nm -D --defined-only "$shim" | awk '{print $3}' | sort > "$tmp/exported"
sed -n 's/^HOOK([^,]*, *\([a-z_0-9]*\),.*/\1/p' preload/hooks.def | sort > "$tmp/hooks"
diff "$tmp/hooks" "$tmp/exported" || fail "exports are not the hooks of preload/hooks.def"

nm -D --undefined-only "$shim" | awk '$1=="U"{sub(/@.*/,"",$2); print $2}' | sort > "$tmp/imported"
grep -v '^#' preload/imports.allow | sort > "$tmp/allowed"
extra=$(comm -23 "$tmp/imported" "$tmp/allowed")
[ -z "$extra" ] || fail "imports what it may not:" $extra

needed=$(readelf -d "$shim" | sed -n 's/.*NEEDED.*\[\(.*\)\]/\1/p' | grep -vxE 'libc\.so\.6|ld-linux-.*' || true)
[ -z "$needed" ] || fail "needs" $needed
! readelf -lW "$shim" | grep -q 'GNU_STACK.*RWE' || fail "wants an executable stack"
[ "$(size -A "$shim" | awk '$1==".data"{print $2}')" -lt 4096 ] || fail "state is not all zeros at start"

libc=$(ldd "$shim" | awk '/libc\.so/{print $3}')
nm -D --defined-only "$libc" | awk '{sub(/@.*/,"",$3); print $3}' | sort -u > "$tmp/libc"
while read -r hook; do
  base=${hook%64}
  for sibling in "$base" "${base}64" "__${base}_chk" "__${base}64_chk" "__${base}_2" "__${base}64_2"; do
    if grep -qx "$sibling" "$tmp/libc" && ! grep -qx "$sibling" "$tmp/hooks"; then
      fail "$hook is hooked and its sibling $sibling is not"
    fi
  done
done < "$tmp/hooks"
echo "symbols: $(wc -l < "$tmp/exported") exported, $(wc -l < "$tmp/imported") imported"
