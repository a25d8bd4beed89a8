#!/usr/bin/env python3
"""Branches whose files do not begin with a snapshot: a node left a branch for only the pages that differed, and left
that one again. They are exported by way of the earlier one; without it the command says what is missing."""

import json
import os
import shutil

import cluster
from cluster import check, check_equal

DB = "app.db"


def keep(node, position, files):
    """As the daemon does: the files of a branch that ended there."""
    directory = node.path(f".litefs/dbs/{DB}/branches/{position.replace('/', '-')}")
    os.makedirs(directory)
    for file in files:
        shutil.copy(file, directory)
    return directory


def listed(c, node):
    out = c.command("branches", "list", "--config", node.config, "--json", DB)[0]
    return {branch["branch"]: branch["whole"] for branch in json.loads(out)["branches"]}


def check_export(c, node, position, rows):
    copy = os.path.join(c.scratch, "export.db")
    c.command("branches", "export", "--force", "--config", node.config, DB, position.replace("/", "-"), copy)
    check_equal(c.command("ltx", "checksum", copy)[0].strip(), position.split("/")[1], f"checksum of {position}")
    check_equal(c.sqlite(copy, "select group_concat(x) from t"), rows, f"rows of {position}")


def test(c):
    node = c.node("a")
    node.sql(DB, "create table t(x)")
    positions, ends = {}, {}
    for n in range(1, 7):
        node.sql(DB, f"insert into t values ({n})")
        node.sync()
        positions[n], ends[n] = node.position(DB), len(node.ltx_files(DB))
    files = node.ltx_files(DB)
    node.stop()
    first = keep(node, positions[2], files[:ends[2]])
    keep(node, positions[4], files[ends[2]:ends[4]])
    keep(node, positions[6], files[ends[4]:])
    names = {position.replace("/", "-") for n, position in positions.items() if n in (2, 4, 6)}
    check_equal(listed(c, node), dict.fromkeys(names, True), "branches, and whether they can be exported")
    check_export(c, node, positions[2], "1,2")
    check_export(c, node, positions[4], "1,2,3,4")
    check_export(c, node, positions[6], "1,2,3,4,5,6")

    status, _, err = c.command("branches", "discard", "--config", node.config, DB, os.path.basename(first), status=None)
    check(status == 1 and f"{positions[4].replace('/', '-')} begins where" in err, f"{status} {err}")
    check(os.listdir(first), "a branch that another needs is still there")
    c.command("branches", "discard", "--force", "--config", node.config, DB, os.path.basename(first))
    check(not os.path.exists(first), "a branch discarded by force is gone")
    check_equal(set(listed(c, node).values()), {False}, "branches that can be exported without the first")
    status, _, err = c.command("branches", "export", "--config", node.config, DB, positions[6].replace("/", "-"),
                               os.path.join(c.scratch, "none.db"), status=None)
    check(status == 1 and "do not begin with a snapshot, nor where another branch ends" in err, f"{status} {err}")
    check(not os.path.exists(os.path.join(c.scratch, "none.db")), "a failed export has left a file")
    for n in (6, 4):  # the newest first needs no force
        c.command("branches", "discard", "--config", node.config, DB, positions[n].replace("/", "-"))
    check_equal(listed(c, node), {}, "branches at the end")


if __name__ == "__main__":
    cluster.main(test)
