#!/usr/bin/env python3
"""forward_sync_test.py BUILD_DIR [KILLS]: synchronous commit of what apps on replicas write. A commit waits for replicas
that are stopped, as long as it takes or (degrade) until sync-timeout, through deaths of the primary's daemon; the replica
that wrote it counts as one. With etcd: the primary's daemon is killed at any moment, another node takes over, and
nothing acknowledged is lost."""

import os
import random
import time

import cluster
from apps import App, WRITER, counter, go_on, stop, sync_of
from cluster import check, check_equal, wait_for
from servers import etcd

FORWARD = {"on-replica-write": "forward"}
MODES = ["delete", "wal"]
AT_ONCE = 0.25  # seconds in which a commit that waits for a stopped replica must not return
LONG = 24  # seconds: longer than a replica waits for a primary that says nothing
KILLS = 4

# Inserts one row for each line that it reads and answers when the commit is there.
APP = """
import sqlite3, sys
connection = sqlite3.connect(sys.argv[1], timeout=30, isolation_level=None)
print('ready', flush=True)
for line in sys.stdin:
    try:
        connection.execute('insert into t values(?)', (line.strip(),))
        print('ok', flush=True)
    except sqlite3.Error as error:
        print('error:', error, flush=True)
"""


def talk(c, node, database):
    return App(c, APP, node.path(database))


def rows(node, database):
    return sorted(node.sql(database, "select x from t;").split())


def wait_for_waiters(primary, database, n):
    wait_for(f"{n} commits wait", lambda: sync_of(primary, database)["waiting"] == n)


def three(c, prefix, **settings):
    primary = c.node(f"{prefix}p", forward={"max-hold": "2s"}, **FORWARD, **settings)
    writer = c.node(f"{prefix}w", follows=primary, **FORWARD)
    other = c.node(f"{prefix}o", follows=primary, **FORWARD)
    for mode in MODES:
        primary.sql(f"{mode}.db", f"PRAGMA journal_mode = {mode}; CREATE TABLE t(x);")
        for node in (writer, other):
            c.wait_equal(primary, node, f"{mode}.db")
    return primary, writer, other


def waits(c):
    """Both replicas are wanted: what one of them writes waits for the other."""
    primary, writer, other = three(c, "wait-", sync=2, **{"sync-timeout": "300ms"})
    apps = {f"{mode}.db": talk(c, writer, f"{mode}.db") for mode in MODES}
    for database, app in apps.items():
        check_equal(app.commit("1"), "ok", "a commit")
        timeouts = counter(primary, "sync_timeouts")
        stop(other)
        app.tell("2")
        wait_for("the timeout is counted", lambda n=timeouts: counter(primary, "sync_timeouts") == n + 1)
        wait_for_waiters(primary, database, 1)
        check(not app.answered(AT_ONCE), "a commit returned that one of two replicas has stored")
        go_on(other)
        check_equal(app.hear(), "ok", "the commit that waited")
        wait_for_waiters(primary, database, 0)
    # For as long as it takes; apps of the primary and the daemon's death come in between.
    stop(other)
    for database, app in apps.items():
        app.tell("3")
        wait_for_waiters(primary, database, 1)
    primary.kill()
    primary.start()
    wait_for("the replica is back", lambda: writer.status()["replication"]["connected"])
    for database in apps:
        wait_for_waiters(primary, database, 1)
    end = time.monotonic() + LONG
    for app in apps.values():
        check(not app.answered(max(0, end - time.monotonic())), "a commit did not wait for a stopped replica")
    go_on(other)
    for database, app in apps.items():
        check_equal(app.hear(), "ok", f"{database}: the commit that waited for {LONG} s and a new daemon")
    # The halt lock runs out: a local app writes, and waits for replicas as well.
    stop(other)
    for database, app in apps.items():
        app.tell("4")
        wait_for_waiters(primary, database, 1)
        local = talk(c, primary, database)
        local.tell("5")
        wait_for_waiters(primary, database, 2)
        check(not app.answered(AT_ONCE) and not local.answered(0), "a commit did not wait for a stopped replica")
        go_on(other)
        check_equal(app.hear(), "ok", "the commit on the replica")
        check_equal(local.hear(), "ok", "the commit on the primary")
        stop(other)
    # The app dies while its commit waits: it is committed all the same.
    for database, app in apps.items():
        app.tell("6")
        wait_for_waiters(primary, database, 1)
        app.process.kill()
    go_on(other)
    for database in apps:
        wait_for_waiters(primary, database, 0)
        wait_for("six rows", lambda d=database: rows(primary, d) == list("123456"))
        for node in (writer, other):
            c.check_identical(primary, node, database)
        # Its daemon dies: the app cannot know.
        app = talk(c, writer, database)
        stop(other)
        app.tell("7")
        wait_for_waiters(primary, database, 1)
        writer.kill()
        said = app.hear()
        check(said.startswith("error"), f"a commit whose daemon has died: {said}")
        go_on(other)
        writer.start()
        for node in (writer, other):
            c.check_identical(primary, node, database)
        check_equal(rows(primary, database), list("1234567"), "the primary had it")
    check_equal(counter(primary, "unconfirmed_commits"), 0, "unconfirmed commits")
    for node in (primary, writer, other):
        node.stop()


