#!/usr/bin/env python3
"""Programs without the shim: on a replica they read and cannot write; on the primary, what they do is
captured in under a second, alone or between the transactions of an app under the shim, and at the
daemon's start if it was away."""

import os
import shutil
import subprocess
import time

import cluster

MODES = ["wal", "delete", "truncate", "persist", "memory", "off"]
FILL = ("CREATE TABLE t(x); WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE "
        "i < 1000) INSERT INTO t SELECT i FROM n;")
SECONDS = 1.0

# An app that stays: executes each line of its input and answers "ok".
APP = """
import sqlite3, sys
db = sqlite3.connect(sys.argv[1], timeout=20, isolation_level=None)
for line in sys.stdin:
    db.execute(line).fetchall()
    print("ok", flush=True)
"""


class App:
    def __init__(self, c, path):
        self.process = c.spawn(["/usr/bin/python3", "-c", APP, path], shim=True, text=True,
                               stdin=subprocess.PIPE, stdout=subprocess.PIPE)

    def execute(self, sql):
        self.process.stdin.write(sql + "\n")
        self.process.stdin.flush()
        cluster.check_equal(self.process.stdout.readline(), "ok\n", sql)

    def close(self):
        self.process.stdin.close()
        cluster.check_equal(self.process.wait(30), 0, "the app's exit status")


def replica_is_read_only(c, replica, database, shim):
    status, out, err = c.run(["sqlite3", "-batch", "-bail", replica.path(database)], shim=shim,
                             input="INSERT INTO t VALUES (-1);\n", status=None)
    cluster.check(status != 0 and ("locked" in err or "readonly" in err or "busy" in err),
                  f"{database}: a write on a replica gave {status}: {out}{err}")
    count = c.sqlite(replica.path(database), "SELECT count(*) FROM t WHERE x = -1;", shim=shim)
    cluster.check_equal(count, "0", f"{database}: rows written on a replica")


def seen(c, node, database, what):
    """The chain comes to hold what the file holds, by itself; how long it took."""
    start = time.monotonic()
    wanted = c.committed_sha256(node.path(database))

    def holds():
        return node.ltx_files(database) and c.replay(node, database) == wanted
    cluster.wait_for(f"{what} is captured", holds, 10)
    return time.monotonic() - start


def told_once(node):
    """Each reconciling transaction has one line in the log and is counted once, for its database and in all."""
    with open(node.log, encoding="utf-8") as file:
        lines = [line for line in file if "reconcile db=" in line]
    status = node.status()
    for database in status["databases"]:
        count = sum(f" db={database['name']} " in line for line in lines)
        cluster.check_equal(count, database["reconciled"], f"lines of {database['name']} in the log")
        cluster.check(count > 0, f"{database['name']}: nothing was reconciled")
    cluster.check_equal(status["counters"]["reconciled"], len(lines), "counters.reconciled")


def strangers(c, primary, replica):
    slowest = 0
    quick = []

    def check(database, what):
        took = seen(c, primary, database, what)
        quick.append(took < SECONDS)
        print(f"{what}: seen after {took:.2f} s")
        c.check_identical(primary, replica, database)
        return took

    for mode in MODES:
        database = f"{mode}.db"
        path = primary.path(database)
        c.sqlite(path, f"PRAGMA journal_mode = {mode}; {FILL}")
        slowest = max(slowest, check(database, f"a new database, {mode}"))
        c.sqlite(path, f"PRAGMA journal_mode = {mode}; UPDATE t SET x = -x WHERE x % 3 = 0;")
        slowest = max(slowest, check(database, f"a stranger's update, {mode}"))

        app = App(c, path)
        app.execute(f"PRAGMA journal_mode = {mode}")
        for i in range(3):
            app.execute(f"INSERT INTO t VALUES ('app {i}')")
            c.sqlite(path, f"PRAGMA journal_mode = {mode}; UPDATE t SET x = {i} WHERE x > 900 + {i};")
            app.execute(f"INSERT INTO t VALUES ('app again {i}')")
            c.sqlite(path, f"DELETE FROM t WHERE x = 5 + {i};")
        slowest = max(slowest, check(database, f"in turns with an app, {mode}"))
        app.close()
        slowest = max(slowest, check(database, f"after the app's end, {mode}"))

    # A preload does not reach a static binary.
    static = c.build_program("workload-static", "tests/fault/workload.cc", "-static", "-lsqlite3", "-lm")
    for mode in ("delete", "wal", "exclusive-wal"):
        database = f"static-{mode}.db"
        c.sqlite(primary.path(database), "CREATE TABLE t(id INTEGER PRIMARY KEY, x);")
        before = primary.status()["counters"]["sessions"]
        said = c.run([static, primary.path(database), mode], shim=True)[0]
        cluster.check("+106" in said and "!" not in said, said)
        slowest = max(slowest, check(database, f"a static binary, {mode}"))
        cluster.check_equal(primary.status()["counters"]["sessions"], before, "sessions of a static binary")
    other = os.path.join(c.scratch, "other.db")
    c.sqlite(other, "PRAGMA page_size = 1024; CREATE TABLE o(y); INSERT INTO o VALUES (randomblob(9000));")
    os.rename(shutil.copyfile(other, primary.path("moved.tmp")), primary.path("delete.db"))
    slowest = max(slowest, check("delete.db", "mv over a database"))
    c.sqlite(other, FILL)
    shutil.copyfile(other, primary.path("truncate.db"))
    slowest = max(slowest, check("truncate.db", "cp over a database"))
    os.rename(shutil.copyfile(other, primary.path("new.tmp")), primary.path("new.db"))
    slowest = max(slowest, check("new.db", "a database moved in"))
    with open(primary.path("persist.db"), "r+b") as file:
        file.truncate(0)
        shutil.copyfileobj(open(other, "rb"), file)
    slowest = max(slowest, check("persist.db", "a truncation and a rewrite"))
    cluster.check(all(quick), f"slowest: {slowest:.2f} s, wanted under {SECONDS}")
    told_once(primary)


def test(c):
    primary = c.node("primary", databases=["*.db"])
    replica = c.node("replica", follows=primary)
    strangers(c, primary, replica)
    for database in ("wal.db", "memory.db"):
        replica_is_read_only(c, replica, database, shim=False)
        c.check_identical(primary, replica, database)
    print("a replica cannot be written by accident")

    primary.stop()
    for database in ("wal.db", "delete.db", "persist.db"):
        c.sqlite(primary.path(database), "CREATE TABLE IF NOT EXISTS t(x); DELETE FROM t WHERE x % 2;"
                 "INSERT INTO t VALUES (7);")
    c.sqlite(primary.path("dropped-in.db"), FILL)
    primary.start()
    for database in ("wal.db", "delete.db", "persist.db", "dropped-in.db"):
        c.check_identical(primary, replica, database)
    print("what was written without the shim is captured at the start")


cluster.main(test)
