#!/usr/bin/env python3
"""A replica whose history is not the primary's, or too old, gets the pages that differ and no others;
what it had is kept as a branch of LTX files, which can be listed, exported and discarded."""

import json
import os
import shutil

import cluster

MIB = 1 << 20
FILL = ("CREATE TABLE t(x INTEGER PRIMARY KEY, y); WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT "
        "i + 1 FROM n WHERE i < 4000) INSERT INTO t SELECT i, randomblob(2000) FROM n;")
MODES = ["delete", "wal"]


def ltx_bytes(node, database):
    return sum(os.path.getsize(path) for path in node.ltx_files(database))


def branches(c, node, database):
    out = c.command("branches", "list", "--config", node.config, database, "--json")[0]
    return json.loads(out)["branches"]


def check_difference_only(c, primary, replica, database, what):
    c.check_identical(primary, replica, database)
    size = os.path.getsize(primary.path(database))
    got = ltx_bytes(replica, database)
    cluster.check(size > 7 * MIB and got < MIB,
                  f"{database}: {what}: of {size} bytes the replica was sent {got}")
    print(f"{database}: {what}: {got} of {size} bytes were sent")


def too_late(c, mode):
    """What the replica missed has been pruned."""
    database = f"late-{mode}.db"
    primary = c.node(f"p-late-{mode}")
    replica = c.node(f"r-late-{mode}", follows=primary)
    primary.sql(database, f"PRAGMA journal_mode = {mode}; {FILL}")
    c.check_identical(primary, replica, database)
    replica.stop()
    primary.stop()
    primary.configure(None, retention={"age": "1s", "size": "64KiB"})
    primary.start()

    def pruned():
        primary.sql(database, "UPDATE t SET y = randomblob(2000) WHERE x = 77;")
        first = int(os.path.basename(primary.ltx_files(database)[0])[:16], 16)
        return first > 3

    cluster.wait_for("retention prunes the chain", pruned)
    replica.start()
    check_difference_only(c, primary, replica, database, "too late")
    primary.sql(database, "UPDATE t SET y = randomblob(2000) WHERE x = 78; DELETE FROM t WHERE x > 3900;")
    c.check_identical(primary, replica, database)
    replica.kill()
    replica.start()
    c.check_identical(primary, replica, database)


def other_branch(c, mode):
    """The primary is put back to an older state and goes on from there."""
    database = f"branch-{mode}.db"
    primary = c.node(f"p-branch-{mode}")
    replica = c.node(f"r-branch-{mode}", follows=primary)
    primary.sql(database, f"PRAGMA journal_mode = {mode}; {FILL}")
    c.check_identical(primary, replica, database)
    primary.stop()
    backup = primary.dir + ".backup"
    shutil.copytree(primary.dir, backup, ignore=shutil.ignore_patterns("socket"))
    primary.start()
    for i in range(5):
        primary.sql(database, f"UPDATE t SET y = 'lost {i}' WHERE x = {i + 1}; INSERT INTO t(y) VALUES ('lost {i}');")
    c.check_identical(primary, replica, database)
    lost = cluster_export(c, replica, database)
    primary.stop()
    shutil.rmtree(primary.dir)
    os.rename(backup, primary.dir)
    primary.start()
    primary.sql(database, "UPDATE t SET y = 'other' WHERE x = 9;")
    check_difference_only(c, primary, replica, database, "on another branch")
    kept = branches(c, replica, database)
    cluster.check_equal(len(kept), 1, f"branches of {database}: {kept}")
    exported = os.path.join(c.scratch, "exported.db")
    c.command("branches", "export", "--config", replica.config, database, kept[0]["branch"], exported)
    cluster.check_equal(cluster.sha256(exported), lost, f"{database}: the branch that lost, exported")
    os.unlink(exported)
    shown = c.command("branches", "list", "--config", replica.config)[0]
    cluster.check(kept[0]["branch"] in shown, f"branches list: {shown}")
    c.command("branches", "discard", "--config", replica.config, database, kept[0]["branch"])
    cluster.check_equal(branches(c, replica, database), [], "branches after discard")
    status, _, err = c.command("branches", "discard", "--config", replica.config, database,
                               kept[0]["branch"], status=None)
    cluster.check(status == 1 and "no branch" in err, f"discarding it twice: {status} {err}")


def cluster_export(c, node, database):
    path = os.path.join(c.scratch, f"{node.name}.export")
    node.export(database, path)
    digest = cluster.sha256(path)
    os.unlink(path)
    return digest


def written_by_hand(c, mode):
    """Somebody has written the replica's file while its daemon was away."""
    database = f"hand-{mode}.db"
    primary = c.node(f"p-hand-{mode}")
    replica = c.node(f"r-hand-{mode}", follows=primary)
    primary.sql(database, f"PRAGMA journal_mode = {mode}; {FILL}")
    c.check_identical(primary, replica, database)
    replica.stop()
    c.sqlite(replica.path(database), "UPDATE t SET y = 'by hand' WHERE x = 5;")
    by_hand = c.committed_sha256(replica.path(database))
    primary.sql(database, "UPDATE t SET y = 'by the primary' WHERE x = 6;")
    replica.start()
    check_difference_only(c, primary, replica, database, "written by hand")
    kept = branches(c, replica, database)
    exported = os.path.join(c.scratch, "exported.db")
    found = []
    for branch in kept:
        c.command("branches", "export", "--config", replica.config, "--force", database,
                  branch["branch"], exported)
        found.append(cluster.sha256(exported))
    os.unlink(exported)
    cluster.check(by_hand in found, f"{database}: what was written by hand is in none of {kept}")


def test(c):
    for mode in MODES:
        if mode == "wal":  # retention looks every 30 s
            too_late(c, mode)
        other_branch(c, mode)
        written_by_hand(c, mode)


cluster.main(test)
