#!/usr/bin/env python3
"""Databases that are deleted, created again and renamed on the primary: with and without the shim, with the daemon
there and away, with apps that have them open, and with a replica that was away; the replica follows, and keeps
what it deletes."""

import json
import os
import shutil
import subprocess

import cluster

FILL = ("CREATE TABLE IF NOT EXISTS t(x, y); WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE "
        "i < 50) INSERT INTO t SELECT i, randomblob(300) FROM n;")
EMPTY = "8000000000000000"

# An app that stays: executes each line of its input and answers "ok" or the error.
APP = """
import sqlite3, sys
db = sqlite3.connect(sys.argv[1], timeout=5, isolation_level=None)
for line in sys.stdin:
    try:
        db.execute(line).fetchall()
        print("ok", flush=True)
    except sqlite3.Error as error:
        print(error, flush=True)
"""


class App:
    def __init__(self, c, path, shim=True):
        self.process = c.spawn(["/usr/bin/python3", "-c", APP, path], shim=shim, text=True,
                               stdin=subprocess.PIPE, stdout=subprocess.PIPE)

    def execute(self, sql):
        self.process.stdin.write(sql + "\n")
        self.process.stdin.flush()
        return self.process.stdout.readline().strip()

    def close(self):
        self.process.stdin.close()
        cluster.check_equal(self.process.wait(30), 0, "the app's exit status")


