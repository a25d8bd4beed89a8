#!/usr/bin/env python3
"""The lease of etcd and its fence. A primary that is stopped with SIGSTOP until its lease is over and another
node reigns commits nothing when it goes on, not even from a transaction that was open; a rollback works,
reads work, the node becomes a replica under the open connections, and they write again in its next reign.
Epochs grow. A node without history never reigns where there has been a reign."""

import os
import signal
import subprocess
import time

import cluster
from cluster import check, check_equal, wait_for
from servers import etcd

TTL = 4  # seconds
MODES = ["delete", "truncate", "persist", "wal"]

# An app with one connection a database: executes what it is told, answers in one line.
APP = """
import sqlite3, sys
connections = {}
for line in sys.stdin:
    path, mode, sql = line.rstrip('\\n').split('|', 2)
    if path not in connections:
        connections[path] = sqlite3.connect(path, timeout=0.2, isolation_level=None)
        connections[path].execute('pragma journal_mode=' + mode).fetchall()
        connections[path].execute('pragma cache_size=5')
    try:
        print(connections[path].execute(sql).fetchall(), flush=True)
    except sqlite3.Error as error:
        print('error:', error, flush=True)
"""


class App:
    def __init__(self, c, node):
        self.node = node
        self.process = c.spawn(["/usr/bin/python3", "-c", APP], shim=True, text=True,
                               stdin=subprocess.PIPE, stdout=subprocess.PIPE)

    def tell(self, mode, sql):
        self.process.stdin.write(f"{self.node.path(mode + '.db')}|{mode}|{sql}\n")
        self.process.stdin.flush()

    def hear(self):
        return self.process.stdout.readline().strip()

    def run(self, mode, sql):
        self.tell(mode, sql)
        return self.hear()


def lease_of(node):
    return node.status()["lease"]


def wait_until_holder(node, holds=True):
    def reached():
        lease = lease_of(node)
        return lease["holds"] == holds and lease
    return wait_for(f"{node.name} {'holds' if holds else 'has lost'} the lease", reached)


def open_transactions(app):
    """One in every mode, larger than the cache: pages of theirs are in the files already."""
    for mode in MODES:
        check_equal(app.run(mode, "begin immediate"), "[]", f"{mode}: begin")
        check_equal(app.run(mode, "insert into t select hex(randomblob(900)) from n"), "[]", f"{mode}: insert")


def check_fenced(app, rows):
    """The open transactions cannot be committed, new ones not begun; reading goes on."""
    for mode in MODES:
        said = app.run(mode, "commit")
        check("disk I/O error" in said, f"{mode}: the commit past the lease: {said}")
        check_equal(app.run(mode, "select count(*) from t"), f"[({rows},)]", f"{mode}: rows after it")
        said = app.run(mode, "insert into t values ('late')")
        check("database is locked" in said, f"{mode}: a write past the lease: {said}")


def rollback_past_the_lease(server, a, app, rows):
    """etcd is stopped: nobody else can reign, and this node must not either."""
    open_transactions(app)
    server.stop()
    wait_until_holder(a, holds=False)
    for mode in MODES:
        check_equal(app.run(mode, "rollback"), "[]", f"{mode}: rollback past the lease")
        check_equal(app.run(mode, "select count(*) from t"), f"[({rows},)]", f"{mode}: rows after the rollback")
        said = app.run(mode, "insert into t values ('late')")
        check("database is locked" in said, f"{mode}: a write past the lease: {said}")
    server.go_on()
    wait_until_holder(a)
    for mode in MODES:  # the same connections
        check_equal(app.run(mode, "insert into t values ('again')"), "[]", f"{mode}: a write in the next reign")


def test(c):
    with etcd.Server(c) as server:
        lease = {"type": "etcd", "url": server.url, "key": "test/lease", "ttl": f"{TTL}s"}
        a = c.node("a", lease=lease)
        check_equal(wait_until_holder(a)["epoch"], 1, "epoch of the first reign")
        app = App(c, a)
        for mode in MODES:
            check_equal(app.run(mode, "create table n as with recursive c(i) as (select 1 union all "
                                "select i + 1 from c where i < 50) select i from c"), "[]", f"{mode}: create")
            app.run(mode, "create table t(x)")
            check_equal(app.run(mode, "insert into t values ('a')"), "[]", f"{mode}: a write with the lease")

        rollback_past_the_lease(server, a, app, 1)
        epoch = lease_of(a)["epoch"]

        b = c.node("b", lease=lease)
        for mode in MODES:
            c.check_identical(a, b, f"{mode}.db")
        check_equal(lease_of(b)["epoch"], epoch, "the epoch that b has followed")
        check(a.status()["node_id"] in lease_of(b)["problem"], f"b does not say who reigns: {lease_of(b)}")
        open_transactions(app)
        for process in (app.process, a.process):
            os.kill(process.pid, signal.SIGSTOP)
        reign = wait_until_holder(b)
        check(reign["epoch"] > epoch, f"epoch {reign['epoch']} after {epoch}")
        for mode in MODES:
            b.sql(f"{mode}.db", "insert into t values ('b')")
        for process in (a.process, app.process):
            os.kill(process.pid, signal.SIGCONT)
        check_fenced(app, 2)
        lost = wait_until_holder(a, holds=False)
        check(lost["times_lost"] >= 1, f"a has lost no reign: {lost}")
        # The app keeps its connections through all of it.
        for mode in MODES:
            c.check_identical(b, a, f"{mode}.db")
            check_equal(app.run(mode, "select count(*) from t where x = 'b'"), "[(1,)]", f"{mode}: b's row on a")
            check_equal(app.run(mode, "select count(*) from t where x = 'late'"), "[(0,)]", f"{mode}: late rows")
            said = app.run(mode, "insert into t values ('replica')")
            check("database is locked" in said, f"{mode}: a write on a replica: {said}")
        check_equal(a.status()["role"], "replica", "a's role")

        # Released at once at the end, and a has all: it reigns long before b's lease would be over.
        b.stop()
        began = time.monotonic()
        wait_until_holder(a)
        print(f"after a clean end the next reign began in {time.monotonic() - began:.2f} s")
        for mode in MODES:
            check_equal(app.run(mode, "insert into t values ('back')"), "[]", f"{mode}: a write after the return")

        # Who has no history gets nothing, also when it is alone.
        a.stop()
        empty = c.node("empty", lease=lease)
        wait_for("empty says why it does not reign", lambda: "no history" in lease_of(empty)["problem"])
        check(not lease_of(empty)["holds"], "a node without history reigns")


if __name__ == "__main__":
    cluster.main(test)
