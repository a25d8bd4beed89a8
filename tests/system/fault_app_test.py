#!/usr/bin/env python3
"""fault_app_test.py BUILD_DIR [POINTS] [SHAPE]: an app dies, or a call of it fails, at its n-th call.

For each shape of transaction (tests/fault/workload.cc) and each fault (tests/fault/fault.cc): n = 1, 2,
3, … until the workload ends without the fault, each on a database of its own; POINTS > 0 takes about so
many of each, evenly.  After each, SQLite finds a sound database with every confirmed row and without
every confirmed deletion, and the chain replays to the same bytes."""

import concurrent.futures
import glob
import os
import re
import shutil
import struct
import time

import cluster

SHAPES = ["delete", "truncate", "persist", "wal", "memory", "off", "delete-off", "wal-off",
          "exclusive-delete", "exclusive-persist", "exclusive-wal", "exclusive-memory",
          "exclusive-wal-off", "attached-delete", "attached-truncate"]
# In these SQLite itself promises nothing after a crash, a failed write or a rollback; the chain must be
# equal to what there is.
UNSAFE = {"memory", "off", "exclusive-memory"}
# (action, when, where the fault library stands)
DEATHS = [("kill", "before", "above"), ("kill", "before", "below"), ("exit", "after", "below")]
ERRORS = [(error, "before", "below") for error in ("ENOSPC", "EDQUOT", "EIO", "EINTR")] + [
    ("ENOSPC", "always", "below")]
FILL = ("CREATE TABLE t(id INTEGER PRIMARY KEY, x); WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT "
        "i + 1 FROM n WHERE i < 20) INSERT INTO t SELECT i, randomblob(700) FROM n;")
INITIAL = set(range(1, 21))


class Sweep:
    def __init__(self, c, node, fault, workload, template):
        self.c, self.node, self.fault, self.workload, self.template = c, node, fault, workload, template

    def run_once(self, shape, fault, n):
        """One database, one fault.  Returns (calls counted, which fired)."""
        action, when, where = fault
        name = f"{shape}-{action}-{when}-{where}-{n}.db"
        path, log = self.node.path(name), os.path.join(self.c.scratch, name + ".fault")
        names = [name, name.replace(".db", "-b.db")] if shape.startswith("attached-") else [name]
        for each in names:
            shutil.copyfile(self.template, self.node.path(each))
        preload = [self.c.shim, self.fault] if where == "below" else [self.fault, self.c.shim]
        status, out, err = self.c.run(
            [self.workload, path, shape], status=None, timeout=100,
            env={"LD_PRELOAD": ":".join(preload), "FAULT": f"{action} {when} {n} {self.node.dir}",
                 "FAULT_LOG": log})
        with open(log, "rb") as file:
            calls, fired = struct.unpack("II", file.read(8))
        os.unlink(log)
        dies = fired != 0 and action in ("kill", "exit")
        wanted = {"kill": -9, "exit": 77}[action] if dies else 0
        cluster.check_equal(status, wanted, f"{name}: exit status of the workload: {out}{err}")
        if not fired:
            cluster.check("!" not in out, f"{name}: an error without a fault: {out}")
        try:
            rows = [self.check_content(each, out.split("\n")) for each in names if shape not in UNSAFE]
            cluster.check(all(row == rows[0] for row in rows), f"half a transaction: {rows}")
            for each in names:
                self.check_chain(each)
        except cluster.Failure as failure:
            raise cluster.Failure(f"{name}: {failure}\nthe workload said:\n{out}{err}") from None
        for file in glob.glob(f"{glob.escape(path[:-3])}*"):
            os.unlink(file)
        return calls, fired

    def check_content(self, name, lines):
        path = self.node.path(name)
        answer = self.c.run(["sqlite3", "-batch", "-cmd", ".timeout 20000", path], shim=True,
                            input="PRAGMA integrity_check;\nSELECT 'id', id FROM t;\n", status=None)
        cluster.check_equal(answer[0], 0, f"sqlite3: {answer}")
        cluster.check_equal(answer[1].split("\n", 1)[0], "ok", f"integrity_check: {answer}")
        rows = {int(i) for i in re.findall(r"^id\|(\d+)$", answer[1], re.M)}
        self.check_rows(rows, lines)
        return rows

    def check_chain(self, name):
        path = self.node.path(name)
        end = time.monotonic() + 20
        while True:
            self.node.sync()
            wanted = self.c.committed_sha256(path)
            if self.node.ltx_files(name) and self.c.replay(self.node, name) == wanted:
                return
            cluster.check(time.monotonic() < end,
                          f"the chain replays to other bytes: {len(self.node.ltx_files(name))} files, "
                          f"{self.node.position(name)}, {self.node.database_status(name)}")
            time.sleep(0.05)

    @staticmethod
    def check_rows(rows, lines):
        added = {int(line[1:]) for line in lines if line.startswith("+")}
        deleted = {int(line[1:]) for line in lines if line.startswith("-")}
        in_doubt = {3, 102}  # a deletion may be done and not said
        lost = (INITIAL | added) - deleted - rows - in_doubt
        cluster.check(not lost, f"confirmed rows are lost: {sorted(lost)}")
        cluster.check(not deleted & rows, f"confirmed deletions came back: {sorted(deleted & rows)}")
        cluster.check(103 not in rows, "a transaction that was rolled back is there")

    def sweep(self, shape, fault, points):
        """Every n, or about `points` of them.  Returns how many faults fired."""
        # A fault that never comes counts the calls.
        action, when, where = fault
        calls, fired = self.run_once(shape, fault, 10**9)
        cluster.check(fired == 0 and calls > 10, f"{shape} {fault}: {calls} calls counted")
        step = max(1, calls // points) if points else 1
        done = 0
        # Different shapes take different calls: together they come near all.
        n = 1 + hash_of(shape + action + when + where) % step
        while True:
            _, fired = self.run_once(shape, fault, n)
            if fired == 0:
                break
            done += 1
            n += step
        cluster.check(done > 0, f"{shape} {fault}: the fault never fired")
        return done


def hash_of(text):
    return sum(ord(letter) * (i + 1) for i, letter in enumerate(text))


def test(c, points="3", only=None):
    fault = c.build_library("fault", "tests/fault/fault.cc")
    workload = c.build_program("workload", "tests/fault/workload.cc", "-lsqlite3")
    template = os.path.join(c.scratch, "template.db")
    c.sqlite(template, "PRAGMA page_size = 1024; " + FILL)
    failures, total = [], 0

    def run(shape):
        node = c.node(shape, retention={"age": "24h", "size": "16GiB"}, **{"write-timeout": "20s"})
        sweep = Sweep(c, node, fault, workload, template)
        done = 0
        for kind in DEATHS + ERRORS:
            try:
                done += sweep.sweep(shape, kind, int(points))
            except cluster.Failure as failure:
                failures.append(f"{shape} {kind}: {failure}")
                print(f"not ok {shape} {kind}: {failure}", flush=True)
        node.stop()
        print(f"{shape}: {done} faults fired", flush=True)
        return done

    with concurrent.futures.ThreadPoolExecutor(2) as pool:
        total = sum(pool.map(run, [s for s in SHAPES if only in (None, s)]))
    cluster.check(not failures, f"{len(failures)} sweeps failed")
    print(f"{total} faults, each survived")


cluster.main(test)