def degrades(c):
    primary, writer, other = three(c, "degrade-", sync=2, **{"sync-timeout": "500ms", "on-timeout": "degrade"})
    for mode in MODES:
        database = f"{mode}.db"
        app = talk(c, writer, database)
        check_equal(app.commit("1"), "ok", "a commit")
        check_equal(sync_of(primary, database)["degraded"], False, "degraded")
        stop(other)
        started = time.monotonic()
        check_equal(app.commit("2"), "ok", "a commit with a stopped replica")
        took = time.monotonic() - started
        check(took >= 0.5, f"it returned after {took:.3f} s, before sync-timeout")
        check_equal(sync_of(primary, database)["degraded"], True, "degraded")
        check("commits do not wait until" in open(primary.log).read(), "the degradation is not in the log")
        for row in "3456":
            started = time.monotonic()
            check_equal(app.commit(row), "ok", "a commit")
            took = min(took, time.monotonic() - started)
        check(took < 0.5, f"each further commit waited {took:.3f} s")
        go_on(other)
        wait_for("synchronous again", lambda d=database: not sync_of(primary, d)["degraded"])
        stop(other)
        app.tell("7")
        wait_for_waiters(primary, database, 1)
        go_on(other)
        check_equal(app.hear(), "ok", "a commit")
        for node in (writer, other):
            c.check_identical(primary, node, database)
    for node in (primary, writer, other):
        node.stop()


def one_is_the_writer(c):
    """sync: 1, and the other replica stands still: the one that wrote it has it, durably."""
    primary, writer, other = three(c, "one-", sync=1)
    stop(other)
    for mode in MODES:
        confirmed = counter(primary, "sync_commits")
        app = talk(c, writer, f"{mode}.db")
        for row in "123":
            check_equal(app.commit(row), "ok", "a commit")
        check_equal(counter(primary, "sync_commits"), confirmed + 3, "confirmed commits")
    go_on(other)
    for mode in MODES:
        c.check_identical(primary, other, f"{mode}.db")
    for node in (primary, writer, other):
        node.stop()


def acknowledged(log):
    if not os.path.exists(log):
        return []
    with open(log, encoding="ascii") as file:
        return file.read().split("\n")[:-1]


def is_primary(node):
    status = node.status()
    return status["role"] == "primary" and status["lease"]["holds"]


def kill_once(c, nodes, turn, rng):
    """Kills the primary while both replicas write. Returns how many rows were acknowledged before the next reign."""
    primary = wait_for("a primary", lambda: next((n for n in nodes if is_primary(n)), None))
    others = [node for node in nodes if node is not primary]
    logs, writers = {}, []
    for node in others:
        for mode in MODES:
            log = logs[node, mode] = os.path.join(c.scratch, f"rows-{turn}-{node.name}-{mode}")
            writers.append(c.spawn(["/usr/bin/python3", "-c", WRITER, node.path(f"{mode}.db"), f"{turn}-{node.name}", log],
                                   shim=True))
    for log in logs.values():
        wait_for("acknowledged rows", lambda l=log: len(acknowledged(l)) > 2)
    time.sleep(rng.random() * 0.3)
    primary.kill()
    before = sum(len(acknowledged(log)) for log in logs.values())
    new = wait_for("another primary", lambda: next((n for n in others if is_primary(n)), None))
    for log in logs.values():
        n = len(acknowledged(log))
        wait_for(f"writes after the fail-over ({log})", lambda l=log, n=n: len(acknowledged(l)) > n)
    for writer in writers:
        writer.kill()
        writer.wait()
        c.processes.remove(writer)
    for mode in MODES:
        there = set(new.sql(f"{mode}.db", "select x from t;").split("\n"))
        for node in others:
            missing = [row for row in acknowledged(logs[node, mode]) if row not in there]
            check(not missing, f"turn {turn}, {mode}, {node.name}: {len(missing)} acknowledged rows are lost: {missing[:5]}")
    primary.start()
    for mode in MODES:
        for node in nodes:
            if node is not new:
                c.check_identical(new, node, f"{mode}.db")
    return before


def kills(c, turns):
    seed = random.SystemRandom().randrange(1 << 20)
    print(f"seed {seed}")
    rng = random.Random(seed)
    with etcd.Server(c) as server:
        lease = {"type": "etcd", "url": server.url, "key": "test/forward-sync", "ttl": "2s"}
        nodes = [c.node(name, lease=lease, sync=1, **FORWARD) for name in ("x", "y", "z")]
        primary = wait_for("a primary", lambda: next((n for n in nodes if is_primary(n)), None))
        for mode in MODES:
            primary.sql(f"{mode}.db", f"PRAGMA journal_mode = {mode}; CREATE TABLE t(x);")
            for node in nodes:
                wait_for("the database", lambda n=node, m=mode: n.database_status(f"{m}.db"))
        total = sum(kill_once(c, nodes, turn, rng) for turn in range(turns))
    print(f"{turns} primaries killed: none of {total} acknowledged rows is lost")


def test(c, turns=KILLS):
    one_is_the_writer(c)
    degrades(c)
    waits(c)
    kills(c, int(turns))


cluster.main(test)
