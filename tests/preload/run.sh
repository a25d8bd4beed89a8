#!/bin/bash
# End-to-end tests of the shim: real SQLite clients under LD_PRELOAD against the recorder
# (recorder.cc), whose lines must be exactly the expected ones; then the probes.
#   tests/preload/run.sh BUILD_DIR [PATTERN]
# Prints "ok NAME" or "not ok NAME" a case; exits 1 if any failed.
set -u
build=$(realpath "$1"); pattern=${2:-.}
shim=$build/liblitefs.so
[ -x "$build/tests/recorder" ] || { echo "not ok $build/tests/recorder is not built" >&2; exit 1; }
here=$(dirname "$(realpath "$0")")
tmp=$(mktemp -d); trap 'kill_recorder; rm -rf "$tmp"' EXIT
failures=0; recorder=

# ---- Tools ---------------------------------------------------------------------------------------
kill_recorder() { # also from a subshell, which cannot wait for it: its socket goes last
  [ -n "$recorder" ] || return 0
  if kill "$recorder" 2>/dev/null; then
    wait "$recorder" 2>/dev/null; while [ -S "$dir/.litefs/socket" ]; do sleep 0.005; done
  fi
  recorder=
}
start_recorder() { # start_recorder [OPTION]...: the log goes on where it was
  echo --- >> "$log"; starts=$(grep -c '^---' "$log")
  "$build/tests/recorder" "$dir" "$@" >> "$log" & recorder=$!
  until [ "$(grep -c '^ready' "$log")" = "$starts" ]; do sleep 0.005; done
}
preload() { LD_PRELOAD=$shim LITEFS_PRELOAD_LOG=$dir/shim.log "$@"; }
sql() { preload sqlite3 "$db" "$@" > "$dir/out" 2> "$dir/err"; }
plain() { sqlite3 "$db" "$@" > /dev/null; }
# The recorder's lines without byte ranges, on one line; hello and bye only with a name.
events() { kill_recorder; grep -vE '^(ready|---)' "$log" | sed -E 's/( [0-9]+\+[0-9]+)+$//; s/^(hello [^ ]+).*/\1/' | tr '\n' ',' | sed 's/,$//'; }
expect() { # expect WHAT ACTUAL EXPECTED
  [ "$2" = "$3" ] || { echo "#   $1: $2"; echo "#   expected: $3"; bad=1; }
}
expect_events() { expect events "$(events)" "$1"; }
matches() { [[ $2 =~ $3 ]] || { echo "#   $1: $2"; echo "#   expected: $3"; bad=1; }; }
testcase() { # testcase NAME FUNCTION [ARGUMENT]...
  echo "$1" | grep -qE "$pattern" || return 0
  name=$1; shift
  dir=$tmp/$RANDOM$RANDOM; mkdir -p "$dir/.litefs"; log=$dir/.litefs/log; : > "$log"
  db=$dir/a.db; bad=0
  "$@"; kill_recorder
  if [ $bad = 0 ]; then echo "ok $name"; else echo "not ok $name"; failures=$((failures + 1)); fi
  rm -rf "$dir"
}
# What one transaction of a mode looks like, and a whole life: mode, create, two inserts, close.
tx='prepare synced,commit synced,done 0'
unlogged='prepare synced,commit synced recheck,done 0'

