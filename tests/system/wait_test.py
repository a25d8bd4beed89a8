#!/usr/bin/env python3
"""Reading one's writes: `litefs wait` on a replica and on the primary, woken by the transaction that it waits for; in time,
not in time, of another branch, for a database that is not there yet. The files that LiteFS's libraries read
(position-files): their form, that they follow, that the configuration does not take them for databases, and that a user's
file of that name stays."""

import json
import os
import re
import signal
import subprocess
import time

import cluster
from cluster import check, check_equal, wait_for


def wait(c, node, *arguments, status=0):
    return c.command("wait", "--config", node.config, *arguments, status=status)


def start_wait(c, node, *arguments):
    """A wait that the daemon knows of."""
    before = node.status()["waits"]
    process = c.spawn([c.litefs, "wait", "--config", node.config, *arguments], text=True,
                      stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    wait_for("the daemon knows of the wait", lambda: node.status()["waits"] == before + 1)
    return process


def after(position, by=1):
    return f"{int(position.split('/')[0], 16) + by:016x}"


def test_wait(c, mode):
    primary = c.node(f"p-{mode}")
    replica = c.node(f"r-{mode}", follows=primary)
    primary.sql("app.db", f"pragma journal_mode={mode}; create table t(x);")
    position = c.wait_equal(primary, replica, "app.db")
    for node in (primary, replica):
        wait(c, node, "app.db", position)
        wait(c, node, "app.db", position.split("/")[0], "--timeout", "0")
        out = json.loads(wait(c, node, "app.db", position, "--json")[0])
        check_equal(out, {"database": "app.db", "reached": True, "txid": position.split("/")[0],
                          "checksum": position.split("/")[1]}, "--json")
        started = time.monotonic()
        out, err = c.command("wait", "--config", node.config, "app.db", after(position), "--timeout", "300ms", "--json",
                             status=None)[1:]
        check(time.monotonic() - started >= 0.3, "it did not wait")
        check_equal(json.loads(out)["reached"], False, "not in time")
        check("not yet at" in err, err)
        wait(c, node, "app.db", after(position), "--timeout", "1ms", status=3)
        # The same transaction of another branch.
        other = position[:-1] + ("0" if position[-1] != "0" else "1")
        wait(c, node, "app.db", other, status=4)
    # A write wakes the waits on both nodes.
    waits = [start_wait(c, node, "app.db", after(position, 2), "--timeout", "60s") for node in (primary, replica)]
    primary.sql("app.db", "insert into t values(1)")
    for process in waits:
        check(process.poll() is None, "a wait has ended one transaction too early")
    primary.sql("app.db", "insert into t values(2)")
    for process in waits:
        check_equal(process.wait(30), 0, f"a wait: {process.stderr.read()}")
    wait(c, replica, "app.db", position, "--timeout", "0")  # it lies behind
    other = position[:-1] + ("0" if position[-1] != "0" else "1")
    wait(c, replica, "app.db", other, "--timeout", "0", status=4)
    # A database that does not exist yet.
    process = start_wait(c, replica, "new.db", f"{1:016x}", "--timeout", "60s")
    primary.sql("new.db", "create table t(x)")
    check_equal(process.wait(30), 0, "the wait for a new database")
    # Read your writes, as an app does it.
    for i in range(20):
        primary.sql("app.db", f"insert into t values('w{i}')")
        wait(c, replica, "app.db", primary.position("app.db"))
        check_equal(c.sqlite(replica.path("app.db"), f"select count(*) from t where x='w{i}'"), "1", "what was written")
    # The daemon's end ends the wait.
    process = start_wait(c, replica, "app.db", f"{1 << 40:016x}", "--timeout", "60s")
    replica.stop()
    check_equal(process.wait(30), 1, "a wait whose daemon ends")
    wait(c, primary, "app.db", "zz", status=2)
    wait(c, primary, "app.db", position, "--timeout", "soon", status=2)
    primary.stop()


def read(node, name):
    try:
        with open(node.path(name), encoding="ascii") as file:
            return file.read()
    except FileNotFoundError:
        return None


def test_files(c):
    settings = {"position-files": True, "databases": ["*"]}
    primary = c.node("pf", **settings)
    with open(primary.path("mine.db-pos"), "w", encoding="ascii") as file:
        file.write("my own file\n")
    replica = c.node("rf", follows=primary, **settings)
    primary.sql("app.db", "create table t(x);")
    primary.sql("mine.db", "create table t(x);")
    for i in range(3):
        primary.sql("app.db", f"insert into t values({i})")
        position = c.wait_equal(primary, replica, "app.db") + "\n"
        check(re.fullmatch(r"[0-9a-f]{16}/[0-9a-f]{16}\n", position), position)
        for node in (primary, replica):
            wait_for(f"{node.name}'s app.db-pos", lambda: read(node, "app.db-pos") == position, 5)
    check_equal(read(primary, "mine.db-pos"), "my own file\n", "a user's file")
    check("mine.db-pos is somebody's file" in open(primary.log).read(), "the refusal is not in the log")
    check_equal(read(primary, ".primary"), None, ".primary on the primary")
    check_equal(read(primary, ".lag"), "+000000000\n", ".lag on the primary")
    wait_for(".primary on the replica", lambda: read(replica, ".primary") == primary.endpoint[len("ipc://"):] + "\n")
    wait_for(".lag on the replica", lambda: read(replica, ".lag") == "+000000000\n")
    names = sorted(d["name"] for d in replica.status()["databases"])
    check_equal(names, ["app.db", "mine.db"], "the databases")
    # A primary that stands still: the lag grows.
    primary.process.send_signal(signal.SIGSTOP)
    wait_for(".lag grows", lambda: int(read(replica, ".lag")) > 2000)
    primary.process.send_signal(signal.SIGCONT)
    wait_for(".lag is 0 again", lambda: read(replica, ".lag") == "+000000000\n")
    # An idle primary writes no file.
    stamp = os.stat(primary.path("app.db-pos")).st_mtime_ns
    primary.sql("app.db", "select * from t")
    check_equal(os.stat(primary.path("app.db-pos")).st_mtime_ns, stamp, "app.db-pos was written for nothing")
    # A deleted database has no position.
    os.unlink(primary.path("app.db"))
    for node in (primary, replica):
        wait_for(f"{node.name}'s app.db-pos is gone", lambda: read(node, "app.db-pos") is None)
    primary.stop()
    replica.stop()


def test(c):
    for mode in ("delete", "wal"):
        test_wait(c, mode)
    test_files(c)


cluster.main(test)
