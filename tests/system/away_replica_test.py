#!/usr/bin/env python3
"""A replica that was away gets what it missed, and a snapshot when that has been pruned."""

import cluster

DATABASES = ["wal.db", "delete.db"]
CREATE = "CREATE TABLE t(id INTEGER PRIMARY KEY, x);"


def write(primary, word, times=5, bytes_=200):
    for database in DATABASES:
        for i in range(times):
            primary.sql(database, f"INSERT INTO t(x) VALUES ('{word} {i}'); INSERT INTO t(x) "
                                  f"VALUES (randomblob({bytes_}));")


def first_txid(node, database):
    """The chain's beginning; 0 when there is none."""
    names = [path.rsplit("/", 1)[1] for path in node.ltx_files(database)]
    return int(names[0][:16], 16) if names else 0


def txid(node, database):
    return int(node.position(database).split("/")[0], 16)


def check_all(c, primary, replica):
    for database in DATABASES:
        c.check_identical(primary, replica, database)


def missed_some(c, primary, replica):
    before = {database: txid(replica, database) for database in DATABASES}
    replica.stop()
    write(primary, "missed")
    replica.start()
    check_all(c, primary, replica)
    for database in DATABASES:
        first = first_txid(replica, database)
        cluster.check(first <= before[database],
                      f"{database}: the replica's chain was thrown away (begins at {first})")
    print("missed some: got them")


def primary_was_away(c, primary, replica):
    primary.stop()
    primary.start()
    write(primary, "after a restart of the primary", times=2)
    check_all(c, primary, replica)
    print("the primary was away: went on")


def missed_too_much(c, primary, replica):
    before = {database: txid(replica, database) for database in DATABASES}
    replica.stop()
    primary.stop()
    primary.configure(None, retention={"age": "1s", "size": "64KiB"})
    primary.start()
    write(primary, "pruned", times=20, bytes_=20000)

    def pruned():
        write(primary, "more", times=1, bytes_=20000)
        return all(first_txid(primary, d) > before[d] + 1 for d in DATABASES)

    cluster.wait_for("retention prunes the primary's chains", pruned)
    replica.start()
    check_all(c, primary, replica)
    write(primary, "tail", times=2)
    check_all(c, primary, replica)
    print("missed what has been pruned: got a snapshot")


def test(c):
    primary = c.node("primary")
    primary.sql("wal.db", f"PRAGMA journal_mode = wal; {CREATE}")
    primary.sql("delete.db", CREATE)
    replica = c.node("replica", follows=primary)
    write(primary, "first")
    check_all(c, primary, replica)
    missed_some(c, primary, replica)
    primary_was_away(c, primary, replica)
    missed_too_much(c, primary, replica)


cluster.main(test)
