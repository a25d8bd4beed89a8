#!/usr/bin/env python3
"""Chains of three nodes, primaries that connect to their replicas, loops, and the lag that status shows,
with real daemons."""

import os
import sqlite3
import subprocess
import sys
import time

import cluster

# What the lag may be off by: beacons 25 ms apart, and this machine's own delays while the answer is made.
TOLERANCE_MS = 400

WRITER = r"""
import sqlite3, sys, time
db = sqlite3.connect(sys.argv[1], timeout=60, isolation_level=None)
db.execute("PRAGMA synchronous = OFF")
end = time.monotonic() + float(sys.argv[2])
n = 0
while time.monotonic() < end:
    n += 1
    db.execute("INSERT INTO t(x) VALUES (randomblob(300))")
    if n % 10 == 0:
        db.execute("DELETE FROM t WHERE rowid % 7 = ?", (n // 10 % 7,))
    time.sleep(0.004)
print(n)
"""


def relay(c, name, follows, **config):
    """A replica that serves others."""
    endpoint = f"ipc://{c.scratch}/{name}.s"
    return c.node(name, follows=follows, replication={"listen": endpoint}, **config)


def waiting(c, name, **config):
    """A replica that a primary is to connect to."""
    return c.node(name, lease={"type": "static", "primary": False},
                  replication={"listen": "off", "accept": f"ipc://{c.scratch}/{name}.a"}, **config)


def write(c, node, database, seconds):
    return c.spawn([sys.executable, "-c", WRITER, node.path(database), str(seconds)], shim=True,
                   stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)


def finish(writer):
    out = writer.communicate(timeout=120)[0]
    cluster.check_equal(writer.returncode, 0, f"the writer: {out}")
    cluster.check(int(out) > 50, f"the writer made {out} transactions")


def chain_of_three(c, mode):
    database = f"chain-{mode}.db"
    primary = c.node(f"p-{mode}")
    middle = relay(c, f"m-{mode}", primary)
    end = c.node(f"e-{mode}", follows=middle)
    primary.sql(database, f"PRAGMA journal_mode = {mode}; CREATE TABLE t(x);")
    c.check_identical(primary, end, database)
    path = end.status()["replication"]["path"].split()
    cluster.check_equal(path, [n.status()["node_id"] for n in (primary, middle, end)], "the path")
    writer = write(c, primary, database, 4)
    for _ in range(4):  # the middle dies under load
        time.sleep(0.6)
        middle.kill()
        middle.start()
    finish(writer)
    c.check_identical(primary, end, database)
    c.check_identical(primary, middle, database)
    end.stop()
    primary.sql(database, "INSERT INTO t VALUES ('while the end was away');")
    primary.stop()
    # The middle has it, or gets it later; nobody drops anything for lack of a primary.
    end.start()
    primary.start()
    c.check_identical(primary, end, database)
    # The middle has lost its disk.
    middle.stop()
    os.rename(middle.dir, middle.dir + ".lost")
    os.mkdir(middle.dir)
    middle.start()
    primary.sql(database, "INSERT INTO t VALUES ('after the loss');")
    c.check_identical(primary, end, database)
    c.check_identical(primary, middle, database)
    for node in (end, middle, primary):
        node.stop()


def loop(c):
    a = c.node("loop-a", start=False)
    b = c.node("loop-b", start=False)
    for node, other in ((a, b), (b, a)):
        node.configure(other, replication={"listen": node.endpoint})
        node.start()
    for node in (a, b):
        cluster.wait_for(f"{node.name} says why it follows nobody",
                         lambda n=node: "not reached a primary" in n.status()["replication"]["last_error"])
    text = c.command("status", "--config", a.config)[0]
    cluster.check("NOT CONNECTED" in text and "unknown" in text, f"litefs status in a loop: {text}")
    a.stop()
    b.stop()


