#!/usr/bin/env python3
"""kill_test.py BUILD_DIR [SECONDS] [SEED]: kill -9 at random moments, and nothing confirmed is lost.

Four writers insert into a WAL and a rollback-mode database on the primary, and note each row in a
file of their own once COMMIT has returned; two readers without the shim read the replica.  A writer,
the primary's daemon or the replica's daemon is killed, again and again, while rows come in, and
started again.  At the end both nodes hold the same bytes, both are sound, and every noted row is
there.
"""

import os
import random
import signal
import subprocess
import threading
import time

import cluster

DATABASES = ["wal.db", "delete.db"]
KINDS = ["writer", "primary", "replica"]
SECONDS_A_KILL = 8  # each kind must have been killed once in so many seconds
WRITE_TIMEOUT = "20s"

# WRITER DATABASE LOG NAME: goes on until SIGTERM, over errors too.
WRITER = """
import os, random, signal, sqlite3, sys
path, log, name = sys.argv[1:]
stop = False
def on_term(*_):
    global stop
    stop = True
signal.signal(signal.SIGTERM, on_term)
out = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
rng = random.Random(name)
db = None
seq = 0
while not stop:
    seq += 1
    row = f"{name}-{seq}"
    try:
        if db is None:
            db = sqlite3.connect(path, timeout=30, isolation_level=None)
        db.execute("begin immediate")
        db.execute("insert into t values (?, zeroblob(?))", (row, rng.choice([10, 300, 9000])))
        if seq % 17 == 0:
            db.execute("update t set y = zeroblob(50) where rowid % 40 = ?", (seq % 40,))
        if seq % 29 == 0:
            db.execute("insert into t values ('filler', zeroblob(20000))")
        db.execute("commit")
        os.write(out, (row + "\\n").encode())
    except sqlite3.Error as error:
        print(name, error, file=sys.stderr, flush=True)
        if db is not None:
            db.close()
        db = None
"""

# READER DATABASE: a reader of the replica sees a sound database that only grows.
READER = """
import sqlite3, sys, time
path, last = sys.argv[1], 0
while True:
    try:
        db = sqlite3.connect(f"file:{path}", uri=True, timeout=5, isolation_level=None)
        count = db.execute("select count(*) from t").fetchone()[0]
        check = db.execute("pragma quick_check").fetchone()[0]
        db.close()
    except sqlite3.OperationalError as error:
        if any(word in str(error) for word in ("locked", "no such table", "busy", "unable to open")):
            time.sleep(0.02)
            continue
        sys.exit(f"{path}: {error}")
    except sqlite3.DatabaseError as error:
        sys.exit(f"{path}: {error}")
    if check != "ok":
        sys.exit(f"{path}: quick_check: {check}")
    if count < last:
        sys.exit(f"{path}: went back from {last} rows to {count}")
    last = count
    time.sleep(0.01)
"""


class Writers:
    """The writer processes and what they have had confirmed."""

    def __init__(self, c, primary):
        self.c, self.primary = c, primary
        self.logs = []
        self.runs = 0
        self.running = {}  # slot: process
        self.errors = open(os.path.join(c.scratch, "writers.log"), "ab")

    def start(self, slot):
        self.runs += 1
        database = DATABASES[slot % len(DATABASES)]
        name = f"w{slot}r{self.runs}"
        log = os.path.join(self.c.scratch, f"{name}.confirmed")
        self.logs.append((database, log))
        self.running[slot] = self.c.spawn(
            ["/usr/bin/python3", "-c", WRITER, self.primary.path(database), log, name], shim=True,
            stderr=self.errors)

    def kill(self, slot):
        process = self.running.pop(slot)
        process.kill()
        process.wait()
        self.c.processes.remove(process)

    def stop_all(self):
        for process in self.running.values():
            process.send_signal(signal.SIGTERM)
        for process in self.running.values():
            try:
                cluster.check_equal(process.wait(120), 0, "a writer's exit status")
            except subprocess.TimeoutExpired:
                raise cluster.Failure("a writer hangs 120 s after SIGTERM") from None
        self.errors.close()

    def confirmed_bytes(self):
        return sum(os.path.getsize(log) for _, log in self.logs if os.path.exists(log))

    def confirmed(self, database):
        rows = set()
        for name, log in self.logs:
            if name == database and os.path.exists(log):
                with open(log, encoding="ascii") as file:
                    # A kill may have cut the last line: then its row was confirmed all the same,
                    # but we do not know its name.
                    rows.update(line.strip() for line in file if line.endswith("\n"))
        return rows


