#!/usr/bin/env python3
"""hot_journal_test.py BUILD_DIR: a reader under the shim rolls a hot journal back on a replica whose daemon is dead.

It must not wait for the daemon: it holds EXCLUSIVE meanwhile, and a replica's daemon wants to hear nothing of it."""

import os
import signal
import subprocess
import time

import cluster

WRITER = r"""
import sqlite3, sys, time
db = sqlite3.connect(sys.argv[1], isolation_level=None)
db.execute("PRAGMA cache_size = 5")
db.execute("BEGIN IMMEDIATE")
db.execute("UPDATE t SET y = randomblob(3000)")
print("spilled", flush=True)
time.sleep(600)
"""


def leave_hot_journal(c, replica, database):
    """As a daemon that dies in mid-apply would."""
    writer = c.spawn(["python3", "-c", WRITER, replica.path(database)], stdout=subprocess.PIPE, text=True)
    cluster.check_equal(writer.stdout.readline(), "spilled\n", "the writer")
    writer.send_signal(signal.SIGKILL)
    writer.wait()
    with open(replica.path(database + "-journal"), "rb") as file:
        cluster.check(file.read(1) != b"\0", "there is no hot journal")


def test(c):
    primary = c.node("primary")
    replica = c.node("replica", follows=primary)
    primary.sql("a.db", "PRAGMA journal_mode = delete; CREATE TABLE t(x INTEGER PRIMARY KEY, y); WITH RECURSIVE n(i) AS "
                "(SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 300) INSERT INTO t SELECT i, randomblob(3000) FROM n;")
    c.wait_equal(primary, replica, "a.db")
    replica.kill()
    before = cluster.sha256(primary.path("a.db"))
    leave_hot_journal(c, replica, "a.db")
    cluster.check(cluster.sha256(replica.path("a.db")) != before, "the transaction has not spilled")
    started = time.monotonic()
    cluster.check_equal(replica.sql("a.db", "SELECT count(*) FROM t"), "300", "what the reader finds")
    took = time.monotonic() - started
    cluster.check(took < 10, f"the reader waited for {took:.1f} s")
    cluster.check_equal(cluster.sha256(replica.path("a.db")), before, "the content that was rolled back to")
    cluster.check(not os.path.exists(replica.path("a.db-journal")), "the journal is still there")
    replica.start()
    primary.sql("a.db", "UPDATE t SET y = 'end' WHERE x = 7")
    c.check_identical(primary, replica, "a.db")
    print(f"rolled back in {took:.1f} s without the daemon, and identical afterwards")


cluster.main(test)
