#!/usr/bin/env python3
"""What the shim costs where it has nothing to do, in instructions, which no load of the machine
changes: reads of a tracked database, and calls on files that are none of litefs's business."""

import re
import shutil

import cluster

ROWS = 1000
CALLS = 6  # of untracked.cc, a round


def instructions(c, argv, shim):
    _, err = c.run(["valgrind", "--tool=callgrind", "--callgrind-out-file=/dev/null", *argv], shim=shim)
    return int(re.search(r"Collected : (\d+)", err).group(1))


def each(c, argv_of, few, many, shim):
    """Of one operation: what many have more than few."""
    return (instructions(c, argv_of(many), shim) - instructions(c, argv_of(few), shim)) / (many - few)


def test(c):
    if not shutil.which("valgrind"):
        raise cluster.Skip("no valgrind")
    workload = c.build_program("bench-workload", "bench/workload.cc", "-lsqlite3")
    untracked = c.build_program("untracked", "bench/untracked.cc")
    node = c.node("a")

    # kind, journal, operations, and how many instructions more than plain are borne: a part of plain's.
    # Scans and points in a transaction make no call that is hooked.  Autocommit points take and give
    # back SQLite's locks each time, by fcntl, which is: 2 to 4 calls a read.
    for kind, journal, few, many, part in (("scan", "delete", 2, 6, 0.01), ("scan", "wal", 2, 6, 0.01),
                                           ("readtx", "wal", 2, 6, 0.01),
                                           ("point", "delete", 100, 600, 0.06),
                                           ("point", "wal", 100, 600, 0.06)):
        counts = []
        for shim in (False, True):
            path = node.path(f"{kind}-{journal}.db") if shim else f"{c.scratch}/{kind}-{journal}.db"
            options = ["--journal", journal, "--rows", str(ROWS)]
            c.run([workload, "setup", path, *options], shim=shim)
            counts.append(each(c, lambda n: [workload, kind, path, *options, "--ops", str(n)], few, many,
                               shim))
        plain, shimmed = counts
        print(f"{kind} {journal}: {plain:.0f} plain, {shimmed:.0f} with the shim, {shimmed / plain:.4f}")
        cluster.check(plain > 1000, f"{kind} {journal}: {plain} instructions are not an operation")
        cluster.check(shimmed <= plain * (1 + part),
                      f"{kind} {journal}: {plain:.0f} instructions plain, {shimmed:.0f} with the shim")
    cluster.check(node.database_status("point-wal.db"), "the database was not tracked")

    plain, shimmed = (each(c, lambda n: [untracked, f"{c.scratch}/file", str(n)], 100, 1100, shim)
                      for shim in (False, True))
    print(f"untracked: {(shimmed - plain) / CALLS:.1f} instructions a call more")
    cluster.check(shimmed - plain <= 25 * CALLS,
                  f"untracked file: {(shimmed - plain) / CALLS:.1f} instructions a call more")


cluster.main(test)
