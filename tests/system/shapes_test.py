#!/usr/bin/env python3
"""shapes_test.py BUILD_DIR [STRIDE]: every shape of transaction, compared after every step.

A shape is a journal mode, a locking mode, synchronous, a page size and auto_vacuum; STRIDE takes every
so-many-th of all combinations (1: all), and always each journal mode with each locking mode. An app
under the shim works in steps; after each, a copy of the files is recovered by SQLite itself, and the
chain, replayed up to where the daemon says it is, has the same bytes. In the end a replica has them too."""

import itertools
import json
import os
import subprocess

import cluster

AXES = {
    "journal": ["delete", "truncate", "persist", "memory", "off", "wal"],
    "locking": ["normal", "exclusive"],
    "synchronous": ["off", "normal", "full", "extra"],
    "page_size": [512, 1024, 4096, 65536],
    "auto_vacuum": ["none", "full", "incremental"],
}

# Executes each line of its input (a JSON list of statements); answers "ok" or the error.
APP = """
import json, sqlite3, sys
db = sqlite3.connect(sys.argv[1], timeout=20, isolation_level=None)
for line in sys.stdin:
    answer = "ok"
    for sql in json.loads(line):
        try:
            db.execute(sql).fetchall()
        except sqlite3.Error as error:
            answer = f"{sql}: {error}"
            break
    print(answer, flush=True)
"""

ROWS = ("WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < {n}) "
        "INSERT INTO t(y) SELECT randomblob({bytes}) FROM n")
SPILL = [ROWS.format(n=60, bytes=1500), "UPDATE t SET y = randomblob(length(y)) WHERE x % 2"]


def steps(shape):
    """(what, statements, whether it commits anything; None: free pages may keep what a rollback left)"""
    yield "create", ["CREATE TABLE t(x INTEGER PRIMARY KEY, y)", "CREATE INDEX i ON t(y)"], True
    yield "insert", [ROWS.format(n=30, bytes=300)], True
    yield "update", ["UPDATE t SET y = 'u' || x WHERE x % 3 = 0"], True
    yield "nothing", ["UPDATE t SET y = y WHERE x = -1"], False
    yield "explicit", ["BEGIN", "DELETE FROM t WHERE x = 4", "INSERT INTO t(y) VALUES (1)", "COMMIT"], True
    if shape["journal"] != "off":  # ROLLBACK is undefined there
        yield "rollback", ["BEGIN", "DELETE FROM t", "ROLLBACK"], False
        yield "spill, rollback", ["BEGIN", *SPILL, "ROLLBACK"], None
    if shape["journal"] != "off" and not index_is_missing(shape):
        yield "savepoint", ["BEGIN", "INSERT INTO t(y) VALUES (2)", "SAVEPOINT s", *SPILL,
                            "ROLLBACK TO s", "RELEASE s", "COMMIT"], True
    yield "spill, commit", ["BEGIN", *SPILL, "COMMIT"], True
    if shape["journal"] == "wal":
        yield "checkpoint", ["PRAGMA wal_checkpoint(PASSIVE)"], False
        yield "insert after it", [ROWS.format(n=2, bytes=100)], True
        yield "truncating checkpoint", ["PRAGMA wal_checkpoint(TRUNCATE)"], False
    yield "delete", ["DELETE FROM t WHERE x > 20"], True
    if shape["auto_vacuum"] == "incremental":
        yield "incremental vacuum", ["PRAGMA incremental_vacuum(3)"], True
    yield "vacuum", ["VACUUM"], True
    yield "insert after vacuum", [ROWS.format(n=5, bytes=700)], True
    yield "drop", ["DROP TABLE t"], True


def index_is_missing(shape):
    """A WAL without a wal-index: then SQLite's frames of a spilled savepoint cannot be told (LIMITATIONS)."""
    return shape["journal"] == "wal" and shape["locking"] == "exclusive"


def boundary_is_visible(shape):
    """Without a journal, a sync or an unlock there is nothing that tells a commit from a write."""
    return not (shape["journal"] in ("memory", "off") and shape["locking"] == "exclusive" and
                shape["synchronous"] == "off")


class Shape:
    def __init__(self, c, node, shape):
        self.c, self.node, self.shape = c, node, shape
        self.name = "-".join(str(value) for value in shape.values()) + ".db"
        self.path = node.path(self.name)
        self.replayed = os.path.join(c.scratch, "replay-" + self.name)
        self.applied = 0
        self.app = c.spawn(["/usr/bin/python3", "-c", APP, self.path], shim=True, text=True,
                           stdin=subprocess.PIPE, stdout=subprocess.PIPE)

    def execute(self, statements):
        self.app.stdin.write(json.dumps(statements) + "\n")
        self.app.stdin.flush()
        answer = self.app.stdout.readline().strip()
        cluster.check_equal(answer, "ok", f"{self.name}: {statements}")

    def compare(self, step):
        self.node.sync()
        wanted = self.c.committed_sha256(self.path)
        files = self.node.ltx_files(self.name)
        if len(files) > self.applied:
            self.c.command("ltx", "apply", "--db", self.replayed, *files[self.applied:])
            self.applied = len(files)
        cluster.check(os.path.exists(self.replayed) and cluster.sha256(self.replayed) == wanted,
                      f"{self.name}: after {step} the chain ({self.applied} files) does not replay to "
                      f"the database's bytes: {self.node.database_status(self.name)}")
        return self.node.position(self.name)

    def run(self):
        s = self.shape
        self.execute([f"PRAGMA page_size = {s['page_size']}", f"PRAGMA auto_vacuum = {s['auto_vacuum']}",
                      f"PRAGMA locking_mode = {s['locking']}", f"PRAGMA journal_mode = {s['journal']}",
                      f"PRAGMA synchronous = {s['synchronous']}", "PRAGMA cache_size = 5",
                      "CREATE TABLE first(x)"])
        position = None
        for step, statements, commits in steps(s):
            self.execute(statements)
            if not boundary_is_visible(s):
                continue
            now = self.compare(step)
            if position is not None and commits is not None:
                cluster.check((now != position) == commits,
                              f"{self.name}: {step}: from {position} to {now}")
            position = now
        self.app.stdin.close()
        cluster.check_equal(self.app.wait(30), 0, "the app's exit status")
        self.c.processes.remove(self.app)
        self.compare("the end")
        os.unlink(self.replayed)


def combinations(stride):
    every = [dict(zip(AXES, values)) for values in itertools.product(*AXES.values())]
    taken = every[::stride]
    for i, (journal, locking) in enumerate(itertools.product(AXES["journal"], AXES["locking"])):
        here = [s for s in every if s["journal"] == journal and s["locking"] == locking]
        if not any(s in taken for s in here):
            taken.append(here[(5 * i) % len(here)])
    for axis, values in AXES.items():
        cluster.check({s[axis] for s in taken} == set(values), f"{axis}: not every value is taken")
    return taken


def test(c, stride="29"):
    taken = combinations(int(stride))
    primary = c.node("primary", retention={"age": "24h", "size": "16GiB"})
    failures = []
    names = []
    for shape in taken:
        run = Shape(c, primary, shape)
        names.append(run.name)
        try:
            run.run()
        except cluster.Failure as failure:
            failures.append(run.name)
            print(f"not ok {failure}", flush=True)
            run.app.kill()
    cluster.check(not failures, f"{len(failures)} of {len(taken)} shapes: {failures}")
    replica = c.node("replica", follows=primary)
    for name in names[:10]:
        c.check_identical(primary, replica, name)
    print(f"{len(taken)} shapes, every step equal")


cluster.main(test)
