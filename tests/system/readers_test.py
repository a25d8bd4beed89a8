#!/usr/bin/env python3
"""readers_test.py BUILD_DIR [SECONDS] [CONNECTIONS] [SEED]: hundreds of connections read a replica under full load.

Writers on the primary keep four databases busy (replica_reader.py says what holds in each of their
transactions), one in WAL mode, one in the rollback modes with page-size changes, one whose journal mode is
switched, and one in WAL mode that nobody has open for long: growth, shrinking past 256 pages, VACUUM, checkpoints
of every kind.  The replica's daemon is killed about every second.  Readers are stock SQLite, with and without the
shim; if BUILD_DIR/sqlite-current has a newer library than the system's (tests/system/build_current_sqlite), half of
them use that.  No reader may see an error but "busy", and that only where SQLite itself gives it; at the end the
replica holds the primary's bytes."""

import json
import os
import random
import signal
import subprocess
import time

import cluster

HERE = os.path.dirname(os.path.abspath(__file__))
PYTHON = "/usr/bin/python3"
# Rollback modes, docs/REPLICATION.md section 8: readers at work end, then one batch is applied.  Generous:
# machines that test are loaded, and a killed daemon's journal must be rolled back by a reader.
LONGEST_BUSY = 15
HOLD = 0.3          # seconds that a snapshot is held at most where that keeps the writer out
HOLD_IN_WAL = 2.5

FILL = ("CREATE TABLE book(n, total, rows, bytes); INSERT INTO book VALUES (1, 200000, 0, 0);"
        "CREATE TABLE account(id INTEGER PRIMARY KEY, amount INTEGER, note);"
        "CREATE TABLE noise(id INTEGER PRIMARY KEY, x);"
        "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 200) "
        "INSERT INTO account SELECT i, 1000, '' FROM n;")

# WRITER DATABASE KIND SEED: until SIGTERM; prints how often it did what.
WRITER = r"""
import json, random, signal, sqlite3, sys
path, kind, seed = sys.argv[1:]
rng = random.Random(seed)
stop = False
def on_term(*_):
    global stop
    stop = True
signal.signal(signal.SIGTERM, on_term)
done = {}
def connect():
    return sqlite3.connect(path, timeout=60, isolation_level=None)

def transaction(db, *statements):
    db.execute("begin immediate")
    for statement in statements:
        db.execute(statement)
    db.execute("update book set n = n + 1, (rows, bytes) = (select count(*), ifnull(sum(length(x)), 0) from noise)")
    db.execute("commit")

def transfer(db):
    a, b, n = rng.randrange(1, 201), rng.randrange(1, 201), rng.randrange(100)
    transaction(db, f"update account set amount = amount - {n} where id = {a}",
                f"update account set amount = amount + {n}, note = '{'n' * rng.randrange(300)}' where id = {b}")

def deposit(db):
    transaction(db, "update book set total = total + 7", f"update account set amount = amount + 7 where id = {rng.randrange(1, 201)}")

def grow(db):
    transaction(db, f"with recursive n(i) as (select 1 union all select i + 1 from n where i < {rng.randrange(200, 800)}) "
                    "insert into noise(x) select randomblob(abs(random() % 8000)) from n")

def shrink(db):
    transaction(db, "delete from noise")
    before = db.execute("pragma page_count").fetchone()[0]
    db.execute("vacuum")
    if before - db.execute("pragma page_count").fetchone()[0] > 256:
        done["shrunk past 256 pages"] = done.get("shrunk past 256 pages", 0) + 1

def thin(db):
    transaction(db, "delete from noise where id % 2")

def checkpoint(db):
    db.execute(f"pragma wal_checkpoint({rng.choice(['passive', 'full', 'restart', 'truncate'])})")

def rolled_back(db):
    db.execute("begin immediate")
    db.execute("pragma cache_size = 5")
    db.execute("update account set amount = 0")
    db.execute("insert into noise(x) values (randomblob(100000))")
    db.execute("rollback")
    db.execute("pragma cache_size = -2000")

def page_size(db):
    db.execute(f"pragma page_size = {rng.choice([512, 1024, 4096, 8192, 65536])}")
    db.execute("vacuum")

def journal(db):
    db.execute("pragma journal_mode = " + rng.choice(["delete", "truncate", "persist"]))

def switch(db):
    db.execute("pragma journal_mode = " + rng.choice(["wal", "wal", "delete", "truncate"]))

weights = {transfer: 60, deposit: 10, grow: 6, thin: 3, shrink: 1, rolled_back: 2}
weights |= {"wal": {checkpoint: 5}, "rollback": {page_size: 1, journal: 3}, "mixed": {switch: 4, checkpoint: 2},
            "brief": {checkpoint: 3, switch: 1, page_size: 1}}[kind]
db = connect()
# Each once, something to shrink first; then by weight, until told to end.
todo = [action for action in weights if action not in (grow, shrink)]
rng.shuffle(todo)
todo = [grow, grow, shrink] + todo
while todo or not stop:
    action = todo.pop(0) if todo else rng.choices(list(weights), list(weights.values()))[0]
    if db.execute("pragma page_count").fetchone()[0] * db.execute("pragma page_size").fetchone()[0] > 12 << 20:
        action = shrink
    action(db)
    done[action.__name__] = done.get(action.__name__, 0) + 1
    if rng.random() < 0.02:
        db.close()
        db = connect()
print(json.dumps(done | {"n": db.execute("select n from book").fetchone()[0]}), flush=True)
"""