# ---- Clients in each journal mode ----------------------------------------------------------------
client_sqlite3() { preload sqlite3 "$1" "pragma journal_mode=$2; create table t(x); insert into t values(1); insert into t values(2)"; }
client_python3() { preload /usr/bin/python3 - "$1" "$2" <<'PY'
import sqlite3, sys
c = sqlite3.connect(sys.argv[1], isolation_level=None)
c.execute('pragma journal_mode=' + sys.argv[2]).fetchall()
c.execute('create table t(x)')
c.execute('insert into t values(1)')
c.execute('insert into t values(2)')
c.close()
PY
}
client_perl() { preload perl -MDBI -e 'my $c = DBI->connect("dbi:SQLite:dbname=$ARGV[0]", "", "", {RaiseError => 1});
  $c->selectall_arrayref("pragma journal_mode=$ARGV[1]"); $c->do("create table t(x)");
  $c->do("insert into t values(1)"); $c->do("insert into t values(2)"); $c->disconnect' "$1" "$2"; }
client_php() { preload php -r '$c = new SQLite3($argv[1]); $c->exec("pragma journal_mode=".$argv[2]);
  $c->exec("create table t(x)"); $c->exec("insert into t values(1)"); $c->exec("insert into t values(2)");
  $c->close();' "$1" "$2"; }
modes() { # modes CLIENT MODE
  start_recorder
  "client_$1" "$db" "$2" > "$dir/out" 2>&1 || { cat "$dir/out"; bad=1; }
  case $2 in
    delete | truncate | persist) expect_events "hello a.db,$tx,$tx,$tx,bye a.db" ;;
    memory | off) expect_events "hello a.db,$unlogged,$unlogged,$unlogged,bye a.db" ;;
    wal) expect_events "hello a.db,$tx,bell,bell,bell,bell,prepare synced,commit synced recheck,done 0,drain unlink,drain unlink,bye a.db" ;;
  esac
  expect content "$(sqlite3 "$db" 'select group_concat(x) from t; pragma integrity_check' | tr '\n' ' ')" '1,2 ok '
}

