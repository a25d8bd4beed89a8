#!/usr/bin/env python3
"""A day's writes to a large database, archived with the default levels, and restores of moments of that day: the bytes
fetched and the time, against the least that any archiver can do: the newest snapshot before the moment, and each page
changed since once, in its last version.

    bench/archive_day.py BUILD_DIR make PLACE [--mib 1024] [--transactions 8640] [--pages 10]
    bench/archive_day.py BUILD_DIR measure PLACE [--moments 3] [--json FILE]

`make` takes some minutes and leaves the archive and copies of the database at some moments in PLACE. The daemon's time
of day is set by this program (bench/day_clock.cc), one step before each transaction, so that a day takes minutes. Of
the pages written, four of five are among one twentieth of the database's.
"""

import argparse
import json
import mmap
import os
import random
import shutil
import struct
import subprocess
import sys
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "../tests/system"))
sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import cluster  # noqa: E402
from archive import files_of, lower_bound, wait_archived  # noqa: E402

DAY_MS = 24 * 3600 * 1000
BEGIN_MS = 1_790_000_000_000 // DAY_MS * DAY_MS  # a midnight

FILL = r"""
import sqlite3, sys
db = sqlite3.connect(sys.argv[1], isolation_level=None)
db.execute("create table t(id integer primary key, filler)")
db.execute("begin")
rows = ((i,) for i in range(int(sys.argv[2]) * 256))
db.executemany("insert into t values (?, randomblob(1500) || zeroblob(2400))", rows)
db.execute("commit")
"""

# One transaction for each line, which is the ids of the rows that it changes.
WRITER = r"""
import sqlite3, sys
db = sqlite3.connect(sys.argv[1], timeout=60, isolation_level=None)
for line in sys.stdin:
    db.execute("begin immediate")
    rows = ((int(i),) for i in line.split())
    db.executemany("update t set filler = randomblob(1500) || zeroblob(2400) where id = ?", rows)
    db.execute("commit")
    print("done", flush=True)
"""


class DayClock:
    def __init__(self, path):
        with open(path, "wb") as file:
            file.write(struct.pack("=q", BEGIN_MS))
        with open(path, "r+b") as file:
            self.map = mmap.mmap(file.fileno(), 8)

    def set(self, ms):
        self.map[:] = struct.pack("=q", ms)


def rows_written(rng, rows, pages):
    hot = max(1, rows // 20)
    return [rng.randrange(hot) * 20 if rng.random() < 0.8 else rng.randrange(rows) for _ in range(pages)]


def make(c, options):
    place = os.path.abspath(options.place)
    os.makedirs(place)
    clock = DayClock(os.path.join(c.scratch, "clock"))
    library = c.build_library("day_clock", "bench/day_clock.cc")
    node = c.node("day", start=False, archive=[{"name": "day", "url": f"{place}/archive", "interval": "10ms"}])
    c.run([sys.executable, "-c", FILL, node.path("app.db"), str(options.mib)], timeout=600)
    node.start(env={"LD_PRELOAD": library, "DAY_CLOCK": os.path.join(c.scratch, "clock")})
    wait_archived(node, "app.db")
    writer = c.spawn([sys.executable, "-c", WRITER, node.path("app.db")], shim=True, text=True, stdin=subprocess.PIPE,
                     stdout=subprocess.PIPE)
    rng, rows, moments = random.Random(1), options.mib * 256, []
    wanted = sorted(rng.sample(range(options.transactions // 20, options.transactions), options.moments))
    began = time.monotonic()
    for n in range(options.transactions):
        clock.set(BEGIN_MS + 1000 + n * (DAY_MS - 2000) // options.transactions)
        writer.stdin.write(" ".join(map(str, rows_written(rng, rows, options.pages))) + "\n")
        writer.stdin.flush()
        writer.stdout.readline()
        time.sleep(max(0, began + n / options.rate - time.monotonic()))
        if n in wanted:
            node.sync()
            txid = int(node.position("app.db").split("/")[0], 16)
            copy = f"{place}/{txid:x}.sha256"
            with open(copy, "w", encoding="ascii") as file:
                file.write(c.committed_sha256(node.path("app.db")))
            moments.append(txid)
    writer.stdin.close()
    writer.wait(60)
    wait_archived(node, "app.db")
    # The keeper's pauses are real ones: it looks again half a minute after the last file.
    cluster.wait_for("the hours", lambda: len(files_of(f"{place}/archive", "app.db", 3)) >= 23, 300)
    node.stop()
    sizes = {level: (len(found), sum(os.path.getsize(path) for _, _, path in found))
             for level in (0, 1, 2, 3, 9) if (found := files_of(f"{place}/archive", "app.db", level))}
    print(f"{options.transactions} transactions in {time.monotonic() - began:.0f} s; files and bytes by level: {sizes}")
    print("moments:", *(f"{txid:x}" for txid in moments))


def measure(c, options):
    place = os.path.abspath(options.place)
    results = []
    for name in sorted(os.listdir(place)):
        if not name.endswith(".sha256"):
            continue
        txid = int(name.split(".")[0], 16)
        out = os.path.join(place, "restored.db")
        result = json.loads(c.command("restore", "-o", out, f"{place}/archive", "--database", "app.db", "--txid",
                                      f"{txid:x}", "--json", "--force", timeout=600)[0])
        with open(f"{place}/{name}", encoding="ascii") as file:
            assert cluster.sha256(out) == file.read(), "other bytes"
        bound = lower_bound(f"{place}/archive", txid)
        results.append({"txid": txid, "at_hours": (result["timestamp_ms"] - BEGIN_MS) / 3_600_000,
                        "fetched": result["fetched"], "bound": bound, "ratio": result["fetched"] / bound,
                        "seconds": result["seconds"], "database_bytes": os.path.getsize(out)})
        print(json.dumps(results[-1]), flush=True)
    # What the machine needs to write as many bytes, and to sync them.
    began = time.monotonic()
    shutil.copyfile(out, out + ".copy")
    with open(out + ".copy", "rb") as file:
        os.fsync(file.fileno())
    copied = time.monotonic() - began
    os.unlink(out + ".copy")
    os.unlink(out)
    print(f"cp and fsync of the database: {copied:.1f} s")
    if options.json:
        with open(options.json, "w", encoding="utf-8") as file:
            json.dump({"restores": results, "copy_seconds": copied}, file, indent=1)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("build")
    parser.add_argument("what", choices=("make", "measure"))
    parser.add_argument("place")
    parser.add_argument("--mib", type=int, default=1024)
    parser.add_argument("--transactions", type=int, default=8640)
    parser.add_argument("--pages", type=int, default=10)
    parser.add_argument("--rate", type=int, default=60)
    parser.add_argument("--moments", type=int, default=3)
    parser.add_argument("--json")
    options = parser.parse_args()
    c = cluster.Cluster(options.build)
    done = False
    try:
        {"make": make, "measure": measure}[options.what](c, options)
        done = True
    finally:
        c.close(passed=done)


main()
