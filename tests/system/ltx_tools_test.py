#!/usr/bin/env python3
"""The chain that a daemon makes is good LTX: accepted by an independent reader, and applied or
compacted it gives the database, byte for byte."""

import os
import sys

import cluster

FILL = ("CREATE TABLE t(id INTEGER PRIMARY KEY, x); WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL "
        "SELECT i + 1 FROM n WHERE i < 300) INSERT INTO t(x) SELECT hex(randomblob(40)) FROM n;")
CHANGES = [
    "INSERT INTO t(x) VALUES ('one'), ('two');",
    "UPDATE t SET x = 'u' WHERE id % 9 = 0; DELETE FROM t WHERE id < 20;",
    "CREATE TABLE big(y); INSERT INTO big VALUES (zeroblob(100000));",
    "DROP TABLE big; VACUUM;",
    "INSERT INTO t(x) SELECT hex(randomblob(200)) FROM t;",
]
CASES = {
    "delete.db": "",
    "persist.db": "PRAGMA journal_mode = persist;",
    "wal.db": "PRAGMA journal_mode = wal;",
    "small.db": "PRAGMA page_size = 512;",
    "large.db": "PRAGMA page_size = 65536; PRAGMA journal_mode = wal;",
}


def check_chain(c, node, database):
    files = node.ltx_files(database)
    cluster.check(len(files) >= 3, f"{database}: {len(files)} LTX files")
    checker = os.path.join(c.source, "tests/vectors/ltx/tools/ltx_check.py")
    out, _ = c.run([sys.executable, checker, *files])
    cluster.check_equal(len(out.strip().splitlines()), len(files), f"ltx_check.py: {out}")
    c.command("ltx", "verify", *files)

    wanted = os.path.join(c.scratch, f"{node.name}-{database}.export")
    node.export(database, wanted)
    applied = os.path.join(c.scratch, f"{node.name}-{database}.applied")
    c.command("ltx", "apply", "--db", applied, *files)
    cluster.check_equal(cluster.sha256(applied), cluster.sha256(wanted), f"{database}: applied")
    one = os.path.join(c.scratch, f"{node.name}-{database}.ltx")
    c.command("ltx", "compact", "-o", one, *files)
    c.run([sys.executable, checker, one])
    compacted = os.path.join(c.scratch, f"{node.name}-{database}.compacted")
    c.command("ltx", "apply", "--db", compacted, one)
    cluster.check_equal(cluster.sha256(compacted), cluster.sha256(wanted), f"{database}: compacted")
    cluster.check_equal(c.command("ltx", "checksum", applied)[0].strip(),
                        node.position(database).split("/")[1], f"{database}: checksum")
    if database != "wal.db" and "wal" not in CASES[database]:
        cluster.check_equal(cluster.sha256(node.path(database)), cluster.sha256(wanted),
                            f"{database}: the file itself")
    return len(files)


def test(c):
    primary = c.node("primary")
    replica = c.node("replica", follows=primary)
    for database, pragmas in CASES.items():
        primary.sql(database, pragmas + FILL)
        for change in CHANGES:
            primary.sql(database, change)
        c.check_identical(primary, replica, database)
        counts = [check_chain(c, node, database) for node in (primary, replica)]
        print(f"{database}: {counts[0]} and {counts[1]} LTX files")


cluster.main(test)