# ---- Transactions --------------------------------------------------------------------------------
fill='with recursive n(i) as (select 1 union all select i+1 from n where i<300) insert into t select randomblob(900) from n'
rollback_after_spill() { # a commit that changes nothing
  plain "create table t(x); $fill"; before=$(sha256sum < "$db")
  start_recorder
  sql "pragma cache_size=5; begin; update t set x=randomblob(900); rollback"
  # The spill syncs the database, several times; the playback syncs it again.
  matches events "$(events)" '^hello a\.db,(prepare synced,)+commit synced,done 0,bye a\.db$'
  expect content "$(sha256sum < "$db")" "$before"
}
rolls_back_anothers_journal() { # whose writer died and may not have told all it wrote
  plain "create table t(x); $fill"
  start_recorder
  preload /usr/bin/python3 - "$db" <<'PY' 2> /dev/null
import os, signal, sqlite3, sys
c = sqlite3.connect(sys.argv[1], isolation_level=None)
c.execute('pragma cache_size=5'); c.execute('begin'); c.execute('update t set x = randomblob(900)')
os.kill(os.getpid(), signal.SIGKILL)
PY
  [ -s "$db-journal" ] || { echo '#   no hot journal'; bad=1; }
  sql 'select count(*) from t'
  matches events "$(events)" '^hello a\.db,(prepare[^,]*,)*bye a\.db,hello a\.db,(prepare[^,]*,)*commit[^,]* unknown,done 0'
}
rollback_without_writes() {
  plain 'create table t(x)'
  start_recorder; sql 'begin immediate; insert into t values(1); rollback'
  expect_events 'hello a.db,bye a.db'
}
reads_make_no_session() {
  plain "pragma journal_mode=$1; create table t(x); insert into t values(7)"
  start_recorder; sql 'select x from t'
  expect answer "$(cat "$dir/out")" 7
  expect_hello=$(grep -c hello "$log")
  [ "$1" = wal ] || expect 'sessions' "$expect_hello" 0
}
reads_without_a_daemon() {
  plain "pragma journal_mode=$1; create table t(x); insert into t values(7)"
  started=$(date +%s%N); sql 'select x from t'; took=$((($(date +%s%N) - started) / 1000000))
  expect answer "$(cat "$dir/out")" 7
  [ $took -lt 1000 ] || { echo "#   took $took ms"; bad=1; }
}
exclusive_locking() { # nothing is unlocked between the transactions
  start_recorder
  sql 'pragma locking_mode=exclusive; create table t(x); insert into t values(1)'
  expect_events "hello a.db,$tx,$tx,bye a.db"
}
exclusive_wal() {
  start_recorder
  sql 'pragma locking_mode=exclusive; pragma journal_mode=wal; create table t(x); insert into t values(1)'
  matches events "$(events)" "^hello a\.db,$tx,drain restart,bell,bell,prepare synced,commit synced recheck,done 0,drain unlink,bye a\.db$"
}
mode_changes() {
  start_recorder
  sql 'pragma journal_mode=wal; create table t(x); pragma journal_mode=delete; insert into t values(1)'
  matches events "$(events)" "^hello a\.db,$tx,bell,.*drain unlink,.*$tx,bye a\.db$"
}
vacuum_shrinks() {
  plain "create table t(x); $fill; delete from t where rowid>5"
  start_recorder; sql vacuum
  # The file is cut after the commit point: once more, without a claim.
  matches events "$(events)" "^hello a\.db,(prepare synced,)+commit synced,done 0,(prepare synced,)?commit( synced)? recheck,done 0,bye a\.db$"
}
checkpoint_truncate() {
  plain 'pragma journal_mode=wal; create table t(x)'
  start_recorder
  sql 'insert into t values(1); pragma wal_checkpoint(truncate); insert into t values(2)'
  matches events "$(events)" '^hello a\.db,(bell,)*drain restart,drain truncate,(bell,)+.*drain unlink'
}
persist_size_limit() {
  start_recorder
  sql 'pragma journal_mode=persist; pragma journal_size_limit=1024; create table t(x); insert into t values(1)'
  expect errors "$(cat "$dir/err")" ''
  expect_events "hello a.db,$tx,$tx,bye a.db"
}
attached() { # each database has its session; the super-journal is none
  start_recorder
  sql "attach '$dir/b.db' as b; create table t(x); create table b.t(x); begin; insert into t values(1); insert into b.t values(1); commit"
  events > "$dir/events"
  expect sessions "$(grep -o 'hello [a-z.]*' "$log" | sort | tr '\n' ' ')" 'hello a.db hello b.db '
  expect commits "$(grep -c '^done 0' "$log")" 4
}
many_ranges() { # more than the shim's list holds
  plain "create table t(i integer primary key, x); $(echo "$fill" | sed 's/300/8000/; s/select randomblob/(x) select randomblob/; s/into t (x)/into t(x)/')"
  start_recorder
  sql 'pragma cache_size=10; update t set x=randomblob(900) where i % 9 = 0'
  expect errors "$(cat "$dir/err")" ''
  matches events "$(events)" 'dirty.*commit synced,done 0,bye a\.db$'
}
symlink_and_relative() {
  ln -s a.db "$dir/link.db"; : > "$db"; start_recorder
  (cd "$dir" && preload sqlite3 link.db 'create table t(x)')
  expect_events "hello a.db,$tx,bye a.db"
}
long_path() {
  dir=$dir/$(printf 'd%.0s' $(seq 150)); mkdir -p "$dir/.litefs"; db=$dir/a.db
  start_recorder; sql 'create table t(x)'
  expect_events "hello a.db,$tx,bye a.db"
  dir=$(dirname "$dir")
}
other_files() { # a log and a copy in a managed directory
  start_recorder
  preload sh -c 'for i in 1 2 3; do echo line >> "$0/app.log"; done; cat /etc/hostname > "$0/b.txt"' "$dir"
  preload /usr/bin/python3 -c 'import os,sys; f=os.open(sys.argv[1], os.O_RDWR|os.O_CREAT); os.write(f,b"no database"); os.write(f,b"at all"); os.close(f)' "$dir/x.db"
  expect_events ''
}
unmanaged() { rm -rf "$dir/.litefs"; log=$dir/log; : > "$log"; sql 'create table t(x)'; expect errors "$(cat "$dir/err")" ''; }

