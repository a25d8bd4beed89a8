#!/usr/bin/env python3
"""Writes on a replica when something dies or stops: the app in mid-transaction, its daemon, the primary's daemon.
The cluster goes on after the deadline at the latest, nothing acknowledged is lost, and all nodes end equal. With
etcd: connections that stay open over a change of the role."""

import collections
import os
import signal
import struct
import subprocess
import time

import cluster
from apps import WRITER
from cluster import check, check_equal, wait_for
from servers import etcd

FORWARD = {"on-replica-write": "forward"}
MODES = ["delete", "wal"]
TTL = 3  # seconds, of a halt lock that is not heard of
MAX_HOLD = 2

# Begins a transaction, says so, and commits when it is told to.
HOLDER = """
import sqlite3, sys
db = sqlite3.connect(sys.argv[1], timeout=20, isolation_level=None)
db.execute('begin immediate')
db.execute("insert into t values ('held')")
print('open', flush=True)
for line in sys.stdin:
    try:
        db.execute(line)
        print('ok', flush=True)
    except sqlite3.OperationalError as error:
        print('error', error, flush=True)
"""


def holder(c, node, database):
    app = c.spawn(["/usr/bin/python3", "-c", HOLDER, node.path(database)], shim=True, text=True,
                  stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    check_equal(app.stdout.readline(), "open\n", f"an app on {node.name}")
    return app


def say(app, sql):
    app.stdin.write(sql + "\n")
    app.stdin.flush()
    return app.stdout.readline().strip()


def end(c, app):
    app.stdin.close()
    app.wait(30)
    c.processes.remove(app)


def kill(c, process):
    process.kill()
    process.wait()
    c.processes.remove(process)


def write_within(primary, database, seconds, what):
    began = time.monotonic()
    primary.sql(database, "insert into t values ('meanwhile');")
    took = time.monotonic() - began
    check(took < seconds, f"{what}: the primary could write after {took:.1f} s only, not {seconds}")
    return took


def is_held(primary, database):
    return any(halt["database"] == database for halt in primary.status()["replication"]["halt_locks"])


def app_dies(c, primary, replica, database):
    app = holder(c, replica, database)
    check(is_held(primary, database), "no halt lock is held")
    kill(c, app)
    took = write_within(primary, database, TTL, "the app was killed")
    c.check_identical(primary, replica, database)
    return took


def daemon_dies(c, primary, replica, database):
    app = holder(c, replica, database)
    replica.kill()
    took = write_within(primary, database, TTL + 5, "the forwarder's daemon was killed")
    replica.start()
    said = say(app, "commit")
    check(said.startswith("error"), f"a commit whose lock has ended: {said}")
    end(c, app)
    c.check_identical(primary, replica, database)
    return took


def daemon_stops(c, primary, replica, database):
    app = holder(c, replica, database)
    os.kill(replica.process.pid, signal.SIGSTOP)
    took = write_within(primary, database, TTL + 5, "the forwarder's daemon was stopped")
    os.kill(replica.process.pid, signal.SIGCONT)
    said = say(app, "commit")
    check(said.startswith("error"), f"a commit whose lock has run out: {said}")
    end(c, app)
    c.check_identical(primary, replica, database)
    return took


def app_stops(c, primary, replica, database):
    app = holder(c, replica, database)
    os.kill(app.pid, signal.SIGSTOP)
    took = write_within(primary, database, MAX_HOLD + 5, "the app was stopped")
    os.kill(app.pid, signal.SIGCONT)
    said = say(app, "commit")
    check(said.startswith("error"), f"a commit whose lock has run out: {said}")
    # The connection is good for more.
    check_equal(say(app, "rollback") and say(app, "insert into t values ('again')"), "ok", "a write after that")
    end(c, app)
    c.check_identical(primary, replica, database)
    check_equal(primary.sql(database, "select count(*) from t where x = 'again'; delete from t where x = 'again';"), "1",
                "rows written after a refusal")
    return took


def primary_dies(c, primary, replica, database):
    log = os.path.join(c.scratch, f"acknowledged-{database}")
    writer = c.spawn(["/usr/bin/python3", "-c", WRITER, replica.path(database), "w", log], shim=True)

    def acknowledged():
        if not os.path.exists(log):
            return []
        with open(log, encoding="ascii") as file:
            return file.read().split("\n")[:-1]

    for _ in range(4):
        before = len(acknowledged())
        wait_for("acknowledged rows", lambda n=before: len(acknowledged()) > n + 20)
        primary.kill()
        primary.start()
    before = len(acknowledged())
    wait_for("acknowledged rows", lambda: len(acknowledged()) > before + 20)
    kill(c, writer)
    rows = acknowledged()
    c.check_identical(primary, replica, database)
    there = set(primary.sql(database, "select x from t where x like 'w %';").split("\n"))
    missing = [row for row in rows if row not in there]
    check(not missing, f"{len(missing)} acknowledged rows are gone: {missing[:5]}")
    return len(rows)


# As SQLite does that finds a hot journal, and when it has EXCLUSIVE finds none any more; then a transaction.
VANISHED_JOURNAL = """
import fcntl, os, sqlite3, sys
PENDING, SHARED, LENGTH = 0x40000000, 0x40000002, 510
db = os.open(sys.argv[1], os.O_RDWR)
def lock(how, first, length):
    fcntl.lockf(db, how, length, first)
lock(fcntl.LOCK_SH, SHARED, LENGTH)
lock(fcntl.LOCK_EX, PENDING, 1)
lock(fcntl.LOCK_EX, SHARED, LENGTH)
lock(fcntl.LOCK_SH, SHARED, LENGTH)
lock(fcntl.LOCK_UN, PENDING, 2)
lock(fcntl.LOCK_UN, SHARED, LENGTH)
for row in ('first', 'second'):
    sqlite3.connect(sys.argv[1], timeout=20, isolation_level=None).execute('insert into t values(?)', (row,))
"""


def journal_vanishes(c, primary, replica, database):
    c.run(["/usr/bin/python3", "-c", VANISHED_JOURNAL, replica.path(database)], shim=True)
    check_equal(primary.sql(database, "select x from t where x in ('first', 'second'); delete from t;"), "first\nsecond",
                "what an app wrote that had been about to roll back a journal")
    c.check_identical(primary, replica, database)


def fired(log):
    with open(log, "rb") as file:
        return struct.unpack("II", file.read(8))[1] != 0


def insert(c, node, database, row):
    """What the app was told: "" or the error."""
    program = "import sqlite3, sys; sqlite3.connect(sys.argv[1], timeout=30).execute('insert into t values(?)', (sys.argv[2],)).connection.commit()"
    _, _, error = c.run(["/usr/bin/python3", "-c", program, node.path(database), row], shim=True, status=None)
    return error.strip().split("\n")[-1]


def disk_errors(c, mode):
    """Each file call by which the primary makes a forwarded transaction part of its chain fails once. What was not written is
    refused; what is in the database already becomes known, and meanwhile the replica asks."""
    database = "app.db"
    library = c.build_library("fault", "tests/fault/fault.cc")
    primary = c.node(f"disk-{mode}-a", **FORWARD)
    replica = c.node(f"disk-{mode}-b", follows=primary, **FORWARD)
    primary.sql(database, f"PRAGMA journal_mode = {mode}; CREATE TABLE t(x);")
    c.check_identical(primary, replica, database)
    primary.stop()
    told = collections.Counter()
    for n in range(1, 60):
        log = os.path.join(c.scratch, f"fault-{mode}-{n}")
        before = os.path.getsize(primary.log)
        primary.start(env={"LD_PRELOAD": library, "FAULT_LOG": log,
                           "FAULT": f"EIO before {n} {primary.path('.litefs/dbs/' + database)}"})
        wait_for("the replica is back", lambda: replica.status()["replication"]["connected"])
        unknown = replica.status()["counters"]["forward_unknown"]
        early = fired(log)
        error = insert(c, replica, database, f"row {n}")
        if not fired(log):
            primary.stop()
            break
        with open(primary.log, encoding="utf-8") as file:
            file.seek(before)
            asked = "a transaction is not answered" in file.read()
        c.check_identical(primary, replica, database)
        there = primary.sql(database, f"select count(*) from t where x = 'row {n}';") == "1"
        if error == "":
            check(there, f"call {n}: a row that was acknowledged is gone")
        elif replica.status()["counters"]["forward_unknown"] == unknown:
            check(not there, f"call {n}: a row is there that was refused: {error}")
        told["before" if early else "asked, then " + (error or "ok") if asked else error or "ok"] += 1
        check_equal(insert(c, replica, database, f"after {n}"), "", f"call {n}: the next commit")
        c.check_identical(primary, replica, database)
        primary.stop()
    else:
        raise cluster.Failure("the faults never end")
    replica.stop()
    check(told["asked, then ok"] > 0, f"{mode}: no fault came after the transaction was in the database: {told}")
    print(f"{mode}: disk errors of the primary, and what the app was told: {dict(told)}")


def faults(c):
    primary = c.node("a", forward={"max-hold": f"{MAX_HOLD}s"}, **FORWARD)
    replica = c.node("b", follows=primary, **FORWARD)
    third = c.node("c", follows=primary, **FORWARD)
    for mode in MODES:
        database = f"{mode}.db"
        primary.sql(database, f"PRAGMA journal_mode = {mode}; CREATE TABLE t(x);")
        c.check_identical(primary, replica, database)
        if mode == "delete":
            journal_vanishes(c, primary, replica, database)
        print(f"{mode}: the primary writes again after {app_dies(c, primary, replica, database):.2f} s (app killed), "
              f"{daemon_dies(c, primary, replica, database):.2f} s (its daemon killed), "
              f"{daemon_stops(c, primary, replica, database):.2f} s (its daemon stopped), "
              f"{app_stops(c, primary, replica, database):.2f} s (app stopped)")
        rows = primary_dies(c, primary, replica, database)
        print(f"{mode}: all of {rows} acknowledged rows are there after four deaths of the primary's daemon")
        held = int(primary.sql(database, "select count(*) from t where x = 'held';"))
        check_equal(held, 0, "rows of transactions that were refused")
        c.check_identical(primary, third, database)


def changes_of_the_role(c):
    with etcd.Server(c) as server:
        lease = {"type": "etcd", "url": server.url, "key": "test/forward", "ttl": "4s"}
        nodes = [c.node(name, lease=lease, **FORWARD) for name in ("x", "y")]

        def is_primary(node):
            status = node.status()
            return status["role"] == "primary" and status["lease"]["holds"]

        primary = wait_for("a primary", lambda: next((n for n in nodes if is_primary(n)), None))
        for mode in MODES:
            primary.sql(f"{mode}.db", f"PRAGMA journal_mode = {mode}; CREATE TABLE t(x);")
            for node in nodes:
                wait_for("the database", lambda n=node, m=mode: n.database_status(f"{m}.db"))
        logs = {(node.name, mode): os.path.join(c.scratch, f"pooled-{node.name}-{mode}") for node in nodes for mode in MODES}
        writers = [c.spawn(["/usr/bin/python3", "-c", WRITER, node.path(f"{mode}.db"), node.name,
                            logs[node.name, mode]], shim=True) for node in nodes for mode in MODES]

        def count(key):
            if not os.path.exists(logs[key]):
                return 0
            with open(logs[key], encoding="ascii") as file:
                return file.read().count("\n")

        def all_write():
            before = {key: count(key) for key in logs}
            for key in logs:
                wait_for(f"rows of the pooled connection {key}", lambda k=key: count(k) > before[k] + 10)

        all_write()
        for _ in range(4):  # there and back, twice
            target = next(node for node in nodes if node is not primary)
            c.command("handoff", "--config", primary.config, target.status()["node_id"])
            wait_for(f"{target.name} is the primary", lambda t=target: is_primary(t))
            primary = target
            all_write()
        for writer in writers:
            kill(c, writer)
        other = next(node for node in nodes if node is not primary)
        for mode in MODES:
            c.check_identical(primary, other, f"{mode}.db")
            there = set(primary.sql(f"{mode}.db", "select x from t;").split("\n"))
            for node in nodes:
                with open(logs[node.name, mode], encoding="ascii") as file:
                    missing = [row for row in file.read().split("\n")[:-1] if row not in there]
                check(not missing, f"{mode}: {len(missing)} acknowledged rows of {node.name} are gone: {missing[:5]}")
        total = sum(count(key) for key in logs)
        print(f"four changes of the role: {total} acknowledged rows of four open connections, none lost")


def test(c):
    for mode in MODES:
        disk_errors(c, mode)
    faults(c)
    changes_of_the_role(c)


cluster.main(test)
