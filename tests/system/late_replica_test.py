#!/usr/bin/env python3
"""A replica that starts late gets a snapshot, then the tail; in WAL and in rollback mode, with and
without PUB."""

import cluster

FILL = ("CREATE TABLE t(x, y); WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n "
        "WHERE i < 5000) INSERT INTO t SELECT i, hex(randomblob(100)) FROM n;")


def follow(c, primary, replica, databases):
    for round_ in range(3):
        for database in databases:
            primary.sql(database, f"INSERT INTO t VALUES ({round_}, 'tail'); "
                                  f"UPDATE t SET y = 'r{round_}' WHERE x % 100 = {round_};")
            c.check_identical(primary, replica, database)


def test(c):
    primary = c.node("primary")
    databases = ["wal.db", "delete.db"]
    for database in databases:
        mode = database.split(".", maxsplit=1)[0]
        primary.sql(database, f"PRAGMA journal_mode = {mode}; {FILL}")
        primary.sql(database, "DELETE FROM t WHERE x % 3 = 0;")

    late = c.node("late", follows=primary)
    follow(c, primary, late, databases)
    print("a late replica has the snapshot and the tail")

    # A database made after the replica came is a snapshot of its own.
    primary.sql("new.db", FILL)
    c.check_identical(primary, late, "new.db")
    print("so has it a new database")

    # Everything must come by pulls alone, too.
    primary.stop()
    primary.configure(None, replication={"publish": False})
    primary.start()
    later = c.node("later", follows=primary)
    for replica in (late, later):
        follow(c, primary, replica, databases)
    print("and all of it without PUB")


cluster.main(test)