# ---- Processes, threads, descriptors -------------------------------------------------------------
several_writers() { # several_writers MODE
  plain "pragma journal_mode=$1; create table t(x)"; start_recorder
  for w in 1 2 3; do
    preload /usr/bin/python3 - "$db" <<'PY' &
import sqlite3, sys
c = sqlite3.connect(sys.argv[1], isolation_level=None, timeout=60)
for i in range(20):
    c.execute('insert into t values(1)')
c.close()
PY
    pids="${pids:-} $!"
  done
  wait $pids; pids=
  events > /dev/null
  expect sessions "$(grep -c hello "$log")" 3
  [ "$1" = wal ] || expect commits "$(grep -c '^done 0' "$log")" 60
  expect rows "$(sqlite3 "$db" 'select count(*) from t')" 60
}
python_case() { # python_case RECORDER_OPTIONS: runs the script on standard input with the database
  start_recorder $1
  preload /usr/bin/python3 - "$db" > "$dir/out" 2>&1 || { cat "$dir/out"; bad=1; }
}
threads() {
  python_case '' <<'PY'
import sqlite3, sys, threading
c = sqlite3.connect(sys.argv[1]); c.execute('create table t(x)'); c.close()
def work():
    c = sqlite3.connect(sys.argv[1], isolation_level=None, timeout=60)
    for i in range(20): c.execute('insert into t values(1)')
    c.close()
ts = [threading.Thread(target=work) for _ in range(4)]
[t.start() for t in ts]; [t.join() for t in ts]
PY
  events > /dev/null
  expect commits "$(grep -c '^done 0' "$log")" 81
}
fork_both_write() { # parent and child have a session each; the parent's outlives the child
  python_case '' <<'PY'
import os, sqlite3, sys
c = sqlite3.connect(sys.argv[1], isolation_level=None); c.execute('create table t(x)')
pid = os.fork()
if pid == 0:
    d = sqlite3.connect(sys.argv[1], isolation_level=None); d.execute('insert into t values(1)'); d.close()
    os._exit(0)
assert os.waitpid(pid, 0)[1] == 0
c.execute('insert into t values(2)')
c.close()
PY
  expect_events "hello a.db,$tx,hello a.db,$tx,bye a.db,$tx,bye a.db"
}
vfork_keeps_tracking() { # subprocess closes everything between vfork and exec
  python_case '' <<'PY'
import sqlite3, subprocess, sys
c = sqlite3.connect(sys.argv[1], isolation_level=None); c.execute('create table t(x)')
subprocess.run(['/bin/true'], close_fds=True, stdin=subprocess.DEVNULL, check=True)
c.execute('insert into t values(2)')
c.close()
PY
  expect_events "hello a.db,$tx,$tx,bye a.db"
}
steal_descriptor() { # steal_descriptor HOW: the session's socket is taken away
  python_case '' <<PY
import ctypes, os, sqlite3, sys
libc = ctypes.CDLL(None, use_errno=True)
def ours():
    return [int(f) for f in os.listdir('/proc/self/fd')
            if int(f) > 20 and os.readlink('/proc/self/fd/' + f).startswith('socket:')]
c = sqlite3.connect(sys.argv[1], isolation_level=None); c.execute('create table t(x)')
fd, = ours()
how = '$1'
if how == 'close':
    assert libc.close(fd) == -1 and ctypes.get_errno() == 9
elif how == 'dup2':
    null = os.open('/dev/null', os.O_RDWR); assert libc.dup2(null, fd) == fd
    assert os.path.samestat(os.fstat(fd), os.fstat(null))
elif how == 'close_range':
    assert libc.close_range(fd, 0xffffffff, 0) == 0
elif how == 'syscall':
    assert libc.syscall(3, fd) == 0
c.execute('insert into t values(2)')
if how == 'dup2':
    assert os.path.samestat(os.fstat(fd), os.fstat(null))
    assert libc.close(fd) == 0
c.close()
PY
  case $1 in
    close) expect_events "hello a.db,$tx,$tx,bye a.db" ;;
    *) expect_events "hello a.db,$tx,bye a.db,hello a.db,$tx,bye a.db" ;;
  esac
}
close_everything() { # a daemonising app; descriptors of the database too
  python_case '' <<'PY'
import ctypes, os, resource, sqlite3, sys
libc = ctypes.CDLL(None, use_errno=True)
c = sqlite3.connect(sys.argv[1], isolation_level=None); c.execute('create table t(x)')
for fd in range(3, resource.getrlimit(resource.RLIMIT_NOFILE)[0]):
    libc.close(fd)
d = sqlite3.connect(sys.argv[1].replace('a.db', 'b.db'), isolation_level=None); d.execute('create table t(x)')
os._exit(0)
PY
  matches events "$(events)" "^hello a\.db,$tx,.*hello b\.db,$tx,bye b\.db$"
}
status_is_private() { # no descriptor of ours survives exec
  python_case '' <<'PY'
import os, sqlite3, sys
c = sqlite3.connect(sys.argv[1], isolation_level=None); c.execute('create table t(x)')
os.execv('/bin/sh', ['sh', '-c', 'test -z "$(find /proc/$$/fd -lname socket:*)"'])
PY
  expect_events "hello a.db,$tx,bye a.db"
}

