#!/usr/bin/env python3
"""big_test.py BUILD_DIR [all]: databases across 1 GiB, whose page of the lock bytes is no page of the database.

A replica is seeded with one just below, follows its growth across the boundary and a change on both sides of it.
With "all", in both journal modes and with pages of 64 and 4 KiB, also: its shrinking back; a second replica that
comes when it is beyond; and one that missed too much gets the difference.  Content compresses well: what counts is
the number of pages.  The digest of a file is taken without its lock page, whose bytes nobody defines."""

import hashlib
import os
import time

import cluster

GIB = 1 << 30
ROWS = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < {}) "


def content_sha256(path, page_bytes):
    digest = hashlib.sha256()
    with open(path, "rb") as file:
        for offset in iter(lambda: file.tell(), None):
            data = file.read(page_bytes * (GIB // page_bytes) if offset == 0 else GIB)
            if not data:
                break
            digest.update(data[page_bytes:] if offset == GIB else data)
    return digest.hexdigest()


def check_equal(c, primary, replica, database, page_bytes, what):
    started = time.monotonic()
    position = c.wait_equal(primary, replica, database, 600)
    digests = []
    for node in (primary, replica):
        copy = os.path.join(c.scratch, f"{node.name}.export")
        node.export(database, copy)
        cluster.check_equal(c.command("ltx", "checksum", copy)[0].strip(), position.split("/")[1],
                            f"{node.name}/{database}: checksum {what}")
        digests.append(content_sha256(copy, page_bytes))
        size = os.path.getsize(copy)
        os.unlink(copy)
    cluster.check_equal(digests[1], digests[0], f"{database}: sha256 {what}")
    print(f"{database}: equal {what}, {size / GIB:.2f} GiB, {time.monotonic() - started:.0f} s", flush=True)
    return size


def short(c, page_bytes=65536):
    """The same boundary with as little work as it takes."""
    started = time.monotonic()
    database = "short.db"
    primary = c.node("p-short", start=False)
    c.sqlite(primary.path(database), f"PRAGMA page_size = {page_bytes}; CREATE TABLE t(x INTEGER PRIMARY KEY, y); "
             f"INSERT INTO t(y) VALUES (zeroblob(600000000)), (zeroblob({GIB - 600000000 - 40 * page_bytes}));")
    cluster.check(GIB - 60 * page_bytes < os.path.getsize(primary.path(database)) < GIB, "begins below the boundary")
    primary.start()
    replica = c.node("r-short", follows=primary)
    c.wait_equal(primary, replica, database, 300)
    for statements, what in ((f"INSERT INTO t(y) VALUES (randomblob({80 * page_bytes}));", "grown across it"),
                             ("INSERT INTO t(y) VALUES (randomblob(9000)); UPDATE t SET x = x + 10;",
                              "changed on both sides")):
        primary.sql(database, statements)
        c.wait_equal(primary, replica, database, 300)
        digests = [content_sha256(node.path(database), page_bytes) for node in (primary, replica)]
        cluster.check_equal(digests[1], digests[0], f"sha256 {what}")
    cluster.check(os.path.getsize(replica.path(database)) > GIB + page_bytes, "ends beyond the boundary")
    cluster.check_equal(c.sqlite(replica.path(database), "PRAGMA quick_check; SELECT count(*) FROM t"), "ok\n4",
                        "quick_check")
    print(f"equal before and beyond 1 GiB, {time.monotonic() - started:.0f} s")


def big(c, mode, page_bytes):
    database = f"{mode}-{page_bytes}.db"
    primary = c.node(f"p-{mode}-{page_bytes}", retention={"age": "1s", "size": "64KiB"})
    row = 60000
    pages_a_row = max(1, -(-row // page_bytes))
    rows = (GIB // page_bytes - 40) // (pages_a_row if page_bytes < row else 1)
    rows = min(rows, (GIB - 40 * 65536) // max(row + 2000, page_bytes))
    primary.sql(database, f"PRAGMA page_size = {page_bytes}; PRAGMA journal_mode = {mode}; PRAGMA cache_size = -400000; "
                          f"CREATE TABLE t(x INTEGER PRIMARY KEY, y); {ROWS.format(rows)} INSERT INTO t "
                          f"SELECT i, zeroblob({row}) FROM n; UPDATE t SET y = randomblob({row}) WHERE x % 500 = 0;")
    replica = c.node(f"r-{mode}-{page_bytes}", follows=primary)
    size = check_equal(c, primary, replica, database, page_bytes, "before the boundary")
    cluster.check(GIB * 0.8 < size < GIB, f"{database} begins with {size} bytes")
    more = rows // 5 + 100
    primary.sql(database, f"{ROWS.format(more)} INSERT INTO t(y) SELECT zeroblob({row}) FROM n;")
    size = check_equal(c, primary, replica, database, page_bytes, "grown across it")
    cluster.check(size > GIB + page_bytes, f"{database} has only {size} bytes")
    late = c.node(f"late-{mode}-{page_bytes}", follows=primary)
    check_equal(c, primary, late, database, page_bytes, "by a snapshot beyond it")
    late.stop()
    primary.sql(database, f"UPDATE t SET y = randomblob({row}) WHERE x > (SELECT max(x) FROM t) - 3 OR x < 3;")
    check_equal(c, primary, replica, database, page_bytes, "changed on both sides")

    def pruned():
        primary.sql(database, "UPDATE t SET y = 'y' WHERE x = 5;")
        return int(os.path.basename(primary.ltx_files(database)[0])[:16], 16) > 3

    cluster.wait_for("retention prunes the chain", pruned)
    late.start()
    check_equal(c, primary, late, database, page_bytes, "by the difference")
    primary.sql(database, f"DELETE FROM t WHERE x > {rows // 2}; VACUUM;")
    for node in (replica, late):
        size = check_equal(c, primary, node, database, page_bytes, "shrunk")
    cluster.check(size < GIB * 0.7, f"{database} has still {size} bytes")
    cluster.check_equal(c.sqlite(replica.path(database), "PRAGMA integrity_check"), "ok", "integrity_check")
    for node in (primary, replica, late):
        node.stop()
        for name in os.listdir(node.dir):
            if name.startswith(database):
                os.unlink(node.path(name))


def test(c, which=None):
    if which != "all":
        return short(c)
    for mode, page_bytes in (("wal", 65536), ("delete", 65536), ("wal", 4096), ("delete", 4096)):
        big(c, mode, page_bytes)
    return None


cluster.main(test)