DATABASES = {"wal.db": "wal", "rollback.db": "rollback", "mixed.db": "mixed", "brief.db": "brief"}
MODE = {"wal": "wal", "rollback": "delete", "mixed": "wal", "brief": "wal"}

# BRIEF DATABASE: one connection at a time, so that nobody has the database open now and then.
BRIEF_CONNECTIONS = "1"


def start_readers(c, replica, connections, seed):
    libraries = [None]
    current = os.path.join(os.path.dirname(c.litefs), "sqlite-current")
    if os.path.exists(os.path.join(current, "libsqlite3.so.0")):
        libraries.append(current)
    readers = {}
    variants = [(shim, library) for library in libraries for shim in (False, True)]
    for database, kind in DATABASES.items():
        for i, (shim, library) in enumerate(variants):
            if kind == "brief" and i > 0:
                continue
            share = BRIEF_CONNECTIONS if kind == "brief" else str(connections // (3 * len(variants)))
            threads = "1" if kind == "brief" else "3"
            hold = HOLD_IN_WAL if kind == "wal" else HOLD
            env = {"LD_LIBRARY_PATH": library} if library else None
            readers[f"{database} {i}"] = c.spawn(
                [PYTHON, os.path.join(HERE, "replica_reader.py"), replica.path(database), kind, f"{seed}-{i}", share,
                 threads, str(hold)], shim=shim, env=env, text=True, stdout=subprocess.PIPE)
    return readers


def log_sequence(node, database):
    """The number of the WAL's run: it moves when the log begins anew."""
    try:
        with open(node.path(database + "-wal"), "rb") as file:
            header = file.read(32)
    except FileNotFoundError:
        return None
    return header[12:32] if len(header) == 32 else None


def disturb(rng, seconds, node, processes):
    """Kills the replica's daemon about every second.  Returns how often, and the WAL's runs that were seen."""
    kills = 0
    runs = set()
    start = time.monotonic()
    # A loaded machine gets more time, so that enough happens.
    while time.monotonic() < start + seconds or (kills < seconds / 3 and time.monotonic() < start + 6 * seconds):
        pause = time.monotonic() + rng.uniform(0.5, 1.5)
        while time.monotonic() < pause:
            runs.add(log_sequence(node, "wal.db"))
            time.sleep(0.05)
        for name, process in processes.items():
            cluster.check(process.poll() is None, f"{name} has failed (see above)")
        node.kill()
        kills += 1
        if rng.random() < 0.3:
            time.sleep(rng.uniform(0, 0.3))  # readers alone
        node.start()
    return kills, runs


def begin_the_log_anew(primary, replica, runs):
    """The readers end their snapshots now and then; a transaction that comes then restarts the log."""
    grow = ("BEGIN IMMEDIATE; INSERT INTO noise(x) SELECT randomblob(8000) FROM account; UPDATE book SET n = n + 1, "
            "(rows, bytes) = (SELECT count(*), sum(length(x)) FROM noise); COMMIT; ")

    def anew():
        primary.sql("wal.db", grow * 3)
        runs.add(log_sequence(replica, "wal.db"))
        return len(runs - {None}) > 1

    cluster.wait_for("the replica's log begins anew under readers", anew)


def check_tidied(c, primary, replica):
    """Left alone, the replica's logs go into the database files, and WAL mode is left where page 1 says so."""
    primary.sql("mixed.db", "PRAGMA journal_mode = delete; UPDATE book SET n = n + 1;")
    bytes_ = {database: c.check_identical(primary, replica, database) for database in DATABASES}
    cluster.wait_for("WAL mode is left", lambda: not os.path.exists(replica.path("mixed.db-wal")))
    for database, digest in bytes_.items():
        cluster.wait_for(f"{database} alone holds everything", lambda d=database: cluster.sha256(replica.path(d)) == digest)


def finish(processes):
    for process in processes.values():
        process.send_signal(signal.SIGTERM)
    results = {}
    for name, process in processes.items():
        try:
            out = process.communicate(timeout=120)[0]
        except subprocess.TimeoutExpired:
            raise cluster.Failure(f"{name} hangs") from None
        cluster.check_equal(process.returncode, 0, f"exit status of {name}")
        results[name] = json.loads(out)
        print(name, results[name], flush=True)
    return results


def check_read(results, written):
    for name, counts in results.items():
        database = name.split(" ", maxsplit=1)[0]
        cluster.check(counts["transactions"] > 20 and (counts["repeated"] > 20 or "brief" in name),
                      f"{name}: next to nothing was read")
        cluster.check(counts["longest_busy"] < LONGEST_BUSY, f"{name}: busy for {counts['longest_busy']:.1f} s")
        cluster.check(counts["newest"] > written[database]["n"] // 10, f"{name}: has not followed")
    cluster.check(sum(counts["checked"] for counts in results.values()) > 20, "next to nothing was checked")


def check_written(written):
    for database, wanted in {"wal.db": ["checkpoint"], "rollback.db": ["page_size", "journal"],
                             "mixed.db": ["switch"]}.items():
        for what in [*wanted, "grow", "shrink", "shrunk past 256 pages"]:
            cluster.check(written[database].get(what, 0) > 0, f"{database}: the writer never did: {what}")


def test(c, seconds="12", connections="240", seed=None):
    seed = seed or str(random.SystemRandom().randrange(1 << 32))
    print(f"seed {seed} (again: readers_test.py BUILD_DIR {seconds} {connections} {seed})", flush=True)
    primary = c.node("primary")
    replica = c.node("replica", follows=primary)
    for database, kind in DATABASES.items():
        primary.sql(database, f"PRAGMA journal_mode = {MODE[kind]}; {FILL}")
        c.wait_equal(primary, replica, database)
    writers = {d: c.spawn([PYTHON, "-c", WRITER, primary.path(d), kind, f"{seed}-{d}"], shim=True, text=True,
                          stdout=subprocess.PIPE) for d, kind in DATABASES.items()}
    readers = start_readers(c, replica, int(connections), seed)
    kills, runs = disturb(random.Random(seed), float(seconds), replica, writers | readers)
    written = finish(writers)
    begin_the_log_anew(primary, replica, runs)
    lag = time.monotonic()
    for database, kind in DATABASES.items():
        if kind != "brief":
            c.wait_equal(primary, replica, database)
    print(f"the replica has all of it {time.monotonic() - lag:.1f} s after the last write")
    results = finish(readers)
    c.wait_equal(primary, replica, "brief.db")
    check_written(written)
    check_read(results, written)
    cluster.check(kills >= float(seconds) / 3, f"the daemon was killed {kills} times only")
    check_tidied(c, primary, replica)
    print(f"{kills} kills, {len(runs)} runs of the log, {sum(r['transactions'] for r in results.values())} "
          f"transactions read by {sorted({r['version'] for r in results.values()})}, all identical")


cluster.main(test)