# ---- The daemon ----------------------------------------------------------------------------------
absent_from_the_start() { # absent_from_the_start MODE
  plain "pragma journal_mode=$1; create table t(x)"
  started=$(date +%s%N); sql 'insert into t values(1)'; took=$((($(date +%s%N) - started) / 1000000))
  matches error "$(cat "$dir/err")" 'database is locked'
  [ $took -ge 4900 ] && [ $took -lt 9000 ] || { echo "#   took $took ms"; bad=1; }
}
appears_while_waiting() {
  plain 'create table t(x)'
  sql 'insert into t values(1)' & client=$!
  until [ -n "$(find "$dir" -maxdepth 1 -name out)" ]; do sleep 0.01; done; sleep 0.3
  start_recorder; wait $client || bad=1
  expect_events "hello a.db,$tx,bye a.db"
}
continues() { # continues MODE: when-away: continue; the time-out is waited for once, the rest is told later
  start_recorder timeout=400 away=continue; sql "pragma journal_mode=$1; create table t(x)"
  kill_recorder; : > "$log"
  preload /usr/bin/python3 - "$db" "$build/tests/recorder" "$dir" "$log" <<'PY' || bad=1
import sqlite3, subprocess, sys, time
db, recorder, directory, log = sys.argv[1:]
c = sqlite3.connect(db, isolation_level=None, timeout=0)
def write():
    started = time.monotonic(); c.execute('insert into t values(1)'); return time.monotonic() - started
first, second = write(), write()
assert 0.35 < first < 5 and second < 0.3, (first, second)
with open(log, 'ab') as out:
    daemon = subprocess.Popen([recorder, directory, 'timeout=400', 'away=continue'], stdout=out, env={})
while b'hello' not in open(log, 'rb').read():
    write()
c.close()
daemon.terminate()
assert daemon.wait() == 0
PY
  [ "$1" = wal ] || matches events "$(events)" '^hello a.db,(prepare synced,)?commit synced unknown,done 0,'
  expect rows "$(sqlite3 "$db" 'select count(*) > 2 from t')" 1
}
lock_of_the_daemon() { # lock_of_the_daemon COMMAND: a reader's lock, taken as an open-file-description's, as we do, or not
  start_recorder; sql 'create table t(x)'
  preload /usr/bin/python3 - "$db" "$1" <<'PY' || bad=1
import sqlite3, subprocess, sys, time
HOLD = """
import fcntl, struct, sys, time
file = open(sys.argv[1], 'rb')
fcntl.fcntl(file, int(sys.argv[2]), struct.pack('hhqqi4x', fcntl.F_RDLCK, 0, 0x40000002, 510, 0))
print('locked', flush=True); time.sleep(0.3)
"""
F_SETLK, F_OFD_SETLK = 6, 37
ours = sys.argv[2] == 'ours'
holder = subprocess.Popen([sys.executable, '-c', HOLD, sys.argv[1], str(F_OFD_SETLK if ours else F_SETLK)],
                          stdout=subprocess.PIPE, env={})
assert holder.stdout.readline() == b'locked\n'
c = sqlite3.connect(sys.argv[1], isolation_level=None, timeout=0)
started = time.monotonic()
try:
    c.execute('insert into t values(1)')
    assert ours, 'written against a lock'
    assert holder.poll() is not None or holder.wait(10) == 0
except sqlite3.OperationalError as e:
    assert not ours and 'locked' in str(e), e
    assert time.monotonic() - started < 0.25
holder.wait()
PY
}
goes_for_good() { # after its status page said 300 ms
  python_case 'timeout=300 die_at=commit' <<'PY'
import sqlite3, sys
c = sqlite3.connect(sys.argv[1], isolation_level=None, timeout=0)
try:
    c.execute('create table t(x)'); sys.exit('committed without a daemon')
except sqlite3.OperationalError as e:
    assert 'disk I/O error' in str(e), e
try:
    c.execute('create table t(x)'); sys.exit('committed without a daemon')
except sqlite3.OperationalError as e:
    pass
PY
  recorder=
}
restarts_at() { # restarts_at MESSAGE MODE: all ranges are told again and the commit succeeds
  plain "pragma journal_mode=$2; create table t(x)"
  start_recorder "die_at=$1" timeout=5000
  sql 'insert into t values(1)' & client=$!
  wait "$recorder"; recorder=
  start_recorder timeout=5000; wait $client || bad=1
  expect errors "$(cat "$dir/err")" ''
  kill_recorder
  case $1 in
    commit) expect log "$(grep -vE 'ready|---' "$log" | tr '\n' ',')" \
      'hello a.db sqlite3,prepare synced 0+8192,commit synced,died,hello a.db sqlite3,commit synced 0+8192,done 0,bye a.db,' ;;
    prepare) expect log "$(grep -vE 'ready|---' "$log" | tr '\n' ',')" \
      'hello a.db sqlite3,prepare synced 0+8192,died,hello a.db sqlite3,commit synced 0+8192,done 0,bye a.db,' ;;
  esac
  expect rows "$(sqlite3 "$db" 'select count(*) from t')" 1
}
restarts_at_truncation() { # a checkpoint that would fail waits for the daemon
  plain 'pragma journal_mode=wal; create table t(x)'
  start_recorder die_at=truncate timeout=5000
  sql 'insert into t values(1); pragma wal_checkpoint(truncate); insert into t values(2)' & client=$!
  wait "$recorder"; recorder=
  start_recorder timeout=5000; wait $client || bad=1
  expect errors "$(cat "$dir/err")" ''
  expect answer "$(cat "$dir/out")" '0|0|0'
  matches events "$(events)" 'drain truncate,died,hello a\.db,drain truncate,'
}
restart_asks_for_all_after_overflow() {
  plain "create table t(i integer primary key, x); $(echo "$fill" | sed 's/300/40000/; s/into t select/into t(x) select/')"
  start_recorder die_at=commit timeout=5000
  sql 'pragma cache_size=10; update t set x=randomblob(900) where i % 9 = 0' & client=$!
  wait "$recorder"; recorder=
  start_recorder timeout=5000; wait $client || bad=1
  kill_recorder
  matches log "$(sed 's/\( [0-9]*+[0-9]*\)*$//' "$log" | tail -n 5 | tr '\n' ',')" 'hello a.db sqlite3,(dirty,)*commit synced unknown,done 0,bye a.db,'
}
restarts_between() { # a WAL writer reconnects at its next lock
  plain 'pragma journal_mode=wal; create table t(x)'; start_recorder
  coproc CLIENT { preload sqlite3 "$db" 2>&1; }
  echo "insert into t values(1); select 'one';" >&"${CLIENT[1]}"; read -r answer <&"${CLIENT[0]}"
  kill_recorder; start_recorder
  echo "insert into t values(2); select 'two';" >&"${CLIENT[1]}"; read -r answer <&"${CLIENT[0]}"
  expect answer "$answer" two
  eval "exec ${CLIENT[1]}>&-"; wait "$CLIENT_PID"
  matches events "$(events)" '^hello a\.db,(bell,)+hello a\.db,bell,.*bye a\.db$'
}
refuses_commit() { # the errno becomes SQLite's; the transaction is rolled back
  plain 'create table t(x)'; start_recorder refuse=28
  sql 'insert into t values(1)'
  matches error "$(cat "$dir/err")" 'disk I/O error|full'
  matches events "$(events)" '^hello a\.db,prepare synced,commit synced(,.*)?,bye a\.db$'
  expect rows "$(sqlite3 "$db" 'select count(*) from t; pragma integrity_check' | tr '\n' ' ')" '0 ok '
}
mute_daemon() {
  plain 'create table t(x)'; start_recorder mute=1 timeout=200
  sql 'insert into t values(1)'
  matches error "$(cat "$dir/err")" 'disk I/O error'
  expect rows "$(sqlite3 "$db" 'select count(*) from t')" 0
}
other_version() { # other_version MODE: refused, and the log says why
  LITEFS_PRELOAD_LOG=$dir/shim.log; export LITEFS_PRELOAD_LOG
  refuses_writes version=99 "$1"
  unset LITEFS_PRELOAD_LOG
  matches log "$(cat "$dir/shim.log")" 'the daemon speaks another protocol version.*a\.db'
}
refuses_writes() { # refuses_writes OPTION MODE
  plain "pragma journal_mode=$2; create table t(x); insert into t values(7)"; start_recorder "$1" timeout=300
  sql 'select x from t'; expect answer "$(cat "$dir/out")" 7
  sql 'insert into t values(1)'; matches error "$(cat "$dir/err")" 'database is locked'
}
forwards() { # forwards MODE: a replica asks before the write lock and before the commit
  plain "pragma journal_mode=$1; create table t(x)"; start_recorder role=replica write=forward
  sql 'insert into t values(1)'; expect error "$(cat "$dir/err")" ''
  case $1 in
    wal) matches events "$(events)" '^hello a\.db,lock,forward page 2 of 2,done 0,unlock,' ;;
    *) expect_events "hello a.db,lock,$tx,unlock,bye a.db" ;;
  esac
  expect rows "$(sqlite3 "$db" 'select count(*) from t; pragma integrity_check' | tr '\n' ' ')" '1 ok '
}
forward_refused() { # forward_refused MODE: and nothing is committed
  plain "pragma journal_mode=$1; create table t(x); insert into t values(7)"
  start_recorder role=replica write=forward refuse=5
  sql 'insert into t values(1)'; matches error "$(cat "$dir/err")" 'disk I/O error'
  kill_recorder
  expect rows "$(sqlite3 "$db" 'select group_concat(x) from t; pragma integrity_check' | tr '\n' ' ')" '7 ok '
}
forward_busy() { # forward_busy MODE
  plain "pragma journal_mode=$1; create table t(x)"; start_recorder role=replica write=forward busy=11
  sql 'insert into t values(1)'; matches error "$(cat "$dir/err")" 'database is locked'
  expect rows "$(sqlite3 "$db" 'select count(*) from t')" 0
}
set_deadline() { # eight bytes, little endian (ipc/protocol.h, StatusPage)
  printf "$1" | dd of="$dir/.litefs/status" bs=1 seek=24 conv=notrunc status=none
}
lease_ends_in_a_transaction() { # lease_ends_in_a_transaction JOURNAL_MODE LOCKING_MODE
  plain "pragma journal_mode=$1; create table t(x)"; start_recorder
  coproc CLIENT { preload sqlite3 "$db" 2>&1; }
  local to=${CLIENT[1]} from=${CLIENT[0]} answer
  ask() { echo "$1" >&"$to"; read -r -t 60 answer <&"$from"; }
  ask "pragma journal_mode=$1;"; ask "pragma locking_mode=$2;"
  ask "begin immediate; insert into t values(1); select 'open';"; expect begun "$answer" open
  set_deadline '\1\0\0\0\0\0\0\0'
  ask 'commit;'; matches commit "$answer" 'disk I/O error'
  ask 'select count(*) from t;'; expect rows "$answer" 0
  set_deadline '\377\377\377\377\377\377\377\377'
  ask "insert into t values(2); select group_concat(x) from t;"; expect "with a lease again" "$answer" 2
  eval "exec $to>&-"; wait "$CLIENT_PID"  # 1: there was an error
  expect "rows for others" "$(sqlite3 "$db" 'select group_concat(x) from t')" 2
}
drain_without_daemon() { # the WAL stays
  plain 'pragma journal_mode=wal; create table t(x)'; start_recorder timeout=300
  coproc CLIENT { preload sqlite3 "$db" 2>&1; }
  echo "insert into t values(1); select 'one';" >&"${CLIENT[1]}"; read -r answer <&"${CLIENT[0]}"
  kill_recorder
  eval "exec ${CLIENT[1]}>&-"; wait "$CLIENT_PID" || bad=1
  [ -s "$db-wal" ] || { echo '#   the WAL is gone'; bad=1; }
  expect rows "$(sqlite3 "$db" 'select count(*) from t')" 1
}
no_bell_while_awake() {
  plain 'pragma journal_mode=wal; create table t(x)'; start_recorder sleeping=0
  sql 'insert into t values(1)'
  expect bells "$(od -An -tu4 -j $((4096 + 64 + 28)) -N 4 "$dir/.litefs/status" | tr -d ' ')" 1
  matches events "$(events)" '^hello a\.db,prepare synced,commit synced recheck,done 0,drain unlink'
}
# ---- Cases ---------------------------------------------------------------------------------------
for client in sqlite3 python3 perl php; do
  for mode in delete truncate persist memory off wal; do
    [ "$client $mode" = 'php off' ] && continue  # PHP's "defensive" setting forbids it
    testcase "$client in $mode mode" modes $client $mode
  done
