#!/usr/bin/env python3
"""Writes on a replica: forwarded to the primary, in every journal mode, with explicit transactions, savepoints and
an attached local database; several nodes at once; and refused cleanly when the primary is gone."""

import os
import subprocess
import time

import clients_test
import cluster
import relay
from cluster import check, check_equal

FORWARD = {"on-replica-write": "forward"}
MODES = ["delete", "truncate", "persist", "wal", "memory"]

# One connection, several transactions; prints what it sees at the end.
TRANSACTIONS = """
import sqlite3, sys
path, mode, local = sys.argv[1:]
db = sqlite3.connect(path, timeout=20, isolation_level=None)
db.execute(f'pragma journal_mode = {mode}')
db.execute('insert into t values (1)')
db.execute('begin')
db.execute('insert into t values (2)')
db.execute('insert into t values (3)')
db.execute('commit')
db.execute('begin immediate')
db.execute('insert into t values (4)')
db.execute('savepoint s')
db.execute('insert into t values (99)')
db.execute('rollback to s')
db.execute('insert into t values (5)')
db.execute('release s')
db.execute('commit')
db.execute('begin exclusive')
db.execute('insert into t values (98)')
db.execute('rollback')
db.execute('attach ? as local', (local,))
db.execute('create table if not exists local.copy(x)')
db.execute('begin')
db.execute('insert into t values (6)')
db.execute('insert into local.copy select x from t')
db.execute('commit')
db.execute("with recursive n(i) as (select 1 union all select i + 1 from n where i < 3000)"
           " insert into big select printf('%.900c', 'x') from n")
print(*[x for x, in db.execute('select x from t order by x')])
print(*[x for x, in db.execute('select x from local.copy order by x')])
"""

INCREMENT = """
import sqlite3, sys
path, n = sys.argv[1], int(sys.argv[2])
db = sqlite3.connect(path, timeout=60, isolation_level=None)
for i in range(n):
    db.execute('update counter set n = n + 1')
    if i % 3 == 0:
        db.execute('begin immediate')
        value, = db.execute('select n from counter').fetchone()
        db.execute('update counter set n = ?', (value + 1,))
        db.execute('commit')
print('done')
"""


def python(c, code, *arguments, status=0):
    return c.run(["/usr/bin/python3", "-c", code, *map(str, arguments)], shim=True, status=status)


def writes_in_every_mode(c, primary, replica):
    for mode in MODES:
        database = f"{mode}.db"
        primary.sql(database, f"PRAGMA journal_mode = {mode if mode == 'wal' else 'delete'};"
                              "CREATE TABLE t(x); CREATE TABLE big(x);")
        c.check_identical(primary, replica, database)
        local = os.path.join(c.scratch, f"local-{mode}.db")
        out = python(c, TRANSACTIONS, replica.path(database), mode, local)[0].split("\n")
        check_equal(out[0], "1 2 3 4 5 6", f"{mode}: rows on the replica")
        check_equal(out[1], "1 2 3 4 5 6", f"{mode}: rows of the local database")
        check_equal(primary.sql(database, "select count(*), max(x) from t; select count(*) from big;"), "6|6\n3000",
                    f"{mode}: on the primary")
        c.check_identical(primary, replica, database)
        if mode == "wal":  # more than a checkpoint's worth of frames on the primary, which nobody reads there
            python(c, "import sqlite3, sys\ndb = sqlite3.connect(sys.argv[1], timeout=20, isolation_level=None)\n"
                      "for i in range(1500): db.execute('insert into big values (?)', (i,))\n"
                      "db.execute('delete from big where x < 1500')", replica.path(database))
            c.check_identical(primary, replica, database)
        # Back and forth.
        primary.sql(database, "insert into t values (7);")
        c.wait_equal(primary, replica, database)
        python(c, "import sqlite3, sys\ndb = sqlite3.connect(sys.argv[1], timeout=20)\n"
                  "db.execute('insert into t values (8)')\ndb.commit()", replica.path(database))
        check_equal(primary.sql(database, "select group_concat(x) from t;"), "1,2,3,4,5,6,7,8", f"{mode}: both wrote")
        c.check_identical(primary, replica, database)
        print(f"{mode}: written on a replica")


