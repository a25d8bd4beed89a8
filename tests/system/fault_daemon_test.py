#!/usr/bin/env python3
"""fault_daemon_test.py BUILD_DIR [POINTS] [SHAPE]: a daemon dies, or a call of it fails, at its n-th
call on its directory, on the primary and on the replica.

The workload (tests/fault/workload.cc) runs on the primary meanwhile.  A daemon that died is started again
without the fault; one that met an error goes on, and is restarted at the end, as by an operator who has
made room.  After each: no error reached the app but those of a disk that is full, SQLite finds both
databases sound, the chain replays to the primary's bytes, and the replica holds the same.  POINTS > 0
takes about so many of each sweep, evenly; 0 takes all."""

import os
import shutil
import struct
import subprocess
import time

import cluster

SHAPES = ["delete", "wal", "exclusive-wal"]
FAULTS = ["kill before", "kill after", "ENOSPC before", "EDQUOT before", "EIO before", "EINTR before",
          "ENOSPC always"]
NEVER = 10**9
FILL = ("PRAGMA page_size = 1024; CREATE TABLE t(id INTEGER PRIMARY KEY, x); WITH RECURSIVE n(i) AS "
        "(SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 20) INSERT INTO t SELECT i, randomblob(700) "
        "FROM n;")


class Sweep:
    def __init__(self, c):
        self.c = c
        self.fault = c.build_library("fault", "tests/fault/fault.cc")
        self.workload = c.build_program("workload", "tests/fault/workload.cc", "-lsqlite3")
        self.template = os.path.join(c.scratch, "template.db")
        c.sqlite(self.template, FILL)
        self.runs = 0

    def run_once(self, shape, role, fault, n):
        """A primary, a replica, one database, one fault.  Returns (calls counted, which fired)."""
        c = self.c
        self.runs += 1
        primary = c.node(f"p{self.runs}", start=False, **{"write-timeout": "20s"})
        replica = c.node(f"r{self.runs}", follows=primary, start=False)
        log = os.path.join(c.scratch, f"fault{self.runs}")
        victim = primary if role == "primary" else replica
        environment = {"LD_PRELOAD": self.fault, "FAULT_LOG": log, "FAULT": f"{fault} {n} {victim.dir}"}
        shutil.copyfile(self.template, primary.path("a.db"))
        for node in (primary, replica):
            self.start(node, environment if node is victim else None)
        app = c.spawn([self.workload, primary.path("a.db"), shape], shim=True, text=True,
                      stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
        said = self.attend(app, victim)
        if victim.process.poll() is None and role == "replica":
            self.let_it_come(primary, replica)
        self.restart(victim)
        calls, fired = self.read_log(log)
        if fault.startswith("kill") or fired == 0:
            cluster.check("!" not in said, f"an error reached the app: {said}")
        self.check(primary, replica)
        for node in (primary, replica):
            node.stop()
            c.nodes.remove(node)
            shutil.rmtree(node.dir)
        return calls, fired

    def start(self, node, environment):
        """The fault may come before the daemon is ready; then it is started again without."""
        try:
            node.start(env=environment)
        except cluster.Failure:
            cluster.check(environment is not None, "a daemon without a fault does not start")
            self.restart(node)

    def restart(self, node):
        node.process.terminate()
        node.process.wait(60)
        self.c.processes.remove(node.process)
        node.start()

    def attend(self, app, victim):
        """Until the app has ended; a daemon that dies meanwhile is started again, once."""
        end = time.monotonic() + 120
        while app.poll() is None:
            cluster.check(time.monotonic() < end, "the workload hangs")
            if victim.process.poll() is not None:
                self.restart(victim)
            time.sleep(0.005)
        said = app.stdout.read()
        self.c.processes.remove(app)
        cluster.check_equal(app.returncode, 0, f"exit status of the workload: {said}")
        return said

    def let_it_come(self, primary, replica):
        """The replica applies all, or its fault comes."""
        primary.sync()
        wanted = primary.position("a.db")
        end = time.monotonic() + 3
        while time.monotonic() < end and replica.process.poll() is None:
            if replica.position("a.db") == wanted:
                return
            time.sleep(0.02)

    @staticmethod
    def read_log(log):
        with open(log, "rb") as file:
            return struct.unpack("II", file.read(8))

    def check(self, primary, replica):
        self.c.check_identical(primary, replica, "a.db")
        wanted = self.c.committed_sha256(primary.path("a.db"))
        cluster.check_equal(self.c.replay(primary, "a.db"), wanted, "replay of the chain")

    def sweep(self, shape, role, fault, points):
        calls, fired = self.run_once(shape, role, fault, NEVER)
        cluster.check(fired == 0 and calls > 10, f"{calls} calls counted")
        step = max(1, calls // points) if points else 1
        done = misses = 0
        n = 1 + (7 * len(shape) + len(role) + len(fault)) % step
        # Threads make the number of calls vary a little: the end is where three in a row do not come.
        while misses < 3 and n <= 2 * calls:
            _, fired = self.run_once(shape, role, fault, n)
            done += fired != 0
            misses = 0 if fired else misses + 1
            n += step
        cluster.check(done > 0, "the fault never fired")
        return done


def test(c, points="1", only=None):
    sweep = Sweep(c)
    failures, total = [], 0
    for shape in SHAPES:
        for role in ("primary", "replica"):
            for fault in FAULTS:
                if only not in (None, shape):
                    continue
                try:
                    total += sweep.sweep(shape, role, fault, int(points))
                except cluster.Failure as failure:
                    failures.append(f"{shape} {role} {fault}")
                    print(f"not ok {failures[-1]}, run {sweep.runs}: {failure}", flush=True)
            print(f"{shape}, {role}: {total} faults fired so far", flush=True)
    cluster.check(not failures, f"{len(failures)} sweeps failed: {failures}")
    print(f"{total} faults, each survived")


cluster.main(test)
