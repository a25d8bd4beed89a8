#!/usr/bin/env python3
"""Which files count as databases: names of every kind, ways to reach one, and files that do not count,
which a program under the shim uses as if there were no daemon."""

import os

import cluster

NAMES = [os.fsdecode(b"not-utf8-\xff\xfe.db"), "with space.db", "ünï-漢字.db", "quo'te\".db", "no-extension", "a#b?c.db", "-dash.db",
         "new\nline.db", "percent%20.db", ".hidden.db", "a" * 240 + ".db", "x-journal.db"]
INSERT = """
import sqlite3, sys
db = sqlite3.connect(sys.argv[1], timeout=1, isolation_level=None)
db.execute("pragma journal_mode = " + sys.argv[2]).fetchall()
db.execute("create table if not exists t(x)")
db.execute("insert into t values (1)")
print(db.execute("select count(*) from t").fetchone()[0])
"""


def insert(c, path, mode="delete", **options):
    out = c.run(["/usr/bin/python3", "-c", INSERT, path, mode], shim=True, timeout=20, **options)[0]
    return int(out)


def shown(names):
    """As JSON can show them."""
    return sorted(os.fsencode(name).decode(errors="replace") for name in names)


def positions(node):
    return {d["name"]: (d["txid"], d["checksum"]) for d in node.status()["databases"]}


def test(c):
    primary = c.node("primary", databases=["*.db", "no-extension"])
    replica = c.node("replica", follows=primary)
    for name in NAMES:
        insert(c, primary.path(name))
        insert(c, primary.path(name), "wal")
    primary.sync()
    wanted = positions(primary)
    cluster.check_equal(sorted(wanted), shown(NAMES), "the primary's databases")
    cluster.wait_for("the replica has them all", lambda: positions(replica) == wanted)
    for name in NAMES:
        count = c.run(["/usr/bin/python3", "-c", "import sqlite3, sys; print(sqlite3.connect("
                       "sys.argv[1]).execute('select count(*) from t').fetchone()[0])",
                       replica.path(name)])[0].strip()
        cluster.check_equal(count, "2", f"rows of {name!r} on the replica")
    print("every name")

    link = os.path.join(c.scratch, "link")
    os.symlink(primary.dir, link)
    os.symlink(primary.path("app.db"), os.path.join(c.scratch, "elsewhere.db"))
    insert(c, os.path.join(link, "app.db"))
    insert(c, "app.db", cwd=primary.dir)
    insert(c, "../primary/./app.db", cwd=primary.dir)
    insert(c, f"{c.scratch}/elsewhere.db")
    cluster.check_equal(insert(c, primary.path("app.db")), 5, "rows of app.db")
    c.check_identical(primary, replica, "app.db")
    print("every way")

    for mode in ("delete", "truncate", "persist", "memory", "off", "wal"):
        for place in ("notes.sqlite", "below/other.db"):
            os.makedirs(primary.path("below"), exist_ok=True)
            path = primary.path(place)
            before = insert(c, path, mode)
            cluster.check_equal(insert(c, path, mode), before + 1, f"rows of {place}")
            cluster.check_equal(c.sqlite(path, "pragma integrity_check"), "ok", path)
    primary.sync()
    cluster.check_equal(sorted(positions(primary)), shown([*NAMES, "app.db"]), "databases at the end")
    print("files that do not count are left alone")


cluster.main(test)
