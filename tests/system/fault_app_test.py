#!/usr/bin/env python3
"""fault_app_test.py BUILD_DIR [POINTS] [SHAPE]: an app dies, or a call of it fails, at its n-th call.

For each shape of transaction (tests/fault/workload.cc) and each fault (tests/fault/fault.cc): n = 1, 2,
3, … until the workload ends without the fault, each on a database of its own; POINTS > 0 takes about so
many of each, evenly.  After each, SQLite finds a sound database with every confirmed row and without
every confirmed deletion, and the chain replays to the same bytes (tests/fault/check.cc)."""

import collections
import concurrent.futures
import glob
import os
import shutil
import struct
import sys
import time

import cluster
import fault_checker

SHAPES = ["delete", "truncate", "persist", "wal", "memory", "off", "delete-off", "wal-off",
          "exclusive-delete", "exclusive-persist", "exclusive-wal", "exclusive-memory",
          "exclusive-wal-off", "attached-delete", "attached-truncate"]
# In these SQLite itself promises nothing after a crash, a failed write or a rollback; the chain must be
# equal to what there is.
UNSAFE = {"memory", "off", "exclusive-memory"}
# (action, when, where the fault library stands)
DEATHS = [("kill", "before", "above"), ("kill", "before", "below"), ("exit", "after", "below"),
          ("exit", "before", "below")]
ERRORS = [(error, "before", "below") for error in ("ENOSPC", "EDQUOT", "EIO", "EINTR")] + [
    ("ENOSPC", "always", "below")]
POINTS_A_DAEMON = 100  # every database that a daemon has had costs it a look


class Sweep:
    """One shape.  Counts what becomes of its points."""

    def __init__(self, c, shape, programs, template):
        self.c, self.shape, self.template = c, shape, template
        self.fault, self.workload = programs
        self.checker = fault_checker.Checker(c, os.path.join(c.scratch, "check-" + shape))
        self.nodes = 0
        self.node = None
        self.points = 0
        self.outcomes = collections.Counter()

    def next_node(self):
        if self.node is not None:
            self.node.stop()
            self.c.nodes.remove(self.node)
            shutil.rmtree(self.node.dir)
        self.node = self.c.node(f"{self.shape}{self.nodes}", retention={"age": "24h", "size": "16GiB"},
                                **{"write-timeout": "20s"})
        self.nodes += 1

    def run_once(self, fault, n):
        """One database, one fault.  Returns (calls counted, which fired)."""
        if self.points % POINTS_A_DAEMON == 0:
            self.next_node()
        self.points += 1
        action, when, where = fault
        name = f"{action}-{when}-{where}-{n}.db"
        path, log = self.node.path(name), os.path.join(self.c.scratch, f"{self.shape}-{name}.fault")
        names = [name, name.replace(".db", "-b.db")] if self.shape.startswith("attached-") else [name]
        for each in names:
            shutil.copyfile(self.template, self.node.path(each))
        preload = [self.c.shim, self.fault] if where == "below" else [self.fault, self.c.shim]
        status, out, err = self.c.run(
            [self.workload, path, self.shape], status=None, timeout=100,
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
            self.check(names, out.split("\n"), fault, n)
        except cluster.Failure as failure:
            raise cluster.Failure(f"{name}: {failure}\nthe workload said:\n{out}{err}") from None
        if fired:
            self.outcomes["died" if dies else "an error reached the app" if "!" in out else "no error"] += 1
        for file in glob.glob(f"{glob.escape(path[:-3])}*"):
            os.unlink(file)
        return calls, fired

    def check(self, names, lines, fault, n):
        if self.shape not in UNSAFE:
            rows = [self.checker.rows(self.node.path(each)) for each in names]
            try:
                for row in rows:
                    fault_checker.check_rows(row, lines)
                cluster.check(all(row == rows[0] for row in rows), f"half a transaction: {rows}")
            except cluster.Failure:
                if rows != self.plain_rows(names, fault, n):
                    raise
                self.outcomes["as plain SQLite does it"] += 1
        for each in names:
            self.checker.ask("chain", self.node.dir, each)

    def plain_rows(self, names, fault, n):
        """What the same fault leaves without the shim.  After a journal could not be truncated, SQLite finds
        the name of an old super-journal at its end, and then does not roll back what it should."""
        directory = os.path.join(self.c.scratch, f"plain-{self.shape}")
        os.makedirs(directory)
        for each in names:
            shutil.copyfile(self.template, os.path.join(directory, each))
        action, when, _ = fault
        log = os.path.join(directory, "log")
        self.c.run([self.workload, os.path.join(directory, names[0]), self.shape], status=None, timeout=100,
                   env={"LD_PRELOAD": self.fault, "FAULT": f"{action} {when} {n} {directory}", "FAULT_LOG": log})
        rows = [self.checker.rows(os.path.join(directory, each)) for each in names]
        shutil.rmtree(directory)
        return rows

    def sweep(self, fault, points):
        """Every n, or about `points` of them.  Returns (calls, how many faults fired)."""
        # A fault that never comes counts the calls.
        calls, fired = self.run_once(fault, 10**9)
        cluster.check(fired == 0 and calls > 10, f"{fault}: {calls} calls counted")
        step = max(1, calls // points) if points else 1
        done = 0
        # Different shapes take different calls: together they come near all.
        n = 1 + hash_of(self.shape + " ".join(fault)) % step
        while True:
            _, fired = self.run_once(fault, n)
            if fired == 0:
                break
            done += 1
            n += step
        cluster.check(done > 0, f"{fault}: the fault never fired")
        cluster.check(points or done >= calls - 3, f"{fault}: {done} faults fired at {calls} calls")
        return calls, done


def hash_of(text):
    return sum(ord(letter) * (i + 1) for i, letter in enumerate(text))


def test(c, points="3", only=None):
    programs = (c.build_library("fault", "tests/fault/fault.cc"),
                c.build_program("workload", "tests/fault/workload.cc", "-lsqlite3"))
    template = os.path.join(c.scratch, "template.db")
    c.sqlite(template, fault_checker.FILL)
    failures, outcomes = [], collections.Counter()

    def run(shape):
        start, total = time.monotonic(), [0, 0]
        sweep = Sweep(c, shape, programs, template)
        for kind in DEATHS + ERRORS:
            try:
                total = [a + b for a, b in zip(total, sweep.sweep(kind, int(points)))]
            except cluster.Failure as failure:
                failures.append(f"{shape} {kind}: {failure}")
                print(f"not ok {shape} {kind}: {failure}", flush=True)
        sweep.node.stop()
        outcomes.update(sweep.outcomes)
        print(f"{shape}: {total[0]} calls, {total[1]} faults fired, {dict(sweep.outcomes)}, "
              f"{time.monotonic() - start:.0f} s", flush=True)
        return total

    shapes = [s for s in SHAPES if only in (None, s)]
    with concurrent.futures.ThreadPoolExecutor(min(8, os.cpu_count() or 2)) as pool:
        totals = list(pool.map(run, shapes))
    calls, fired = (sum(column) for column in zip(*totals))
    cluster.check(not failures, f"{len(failures)} sweeps failed")
    print(f"{len(shapes)} shapes, {len(DEATHS + ERRORS)} faults: {calls} calls, {fired} faults, each survived: "
          f"{dict(outcomes)}")
    sys.stdout.flush()


fault_checker.main(test)
