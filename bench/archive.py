#!/usr/bin/env python3
"""What an archive costs and gives, on one machine, into a directory.

    bench/archive.py BUILD_DIR [--seconds 10] [--rate 200] [--pairs 4] [--mib 256] [--only WHAT] [--json FILE]

Delay: from the return of COMMIT to the transaction being in the archive, at a steady rate of single rows and the
default interval of 1 s.  Writes: transactions a second of a writer that does nothing else, by turns without and with
an archive.  Restore: a database of --mib MiB with writes all over it; the bytes fetched for a moment in the middle,
against the least that any archiver can do: the newest snapshot before it, and each page changed since once, in its
last version.
"""

import argparse
import glob
import json
import os
import statistics
import struct
import subprocess
import sys
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "../tests/system"))
import cluster  # noqa: E402

STEADY = r"""
import sqlite3, sys, time
db = sqlite3.connect(sys.argv[1], timeout=60, isolation_level=None)
db.execute("create table if not exists t(n, filler)")
period, count = 1 / float(sys.argv[2]), int(sys.argv[3])
print("ready", flush=True)
sys.stdin.readline()
start, returned = time.monotonic(), []
for n in range(count):
    wait = start + n * period - time.monotonic()
    if wait > 0:
        time.sleep(wait)
    db.execute("insert into t values (?, randomblob(100))", (n,))
    returned.append(time.time_ns())
print(*returned)
"""

BUSY = r"""
import sqlite3, sys, time
db = sqlite3.connect(sys.argv[1], timeout=60, isolation_level=None)
db.execute("pragma journal_mode = wal")
db.execute("pragma synchronous = normal")
db.execute("create table if not exists t(n, filler)")
end, count = time.monotonic() + float(sys.argv[2]), 0
while time.monotonic() < end:
    for _ in range(20):
        db.execute("insert into t values (?, randomblob(100))", (count,))
        count += 1
print(count)
"""

LARGE = r"""
import random, sqlite3, sys
db = sqlite3.connect(sys.argv[1], timeout=60, isolation_level=None)
rows = int(sys.argv[2]) * 256
db.execute("create table if not exists t(id integer primary key, filler)")
if not db.execute("select count(*) from t").fetchone()[0]:
    db.execute("begin")
    db.executemany("insert into t values (?, randomblob(1500) || zeroblob(2400))", ((i,) for i in range(rows)))
    db.execute("commit")
print("ready", flush=True)
r = random.Random(1)
for line in sys.stdin:
    db.execute("begin")
    for _ in range(20):
        db.execute("update t set filler = randomblob(1500) || zeroblob(2400) where id = ?", (r.randrange(rows),))
    db.execute("commit")
    print("done", flush=True)
"""


def python(c, source, *argv, **options):
    return c.spawn([sys.executable, "-c", source, *map(str, argv)], shim=True, text=True, stdin=subprocess.PIPE,
                   stdout=subprocess.PIPE, **options)


def status_of(node, database):
    return next(d for d in node.status()["archive"][0]["databases"] if d["name"] == database)


def wait_archived(node, database):
    node.sync()
    txid = node.position(database).split("/")[0]
    cluster.wait_for("the archive", lambda: status_of(node, database)["txid"] == txid, 600)


def files_of(place, database, level):
    """(min, max, path) by their names: docs/ARCHIVE.md."""
    out = []
    for path in glob.glob(f"{place}/{database}/{level}/*.ltx*"):
        low, high = os.path.basename(path).split("-")[:2]
        out.append((int(low, 16), int(high, 16), path))
    return sorted(out)


