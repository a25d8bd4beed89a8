#!/usr/bin/env python3
"""history_test.py BUILD_DIR [TRANSACTIONS] [SEED]: byte equality at every TXID on every node.

A random workload; after each of its transactions the content that SQLite shows on the primary is recorded with
the position.  Then each node's chain is applied to an empty file, one LTX file at a time: after each it must hold
the recorded bytes.  Nodes: the primary, a replica that hears PUB, one without PUB whose daemon is killed now and
then, and one that comes half-way."""

import os
import random
import signal
import subprocess

import cluster

RETENTION = {"age": "24h", "size": "16GiB"}
DATABASES = {"wal.db": "wal", "delete.db": "delete"}

# APP DATABASE: one line of SQL in, "ok" out.
APP = r"""
import sqlite3, sys
db = sqlite3.connect(sys.argv[1], timeout=60, isolation_level=None)
for line in sys.stdin:
    for statement in line.strip().split(";"):
        db.execute(statement).fetchall()
    print("ok", flush=True)
"""


class App:
    def __init__(self, c, path):
        self.process = c.spawn(["/usr/bin/python3", "-c", APP, path], shim=True, text=True, stdin=subprocess.PIPE,
                               stdout=subprocess.PIPE)

    def run(self, sql):
        self.process.stdin.write(sql + "\n")
        self.process.stdin.flush()
        cluster.check_equal(self.process.stdout.readline(), "ok\n", f"the app's answer to {sql}")


def transaction(rng, wal):
    """SQL that changes the database in one transaction, mostly."""
    rows = "with recursive n(i) as (select 1 union all select i + 1 from n where i < {})"
    choices = [
        lambda: f"insert into t(y) {rows.format(rng.randrange(1, 200))} select randomblob({rng.randrange(3000)}) from n",
        lambda: f"update t set y = randomblob({rng.randrange(2000)}) where x % {rng.randrange(2, 20)} = 0",
        lambda: f"update t set y = 'y' where x = {rng.randrange(1, 50)}",
        lambda: f"delete from t where x % {rng.randrange(2, 9)} = 1",
        lambda: f"create table t{rng.randrange(1 << 40)}(a, b)",
        lambda: "begin; delete from t; rollback; insert into t(y) values (1)",
        lambda: "delete from t; vacuum",
        lambda: f"pragma user_version = {rng.randrange(1 << 30)}",
        lambda: f"create index if not exists i{rng.randrange(3)} on t(y)",
    ]
    if wal:
        choices.append(lambda: "pragma wal_checkpoint(truncate); insert into t(y) values (2)")
    else:
        choices.append(lambda: f"pragma page_size = {rng.choice([512, 4096, 16384])}; vacuum")
        choices.append(lambda: "pragma journal_mode = " + rng.choice(["delete", "persist", "truncate", "memory"]))
    return rng.choice(choices)()


def end_of(path):
    return os.path.basename(path).split(".")[0].split("-")[1]


def check_chain(c, node, database, recorded, least):
    """Applies the chain file by file.  recorded: TXID to sha256."""
    copy = os.path.join(c.scratch, f"{node.name}-{database}")
    compared = 0
    for path in node.ltx_files(database):
        c.command("ltx", "apply", "--db", copy, path)
        if end_of(path) in recorded:
            cluster.check_equal(cluster.sha256(copy), recorded[end_of(path)],
                                f"{node.name}/{database}: sha256 at {end_of(path)}")
            compared += 1
    os.unlink(copy)
    print(f"{node.name}/{database}: equal at {compared} of {len(recorded)} positions")
    cluster.check(compared >= least, f"{node.name}/{database}: only {compared} positions were compared")


def test(c, transactions="16", seed=None):
    seed = seed or str(random.SystemRandom().randrange(1 << 32))
    print(f"seed {seed} (again: history_test.py BUILD_DIR {transactions} {seed})", flush=True)
    rng = random.Random(seed)
    count = int(transactions)
    primary = c.node("primary", retention=RETENTION)
    hears = c.node("hears", follows=primary, retention=RETENTION)
    pulls = c.node("pulls", follows=primary, retention=RETENTION)
    late = None
    apps, recorded = {}, {}
    for database, mode in DATABASES.items():
        primary.sql(database, f"PRAGMA journal_mode = {mode}; CREATE TABLE t(x INTEGER PRIMARY KEY, y);")
        apps[database] = App(c, primary.path(database))
        recorded[database] = {}
    for i in range(count):
        if i == count // 2:
            late = c.node("late", follows=primary, retention=RETENTION)
        if i % 8 == 3:
            pulls.kill()
            pulls.start()
        for database, mode in DATABASES.items():
            apps[database].run(transaction(rng, mode == "wal"))
            primary.sync()
            txid = primary.position(database).split("/")[0]
            digest = c.committed_sha256(primary.path(database))
            cluster.check(recorded[database].setdefault(txid, digest) == digest,
                          f"{database}: two contents at {txid}")
    for app in apps.values():
        app.process.send_signal(signal.SIGKILL)
    for database in DATABASES:
        txids = len(recorded[database])
        # A transaction that is rolled back, or changes nothing, makes none.
        cluster.check(txids >= count // 4, f"{database}: {count} transactions made only {txids} positions")
        for node in (hears, pulls, late):
            c.wait_equal(primary, node, database)
        for node, least in ((primary, txids), (hears, txids - 2), (pulls, txids // 4), (late, 2)):
            check_chain(c, node, database, recorded[database], least)


cluster.main(test)