def dialled(c, mode):
    database = f"dial-{mode}.db"
    replica = waiting(c, f"dr-{mode}", start=False)
    primary = c.node(f"dp-{mode}", start=False, replication={
        "listen": "off", "dial": [f"ipc://{c.scratch}/dr-{mode}.a"]})
    primary.start()
    primary.sql(database, f"PRAGMA journal_mode = {mode}; CREATE TABLE t(x);")
    replica.start()  # after its primary
    c.check_identical(primary, replica, database)
    for n, (first, second) in enumerate([(primary, replica), (replica, primary)]):
        for end in ("stop", "kill"):
            getattr(first, end)()
            getattr(second, end)()
            second.start()
            first.start()
            primary.sql(database, f"INSERT INTO t VALUES ('{n} {end}');")
            c.check_identical(primary, replica, database)
    writer = write(c, primary, database, 3)
    for node in (replica, primary, replica):
        time.sleep(0.5)
        node.kill()
        node.start()
    finish(writer)
    c.check_identical(primary, replica, database)
    dial = primary.status()["replication"]["dial"]
    cluster.check(len(dial) == 1 and dial[0]["connected"], f"status of what is dialled: {dial}")

    # A second primary of another cluster is told, and changes nothing.
    other = c.node(f"ds-{mode}", replication={"listen": "off", "dial": [f"ipc://{c.scratch}/dr-{mode}.a"]})
    cluster.wait_for("the second primary is told", lambda: "this is cluster" in
                     other.status()["replication"]["dial"][0]["last_error"])
    primary.sql(database, "INSERT INTO t VALUES ('still');")
    c.check_identical(primary, replica, database)
    for node in (other, replica, primary):
        node.stop()


def lag(node):
    before = time.monotonic()
    status = node.status()
    after = time.monotonic()
    return status["replication"], status["databases"], before, after


def check_lag(node, since, what):
    """since: (earliest, latest) time at which the first missing transaction was committed."""
    replication, _, before, after = lag(node)
    shown = replication["lag_ms"]
    cluster.check(shown is not None, f"{what}: the lag is not known: {replication}")
    least = (before - since[1]) * 1000 - TOLERANCE_MS
    most = (after - since[0]) * 1000 + TOLERANCE_MS
    cluster.check(least <= shown <= most, f"{what}: lag_ms is {shown}, not {least:.0f} to {most:.0f}")
    return replication


def true_lag(c):
    """A reader holds up apply, then the primary is silent: the lag is what we know it is."""
    database = "lag.db"
    primary = c.node("p-lag")
    middle = relay(c, "m-lag", primary)
    end = c.node("e-lag", follows=middle)
    primary.sql(database, "PRAGMA journal_mode = delete; CREATE TABLE t(x); INSERT INTO t VALUES (1);")
    c.check_identical(primary, end, database)
    for node in (middle, end):
        cluster.wait_for(f"{node.name} is not behind", lambda n=node: lag(n)[0]["lag_ms"] == 0)
    reader = sqlite3.connect(end.path(database), isolation_level=None)
    reader.execute("BEGIN")
    reader.execute("SELECT * FROM t").fetchall()
    began = time.monotonic()
    primary.sql(database, "INSERT INTO t VALUES (2);")
    since = (began, time.monotonic())
    primary.sql(database, "INSERT INTO t VALUES (3); INSERT INTO t VALUES (4);")
    cluster.wait_for("the end knows of what is missing", lambda: lag(end)[0]["lag_transactions"] == 3)
    for _ in range(4):
        time.sleep(0.5)  # time passes: that is what is measured
        shown = check_lag(end, since, "apply stopped")
        of_database = end.database_status(database)["lag"]
        cluster.check_equal(of_database["transactions"], 3, "transactions missing")
        cluster.check(of_database["bytes"] == shown["lag_bytes"] and of_database["bytes"] > 300,
                      f"bytes missing: {of_database}")
        # A read lock stops what is applied, not what is stored.
        cluster.check_equal(lag(middle)[0]["lag_transactions"], 0, "the middle's lag")
    reader.execute("COMMIT")
    reader.close()
    c.check_identical(primary, end, database)
    cluster.wait_for("nobody is behind", lambda: lag(end)[0]["lag_ms"] == 0)

    began = time.monotonic()
    primary.stop()
    since = (began - 1.0, time.monotonic())  # the last beacon was at most a second old
    time.sleep(2.5)
    check_lag(middle, since, "the primary is away")
    check_lag(end, since, "the primary's primary is away")
    text = c.command("status", "--config", middle.config)[0]
    cluster.check("NOT CONNECTED" in text, f"litefs status: {text}")
    primary.start()
    for node in (middle, end):
        cluster.wait_for(f"{node.name} is not behind", lambda n=node: lag(n)[0]["lag_ms"] == 0)


def test(c):
    loop(c)
    for mode in ("delete", "wal"):
        chain_of_three(c, mode)
        dialled(c, mode)
    true_lag(c)


cluster.main(test)