def measure_delay(c, rate, seconds):
    place = os.path.join(c.scratch, "delay.archive")
    node = c.node("delay", archive=[{"url": place}])
    writer = python(c, STEADY, node.path("app.db"), rate, rate * seconds)
    writer.stdout.readline()
    node.sync()
    first = int(node.position("app.db").split("/")[0], 16) + 1
    returned = [int(ns) for ns in writer.communicate("\n")[0].split()]
    wait_archived(node, "app.db")
    delays = []
    for low, high, path in files_of(place, "app.db", 0):
        stored = os.stat(path).st_ctime_ns
        delays += [(stored - returned[txid - first]) / 1e6 for txid in range(max(low, first), high + 1)]
    assert len(delays) == len(returned), f"{len(delays)} of {len(returned)} transactions are in the archive"
    delays.sort()
    node.stop()
    return {"transactions": len(delays), "p50_ms": delays[len(delays) // 2],
            "p99_ms": delays[len(delays) * 99 // 100], "max_ms": delays[-1]}


def measure_writes(c, pairs, seconds):
    rates = {"off": [], "on": []}
    for pair in range(pairs):
        for kind in ("off", "on") if pair % 2 else ("on", "off"):
            name = f"{kind}{pair}"
            archive = [{"url": os.path.join(c.scratch, name + ".archive")}] if kind == "on" else []
            node = c.node(name, archive=archive)
            rates[kind].append(int(python(c, BUSY, node.path("app.db"), seconds).communicate()[0]) / seconds)
            if archive:
                wait_archived(node, "app.db")
            node.stop()
    ratios = [on / off for on, off in zip(rates["on"], rates["off"])]
    return {"off": rates["off"], "on": rates["on"], "median_ratio": statistics.median(ratios)}


def uvarint(data, at):
    value = shift = 0
    while True:
        byte = data[at]
        value |= (byte & 127) << shift
        at, shift = at + 1, shift + 7
        if byte < 128:
            return value, at


def pages_of(ltx):
    """{page: bytes of its frame} from the page index (docs/LTX.md, 5)."""
    length, = struct.unpack(">Q", ltx[-24:-16])
    at, pages = len(ltx) - 24 - length, {}
    while True:
        page, at = uvarint(ltx, at)
        if page == 0:
            return pages
        _, at = uvarint(ltx, at)
        pages[page], at = uvarint(ltx, at)


def split(path):
    """The LTX files in a file of the archive (docs/ARCHIVE.md, Bundles)."""
    with open(path, "rb") as file:
        data = file.read()
    if not path.endswith(".ltxs"):
        return [data]
    count, = struct.unpack(">I", data[-12:-8])
    at, out = 0, []
    for size in struct.unpack(f">{count}Q", data[-12 - 8 * count:-12]):
        out.append(data[at:at + size])
        at += size
    return out


def lower_bound(place, txid):
    snapshot = max((file for level in (0, 9) for file in files_of(place, "app.db", level)
                    if file[0] == 1 and file[1] <= txid), key=lambda file: file[1])
    pages = {}
    for low, high, path in files_of(place, "app.db", 0):
        if low > snapshot[1] and low <= txid:
            for ltx in split(path):
                if struct.unpack(">Q", ltx[24:32])[0] <= txid:
                    pages |= pages_of(ltx)
    return os.path.getsize(snapshot[2]) + sum(pages.values())


def measure_restore(c, mib, transactions=400):
    """Windows of seconds stand for those of minutes and hours."""
    place = os.path.join(c.scratch, "restore.archive")
    node = c.node("restore", archive=[{"url": place, "interval": "100ms", "levels": ["1s", "4s", "16s"],
                                       "snapshots": "1h"}])
    writer = python(c, LARGE, node.path("app.db"), mib)
    writer.stdout.readline()
    wanted = None
    for n in range(transactions):
        writer.stdin.write("\n")
        writer.stdin.flush()
        writer.stdout.readline()
        time.sleep(0.05)  # a rate, so that there are windows
        if n == transactions * 2 // 3:
            node.sync()
            wanted = int(node.position("app.db").split("/")[0], 16)
            node.export("app.db", os.path.join(c.scratch, "wanted.db"))
    writer.communicate("")
    wait_archived(node, "app.db")
    cluster.wait_for("the last window", lambda: files_of(place, "app.db", 3), 120)
    out = os.path.join(c.scratch, "restored.db")
    result = json.loads(c.command("restore", "-o", out, place, "--txid", f"{wanted:x}", "--json", timeout=600)[0])
    assert cluster.sha256(out) == cluster.sha256(os.path.join(c.scratch, "wanted.db")), "other bytes"
    bound = lower_bound(place, wanted)
    node.stop()
    return {"database_bytes": os.path.getsize(out), "fetched": result["fetched"], "bound": bound,
            "ratio": result["fetched"] / bound, "seconds": result["seconds"]}


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("build")
    parser.add_argument("--seconds", type=int, default=10)
    parser.add_argument("--rate", type=int, default=200)
    parser.add_argument("--pairs", type=int, default=4)
    parser.add_argument("--mib", type=int, default=256)
    parser.add_argument("--only", choices=("delay", "writes", "restore"))
    parser.add_argument("--json")
    options = parser.parse_args()
    c = cluster.Cluster(options.build)
    done = False
    try:
        result = {}
        for name, measure in (("delay", lambda: measure_delay(c, options.rate, options.seconds)),
                              ("writes", lambda: measure_writes(c, options.pairs, options.seconds)),
                              ("restore", lambda: measure_restore(c, options.mib))):
            if options.only not in (None, name):
                continue
            result[name] = measure()
            print(name, json.dumps(result[name]), flush=True)
        if options.json:
            with open(options.json, "w", encoding="utf-8") as file:
                json.dump(result, file, indent=1)
        done = True
    finally:
        c.close(passed=done)


if __name__ == "__main__":
    main()
