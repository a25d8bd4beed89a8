#!/usr/bin/env python3
"""Small transactions of the rollback modes come by the rings (docs/CAPTURE.md): in order, from several
processes at once, one transaction each and none found by comparing; and whatever dies, the chain and the
replica are what SQLite left."""

import os
import random
import signal
import sqlite3
import time

import cluster
from cluster import check, check_equal

MODES = ["delete", "truncate", "persist"]
PROCESSES = 3
ROWS = 300
KILLS = 25

# WRITER DATABASE MODE SYNC ROWS NAME [PAUSE]: a row a transaction, and now and then more.  With a pause in
# seconds after each, others get the lock: SQLite has no queue.
WRITER = """
import sqlite3, sys, time
path, mode, sync, rows, name = sys.argv[1:6]
pause = float(sys.argv[6]) if len(sys.argv) > 6 else 0
db = sqlite3.connect(path, timeout=60, isolation_level=None)
db.execute(f"pragma journal_mode = {mode}")
db.execute(f"pragma synchronous = {sync}")
for i in range(int(rows)):
    db.execute("begin immediate")
    db.execute("insert into t values (?, ?, zeroblob(?))", (name, i, 10 + i % 3000))
    if i % 10 == 3:
        db.execute("update t set y = y + 1000000 where rowid % 50 = ?", (i % 50,))
    if i % 10 == 7:
        db.execute("savepoint s")
        db.execute("delete from t")
        db.execute("rollback to s")
    if i % 25 == 24:
        db.execute("rollback")
        continue
    db.execute("commit")
    if i % 50 == 0:
        print(i, flush=True)
    if pause:
        time.sleep(pause)
print("end", flush=True)
"""


def create(primary, database, mode):
    primary.sql(database, f"pragma journal_mode = {mode}; create table t(name, i, y);"
                          "create index t_i on t(i); insert into t values ('first', 0, 0);")


def start(c, primary, database, mode, sync, rows, name, *pause):
    return c.spawn(["/usr/bin/python3", "-c", WRITER, primary.path(database), mode, sync, str(rows), name,
                    *pause],
                   shim=True, stdout=open(os.path.join(c.scratch, f"{name}.out"), "w", encoding="utf-8"))


def counters(primary):
    return primary.status()["counters"]


def check_equal_everywhere(c, primary, replica, database):
    def equal():
        primary.sync()
        return c.replay(primary, database) == c.committed_sha256(primary.path(database))

    cluster.wait_for(f"{database}: the chain is what the database is", equal)
    c.check_identical(primary, replica, database)
    check_equal(c.sqlite(primary.path(database), "pragma integrity_check"), "ok", database)


def in_order(c, primary, replica, mode, sync):
    """Several processes write one database at once."""
    database = f"{mode}-{sync}.db"
    create(primary, database, mode)
    before = counters(primary)
    writers = [start(c, primary, database, mode, sync, ROWS, f"{mode}-{sync}-{i}") for i in range(PROCESSES)]
    for writer in writers:
        check_equal(writer.wait(120), 0, f"{database}: a writer's end")
        c.processes.remove(writer)
    check_equal_everywhere(c, primary, replica, database)
    after = counters(primary)
    grown = {name: after[name] - before[name] for name in after}
    committed = PROCESSES * (ROWS - ROWS // 25)
    check_equal(grown["reconciled"], 0, f"{database}: transactions that were found by comparing")
    # The rest: setting the mode, and the first of each process.
    check(committed - 5 * PROCESSES <= grown["handed_over"] <= committed + PROCESSES,
          f"{database}: {grown['handed_over']} of {committed} came by the rings")
    check(grown["transactions"] >= committed, f"{database}: {grown['transactions']} of {committed} transactions")
    print(f"{database}: {committed} commits of {PROCESSES} processes, {grown['handed_over']} by the rings, "
          f"in {grown['ltx_files']} files", flush=True)


def with_deaths(c, primary, replica, mode):
    """A writer, or the daemon, is killed at any moment."""
    database = f"{mode}-deaths.db"
    create(primary, database, mode)
    rng = random.Random(mode)
    survivor = start(c, primary, database, mode, "off", 100_000, f"{mode}-survivor", "0.002")
    for i in range(KILLS):
        victim = start(c, primary, database, mode, "off", 100_000, f"{mode}-victim")
        out = os.path.join(c.scratch, f"{mode}-victim.out")
        cluster.wait_for("the victim writes", lambda: os.path.getsize(out) > 0)
        time.sleep(rng.random() * 0.02)  # any moment of its work
        if i % 5 == 4:
            primary.kill()
        victim.send_signal(signal.SIGKILL)
        victim.wait()
        c.processes.remove(victim)
        if i % 5 == 4:
            primary.start()
    check(survivor.poll() is None, f"{database}: the survivor has ended")
    survivor.terminate()
    survivor.wait()
    c.processes.remove(survivor)
    check_equal_everywhere(c, primary, replica, database)
    print(f"{database}: {KILLS} writers and {KILLS // 5} daemons killed; identical", flush=True)


def while_it_is_copied(c, primary, replica):
    """A copy ends although an app commits as fast as it can."""
    database = "delete-copied.db"
    create(primary, database, "delete")
    writer = start(c, primary, database, "delete", "off", 100_000, "copied")
    out = os.path.join(c.scratch, "copied.out")
    cluster.wait_for("the writer writes", lambda: os.path.getsize(out) > 0)
    for i in range(5):
        copy = os.path.join(c.scratch, f"copy{i}.db")
        primary.export(database, copy)
        with sqlite3.connect(copy) as db:
            check_equal(db.execute("pragma integrity_check").fetchone(), ("ok",), "the copy")
        os.unlink(copy)
    check(writer.poll() is None, "the writer has ended before the copies")
    writer.terminate()
    writer.wait()
    c.processes.remove(writer)
    check_equal_everywhere(c, primary, replica, database)
    print(f"{database}: 5 copies under full load", flush=True)


def test(c):
    primary = c.node("primary")
    replica = c.node("replica", follows=primary)
    for mode in MODES:
        for sync in ("off", "full"):
            in_order(c, primary, replica, mode, sync)
    for mode in MODES:
        with_deaths(c, primary, replica, mode)
    while_it_is_copied(c, primary, replica)


cluster.main(test)
