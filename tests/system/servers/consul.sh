#!/bin/sh
# A Consul for tests, in the foreground:  consul.sh DATA_DIR HTTP_PORT SERVER_PORT SERF_PORT
# On loopback, one server, with sessions as short as a second.  Exit status 77: there is no Consul.
#
# Debian 12 has none; Debian 11's package (1.8.7) runs on it.  It is fetched once, by apt and with
# Debian's keys, without touching the machine's own sources, into ~/.cache/litefs-tests.
set -eu
cache=${XDG_CACHE_HOME:-$HOME/.cache}/litefs-tests
fetch() {
  work=$(mktemp -d); trap 'rm -rf "$work"' EXIT
  key=/usr/share/keyrings/debian-archive-keyring.gpg
  echo "deb [signed-by=$key] http://deb.debian.org/debian bullseye main" > "$work/sources.list"
  mkdir -p "$work/lists/partial" "$work/archives/partial" "$cache"
  own="-o Dir::Etc::sourcelist=$work/sources.list -o Dir::Etc::sourceparts=/dev/null
       -o Dir::State::lists=$work/lists -o Dir::Cache::pkgcache= -o Dir::Cache::srcpkgcache="
  # shellcheck disable=SC2086 # words
  (cd "$work" && apt-get $own update && apt-get $own download consul &&
   dpkg -x consul_*.deb "$work/root") >&2 || return 1
  mv "$work/root/usr/bin/consul" "$cache/consul"
}
consul=$(command -v consul || echo "$cache/consul")
[ -x "$consul" ] || fetch || exit 77
[ "${1:-}" != --fetch ] || exit 0
exec "$consul" agent -server -bootstrap-expect=1 -data-dir="$1" -bind=127.0.0.1 -client=127.0.0.1 \
  -node=t1 -http-port="$2" -dns-port=-1 -grpc-port=-1 -server-port="$3" -serf-lan-port="$4" \
  -serf-wan-port=-1 -log-level=err -hcl 'session_ttl_min = "1s"' \
  -hcl 'performance { raft_multiplier = 1 }'
