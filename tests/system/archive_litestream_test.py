#!/usr/bin/env python3
"""The Litestream dialect: what we write has its layout and passes an independent reader of LTX; what its library
wrote (tests/vectors) is restored.

    archive_litestream_test.py BUILD_DIR [TRANSACTIONS [SEED]]
"""

import glob
import os
import random
import re
import shutil
import struct
import sys

import cluster
from archive_workload import Workload, destination, restore, wait_archived
from cluster import check, check_equal, sha256, wait_for

NO_CHECKSUM = 2
# The files of Litestream's library, and the databases after each of them.
VECTORS = (("nochk-snap-p512-1.ltx", 1, 1), ("nochk-delta-p512-2.ltx", 2, 2), ("nochk-delta-p512-3.ltx", 3, 3))
STATES = ("p512-s0.db", "p512-s1.db", "p512-s2.db")


def check_file(name):
    """The header of docs/LTX.md, as Litestream writes it."""
    with open(name, "rb") as file:
        data = file.read()
    magic, flags, _, _, low, high = struct.unpack(">4sIIIQQ", data[:32])
    pre_apply, = struct.unpack(">Q", data[40:48])
    node_id, = struct.unpack(">Q", data[72:80])
    post_apply, = struct.unpack(">Q", data[-16:-8])
    check_equal((magic, flags, pre_apply, node_id, post_apply), (b"LTX1", NO_CHECKSUM, 0, 0, 0), name)
    check_equal(os.path.basename(name), f"{low:016x}-{high:016x}.ltx", name)


def check_written(c, directory, workload):
    files = sorted(glob.glob(f"{directory}/**/*", recursive=True))
    files = [name for name in files if os.path.isfile(name)]
    for name in files:
        place = os.path.relpath(name, directory)
        check(re.fullmatch(r"app\.db/ltx/[0-9]/[0-9a-f]{16}-[0-9a-f]{16}\.ltx", place), f"{place} is none of its names")
        check_file(name)
    levels = {name.split("/")[-2] for name in files}
    check({"0", "1", "9"} <= levels, f"levels {sorted(levels)}")
    checker = os.path.join(c.source, "tests/vectors/ltx/tools/ltx_check.py")
    out, _ = c.run([sys.executable, checker, *files])
    check_equal(len(out.strip().splitlines()), len(files), f"ltx_check.py: {out}")
    compared = 0
    ends = {int(name[-20:-4], 16) for name in files}
    for txid, (digest, _) in sorted(workload.recorded.items()):
        if txid not in ends:  # stored together with others: Litestream's names know no bundles
            continue
        out, _ = restore(c, directory, "--txid", f"{txid:x}")
        check_equal(sha256(out), digest, f"transaction {txid:x}")
        compared += 1
    check(compared > 3, f"only {compared} transactions could be compared")
    out, _ = restore(c, directory)
    check_equal(sha256(out), workload.recorded[max(workload.recorded)][0], "the newest")


def check_read(c, variant):
    """An archive of one database, as Litestream's `file` replica lays it out."""
    vectors = os.path.join(c.source, "tests/vectors/ltx")
    place = os.path.join(c.scratch, variant)
    for name, low, high in VECTORS:
        target = f"{place}/ltx/{9 if low == high == 1 else 0}/{low:016x}-{high:016x}.ltx"
        os.makedirs(os.path.dirname(target), exist_ok=True)
        shutil.copyfile(f"{vectors}/{variant}/{name}", target)
    for compacted in (False, True):
        if compacted:
            os.makedirs(f"{place}/ltx/1")
            shutil.copyfile(f"{vectors}/{variant}/nochk-compact-p512-2-3.ltx",
                            f"{place}/ltx/1/{2:016x}-{3:016x}.ltx")
        for txid, state in enumerate(STATES, start=1):
            out = os.path.join(c.scratch, "vector.db")
            c.command("restore", "-o", out, place, "--txid", f"{txid:x}", "--force", "--quiet")
            check_equal(sha256(out), sha256(f"{vectors}/db/{state}"), f"{variant} at {txid}")
    c.command("archive", "verify", place)


def test(c, transactions="20", seed=None):
    seed = int(seed) if seed else random.randrange(1 << 32)
    print(f"seed {seed}")
    for variant in ("v3-frame", "v3-block"):  # of 0.5.0 to 0.5.15, and of 0.5.16
        check_read(c, variant)
    place = os.path.join(c.scratch, "litestream")
    node = c.node("a", archive=[{"name": "ls", "url": place, "dialect": "litestream", "interval": "20ms",
                                 "levels": ["1s", "2s"], "snapshots": "2s"}])
    workload = Workload(c, node, "app.db", seed, "wal" if seed % 2 else "delete")
    for i in range(int(transactions)):
        workload.step()
        wait_archived(node, "ls", "app.db")
        if i == 7:
            node.kill()
            node.start()
    workload.close()
    wait_archived(node, "ls", "app.db")
    wait_for("compactions", lambda: destination(node, "ls")["compactions"] > 0)
    wait_for("a snapshot", lambda: len(os.listdir(f"{place}/app.db/ltx/9")) > 1)
    check_written(c, place, workload)


cluster.main(test)
