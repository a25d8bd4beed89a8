#!/usr/bin/env python3
"""How the cost of a transaction grows: with the size of the database, the number of databases, the number of replicas,
and the size of the transaction.

    bench/scale.py BUILD_DIR [--only size,databases,replicas,pages] [--quick] [--repeat 3] [--json FILE] [--svg FILE]

One program, Python's sqlite3, in WAL mode with synchronous=NORMAL, changes rows that fill a page each, at places that a
seed chooses.  Each point is measured plain and under the shim, by turns; the figures are medians.  docs/BENCHMARKS.md.
"""

import argparse
import json
import os
import shutil
import statistics
import sys

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import setups  # noqa: E402
from plot import Drawing  # noqa: E402
from setups import cluster  # noqa: E402

PAGE_ROWS_PER_MIB = 256
APP = r"""
import random, sqlite3, sys, time
directory, databases, transactions, pages, rows, seed = sys.argv[1], *map(int, sys.argv[2:])
connections = []
for i in range(databases):
    db = sqlite3.connect(f"{directory}/{i}.db", timeout=60, isolation_level=None)
    db.execute("pragma synchronous = normal")
    db.execute("select count(*) from t where id = 1").fetchone()
    connections.append(db)
r = random.Random(seed)
def transaction(n):
    db, first = connections[n % databases], r.randrange(1, rows - pages + 2)
    db.execute("update t set n = n + 1 where id between ? and ?", (first, first + pages - 1))
for n in range(databases):  # what the first one alone costs
    transaction(n)
began = time.perf_counter()
for n in range(transactions):
    transaction(n)
print(time.perf_counter() - began)
"""
# A row of 3,900 bytes has a page of 4 KiB to itself.
FILL = ("pragma journal_mode = wal; create table t(id integer primary key, n integer, filler); "
        "with recursive i(x) as (select 1 union all select x + 1 from i where x < {rows}) "
        "insert into t select x, 0, hex(randomblob(1000)) || zeroblob(1900) from i; "
        "pragma wal_checkpoint(truncate);")

CURVES = {
    "size": ("MiB of database", (1, 16, 256, 1024, 4096)),
    "databases": ("databases", (1, 10, 100, 1000)),
    "replicas": ("replicas", (0, 1, 2, 4, 8, 16)),
    "pages": ("pages a transaction", (1, 10, 100, 1000, 10_000, 100_000)),
}
QUICK = {"size": (1, 16), "databases": (1, 10), "replicas": (0, 2), "pages": (1, 100)}
TRANSACTIONS = 2000
MOST_PAGES = 200_000  # changed in one run


