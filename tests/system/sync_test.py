#!/usr/bin/env python3
"""Synchronous commit. What a COMMIT has acknowledged survives the loss of the primary and its directory; a commit waits
for replicas that are stopped or missing, or goes on without them (degrade) and waits again when they are back; one
database has its own setting; a commit survives the daemon's death in mid-wait."""

import json
import os
import select
import shutil
import signal
import subprocess
import time

import cluster
from apps import App, counter, stop, sync_of
from cluster import check, check_equal, wait_for

MODES = ["delete", "truncate", "persist", "wal"]
AT_ONCE = 0.25  # seconds in which a commit that waits for a stopped replica must not return

# Inserts one row for each line that it reads and answers when the commit is there; "run" inserts until it is killed.
APP = """
import sqlite3, sys
path, mode = sys.argv[1:]
connection = sqlite3.connect(path, timeout=30, isolation_level=None)
connection.execute('pragma journal_mode=' + mode).fetchall()
connection.execute('create table if not exists t(id integer primary key, x)')
print('ready', flush=True)
for line in sys.stdin:
    while True:
        try:
            id = connection.execute("insert into t(x) values(hex(randomblob(300))) returning id").fetchall()[0][0]
            print(id, flush=True)
        except sqlite3.Error as error:
            print('error:', error, flush=True)
        if line != 'run\\n':
            break
"""


def ids(c, path):
    out = c.sqlite(path, "select group_concat(id) from t")
    return {int(id) for id in out.split(",")} if out else set()


def test_loss(c, mode):
    """The primary is killed with its app under full load, its directory is removed: the replica has all that the app
    was told."""
    primary = c.node(f"p-{mode}", sync=1)
    replica = c.node(f"r-{mode}", follows=primary)
    app = App(c, APP, primary.path("app.db"), mode)
    acknowledged = [int(app.commit())]
    c.wait_equal(primary, replica, "app.db")
    app.tell("run")
    end = time.monotonic() + 2
    while time.monotonic() < end:
        acknowledged.append(int(app.hear()))
    primary.kill()
    app.process.kill()
    for line in app.process.stdout.read().splitlines():  # said before it died
        if line.isdigit():
            acknowledged.append(int(line))
    shutil.rmtree(primary.dir)
    check(len(acknowledged) > 10, f"{mode}: only {len(acknowledged)} commits in 2 s")
    wanted = set(acknowledged)
    wait_for(f"{mode}: {len(wanted)} acknowledged rows on the replica",
             lambda: wanted <= ids(c, replica.path("app.db")))
    check_equal(c.sqlite(replica.path("app.db"), "pragma integrity_check"), "ok", "the replica")
    print(f"{mode}: {len(wanted)} acknowledged commits in 2 s, all on the replica")
    replica.stop()


def test_wait(c, mode):
    """A stopped replica is waited for, whatever sync-timeout says; a second one is enough."""
    primary = c.node(f"pw-{mode}", sync=1, **{"sync-timeout": "300ms"})
    replica = c.node(f"rw-{mode}", follows=primary)
    app = App(c, APP, primary.path("app.db"), mode)
    check_equal(app.commit(), "1", "a commit")
    check_equal(sync_of(primary, "app.db")["degraded"], False, "degraded")
    confirmed = counter(primary, "sync_commits")
    check(confirmed >= 2, f"{confirmed} commits were confirmed: the table and a row")
    stop(replica)
    app.tell("insert")
    wait_for("the timeout is counted", lambda: counter(primary, "sync_timeouts") == 1)
    wait_for("the commit is seen to wait", lambda: sync_of(primary, "app.db") == {
        "replicas": 1, "stored_by": 0, "waiting": 1, "degraded": False})  # but for the moment between two questions
    check(not app.answered(AT_ONCE), "a commit returned that no replica has stored")
    check("commits wait for 1 replicas" in open(primary.log).read(), "the wait is not in the log")
    replica.process.send_signal(signal.SIGCONT)
    check_equal(app.hear(), "2", "the commit that waited")
    c.check_identical(primary, replica, "app.db")
    check_equal(counter(primary, "unconfirmed_commits"), 0, "unconfirmed commits")
    replica.stop()
    # Nobody is there now.
    app.tell("insert")
    wait_for("the commit waits", lambda: sync_of(primary, "app.db")["waiting"] == 1)
    check(not app.answered(AT_ONCE), "a commit returned without any replica")
    other = c.node(f"ro-{mode}", follows=primary)
    check_equal(app.hear(), "3", "the commit that waited for a new replica")
    # The daemon dies and comes back while a commit waits.
    stop(other)
    app.tell("insert")
    wait_for("the commit waits", lambda: sync_of(primary, "app.db")["waiting"] == 1)
    primary.kill()
    primary.start()
    check(not app.answered(AT_ONCE), "a commit returned because the daemon died")
    other.process.send_signal(signal.SIGCONT)
    check_equal(app.hear(), "4", "the commit that waited for the daemon")
    c.check_identical(primary, other, "app.db")
    # The app dies while a commit waits: it is committed all the same.
    stop(other)
    app.tell("insert")
    wait_for("the commit waits", lambda: sync_of(primary, "app.db")["waiting"] == 1)
    app.process.kill()
    wait_for("nobody waits", lambda: sync_of(primary, "app.db")["waiting"] == 0)
    other.process.send_signal(signal.SIGCONT)
    c.check_identical(primary, other, "app.db")
    check_equal(ids(c, other.path("app.db")), {1, 2, 3, 4, 5}, f"{mode}: rows")
    primary.stop()
    other.stop()


