#!/usr/bin/env python3
"""From the return of COMMIT on a primary to the row being visible on a replica, on one machine.

    bench/latency.py BUILD_DIR [--rate 500] [--seconds 4] [--runs 3] [--modes wal,delete] [--json FILE]

A writer under the shim commits single rows at a steady rate; a reader of stock SQLite on the replica asks for the
newest row every 50 us or so.  Both read CLOCK_MONOTONIC, which is the machine's.  A reader that looks
more often would take the processor from what is measured.  Of several runs the best is what the program can do; the
others are what else the machine had to do.  Prints all of them.  The last line of a mode is what the measurement itself
costs: the same, with the reader on the primary's own file.
"""

import argparse
import json
import os
import socket
import subprocess
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "../tests/system"))
import cluster  # noqa: E402

WRITER = r"""
import sqlite3, sys, time
db = sqlite3.connect(sys.argv[1], timeout=60, isolation_level=None)
db.execute("PRAGMA synchronous = OFF")
period, count = 1 / float(sys.argv[2]), int(sys.argv[3])
returned = []
start = time.monotonic()
for n in range(1, count + 1):
    wait = start + n * period - time.monotonic()
    if wait > 0:
        time.sleep(wait)
    db.execute("INSERT INTO t(n, filler) VALUES (?, randomblob(100))", (n,))
    returned.append(time.monotonic_ns())
print(*returned)
"""

READER = r"""
import sqlite3, sys, time
db = sqlite3.connect(sys.argv[1], timeout=60, isolation_level=None)
count, seen, last = int(sys.argv[2]), [], 0
query = "SELECT max(n) FROM t"
print("ready", flush=True)
end = time.monotonic() + 120
while last < count and time.monotonic() < end:
    newest = db.execute(query).fetchone()[0] or 0
    if newest > last:
        seen += [time.monotonic_ns()] * (newest - last)
        last = newest
    time.sleep(0.00005)
print(*seen)
"""


def free_port():
    """Two in a row, for the pull socket."""
    while True:
        with socket.socket() as a, socket.socket() as b:
            a.bind(("127.0.0.1", 0))
            port = a.getsockname()[1]
            try:
                b.bind(("127.0.0.1", port + 1))
                return port
            except OSError:
                continue


def percentile(values, share):
    return values[min(len(values) - 1, int(len(values) * share))]


def measure(c, options, mode, run, on_primary=False):
    database = "app.db"
    port = free_port()
    primary = c.node(f"p-{mode}-{run}", start=False)
    primary.endpoint = f"tcp://127.0.0.1:{port}"
    primary.configure(None)
    primary.start()
    replica = c.node(f"r-{mode}-{run}", follows=primary)
    primary.sql(database, f"PRAGMA journal_mode = {mode}; CREATE TABLE t(n INTEGER PRIMARY KEY, filler);")
    c.wait_equal(primary, replica, database)
    count = int(options.rate * options.seconds)
    read = primary if on_primary else replica
    reader = c.spawn([sys.executable, "-c", READER, read.path(database), str(count)],
                     stdout=subprocess.PIPE, text=True)
    cluster.check_equal(reader.stdout.readline(), "ready\n", "the reader")
    writer = c.spawn([sys.executable, "-c", WRITER, primary.path(database), str(options.rate), str(count)],
                     shim=True, stdout=subprocess.PIPE, text=True)
    returned = [int(t) for t in writer.communicate(timeout=180)[0].split()]
    seen = [int(t) for t in reader.communicate(timeout=180)[0].split()]
    cluster.check(len(returned) == count and len(seen) == count,
                  f"{mode}: {len(returned)} of {count} rows were written, {len(seen)} seen")
    # Some rows are seen before COMMIT has returned to Python: that is no time at all.
    delays = sorted(max(s - r, 0) / 1e6 for r, s in zip(returned[20:], seen[20:]))
    took = (returned[-1] - returned[0]) / 1e9
    replica.stop()
    primary.stop()
    return {"mode": mode, "read": "primary" if on_primary else "replica", "commits": count, "rate": round((count - 1) / took), "p50_ms": percentile(delays, 0.5),
            "p90_ms": percentile(delays, 0.9), "p99_ms": percentile(delays, 0.99), "max_ms": delays[-1]}


def main(c, *arguments):
    parser = argparse.ArgumentParser(prog="latency.py BUILD_DIR")
    parser.add_argument("--rate", type=float, default=500)
    parser.add_argument("--seconds", type=float, default=4)
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--modes", default="wal,delete")
    parser.add_argument("--json")
    options = parser.parse_args(arguments)
    results = []
    print(f"{os.uname().nodename}, {os.cpu_count()} processors, load {os.getloadavg()[0]:.1f}")
    print(f"{'mode':8}{'rate/s':>8}{'p50 ms':>9}{'p90 ms':>9}{'p99 ms':>9}{'max ms':>9}")
    for mode in options.modes.split(","):
        runs = [measure(c, options, mode, run) for run in range(options.runs)]
        best = min(runs, key=lambda r: r["p50_ms"])
        for run in runs:
            mark = "  best" if run is best else ""
            print(f"{mode:8}{run['rate']:8}{run['p50_ms']:9.2f}{run['p90_ms']:9.2f}{run['p99_ms']:9.2f}"
                  f"{run['max_ms']:9.2f}{mark}")
        own = measure(c, options, mode, "own", on_primary=True)
        print(f"{'  itself':16}{own['p50_ms']:9.2f}{own['p90_ms']:9.2f}{own['p99_ms']:9.2f}{own['max_ms']:9.2f}")
        results += [*runs, own]
    if options.json:
        with open(options.json, "w", encoding="utf-8") as file:
            json.dump({"load": os.getloadavg(), "runs": results}, file, indent=1)


cluster.main(main)
