#!/bin/bash
# make demo: an unmodified sqlite3 and an unmodified Python program write on one node; another node
# holds the same bytes a moment later.  Everything runs in a scratch directory on this machine.
#   tests/system/demo.sh BUILD_DIR
# Ends with status 0 only if every comparison holds.
set -euo pipefail
build=$(realpath "$1")
PATH=$build:$PATH
shim=$build/liblitefs.so
unset LITEFS_CONFIG LD_PRELOAD
table=/usr/share/unicode/UnicodeData.txt
python=/usr/bin/python3
deadline_seconds=30

bold='' green='' red='' plain=''
[ ! -t 1 ] || { bold=$'\e[1m' green=$'\e[32m' red=$'\e[31m' plain=$'\e[0m'; }
say() { printf '%s%s%s\n' "$bold" "$*" "$plain"; }
fail() { printf '%sdemo failed: %s%s\n' "$red" "$*" "$plain" >&2; exit 1; }

scratch=$(mktemp -d /tmp/litefs-demo.XXXXXX)
daemons=() updaters=()
finish() {
  local status=$?
  trap - EXIT
  touch "$scratch/stop"  # the updaters end by themselves
  [ ${#updaters[@]} = 0 ] || kill "${updaters[@]}" 2>/dev/null || true
  [ ${#daemons[@]} = 0 ] || kill "${daemons[@]}" 2>/dev/null || true
  wait || true
  if [ $status != 0 ]; then
    for log in "$scratch"/*.log; do [ ! -s "$log" ] || { echo "--- $log"; tail -n 15 "$log"; } >&2; done
  fi
  rm -rf "$scratch"
  exit $status
}
trap finish EXIT
trap 'exit 1' INT TERM HUP

[ -r "$table" ] || fail "$table is not there (package unicode-data)"
rows=$(wc -l < "$table")

# Two free ports, the second behind the first: the replica's subscriptions and its pulls.
free_port() {
  "$python" - <<'PY'
import random, socket
for _ in range(200):
    port = random.randrange(20000, 30000)
    try:
        for p in (port, port + 1):
            with socket.socket() as s:
                s.bind(("127.0.0.1", p))
    except OSError:
        continue
    print(port)
    break
PY
}

start_daemon() { # start_daemon NAME: with $scratch/NAME.yml; returns when programs can connect
  mkfifo "$scratch/$1.ready"
  litefs daemon --config "$scratch/$1.yml" --ready-fd 3 2> "$scratch/$1.log" 3> "$scratch/$1.ready" &
  daemons+=($!)
  read -r -n 1 < "$scratch/$1.ready" || fail "the $1's daemon did not start"
}

wait_for_replica() { # wait_for_replica DATABASE: prints the position that both have reached
  local wanted here end=$((SECONDS + deadline_seconds))
  wanted=$(litefs pos "$scratch/primary/$1") || fail "litefs pos $1 on the primary"
  until here=$(litefs pos "$scratch/replica/$1" 2>/dev/null) && [ "$here" = "$wanted" ]; do
    [ $SECONDS -lt $end ] || fail "$1: the replica is at ${here:-nothing}, the primary at $wanted"
    sleep 0.05
  done
  echo "$wanted"
}

import_script() { # import_script JOURNAL_MODE: what the stock shell runs
  cat <<SQL
.timeout 30000
PRAGMA journal_mode = $1;
CREATE TABLE updates(n INTEGER);
CREATE TABLE unicode(code TEXT PRIMARY KEY, name, category, combining, bidi, decomposition, dec,
  digit, numeric, mirrored, old_name, comment, upper, lower, title);
.mode ascii
.separator ";" "\n"
.import $table unicode
SQL
}

# Updates rows of one database, a transaction each, until the file STOP is there.
cat > "$scratch/update.py" <<'PY'
import os, sqlite3, sys, time
path, stop = sys.argv[1:]
db = sqlite3.connect(path, timeout=30, isolation_level=None)
done = 0
while not db.execute("SELECT count(*) FROM sqlite_schema WHERE name = 'unicode'").fetchone()[0]:
    time.sleep(0.01)
while not os.path.exists(stop) or done < 50:
    try:
        db.execute("BEGIN IMMEDIATE")
        db.execute("UPDATE unicode SET comment = 'seen by Python' WHERE rowid % 997 = ?", (done,))
        db.execute("INSERT INTO updates VALUES (?)", (done,))
        db.execute("COMMIT")
        done += 1
        time.sleep(0.002)  # SQLite has no queue: leave the importer its turn
    except sqlite3.OperationalError as error:
        if db.in_transaction:
            db.execute("ROLLBACK")
        if "locked" not in str(error):
            raise
db.close()
print(done)
PY

port=$(free_port)
mkdir "$scratch/primary" "$scratch/replica"
cat > "$scratch/primary.yml" <<YAML
dir: $scratch/primary
replication: { listen: "tcp://127.0.0.1:$port" }
YAML
cat > "$scratch/replica.yml" <<YAML
dir: $scratch/replica
lease: { primary: false }
replication: { primary: "tcp://127.0.0.1:$port" }
YAML
say "1. Two nodes: a primary on port $port, and a replica that follows it."
start_daemon primary
start_daemon replica

say "2. The sqlite3 shell imports $rows rows, in WAL and in DELETE mode, while Python updates them."
for mode in wal delete; do
  LD_PRELOAD=$shim sqlite3 "$scratch/primary/$mode.db" 'CREATE TABLE early(x)'
  LD_PRELOAD=$shim "$python" "$scratch/update.py" "$scratch/primary/$mode.db" "$scratch/stop" \
    > "$scratch/$mode.updates" 2> "$scratch/$mode-update.log" &
  updaters+=($!)
done
for mode in wal delete; do
  import_script $mode | LD_PRELOAD=$shim sqlite3 -bail "$scratch/primary/$mode.db" \
    > "$scratch/$mode-import.log" 2>&1 || fail "the import in $mode mode"
done
touch "$scratch/stop"
for updater in "${updaters[@]}"; do wait "$updater" || fail 'the Python program'; done

say '3. What each node holds:'
for mode in wal delete; do
  position=$(wait_for_replica $mode.db)
  for node in primary replica; do
    database=$scratch/$node/$mode.db
    litefs export "$database" "$scratch/$node-$mode.db" > /dev/null || fail "export from the $node"
    # The stock shell, without the library: a reader like any other.
    count=$(sqlite3 "$database" 'SELECT count(*) FROM unicode')
    updates=$(sqlite3 "$database" 'SELECT count(*) FROM updates')
    check=$(sqlite3 "$database" 'PRAGMA integrity_check')
    sum=$(sha256sum < "$scratch/$node-$mode.db" | cut -c 1-16)
    checksum=$(litefs ltx checksum "$scratch/$node-$mode.db")
    printf '   %-7s %-9s %s rows, %s updates, position %s, sha256 %s…, integrity %s\n' \
      "$node" "$mode.db" "$count" "$updates" "$position" "$sum" "$check"
    [ "$count" = "$rows" ] || fail "$node/$mode.db has $count rows, the table has $rows"
    [ "$updates" = "$(cat "$scratch/$mode.updates")" ] || fail "$node/$mode.db lacks updates"
    [ "$check" = ok ] || fail "$node/$mode.db: integrity_check: $check"
    [ "$checksum" = "${position#*/}" ] || fail "$node/$mode.db: checksum $checksum, not $position"
  done
  cmp "$scratch/primary-$mode.db" "$scratch/replica-$mode.db" || fail "$mode.db differs"
done
printf '%s4. The replica holds the same bytes.  (%s s)%s\n' "$green" "$SECONDS" "$plain"
