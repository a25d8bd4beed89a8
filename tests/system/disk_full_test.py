#!/usr/bin/env python3
"""The disk fills up under a primary: commits fail cleanly or are captured later, nothing that was
confirmed is lost, and all goes on when there is room again.  Needs to mount a tmpfs."""

import os
import subprocess

import cluster

WRITER = """
import sqlite3, sys
db = sqlite3.connect(sys.argv[1], timeout=5, isolation_level=None)
for i in range(int(sys.argv[2]), int(sys.argv[3])):
    try:
        db.execute("insert into t values (?, hex(randomblob(1000)))", (i,))
        print(i, flush=True)
    except sqlite3.Error as error:
        print("error", error, file=sys.stderr)
        break
"""


def write(c, path, first, last):
    """Returns the numbers whose insert was confirmed, and the error that ended it."""
    _, out, err = c.run(["/usr/bin/python3", "-c", WRITER, path, str(first), str(last)], shim=True,
                        status=None, timeout=180)
    return {int(line) for line in out.split()}, err.strip()


def check_database(c, primary, replica, database, ballast):
    path = primary.path(database)
    confirmed, error = write(c, path, 0, 100)
    cluster.check(not error, f"{database}: a write with room failed: {error}")
    stat = os.statvfs(primary.dir)
    with open(ballast, "wb") as file:
        os.posix_fallocate(file.fileno(), 0, max(stat.f_bavail * stat.f_frsize - (256 << 10), 4096))
    more, error = write(c, path, 1000, 4000)
    cluster.check(error, f"{database}: 3,000 inserts fitted into 256 KiB")
    confirmed |= more
    os.unlink(ballast)

    def writes_again():
        done, _ = write(c, path, 10000 + len(confirmed), 10001 + len(confirmed))
        confirmed.update(done)
        return done

    cluster.wait_for(f"{database}: writes go on when there is room", writes_again)
    c.check_identical(primary, replica, database)
    rows = set(map(int, c.sqlite(replica.path(database), "SELECT x FROM t").split()))
    cluster.check(confirmed <= rows, f"{database}: confirmed and lost: {sorted(confirmed - rows)}")
    print(f"{database}: {error}; {len(confirmed)} confirmed rows, all on the replica")


def test(c):
    small = os.path.join(c.scratch, "small")
    os.mkdir(small)
    mount = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=16m", "tmpfs", small],
                           capture_output=True, text=True, check=False)
    if mount.returncode != 0:
        raise cluster.Skip(f"no tmpfs can be mounted: {mount.stderr.strip()}")
    try:
        primary = c.node("primary", dir=small)
        replica = c.node("replica", follows=primary)
        for database in ("wal.db", "delete.db"):
            primary.sql(database, f"PRAGMA journal_mode = {database.split('.', maxsplit=1)[0]};"
                                  "CREATE TABLE t(x, y);")
            check_database(c, primary, replica, database, os.path.join(small, "ballast"))
        primary.stop()
        primary.start()
        for database in ("wal.db", "delete.db"):
            c.check_identical(primary, replica, database)
    finally:
        for process in c.processes:
            process.kill()
            process.wait()
        subprocess.run(["umount", "-l", small], check=False)


cluster.main(test)