class Point:
    """One place on a curve: databases of rows, changed by transactions of pages, with replicas."""

    def __init__(self, curve, at):
        mib = at if curve == "size" else 400 if curve == "pages" and at > 1000 else 16
        self.databases = at if curve == "databases" else 1
        self.rows = 10 if curve == "databases" else mib * PAGE_ROWS_PER_MIB
        self.replicas = at if curve == "replicas" else 0
        self.pages = at if curve == "pages" else 1
        # Enough for each database that its being opened and closed does not count.
        self.transactions = max(3, 50 * self.databases, min(TRANSACTIONS, MOST_PAGES // self.pages))
        self.at = at


def fill(nodes, point, directory):
    os.makedirs(directory, exist_ok=True)
    first = os.path.join(directory, "0.db")
    nodes.sqlite(first, FILL.format(rows=point.rows), timeout=1200)
    for i in range(1, point.databases):
        shutil.copy(first, os.path.join(directory, f"{i}.db"))


def app(nodes, point, directory, seed, shim):
    argv = [sys.executable, "-c", APP, directory, *map(str, (point.databases, point.transactions, point.pages,
                                                             point.rows, seed))]
    return float(nodes.run(argv, shim=shim, timeout=1800)[0]) / point.transactions


def caught_up(node, wanted):
    return all(node.position(name) == position for name, position in wanted.items())


def measure(nodes, point, repeat, tag):
    plain = os.path.join(nodes.scratch, f"{tag}-plain")
    primary = nodes.node(f"{tag}-p", start=False)
    fill(nodes, point, plain)
    for name in os.listdir(plain):
        shutil.copy(os.path.join(plain, name), primary.dir)
    primary.start()
    app(nodes, point, primary.dir, 0, shim=True)
    replicas = [nodes.node(f"{tag}-r{i}", follows=primary) for i in range(point.replicas)]

    def catch_up():
        primary.sync()
        wanted = {"0.db": primary.position("0.db")} if replicas else {}
        for node in replicas:
            cluster.wait_for(f"{node.name} has it", lambda node=node: caught_up(node, wanted), 600)

    catch_up()
    app(nodes, point, plain, 0, shim=False)
    runs = {"plain": [], "shim": [], "daemon": [], "replica": []}
    for seed in range(1, repeat + 1):
        runs["plain"].append(app(nodes, point, plain, seed, shim=False))
        before = [setups.process_numbers(node.process.pid)["cpu_s"] for node in (primary, *replicas)]
        runs["shim"].append(app(nodes, point, primary.dir, seed, shim=True))
        catch_up()
        after = [setups.process_numbers(node.process.pid)["cpu_s"] for node in (primary, *replicas)]
        cpu = [(b - a) / point.transactions for a, b in zip(before, after)]
        runs["daemon"].append(cpu[0])
        runs["replica"].append(statistics.mean(cpu[1:]) if replicas else 0)
    rss = setups.process_numbers(primary.process.pid)["rss_kib"]
    for node in (*replicas, primary):
        node.stop()
        nodes.nodes.remove(node)
        shutil.rmtree(node.dir)
    shutil.rmtree(plain)
    median = {name: statistics.median(values) * 1e6 for name, values in runs.items()}
    return {"at": point.at, "plain_us": median["plain"], "shim_us": median["shim"], "daemon_cpu_us": median["daemon"],
            "replica_cpu_us": median["replica"], "primary_mib": rss / 1024,
            "ratio": statistics.median(p / s for p, s in zip(runs["plain"], runs["shim"]))}


def print_point(curve, row):
    print(f"{curve:<10}{row['at']:>8}  {row['plain_us']:>12.1f}{row['shim_us']:>12.1f}{row['ratio']:>7.2f}"
          f"{row['daemon_cpu_us']:>12.1f}{row['replica_cpu_us']:>12.1f}{row['primary_mib']:>8.1f}", flush=True)


def draw(result):
    """One small picture a curve: microseconds a transaction, both axes logarithmic."""
    import math  # pylint: disable=import-outside-toplevel
    drawing = Drawing()
    series = (("plain_us", "plain SQLite", "#777"), ("shim_us", "shim + daemon", "#1b6ca8"),
              ("daemon_cpu_us", "the daemon's CPU time", "#e08e0b"))
    width, height, left, top = 300, 180, 60, 60
    drawing.text(left, 20, "Microseconds a transaction", size=16)
    for i, (_, title, colour) in enumerate(series):
        drawing.box(left + 160 * i, 32, 12, 10, colour)
        drawing.text(left + 160 * i + 17, 41, title, size=11)
    for i, (curve, rows) in enumerate(result["curves"].items()):
        x0, y0 = left + (i % 2) * (width + 90), top + (i // 2) * (height + 70)
        values = [row[key] for row in rows for key, _, _ in series if row[key] > 0]
        low, high = math.floor(math.log10(min(values))), math.ceil(math.log10(max(values)))
        def x_of(n, rows=rows, x0=x0):
            return x0 + width * n / max(1, len(rows) - 1)
        def y_of(value, y0=y0, low=low, high=high):
            return y0 + height * (1 - (math.log10(max(value, 10 ** low)) - low) / (high - low))
        for power in range(low, high + 1):
            drawing.line(x0, y_of(10 ** power), x0 + width, y_of(10 ** power), colour="#ddd")
            drawing.text(x0 - 6, y_of(10 ** power) + 4, f"{10 ** power:g}", size=10, anchor="end")
        for n, row in enumerate(rows):
            drawing.text(x_of(n), y0 + height + 14, f"{row['at']:,}", size=10, anchor="middle")
        drawing.text(x0 + width / 2, y0 + height + 30, CURVES[curve][0], size=11, anchor="middle")
        for key, _, colour in series:
            for n in range(1, len(rows)):
                drawing.line(x_of(n - 1), y_of(rows[n - 1][key]), x_of(n), y_of(rows[n][key]), colour, 2)
    return drawing.svg(left + 2 * width + 90 + 40, top + (len(result["curves"]) + 1) // 2 * (height + 70))


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n", maxsplit=1)[0])
    parser.add_argument("build_dir")
    parser.add_argument("--only", default=",".join(CURVES))
    parser.add_argument("--quick", action="store_true", help="few points, once: does it work?")
    parser.add_argument("--repeat", type=int)
    parser.add_argument("--json")
    parser.add_argument("--svg")
    options = parser.parse_args()
    repeat = options.repeat or (1 if options.quick else 3)
    nodes = cluster.Cluster(options.build_dir)
    result, done = {"format": 1, "repeat": repeat, "curves": {}}, False
    try:
        print(f"{'curve':<10}{'at':>8}  {'plain µs':>12}{'shim µs':>12}{'ratio':>7}{'daemon µs':>12}{'replica µs':>12}"
              f"{'MiB':>8}")
        for curve in options.only.split(","):
            rows = result["curves"].setdefault(curve, [])
            for at in QUICK[curve] if options.quick else CURVES[curve][1]:
                rows.append(measure(nodes, Point(curve, at), repeat, f"{curve}{at}"))
                print_point(curve, rows[-1])
        if options.json:
            with open(options.json, "w", encoding="utf-8") as file:
                json.dump(result, file, indent=1)
                file.write("\n")
        if options.svg:
            with open(options.svg, "w", encoding="utf-8") as file:
                file.write(draw(result))
        done = True
    finally:
        nodes.close(done)


if __name__ == "__main__":
    main()
