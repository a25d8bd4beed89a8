#!/usr/bin/env python3
"""million_test.py BUILD_DIR [TRANSACTIONS]: small transactions leave the daemons' memory flat.

Nine of ten go to a WAL database, one of ten to a rollback-mode one.  After a warm-up of a fifth of
them, neither daemon may grow by more than 10 MB."""

import subprocess
import time

import cluster

GROWTH_KIB = 10 << 10
# The steady state needs a chain that is being pruned.
RETENTION = {"age": "1h", "size": "16MiB"}

WRITER = """
import sqlite3, sys
wal = sqlite3.connect(sys.argv[1], timeout=30, isolation_level=None)
wal.execute("pragma journal_mode = wal").fetchall()
wal.execute("pragma synchronous = normal")
rollback = sqlite3.connect(sys.argv[2], timeout=30, isolation_level=None)
rollback.execute("pragma synchronous = off")
for db in (wal, rollback):
    db.execute("create table if not exists t(id integer primary key, n, x)")
for line in sys.stdin:
    for i in range(int(line)):
        db = rollback if i % 10 == 9 else wal
        db.execute("insert or replace into t values (?, ?, 'small')", (i * 7919 % 20011, i))
    print("done", flush=True)
"""


def test(c, transactions="50000"):
    total = int(transactions)
    primary = c.node("primary", retention=RETENTION)
    replica = c.node("replica", follows=primary, retention=RETENTION)
    databases = ["wal.db", "rollback.db"]
    writer = c.spawn(["/usr/bin/python3", "-c", WRITER, *map(primary.path, databases)], shim=True,
                     stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    def write(count):
        writer.stdin.write(f"{count}\n")
        writer.stdin.flush()
        cluster.check_equal(writer.stdout.readline(), "done\n", f"{count} transactions")

    def settle():
        for database in databases:
            c.wait_equal(primary, replica, database, seconds=300)
        return {node.name: node.rss_kib() for node in (primary, replica)}

    start = time.monotonic()
    write(total // 5)
    warm = settle()
    for step in range(4):
        write(total // 5)
        print(f"{(step + 2) * total // 5} transactions, {time.monotonic() - start:.0f} s: {settle()}",
              flush=True)
    end = settle()
    writer.stdin.close()
    cluster.check_equal(writer.wait(30), 0, "the writer's exit status")
    for name, before in warm.items():
        cluster.check(end[name] - before < GROWTH_KIB,
                      f"{name}: {before} KiB after the warm-up, {end[name]} KiB at the end")
    for database in databases:
        c.check_identical(primary, replica, database)
    print(f"{total} transactions: {warm} KiB after a fifth, {end} KiB at the end")


cluster.main(test)
