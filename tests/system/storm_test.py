#!/usr/bin/env python3
"""storm_test.py BUILD_DIR [SECONDS] [SEED]: many processes do to one database whatever SQLite allows.

Writers move amounts between accounts (the sum never changes), spill, roll back, vacuum, checkpoint in
every way, open and close so that the last close removes the WAL, switch the journal mode, hold
snapshots, write from threads and from children of fork, while daemons die and stand still.  Readers without the shim check on both
nodes that the sum holds, that a snapshot repeats, and that the database is sound.  At the end primary
and replica hold the same bytes, and so does a replay of the chain."""

import os
import random
import signal
import subprocess
import time

import cluster

ACCOUNTS = 200
TOTAL = ACCOUNTS * 1000
FILL = ("CREATE TABLE account(id INTEGER PRIMARY KEY, amount INTEGER, note);"
        "CREATE TABLE noise(id INTEGER PRIMARY KEY, x);"
        "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < "
        f"{ACCOUNTS}) INSERT INTO account SELECT i, 1000, '' FROM n;")

# WRITER DATABASE SEED SWITCHES: goes on until SIGTERM; errors other than "busy" end it.
WRITER = r"""
import os, random, signal, sqlite3, sys, threading
path, seed, switches = sys.argv[1], sys.argv[2], sys.argv[3] == "switches"
rng = random.Random(seed)
stop = False
def on_term(*_):
    global stop
    stop = True
signal.signal(signal.SIGTERM, on_term)
done = {}

def connect():
    db = sqlite3.connect(path, timeout=20, isolation_level=None, check_same_thread=False)
    db.execute("pragma synchronous = " + rng.choice(["off", "normal", "full"]))
    db.execute(f"pragma wal_autocheckpoint = {rng.choice([1, 10, 1000])}")
    if rng.random() < 0.3:
        db.execute("pragma cache_size = 5")
    return db

def transfer(db):
    a, b, n = rng.randrange(1, 201), rng.randrange(1, 201), rng.randrange(100)
    db.execute("begin immediate")
    db.execute("update account set amount = amount - ? where id = ?", (n, a))
    db.execute("update account set amount = amount + ?, note = ? where id = ?",
               (n, "n" * rng.randrange(300), b))
    db.execute("commit")

def spill(db):
    db.execute("begin immediate")
    for _ in range(rng.randrange(1, 60)):
        db.execute("insert into noise(x) values (randomblob(?))", (rng.randrange(3000),))
    db.execute("update account set amount = amount + 1 where id % 2")
    db.execute("savepoint s")
    db.execute("delete from noise where id % 5 = 0")
    if rng.random() < 0.5:
        db.execute("rollback to s")
    db.execute("update account set amount = amount - 1 where id % 2")
    db.execute(rng.choice(["commit", "rollback"]))

def thin(db):
    db.execute("delete from noise where id % 3 = 0")

def vacuum(db):
    db.execute("vacuum")

def checkpoint(db):
    db.execute(f"pragma wal_checkpoint({rng.choice(['passive', 'full', 'restart', 'truncate'])})")

def snapshot(db):
    db.execute("begin")
    first = db.execute("select sum(amount) from account").fetchone()
    for _ in range(20):
        db.execute("select count(*) from noise").fetchone()
    assert db.execute("select sum(amount) from account").fetchone() == first
    db.execute("commit")

def switch(db):
    db.execute("pragma journal_mode = " + rng.choice(["wal", "delete", "truncate", "persist"]))

def threads(db):
    def run():
        other = connect()
        try:
            transfer(other)
        except sqlite3.OperationalError as error:
            if "locked" not in str(error):
                raise
        finally:
            other.close()
    several = [threading.Thread(target=run) for _ in range(3)]
    for thread in several: thread.start()
    for thread in several: thread.join()

def child(db):
    pid = os.fork()
    if pid == 0:
        status = 1
        try:
            other = connect()
            transfer(other)
            other.close()
            status = 0
        except sqlite3.OperationalError as error:
            status = 0 if "locked" in str(error) else 1
        finally:
            os._exit(status)
    if os.waitpid(pid, 0)[1] != 0:
        sys.exit("a forked child failed")

weights = {transfer: 60, spill: 10, thin: 4, vacuum: 1, checkpoint: 8, snapshot: 5, threads: 3,
           child: 2} | ({switch: 8} if switches else {})
db = None
while not stop:
    if db is None:
        db = connect()
    action = rng.choices(list(weights), list(weights.values()))[0]
    try:
        action(db)
        done[action.__name__] = done.get(action.__name__, 0) + 1
    except sqlite3.OperationalError as error:
        if "locked" not in str(error):
            sys.exit(f"{action.__name__}: {error}")
        if db.in_transaction:
            db.execute("rollback")
    if rng.random() < 0.05:
        db.close()
        db = None
if db is not None:
    db.close()
print(os.path.basename(path), done, flush=True)
"""