done
for mode in delete wal; do
  testcase "a read makes no session ($mode)" reads_make_no_session $mode
  testcase "a read needs no daemon ($mode)" reads_without_a_daemon $mode
  testcase "several writing processes ($mode)" several_writers $mode
  testcase "a replica refuses writes and not reads ($mode)" refuses_writes role=replica $mode
  testcase "a replica forwards ($mode)" forwards $mode
  testcase "a forwarded commit is refused ($mode)" forward_refused $mode
  testcase "a forwarded lock is busy ($mode)" forward_busy $mode
  testcase "past the lease no write lock ($mode)" refuses_writes lease=expired $mode
  testcase "a daemon of another version counts as absent ($mode)" other_version $mode
  testcase "an absent daemon: locked after the time-out ($mode)" absent_from_the_start $mode
done
for locking in normal exclusive; do  # other modes ask the daemon
  testcase "the lease ends in a transaction (wal, $locking)" lease_ends_in_a_transaction wal $locking
done
testcase 'a rollback after a spill' rollback_after_spill
testcase 'a rollback without writes' rollback_without_writes
testcase "a rollback of another's journal" rolls_back_anothers_journal
testcase 'locking_mode=exclusive' exclusive_locking
testcase 'locking_mode=exclusive with a WAL' exclusive_wal
testcase 'journal modes change both ways' mode_changes
testcase 'vacuum shrinks the file' vacuum_shrinks
testcase 'checkpoint with truncate' checkpoint_truncate
testcase 'journal_size_limit' persist_size_limit
testcase 'attached databases' attached
testcase 'more ranges than fit' many_ranges
testcase 'a symlink and a relative path' symlink_and_relative
testcase 'a path longer than a socket address' long_path
testcase 'other files in a managed directory' other_files
testcase 'an unmanaged directory' unmanaged
testcase 'threads' threads
testcase 'fork: both write' fork_both_write
testcase 'vfork leaves the tables alone' vfork_keeps_tracking
for how in close dup2 close_range syscall; do testcase "our descriptor taken by $how" steal_descriptor $how; done
testcase 'an app that closes every descriptor' close_everything
testcase 'no descriptor of ours survives exec' status_is_private
for mode in delete wal; do testcase "going on without a daemon ($mode)" continues $mode; done
testcase 'the daemon has a lock for a moment' lock_of_the_daemon ours
testcase 'another program has a lock' lock_of_the_daemon anothers
testcase 'a daemon that comes while a writer waits' appears_while_waiting
testcase 'a daemon that dies at the commit and stays away' goes_for_good
for mode in delete truncate persist; do testcase "a daemon restarted at the commit ($mode)" restarts_at commit $mode; done
testcase 'a daemon restarted at the prepare' restarts_at prepare delete
testcase 'a daemon restarted at a truncating checkpoint' restarts_at_truncation
testcase 'a daemon restarted after ranges were lost' restart_asks_for_all_after_overflow
testcase 'a daemon restarted between WAL commits' restarts_between
testcase 'a refused commit is rolled back' refuses_commit
testcase 'a daemon that never answers' mute_daemon
testcase 'a last close without a daemon keeps the WAL' drain_without_daemon
testcase 'no message while the daemon is awake' no_bell_while_awake
if echo probes | grep -qE "$pattern|^probes$"; then
  "$here/same_as_native.sh" "$build" || failures=$((failures + 1))
fi
[ $failures = 0 ]
