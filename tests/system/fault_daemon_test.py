#!/usr/bin/env python3
"""fault_daemon_test.py BUILD_DIR [POINTS] [SHAPE]: a daemon dies, or a file call of it fails, at its n-th
call in the state directory or on the database (tests/fault/fault.cc), on the primary and on the replica.

An app writes meanwhile. If the daemon dies it is started again at once, else after the app's end; then the
chain replays to the primary's bytes, which hold all that was confirmed, and the replica has the same.
POINTS > 0 takes about so many of each sweep, evenly; 0 takes all."""

import collections
import concurrent.futures
import os
import shutil
import struct
import subprocess
import sys
import threading
import time

import cluster
import fault_checker

SHAPES = ["delete", "wal", "exclusive-wal"]
FAULTS = ["kill before", "kill after", "ENOSPC before", "EDQUOT before", "EIO before", "EINTR before",
          "ENOSPC always"]
NEVER = 10**9


class Sweep:
    """One shape, role and fault."""

    def __init__(self, c, programs, template, name):
        self.c, self.template, self.name = c, template, name
        self.fault, self.workload = programs
        self.shape, self.role, self.kind = name
        self.scratch = os.path.join(c.scratch, "-".join(name).replace(" ", "-"))
        self.checker = fault_checker.Checker(c, self.scratch)
        self.outcomes = collections.Counter()

    def run_once(self, n):
        """One database, one fault.  Returns (calls counted, which fired)."""
        c = self.c
        label = f"{self.shape[:3]}{self.shape[-3:]}{self.role[0]}{FAULTS.index(self.kind)}-{n % NEVER}"
        primary = c.node("p" + label, start=False, **{"write-timeout": "20s"})
        replica = c.node("r" + label, follows=primary, start=False) if self.role == "replica" else None
        victim = replica or primary
        log = os.path.join(self.scratch, "fault")
        environment = {"LD_PRELOAD": self.fault, "FAULT_LOG": log, "FAULT": f"{self.kind} {n} {victim.dir}"}
        shutil.copyfile(self.template, primary.path("a.db"))
        died = False
        for node in filter(None, (primary, replica)):
            died |= self.start(node, environment if node is victim else None)
        app = c.spawn([self.workload, primary.path("a.db"), self.shape], shim=True, text=True,
                      stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
        said, died_later = self.attend(app, victim)
        if victim.process.poll() is None and replica is not None:
            self.let_it_come(primary, replica)
        died |= died_later or victim.process.poll() is not None
        self.restart(victim)
        with open(log, "rb") as file:
            calls, fired = struct.unpack("II", file.read(8))
        os.unlink(log)
        if self.kind.startswith("kill") or fired == 0:
            cluster.check("!" not in said, f"{n}: an error reached the app: {said}")
        if fired:
            self.outcomes["the daemon died" if died else "the app was told" if "!" in said else
                          "nobody noticed"] += 1
        try:
            self.check(primary, replica, said.split("\n"))
        except cluster.Failure as failure:
            raise cluster.Failure(f"n = {n}: {failure}\nthe workload said:\n{said}") from None
        for node in filter(None, (primary, replica)):
            node.kill()
            c.nodes.remove(node)
            shutil.rmtree(node.dir)
            os.unlink(node.log)
        return calls, fired

    def start(self, node, environment):
        """The fault may come before the daemon is ready; then it is started again without.  Whether it did."""
        try:
            node.start(env=environment)
            return False
        except cluster.Failure:
            cluster.check(environment is not None, "a daemon without a fault does not start")
            self.restart(node)
            return True

    def restart(self, node):
        node.process.terminate()
        node.process.wait(60)
        self.c.processes.remove(node.process)
        node.start()

    def attend(self, app, victim):
        """Until the app has ended; a daemon that dies meanwhile is started again, once."""
        end = time.monotonic() + 120
        died = False
        while app.poll() is None:
            cluster.check(time.monotonic() < end, "the workload hangs")
            if victim.process.poll() is not None:
                died = True
                self.restart(victim)
            time.sleep(0.002)
        said = app.stdout.read()
        self.c.processes.remove(app)
        cluster.check_equal(app.returncode, 0, f"exit status of the workload: {said}")
        return said, died

    def let_it_come(self, primary, replica):
        """The replica applies all, or its fault comes: it is given a while."""
        self.checker.ask("chain", primary.dir, "a.db")
        wanted = primary.ltx_files("a.db")[-1]
        end = time.monotonic() + 3
        while time.monotonic() < end and replica.process.poll() is None:
            last = replica.ltx_files("a.db")[-1:]
            if last and os.path.basename(last[0])[17:] == os.path.basename(wanted)[17:]:
                try:
                    self.checker.ask("same", primary.path("a.db"), replica.path("a.db"))
                    return
                except cluster.Failure:
                    continue
            time.sleep(0.005)

    def check(self, primary, replica, lines):
        fault_checker.check_rows(self.checker.rows(primary.path("a.db")), lines)
        self.checker.ask("chain", primary.dir, "a.db")
        if replica is None:
            return
        self.checker.ask("same", primary.path("a.db"), replica.path("a.db"))

    def sweep(self, points):
        # A replica takes what has come together in one batch: its calls depend on how busy the machine is.
        counts = [calls for calls, fired in (self.run_once(NEVER) for _ in range(1 if points else 5)) if not fired]
        calls, most = min(counts), max(counts)
        cluster.check(calls > 10, f"{counts} calls counted")
        step = max(1, calls // points) if points else 1
        done = 0
        n = 1 + sum(len(word) * (3 + i) for i, word in enumerate(self.name)) % ((step + 1) // 2)
        # A run with fewer calls than others is tried again; the end is where three do not come so far.
        while n <= 2 * most:
            fired = any(self.run_once(n)[1] for _ in range(3))
            done += fired
            if not fired and n > calls:
                break
            n += step
        cluster.check(done > 0, "the fault never fired")
        cluster.check(points or done >= calls * 0.8, f"{done} faults fired at {calls} calls")
        return calls, done


def test(c, points="1", only=None):
    programs = (c.build_library("fault", "tests/fault/fault.cc"),
                c.build_program("workload", "tests/fault/workload.cc", "-lsqlite3"))
    template = os.path.join(c.scratch, "template.db")
    c.sqlite(template, fault_checker.FILL)
    failures, outcomes, lock = [], collections.Counter(), threading.Lock()

    def run(name):
        sweep = Sweep(c, programs, template, name)
        start, total = time.monotonic(), (0, 0)
        try:
            total = sweep.sweep(int(points))
        except cluster.Failure as failure:
            failures.append(name)
            print(f"not ok {' '.join(name)}: {failure}", flush=True)
        with lock:
            outcomes.update(sweep.outcomes)
        print(f"{', '.join(name)}: {total[0]} calls, {total[1]} faults fired, {dict(sweep.outcomes)}, "
              f"{time.monotonic() - start:.0f} s", flush=True)
        return total

    names = [(shape, role, fault) for shape in SHAPES for role in ("primary", "replica") for fault in FAULTS
             if only in (None, shape)]
    with concurrent.futures.ThreadPoolExecutor(min(8, os.cpu_count() or 2)) as pool:
        totals = list(pool.map(run, names))
    calls, fired = (sum(column) for column in zip(*totals))
    cluster.check(not failures, f"{len(failures)} sweeps failed: {failures}")
    print(f"{len(names)} sweeps: {calls} calls, {fired} faults, each survived: {dict(outcomes)}")
    sys.stdout.flush()


fault_checker.main(test)
