#!/bin/sh
# An etcd for tests, in the foreground:  etcd.sh DATA_DIR CLIENT_PORT PEER_PORT
# On loopback, quick to elect itself, and careless about its disk.
set -eu
exec etcd --name n1 --data-dir "$1" \
  --listen-client-urls "http://127.0.0.1:$2" --advertise-client-urls "http://127.0.0.1:$2" \
  --listen-peer-urls "http://127.0.0.1:$3" --initial-advertise-peer-urls "http://127.0.0.1:$3" \
  --initial-cluster "n1=http://127.0.0.1:$3" --logger zap --log-outputs stderr \
  --heartbeat-interval 10 --election-timeout 50 --unsafe-no-fsync