class Deletions:
    def __init__(self, c):
        self.c = c
        self.primary = c.node("primary", databases=["*.db"], retention={"age": "24h", "size": "1GiB"})
        self.replica = c.node("replica", follows=self.primary)

    def remove(self, database):
        for suffix in ("", "-wal", "-shm", "-journal"):
            if os.path.exists(self.primary.path(database) + suffix):
                os.unlink(self.primary.path(database) + suffix)

    def made(self, database, sql=FILL):
        self.primary.sql(database, sql)
        self.c.check_identical(self.primary, self.replica, database)

    def gone(self, database, seconds=cluster.DEADLINE):
        """Both nodes say that it is deleted, at the same position, and no file is left."""
        for node in (self.primary, self.replica):
            cluster.wait_for(f"{node.name}: {database} is deleted, now {node.database_status(database)}",
                             lambda: node.database_status(database)["deleted"], seconds)
            cluster.wait_for(f"{node.name}: the file is gone",
                             lambda: not os.path.exists(node.path(database)), seconds)
        position = self.primary.position(database)
        cluster.check_equal(position.split("/")[1], EMPTY, "checksum of a deleted database")
        cluster.check_equal(self.replica.position(database), position, "position on the replica")
        for suffix in ("-wal", "-shm", "-journal"):
            cluster.check(not os.path.exists(self.replica.path(database) + suffix), f"{suffix} is left")
        cluster.check_equal(self.c.replay(self.primary, database), cluster.sha256("/dev/null"),
                            "replay of a chain that ends in a deletion")
        return position

    def kept(self, database, checksum, wanted):
        """The replica has what it deleted as a branch, to the byte."""
        out = self.c.command("branches", "list", "--config", self.replica.config, "--json")[0]
        names = [b["branch"] for b in json.loads(out)["branches"]
                 if b["database"] == database and b["branch"].endswith(checksum)]
        cluster.check_equal(len(names), 1, f"branches of {database} that end in {checksum}: {out}")
        copy = os.path.join(self.c.scratch, "branch.db")
        self.c.command("branches", "export", "--config", self.replica.config, "--force", database, names[0], copy)
        cluster.check_equal(cluster.sha256(copy), wanted, f"{database}: the branch that is kept")
        os.unlink(copy)

    def plain(self):
        for mode in ("delete", "wal"):
            database = f"{mode}.db"
            self.made(database, f"PRAGMA journal_mode = {mode}; {FILL}")
            before = self.primary.position(database)
            wanted = self.c.committed_sha256(self.primary.path(database))
            self.remove(database)
            deleted = self.gone(database)
            cluster.check_equal(int(deleted[:16], 16), int(before[:16], 16) + 1, "transaction of the deletion")
            self.kept(database, before.split("/")[1], wanted)
            status, _, err = self.c.command("export", "--config", self.primary.config, database,
                                            os.path.join(self.c.scratch, "x.db"), status=None)
            cluster.check(status != 0 and "was deleted" in err, f"export of a deleted database: {status}: {err}")
            self.made(database, f"PRAGMA page_size = 1024; PRAGMA journal_mode = {mode}; {FILL}")
            cluster.check(self.primary.position(database) > deleted, "the chain did not go on")
            print(f"deleted and created again, {mode}", flush=True)

    def at_once(self):
        """Before anybody has looked."""
        self.made("quick.db")
        for i in range(5):
            self.remove("quick.db")
            self.primary.sql("quick.db", f"CREATE TABLE n{i}(x); INSERT INTO n{i} VALUES (randomblob(5000));")
        self.c.check_identical(self.primary, self.replica, "quick.db")
        self.remove("quick.db")
        self.c.sqlite(self.primary.path("quick.db"), FILL)
        cluster.wait_for("what a stranger created is captured", lambda: self.c.replay(
            self.primary, "quick.db") == self.c.committed_sha256(self.primary.path("quick.db")))
        self.c.check_identical(self.primary, self.replica, "quick.db")
        print("deleted and created again at once", flush=True)

    def renamed(self):
        self.made("a.db")
        wanted = self.c.committed_sha256(self.primary.path("a.db"))
        os.rename(self.primary.path("a.db"), self.primary.path("b.db"))
        self.gone("a.db")
        cluster.wait_for("the new name is known", lambda: self.replica.position("b.db"))
        cluster.check_equal(self.c.check_identical(self.primary, self.replica, "b.db"), wanted, "b.db")
        self.made("c.db", "CREATE TABLE c(x);")
        os.rename(self.primary.path("b.db"), self.primary.path("c.db"))
        self.gone("b.db")
        cluster.wait_for("c.db has its content", lambda: self.c.replay(self.primary, "c.db") == wanted)
        self.c.check_identical(self.primary, self.replica, "c.db")
        os.rename(self.primary.path("c.db"), self.primary.path("c.other"))  # not a database by the configuration
        self.gone("c.db")
        print("renamed, to a free name, onto a database, and out of sight", flush=True)

    def open_in_apps(self):
        """Apps go on with files that have lost their names; that changes nothing."""
        for mode in ("delete", "wal"):
            database = f"open-{mode}.db"
            self.made(database, f"PRAGMA journal_mode = {mode}; {FILL}")
            old = App(self.c, self.primary.path(database))
            cluster.check_equal(old.execute("INSERT INTO t VALUES (1, 'old app')"), "ok", "before")
            reader = App(self.c, self.replica.path(database), shim=False)
            cluster.check_equal(reader.execute("SELECT count(*) FROM t"), "ok", "reader")
            self.c.check_identical(self.primary, self.replica, database)
            self.remove(database)
            cluster.wait_for("deleted", lambda: self.primary.database_status(database)["deleted"])
            deleted = self.primary.position(database)
            print("an app after the deletion:", old.execute("INSERT INTO t VALUES (2, 'into nothing')"))
            self.primary.sync()
            cluster.check_equal(self.primary.position(database), deleted, "after a write into nothing")
            reader.close()
            self.gone(database)
            self.made(database, f"PRAGMA journal_mode = {mode}; CREATE TABLE fresh(x); INSERT INTO fresh VALUES (1);")
            print("and after the re-creation:", old.execute("INSERT INTO t VALUES (3, 'into nothing')"))
            self.primary.sql(database, "INSERT INTO fresh VALUES (2);")
            self.c.check_identical(self.primary, self.replica, database)
            old.close()
            self.c.check_identical(self.primary, self.replica, database)
            cluster.check_equal(self.c.sqlite(self.replica.path(database), "SELECT group_concat(x) FROM fresh"),
                                "1,2", "rows")
            print(f"deleted while apps have it open, {mode}", flush=True)

    def away(self):
        """The daemon, or the replica, was not there."""
        for database in ("one.db", "two.db", "three.db", "four.db"):
            self.made(database)
        self.primary.stop()
        self.remove("one.db")
        self.remove("two.db")
        self.c.sqlite(self.primary.path("two.db"), "CREATE TABLE again(x);")
        self.primary.start()
        self.gone("one.db")
        self.c.check_identical(self.primary, self.replica, "two.db")
        self.replica.stop()
        self.remove("three.db")
        self.remove("four.db")
        cluster.wait_for("deleted", lambda: self.primary.database_status("three.db")["deleted"])
        cluster.wait_for("deleted", lambda: self.primary.database_status("four.db")["deleted"])
        self.primary.sql("four.db", "CREATE TABLE anew(x); INSERT INTO anew VALUES (1);")
        self.replica.start()
        self.gone("three.db")
        self.c.check_identical(self.primary, self.replica, "four.db")
        for node in (self.replica, self.primary):
            node.kill()
            node.start()
        self.gone("three.db")
        self.gone("one.db")
        branches = os.listdir(self.replica.path(".litefs/dbs/three.db/branches"))
        cluster.check_equal(len(branches), 1, "branches of a database that was deleted once")
        late = self.c.node("late", follows=self.primary)
        self.c.check_identical(self.primary, late, "four.db")
        cluster.wait_for("a new replica has the deletion", lambda: late.position("three.db") ==
                         self.primary.position("three.db"))
        cluster.check(not os.path.exists(late.path("three.db")), "a new replica made a deleted database")
        self.made("three.db", "CREATE TABLE back(x);")
        self.c.check_identical(self.primary, late, "three.db")
        print("deleted while a daemon was away", flush=True)

    def emptied(self):
        self.made("emptied.db")
        os.truncate(self.primary.path("emptied.db"), 0)
        cluster.wait_for("an emptied database counts as deleted",
                         lambda: self.primary.database_status("emptied.db")["deleted"])
        cluster.wait_for("the replica too", lambda: not os.path.exists(self.replica.path("emptied.db")))
        self.made("emptied.db", "CREATE TABLE e(x);")
        with open(self.primary.path("emptied.db"), "wb") as file:
            file.write(b"this is no database, and must not be taken for a deletion" * 100)
        error = cluster.wait_for("the error is told", lambda: self.primary.database_status("emptied.db")["error"])
        cluster.check("no database any more" in error, error)
        cluster.check(not self.primary.database_status("emptied.db")["deleted"], "garbage counts as deleted")
        self.remove("emptied.db")
        self.gone("emptied.db")
        print("emptied, and overwritten with garbage", flush=True)


def test(c, only=None):
    deletions = Deletions(c)
    for part in (deletions.plain, deletions.at_once, deletions.renamed, deletions.open_in_apps, deletions.away,
                 deletions.emptied):
        if only in (None, part.__name__):
            part()


cluster.main(test)