def kill_one(kind, rng, writers, primary, replica):
    """Kills, waits a little, starts again.  Returns the words for the log."""
    pause = rng.choice([0, 0, rng.uniform(0, 1)])
    if kind == "writer":
        slot = rng.choice(sorted(writers.running))
        writers.kill(slot)
        time.sleep(pause)
        writers.start(slot)
        return f"writer {slot}"
    node = primary if kind == "primary" else replica
    node.kill()
    time.sleep(pause)
    node.start()
    return kind


def kill_at_random(rng, seconds, writers, primary, replica, readers):
    fired = dict.fromkeys(KINDS, 0)
    idle = 0
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        before = writers.confirmed_bytes()
        time.sleep(rng.uniform(0.2, 1.2))
        in_flight = writers.confirmed_bytes() > before
        for reader in readers:
            cluster.check(reader.poll() is None, "a reader of the replica has failed (see above)")
        if not in_flight:
            idle += 1
            continue  # a kill that interrupts nothing proves nothing
        # Round-robin with luck: every kind comes, in no fixed order.
        kind = min(KINDS, key=lambda k: fired[k] + rng.uniform(0, 2))
        kill_one(kind, rng, writers, primary, replica)
        fired[kind] += 1
    print(f"kills while rows came in: {fired}; {idle} times no row came in")
    wanted = max(2, int(seconds / len(KINDS) / SECONDS_A_KILL))
    for kind, count in fired.items():
        cluster.check(count >= wanted, f"{kind} was killed {count} times only, wanted {wanted}")


def check_rows(c, node, database, confirmed):
    rows = c.sqlite(node.path(database), "SELECT x FROM t WHERE x <> 'filler'").split()
    cluster.check_equal(len(rows), len(set(rows)), f"{node.name}/{database}: distinct rows")
    lost = confirmed - set(rows)
    cluster.check(not lost, f"{node.name}/{database}: {len(lost)} of {len(confirmed)} confirmed "
                            f"rows are lost: {sorted(lost)[:5]}")


def test(c, seconds="40", seed=None):
    seed = int(seed) if seed else random.SystemRandom().randrange(1 << 32)
    print(f"seed {seed} (again: kill_test.py BUILD_DIR {seconds} {seed})", flush=True)
    rng = random.Random(seed)
    primary = c.node("primary", **{"write-timeout": WRITE_TIMEOUT})
    replica = c.node("replica", follows=primary)
    for database in DATABASES:
        mode = database.split(".", maxsplit=1)[0]
        primary.sql(database, f"PRAGMA journal_mode = {mode}; CREATE TABLE t(x, y);")
        c.wait_equal(primary, replica, database)
    writers = Writers(c, primary)
    for slot in range(4):
        writers.start(slot)
    readers = [c.spawn(["/usr/bin/python3", "-c", READER, replica.path(database)])
               for database in DATABASES]

    kill_at_random(rng, float(seconds), writers, primary, replica, readers)

    threading.Event().wait(1)
    writers.stop_all()
    for database in DATABASES:
        c.wait_equal(primary, replica, database, seconds=120)
    for reader in readers:
        cluster.check(reader.poll() is None, "a reader of the replica has failed (see above)")
        reader.kill()
        reader.wait()
    for restarted in (False, True):
        if restarted:
            for node in (replica, primary):
                node.stop()
            for node in (primary, replica):
                node.start()
        for database in DATABASES:
            confirmed = writers.confirmed(database)
            c.check_identical(primary, replica, database, seconds=120)
            for node in (primary, replica):
                check_rows(c, node, database, confirmed)
            if not restarted:
                print(f"{database}: {len(confirmed)} confirmed rows, all on both, identical")


cluster.main(test)
