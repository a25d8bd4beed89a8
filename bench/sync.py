#!/usr/bin/env python3
"""What synchronous commit costs: single-row commits under the shim with sync 0, 1 and 2, two replicas over TCP loopback,
all on one disk and one machine.

    bench/sync.py BUILD_DIR [--seconds 3] [--runs 3] [--modes wal,delete] [--writers 1,4] [--json FILE]

Of several runs the best counts; all are printed.  Latencies in microseconds.  SQLite's synchronous is FULL.
"""

import argparse
import json
import os
import socket
import statistics
import subprocess
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "../tests/system"))
import cluster  # noqa: E402

WRITER = r"""
import sqlite3, sys, time
db = sqlite3.connect(sys.argv[1], timeout=60, isolation_level=None)
db.execute("PRAGMA synchronous = FULL")
took, end = [], time.monotonic() + float(sys.argv[2])
db.execute("INSERT INTO t(filler) VALUES (randomblob(100))")
while (before := time.monotonic_ns()) < end * 1e9:
    db.execute("INSERT INTO t(filler) VALUES (randomblob(100))")
    took.append((time.monotonic_ns() - before) // 1000)
print(*took)
"""


def free_port():
    """Two in a row, for the pull socket."""
    while True:
        with socket.socket() as a, socket.socket() as b:
            a.bind(("127.0.0.1", 0))
            try:
                b.bind(("127.0.0.1", a.getsockname()[1] + 1))
            except OSError:
                continue
            return a.getsockname()[1]


def run(c, label, sync, mode, writers, seconds):
    listen = f"tcp://127.0.0.1:{free_port()}"
    primary = c.node("p" + label, sync=sync, replication={"listen": listen})
    primary.endpoint = listen
    replicas = [c.node(f"r{i}" + label, follows=primary) for i in range(2)]
    primary.sql("app.db", f"PRAGMA journal_mode={mode}; CREATE TABLE t(n INTEGER PRIMARY KEY, filler)")
    for replica in replicas:
        c.wait_equal(primary, replica, "app.db")
    processes = [c.spawn([sys.executable, "-c", WRITER, primary.path("app.db"), str(seconds)], shim=True,
                         stdout=subprocess.PIPE, text=True) for _ in range(writers)]
    took = sorted(int(n) for p in processes for n in p.communicate()[0].split())
    counters = primary.status()["counters"]
    for replica in replicas:
        c.check_identical(primary, replica, "app.db")
    for node in (primary, *replicas):
        node.stop()
    cluster.check(sync == 0 or counters["sync_commits"] >= len(took), f"not all commits waited: {counters}")
    return {"sync": sync, "mode": mode, "writers": writers, "commits_per_second": len(took) / seconds,
            "p50_us": statistics.median(took), "p99_us": took[len(took) * 99 // 100]}


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("build")
    parser.add_argument("--seconds", type=float, default=3)
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--modes", default="wal,delete")
    parser.add_argument("--writers", default="1,4")
    parser.add_argument("--json")
    options = parser.parse_args()
    c = cluster.Cluster(options.build)
    results, passed = [], False
    try:
        for mode in options.modes.split(","):
            for writers in map(int, options.writers.split(",")):
                for sync in (0, 1, 2):
                    runs = [run(c, f"{mode[0]}{writers}{sync}{i}", sync, mode, writers, options.seconds)
                            for i in range(options.runs)]
                    best = max(runs, key=lambda r: r["commits_per_second"])
                    results.append(best | {"runs": runs})
                    print(f"{mode:7} writers {writers} sync {sync}: {best['commits_per_second']:8.0f} commits/s, "
                          f"p50 {best['p50_us']:6.0f} us, p99 {best['p99_us']:6.0f} us   (commits/s of all runs: "
                          + " ".join(f"{r['commits_per_second']:.0f}" for r in runs) + ")", flush=True)
        passed = True
    finally:
        c.close(passed)
    if options.json:
        with open(options.json, "w", encoding="utf-8") as file:
            json.dump(results, file, indent=1)


main()
