#!/usr/bin/env python3
"""Programs without the shim: on a replica they read and cannot write; on the primary, what they
wrote while the daemon was away is captured at its start."""

import cluster

FILL = ("CREATE TABLE t(x); WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE "
        "i < 1000) INSERT INTO t SELECT i FROM n;")


def replica_is_read_only(c, replica, database, shim):
    status, out, err = c.run(["sqlite3", "-batch", "-bail", replica.path(database)], shim=shim,
                             input="INSERT INTO t VALUES (-1);\n", status=None)
    cluster.check(status != 0 and ("locked" in err or "readonly" in err or "busy" in err),
                  f"{database}: a write on a replica gave {status}: {out}{err}")
    count = c.sqlite(replica.path(database), "SELECT count(*) FROM t WHERE x = -1;", shim=shim)
    cluster.check_equal(count, "0", f"{database}: rows written on a replica")


def test(c):
    primary = c.node("primary")
    databases = ["wal.db", "delete.db"]
    for database in databases:
        primary.sql(database, f"PRAGMA journal_mode = {database.split('.', maxsplit=1)[0]}; {FILL}")
    replica = c.node("replica", follows=primary)
    for database in databases:
        c.check_identical(primary, replica, database)
        replica_is_read_only(c, replica, database, shim=False)
        c.check_identical(primary, replica, database)
    print("a replica cannot be written by accident")

    primary.stop()
    for database in databases:
        c.sqlite(primary.path(database), "DELETE FROM t WHERE x % 2; INSERT INTO t VALUES (7);")
    c.sqlite(primary.path("dropped-in.db"), FILL)  # a whole database, without the shim
    primary.start()
    for database in [*databases, "dropped-in.db"]:
        c.check_identical(primary, replica, database)
    print("what was written without the shim is captured at the start")


cluster.main(test)