# READER DATABASE TOTAL: on either node, without the shim.
READER = r"""
import signal, sqlite3, sys, time
path, total = sys.argv[1], int(sys.argv[2])
stop = False
def on_term(*_):
    global stop
    stop = True
signal.signal(signal.SIGTERM, on_term)
rounds = 0
while not stop:
    db = sqlite3.connect(f"file:{path}?mode=ro", uri=True, timeout=10, isolation_level=None)
    try:
        for _ in range(5):
            db.execute("begin")
            first = db.execute("select sum(amount), max(id) from account").fetchone()
            noise = db.execute("select count(*), sum(length(x)) from noise").fetchone()
            again = db.execute("select sum(amount), max(id) from account").fetchone()
            same = db.execute("select count(*), sum(length(x)) from noise").fetchone()
            check = db.execute("pragma integrity_check").fetchone()[0]
            db.execute("commit")
            assert first == again and noise == same, (path, "a snapshot changed")
            assert first[0] == total, (path, "sum", first)
            assert check == "ok", (path, check)
            rounds += 1
    except sqlite3.OperationalError as error:
        # "readonly": a daemon died in mid-apply, and mode=ro cannot roll its journal back.
        if not any(w in str(error) for w in ("locked", "unable to open", "readonly")):
            sys.exit(f"{path}: {error}")
    db.close()
print(path, rounds, "rounds", flush=True)
sys.exit(0 if rounds > 0 else f"{path}: nothing read")
"""


def finish(processes, what):
    for process in processes:
        process.send_signal(signal.SIGTERM)
    for process in processes:
        try:
            cluster.check_equal(process.wait(120), 0, f"exit status of {what}")
        except subprocess.TimeoutExpired:
            raise cluster.Failure(f"{what} hangs") from None


def disturb(rng, seconds, nodes, processes):
    """Kills and restarts a daemon, or stops one for a while, about every second."""
    done = {"killed": 0, "stood still": 0}
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        time.sleep(rng.uniform(0.3, 1.5))
        for process in processes:
            cluster.check(process.poll() is None, "a writer or reader has failed (see above)")
        node = rng.choice(nodes)
        if rng.random() < 0.5:
            node.kill()
            node.start()
            done["killed"] += 1
        else:
            node.process.send_signal(signal.SIGSTOP)
            time.sleep(rng.uniform(0, 0.5))
            node.process.send_signal(signal.SIGCONT)
            done["stood still"] += 1
    print(f"daemons: {done}")
    cluster.check(min(done.values()) > 0, "the daemons were not disturbed")


def test(c, seconds="15", seed=None):
    seed = seed or str(random.SystemRandom().randrange(1 << 32))
    print(f"seed {seed} (again: storm_test.py BUILD_DIR {seconds} {seed})", flush=True)
    retention = {"age": "24h", "size": "16GiB"}
    primary = c.node("primary", retention=retention)
    replica = c.node("replica", follows=primary, retention=retention)
    databases = {"wal.db": "stays", "delete.db": "stays", "switched.db": "switches"}
    for database in databases:
        mode = "delete" if database == "delete.db" else "wal"
        primary.sql(database, f"PRAGMA journal_mode = {mode}; {FILL}")
        c.wait_equal(primary, replica, database)
    writers = [c.spawn(["/usr/bin/python3", "-c", WRITER, primary.path(d), f"{seed}-{d}-{i}", s],
                       shim=True) for d, s in databases.items() for i in range(3)]
    readers = [c.spawn(["/usr/bin/python3", "-c", READER, node.path(d), str(TOTAL)])
               for node in (primary, replica) for d in databases]
    disturb(random.Random(seed), float(seconds), [primary, replica], writers + readers)
    finish(writers, "a writer")
    for database in databases:
        c.wait_equal(primary, replica, database)
    finish(readers, "a reader")
    for database in databases:
        bytes_ = c.check_identical(primary, replica, database)
        cluster.check_equal(c.replay(primary, database), bytes_, f"{database}: replay of the chain")
        print(f"{database}: {primary.position(database)}, identical, and so is the chain's replay")


cluster.main(test)