def test_degrade(c, mode):
    primary = c.node(f"pd-{mode}", sync=1, **{"sync-timeout": "500ms", "on-timeout": "degrade"})
    replica = c.node(f"rd-{mode}", follows=primary)
    app = App(c, APP, primary.path("app.db"), mode)
    check_equal(app.commit(), "1", "a commit")
    stop(replica)
    started = time.monotonic()
    check_equal(app.commit(), "2", "a commit with a stopped replica")
    took = time.monotonic() - started
    check(took >= 0.5, f"it returned after {took:.3f} s, before sync-timeout")
    check_equal(sync_of(primary, "app.db")["degraded"], True, "degraded")
    check("commits do not wait until" in open(primary.log).read(), "the degradation is not in the log")
    for id in range(3, 8):
        started = time.monotonic()
        check_equal(app.commit(), str(id), "a commit")
        took = min(took, time.monotonic() - started)
    check(took < 0.5, f"each further commit waited {took:.3f} s")
    check(counter(primary, "sync_degraded_commits") >= 6, "degraded commits are not counted")
    check_equal(counter(primary, "sync_timeouts"), 1, "timeouts")
    replica.process.send_signal(signal.SIGCONT)
    wait_for("synchronous again", lambda: not sync_of(primary, "app.db")["degraded"])
    confirmed = counter(primary, "sync_commits")
    check_equal(app.commit(), "8", "a commit")
    check(counter(primary, "sync_commits") > confirmed, "the commit did not wait")
    c.check_identical(primary, replica, "app.db")
    primary.stop()
    replica.stop()


def test_more_than_there_are(c):
    """Two replicas are wanted, one is there, which counts once however often it connects; one database wants none."""
    primary = c.node("pn", sync=2, **{"sync-timeout": "300ms", "sync-databases": {"free*.db": "0", "one.db": "1 1h wait"}})
    replica = c.node("rn", follows=primary)
    free = App(c, APP, primary.path("free1.db"), "wal")
    check_equal(free.commit(), "1", "a commit of a database without sync")
    check("sync" not in primary.database_status("free1.db"), "free1.db has a sync in its status")
    one = App(c, APP, primary.path("one.db"), "delete")
    check_equal(one.commit(), "1", "a commit of a database that wants one replica")
    app = c.spawn(["/usr/bin/python3", "-c", APP, primary.path("app.db"), "wal"], shim=True, text=True,
                  stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    wait_for("one replica has stored it", lambda: "sync" in (primary.database_status("app.db") or {}) and
             sync_of(primary, "app.db")["stored_by"] == 1)
    replica.stop()
    replica.start()
    wait_for("it is back", lambda: sync_of(primary, "app.db")["stored_by"] == 1)
    check(not select.select([app.stdout], [], [], AT_ONCE)[0], "one replica was enough for sync: 2")
    second = c.node("rn2", follows=primary)
    check_equal(app.stdout.readline(), "ready\n", "the app, with two replicas")
    c.check_identical(primary, second, "app.db")
    metrics = primary.status()["counters"]
    check(metrics["sync_commits"] >= 2 and metrics["unconfirmed_commits"] == 0, json.dumps(metrics))
    for node in (primary, replica, second):
        node.stop()


def test(c):
    os.environ.setdefault("PYTHONDONTWRITEBYTECODE", "1")
    for mode in MODES:
        test_loss(c, mode)
    for mode in ["delete", "wal"]:
        test_wait(c, mode)
        test_degrade(c, mode)
    test_more_than_there_are(c)


cluster.main(test)
