#!/usr/bin/env python3
"""seed.py BUILD_DIR [MIB] [ROUNDS]: how long a new replica takes to have a database, beside cp and fsync.

Each round copies the database with cp and fsync, then starts an empty replica on the same disk and waits until it
is at the primary's position; the ratio is of the medians.  `make bench-seed`; docs/BENCHMARKS.md."""

import os
import shutil
import statistics
import sys
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "tests", "system"))
import cluster  # pylint: disable=wrong-import-position

MIB = 1 << 20


def copied(c, path):
    """Seconds of cp and fsync."""
    copy = os.path.join(c.scratch, "copy.db")
    started = time.monotonic()
    c.run(["cp", "--reflink=never", path, copy], timeout=600)
    with open(copy, "rb") as file:
        os.fsync(file.fileno())
    seconds = time.monotonic() - started
    os.unlink(copy)
    return seconds


def seeded(c, primary, database, name):
    wanted = primary.position(database)
    started = time.monotonic()
    replica = c.node(name, follows=primary)
    # The file appears when it is whole and synced.  To ask the daemon each time costs a process, and
    # this machine is what is measured.
    deadline = started + 600
    while not os.path.exists(replica.path(database)):
        cluster.check(time.monotonic() < deadline, "the replica has nothing after 600 s")
        time.sleep(0.005)
    seconds = time.monotonic() - started
    cluster.wait_for("the replica is at the primary's position",
                     lambda: replica.position(database) == wanted)
    with open(f"/proc/{replica.process.pid}/stat", encoding="ascii") as file:
        fields = file.read().rsplit(")", 1)[1].split()
    cpu = (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
    replica.stop()
    shutil.rmtree(replica.dir)
    return seconds, cpu


def bench(c, mib="1024", rounds="3"):
    primary = c.node("primary", start=False, retention={"age": "1s", "size": "64KiB"})
    database = "seed.db"
    # A mixture that compresses to about two thirds, like text with indexes.
    c.sqlite(primary.path(database), "PRAGMA journal_mode = wal; CREATE TABLE t(x INTEGER PRIMARY KEY, y); "
             "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < "
             f"{int(mib) * 512}) INSERT INTO t SELECT i, hex(randomblob(900)) FROM n; CREATE TABLE u(x); ")
    primary.start()
    primary.sql(database, "INSERT INTO u VALUES (1)")
    # Later the chain does not begin with the whole any more, and a snapshot is made for each new replica.
    cluster.wait_for("retention prunes the chain",
                     lambda: all(int(os.path.basename(path)[:16], 16) > 1
                                 for path in primary.ltx_files(database) or ["0001"]), 90)
    size = os.path.getsize(primary.path(database))
    copies, seeds = [], []
    for i in range(int(rounds)):
        copies.append(copied(c, primary.path(database)))
        seconds, cpu = seeded(c, primary, database, f"replica-{i}")
        seeds.append(seconds)
        print(f"{size / MIB:.0f} MiB: cp + fsync {copies[-1]:.2f} s, a new replica {seconds:.2f} s "
              f"({cpu:.2f} s of CPU)", flush=True)
    ratio = statistics.median(seeds) / statistics.median(copies)
    print(f"medians: {statistics.median(copies):.2f} s and {statistics.median(seeds):.2f} s, ratio {ratio:.2f}")


cluster.main(bench)