def counts_on_all_nodes(c, nodes, per_writer=30):
    for mode in ("delete", "wal"):
        database = f"counter-{mode}.db"
        nodes[0].sql(database, f"PRAGMA journal_mode = {mode}; CREATE TABLE counter(n); INSERT INTO counter VALUES (0);")
        for node in nodes[1:]:
            c.check_identical(nodes[0], node, database)
        began = time.monotonic()
        writers = [c.spawn(["/usr/bin/python3", "-c", INCREMENT, node.path(database), str(per_writer)], shim=True,
                           stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
                   for node in nodes for _ in range(2)]
        for writer in writers:
            out, err = writer.communicate(timeout=180)
            check(out == "done\n", f"{mode}: a writer said {out}{err}")
            c.processes.remove(writer)
        expected = len(writers) * (per_writer + (per_writer + 2) // 3)
        check_equal(nodes[0].sql(database, "select n from counter;"), str(expected), f"{mode}: the counter")
        for node in nodes[1:]:
            c.check_identical(nodes[0], node, database)
        print(f"{mode}: {expected} increments by {len(writers)} writers on {len(nodes)} nodes in "
              f"{time.monotonic() - began:.1f} s")


def refuses_without_primary(c, primary, replica):
    """An app in mid-transaction when the primary dies: its commit fails, and the connection can be used again."""
    for mode in ("delete", "wal"):
        database = f"{mode}.db"
        before = primary.sql(database, "select count(*) from t;")
        app = c.spawn(["/usr/bin/python3", "-u", "-c", """
import sqlite3, sys
db = sqlite3.connect(sys.argv[1], timeout=1, isolation_level=None)
db.execute('begin immediate')
db.execute('insert into t values (1000)')
print('open')
sys.stdin.readline()
try:
    db.execute('commit')
    print('committed')
except sqlite3.OperationalError as error:
    print('refused', error)
    if db.in_transaction:
        db.execute('rollback')
print(db.execute('select count(*) from t').fetchone()[0])
sys.stdin.readline()
db.execute('pragma busy_timeout = 30000')
db.execute('insert into t values (1001)')
print(db.execute('select count(*) from t').fetchone()[0])
""", replica.path(database)], shim=True, text=True, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        check_equal(app.stdout.readline(), "open\n", f"{mode}: the app")
        primary.kill()
        app.stdin.write("\n")
        app.stdin.flush()
        said = app.stdout.readline()
        check(said.startswith("refused"), f"{mode}: without a primary the commit {said}")
        check_equal(app.stdout.readline().strip(), before, f"{mode}: rows after the refused commit")
        primary.start()
        app.stdin.write("\n")
        app.stdin.close()
        check_equal(app.stdout.readline().strip(), str(int(before) + 1), f"{mode}: rows once the primary is back")
        check_equal(app.wait(30), 0, f"{mode}: the app's end")
        c.processes.remove(app)
        c.check_identical(primary, replica, database)
        print(f"{mode}: refused cleanly ({said.strip()}), and written when the primary was back")


def unmodified_programs(c, primary, replica):
    """Programs that know nothing of litefs create databases on a replica and write them; those that this machine
    has."""
    expected = c.sqlite(os.path.join(c.scratch, "plain.db"), clients_test.shell_script(c, "delete")).splitlines()[-1]
    clients = clients_test.Clients(c)
    for name in ("sqlite3", "python", "perl", "php", "pdo", "node", "django"):
        try:
            argv = None if name == "sqlite3" else getattr(clients, f"build_{name}")()
        except clients_test.Missing as missing:
            print(f"skip {name} ({missing})")
            continue
        for mode in clients_test.MODES:
            check_equal(clients_test.write(c, replica, name, argv, mode), expected, f"{name} in {mode} on a replica")
            c.check_identical(primary, replica, f"{name}-{mode}.db")
        print(f"{name}: creates and writes databases on a replica")


LATENCY = """
import sqlite3, sys, time
db = sqlite3.connect(sys.argv[1], timeout=20, isolation_level=None)
db.execute('insert into t values (0)')
for pause in (1, 1, 1, 0, 0, 0):
    time.sleep(pause)
    began = time.monotonic()
    db.execute('insert into t values (1)')
    print(time.monotonic() - began)
"""


def round_trips(c):
    """A commit from far away: one round trip for the lock if it is not held, one for the transaction."""
    delay = 0.2
    port = relay.free_ports()
    primary = c.node("far", replication={"listen": f"tcp://127.0.0.1:{port}"}, **FORWARD)
    link = relay.Relay(port)
    link.delay = delay
    replica = c.node("away", follows=Endpoint(link), **FORWARD)
    for mode in ("delete", "wal"):
        database = f"{mode}.db"
        primary.sql(database, f"PRAGMA journal_mode = {mode}; CREATE TABLE t(x);")
        c.check_identical(primary, replica, database)
        times = [float(line) for line in python(c, LATENCY, replica.path(database))[0].split()]
        for what, taken, trips in (("without the lock", sorted(times[:3])[0], 2), ("with it", sorted(times[3:])[0], 1)):
            print(f"{mode}: a commit {what} takes {taken * 1000:.0f} ms, a round trip {delay * 1000:.0f} ms")
            check(trips * delay <= taken < (trips + 0.9) * delay, f"{mode}: {what} that is not {trips} round trips")
    link.stop()


def with_synchronous_commit(c):
    """What is forwarded waits for no further replica, and counts as stored by the one that made it."""
    primary = c.node("sync-p", sync=1, **FORWARD)
    replica = c.node("sync-r", follows=primary, sync=1, **FORWARD)
    for mode in ("delete", "wal"):
        database = f"{mode}.db"
        primary.sql(database, f"PRAGMA journal_mode = {mode}; CREATE TABLE t(x);")
        c.check_identical(primary, replica, database)
        before = primary.database_status(database)["sync"]["replicas"]
        check_equal(before, 1, f"{mode}: replicas that are waited for")
        for x in range(1, 7):
            (replica if x % 2 else primary).sql(database, f".timeout 20000\ninsert into t values ({x});")
        check_equal(primary.sql(database, "select group_concat(x) from t;"), "1,2,3,4,5,6", f"{mode}: both wrote")
        c.check_identical(primary, replica, database)
        cluster.wait_for(f"{mode}: the replica has confirmed",
                         lambda: primary.database_status(database)["sync"]["stored_by"] == 1)
    here, there = primary.status()["counters"], replica.status()["counters"]
    check_equal(there["forwarded_transactions"], 6, "forwarded transactions")
    check(here["sync_commits"] >= 6, f"{here}")
    for counters in (here, there):
        check_equal((counters["sync_timeouts"], counters["unconfirmed_commits"]), (0, 0), "time-outs, unconfirmed")
    replica.stop()
    primary.stop()


class Endpoint:
    def __init__(self, link):
        self.endpoint = link.endpoint()


def test(c):
    primary = c.node("a", **FORWARD)
    replica = c.node("b", follows=primary, **FORWARD)
    third = c.node("c", follows=primary, **FORWARD)
    writes_in_every_mode(c, primary, replica)
    unmodified_programs(c, primary, replica)
    counts_on_all_nodes(c, [primary, replica, third])
    round_trips(c)
    with_synchronous_commit(c)
    refuses_without_primary(c, primary, replica)


cluster.main(test)
