#!/usr/bin/env python3
"""What a writer on a replica gets: on-replica-write: busy "database is locked", readonly "attempt to write
a readonly database". Reading works in both, also while the primary writes; so does what else is in
the directory, and a local database beside an attached replicated one."""

import os

import cluster

MODES = ["delete", "wal"]
LOCKED = "database is locked"
READ_ONLY = "attempt to write a readonly database"
CLIENTS = {
    "sqlite3": ["sqlite3", "-batch", "-bail"],
    "python": ["/usr/bin/python3", "-c", "import sqlite3, sys\n"
               "c = sqlite3.connect(sys.argv[1], timeout=0)\nprint(*c.execute(sys.argv[2]).fetchall())\nc.commit()"],
    "php": ["php", "-r", "$c = new SQLite3($argv[1]); $c->enableExceptions(true); "
            "print_r($c->query($argv[2])->fetchArray());"],
}


def client(c, name, path, sql):
    status, out, err = c.run([*CLIENTS[name], path, sql], shim=True, status=None)
    return status, out + err


def check_writers(c, replica, database, wanted):
    for name in CLIENTS:
        status, said = client(c, name, replica.path(database), "INSERT INTO t VALUES ('here')")
        cluster.check(wanted in said, f"{name} wrote {database} on {replica.name}: {status} {said}")
        status, said = client(c, name, replica.path(database), "SELECT count(*) FROM t")
        cluster.check(status == 0 and "1" in said, f"{name} reads {database}: {status} {said}")


def check_others(c, replica, database):
    """Files that are no databases of the node's, and a local one with the replicated one attached."""
    script = ("f = open(__import__('sys').argv[1], 'r+b'); f.write(b'text'); f.close()")
    path = replica.path("notes.txt")
    with open(path, "wb") as file:
        file.write(b"some text")
    c.run(["/usr/bin/python3", "-c", script, path], shim=True)
    local = os.path.join(c.scratch, f"local-{replica.name}-{database}")
    out = c.run(["sqlite3", "-batch", "-bail", local], shim=True, input=(
        f"CREATE TABLE mine(x); ATTACH '{replica.path(database)}' AS r;\n"
        "INSERT INTO mine SELECT x FROM r.t; SELECT count(*) FROM mine;\n"))[0]
    cluster.check_equal(out.strip(), "1", f"rows copied from the attached {database}")


def test(c):
    primary = c.node("primary")
    for mode in MODES:
        primary.sql(f"{mode}.db", f"PRAGMA journal_mode = {mode}; CREATE TABLE t(x); INSERT INTO t VALUES ('there');")
    for policy, wanted in (("busy", LOCKED), ("readonly", READ_ONLY)):
        replica = c.node(policy, follows=primary, **{"on-replica-write": policy})
        for mode in MODES:
            database = f"{mode}.db"
            c.check_identical(primary, replica, database)
            check_writers(c, replica, database, wanted)
            check_others(c, replica, database)
            status, out, err = c.run(["sqlite3", "-bail", replica.path(database), "INSERT INTO t VALUES (1);"],
                                     status=None)
            cluster.check(status != 0 and LOCKED in out + err, f"without the shim: {status} {out}{err}")
        print(f"{policy}: {wanted}")

    # A reader that stays, on the read-only replica, sees what the primary commits.
    for mode in MODES:
        database = f"{mode}.db"
        reader = c.spawn(["sqlite3", "-batch", "-cmd", ".timeout 20000", replica.path(database)], shim=True, text=True,
                         stdin=cluster.subprocess.PIPE, stdout=cluster.subprocess.PIPE)
        for rows in range(2, 20):
            primary.sql(database, "INSERT INTO t VALUES ('more');")
            c.wait_equal(primary, replica, database)
            reader.stdin.write("SELECT count(*) FROM t;\n")
            reader.stdin.flush()

            def visible():
                count = int(reader.stdout.readline())
                if count != rows:
                    reader.stdin.write("SELECT count(*) FROM t;\n")
                    reader.stdin.flush()
                return count == rows

            cluster.wait_for(f"{database}: the reader sees row {rows}", visible)
        reader.stdin.close()
        cluster.check_equal(reader.wait(30), 0, "the reader's exit status")
        c.processes.remove(reader)
        c.check_identical(primary, replica, database)
    print("a reader that stays sees every commit")


cluster.main(test)
