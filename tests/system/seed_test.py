#!/usr/bin/env python3
"""seed_test.py BUILD_DIR [SEED]: a new replica is given a database while its snapshot is still made, and makes the
file while it comes.  Each daemon is killed in the middle of that; the database is written meanwhile; and the replica's
disk fills up.  In the end all is byte-identical, and before there is no file at all."""

import os
import random
import shutil
import subprocess
import threading
import time

import cluster
from cluster import check

MIB = 1 << 20
DATABASE = "seed.db"
SIZE_MIB = 32


def make_primary(c):
    """One whose chain does not reach back to the beginning."""
    primary = c.node("primary", start=False, retention={"age": "1s", "size": "64KiB"})
    c.sqlite(primary.path(DATABASE),
             "PRAGMA journal_mode = wal; CREATE TABLE t(x INTEGER PRIMARY KEY, y); "
             "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < "
             f"{SIZE_MIB * 512}) INSERT INTO t SELECT i, hex(randomblob(900)) FROM n; CREATE TABLE u(x); ")
    primary.start()
    primary.sql(DATABASE, "INSERT INTO u VALUES (1)")
    cluster.wait_for("retention prunes the chain",
                     lambda: all(int(os.path.basename(path)[:16], 16) > 1
                                 for path in primary.ltx_files(DATABASE) or ["0001"]), 90)
    return primary


def written_bytes(node):
    with open(f"/proc/{node.process.pid}/io", encoding="ascii") as file:
        return int(dict(line.split(": ") for line in file.read().splitlines())["wchar"])


def await_written(node, at_least):
    """Returns when the daemon has written so much, or has the database."""
    deadline = time.monotonic() + cluster.DEADLINE
    while written_bytes(node) < at_least and not os.path.exists(node.path(DATABASE)):
        check(time.monotonic() < deadline, f"{node.name} has written only {written_bytes(node)} bytes")


def kill_in_mid_seed(c, primary, rng, victim_is_primary):
    """True if the kill came in the middle."""
    replica = c.node(f"replica-{rng.randrange(1 << 32):08x}", follows=primary)
    await_written(replica, rng.randrange(MIB, SIZE_MIB * MIB))
    victim = primary if victim_is_primary else replica
    victim.kill()
    in_the_middle = not os.path.exists(replica.path(DATABASE))
    victim.start()
    c.wait_equal(primary, replica, DATABASE)
    primary.sql(DATABASE, "INSERT INTO u VALUES (2)")
    c.check_identical(primary, replica, DATABASE)
    replica.stop()
    shutil.rmtree(replica.dir)
    return in_the_middle


def check_kills(c, primary, rng):
    for victim_is_primary in (False, True):
        middle = 0
        for _ in range(12):
            middle += kill_in_mid_seed(c, primary, rng, victim_is_primary)
            if middle == 2:
                break
        name = "the primary" if victim_is_primary else "the replica"
        check(middle > 0, f"no kill of {name} came in the middle")
        print(f"{name} was killed {middle} times in the middle, and all was identical")


def check_writes_meanwhile(c, primary):
    """Each commit ends the snapshot that reads the database as it stands."""
    stop = threading.Event()

    def write():
        while not stop.is_set():
            primary.sql(DATABASE, "INSERT INTO u VALUES (3); UPDATE t SET y = hex(randomblob(900)) WHERE x % 999 = 0;")

    writer = threading.Thread(target=write)
    writer.start()
    try:
        replica = c.node("replica-busy", follows=primary)
        cluster.wait_for("the replica has the database", lambda: os.path.exists(replica.path(DATABASE)))
    finally:
        stop.set()
        writer.join()
    c.check_identical(primary, replica, DATABASE)
    replica.stop()
    print("a database that is written all the while comes over too")


def check_full_disk(c, primary):
    """There is room for the file that comes, or for the database, not for both."""
    small = os.path.join(c.scratch, "small")
    os.mkdir(small)
    options = ["-o", f"size={SIZE_MIB * 3 // 2}m"]
    mount = subprocess.run(["mount", "-t", "tmpfs", *options, "tmpfs", small], capture_output=True, text=True,
                           check=False)
    if mount.returncode != 0:
        print(f"no tmpfs can be mounted: {mount.stderr.strip()}")
        return
    try:
        replica = c.node("replica-full", follows=primary, dir=small)

        def says_so():
            with open(replica.log, encoding="utf-8") as log:
                return "No space left" in log.read()

        cluster.wait_for("the replica says that its disk is full", says_so)
        check(not os.path.exists(replica.path(DATABASE)), "a database appeared without room for it")
        subprocess.run(["mount", "-o", f"remount,size={SIZE_MIB * 4}m", small], check=True)
        c.check_identical(primary, replica, DATABASE)
        replica.stop()
    finally:
        subprocess.run(["umount", "-l", small], check=False)
    print("a full disk is said, and all goes on when there is room")


def test(c, seed=None):
    seed = int(seed) if seed else random.randrange(1 << 32)
    print(f"seed {seed}: seed_test.py BUILD_DIR {seed}")
    rng = random.Random(seed)
    primary = make_primary(c)
    check_kills(c, primary, rng)
    check_writes_meanwhile(c, primary)
    check_full_disk(c, primary)


cluster.main(test)
