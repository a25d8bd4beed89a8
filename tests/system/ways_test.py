#!/usr/bin/env python3
"""Every way into a database, and what is not a plain transaction: VACUUM INTO, backup and restore into a
tracked database, mmap, URI parameters and VFSes, a hot journal met by a reader, a persistent WAL,
databases beyond the lock page, renames and deletions.  After each, the chain replays to the bytes that
SQLite finds."""

import os
import shutil

import cluster

ROWS = ("WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < {n}) "
        "INSERT INTO t SELECT i, randomblob({bytes}) FROM n;")
FILL = "CREATE TABLE t(x, y);" + ROWS.format(n=300, bytes=400)


class Ways:
    def __init__(self, c, node):
        self.c, self.node = c, node

    def compare(self, database, what):
        """The chain comes to the database's bytes, in a second."""
        self.node.sync()
        path = self.node.path(database)

        def equal():
            return self.c.replay(self.node, database) == self.c.committed_sha256(path)
        cluster.wait_for(f"{what}: {database}: the chain is equal, now "
                         f"{self.node.database_status(database)}", equal, 5)
        print(what, flush=True)

    def python(self, code, *arguments, **options):
        return self.c.run(["/usr/bin/python3", "-c", "import sqlite3, sys\n" + code, *arguments],
                          shim=True, **options)[0]

    def copies(self):
        path = self.node.path
        self.node.sql("source.db", FILL)
        self.node.sql("source.db", f"VACUUM INTO '{path('into.db')}';")
        self.compare("into.db", "VACUUM INTO")
        for mode in ("delete", "wal"):
            target = f"backup-{mode}.db"
            self.node.sql(target, f"PRAGMA journal_mode = {mode}; CREATE TABLE old(x); INSERT INTO old "
                          "VALUES (zeroblob(500000));")
            self.python("a, b = map(sqlite3.connect, sys.argv[1:]); a.backup(b, pages=7); b.close()",
                        path("source.db"), path(target))
            self.compare(target, f"backup API into a database in mode {mode}")
            self.node.sql(target, f".restore '{path('into.db')}'")
            self.node.sql(target, "INSERT INTO t VALUES ('after', '.restore');")
            self.compare(target, f".restore in mode {mode}")
        self.node.sql("cloned.db", f".restore '{path('source.db')}'")
        self.compare("cloned.db", ".restore into a new database")

    def mapped(self):
        for mode in ("delete", "wal"):
            self.node.sql(f"mmap-{mode}.db", f"PRAGMA mmap_size = 100000000; PRAGMA journal_mode = {mode};"
                          f"{FILL} UPDATE t SET y = x; DELETE FROM t WHERE x > 50; VACUUM;")
            self.compare(f"mmap-{mode}.db", f"mmap_size, {mode}")

    def opened(self):
        """By URI, and through the VFSes that come with SQLite."""
        path = self.node.path
        write = ("db = sqlite3.connect(sys.argv[1], uri=True, isolation_level=None)\n"
                 "db.execute('pragma cache_size = 5')\n"
                 "db.execute('create table if not exists t(x, y)')\n"
                 "for i in range(5): db.execute('insert into t values (?, zeroblob(20000))', (i,))\n"
                 "db.execute('begin'); db.execute('delete from t where x = 1')\n"
                 "db.execute('update t set y = x'); db.execute('commit'); db.close()\n")
        for vfs in ("unix", "unix-excl", "unix-dotfile", "unix-none"):
            self.python(write, f"file:{path(vfs + '.db')}?vfs={vfs}")
            self.compare(f"{vfs}.db", f"vfs={vfs}")
        self.python(write, f"file:{path('nolock.db')}?nolock=1")
        self.compare("nolock.db", "nolock=1")
        self.python("db = sqlite3.connect(sys.argv[1], uri=True, isolation_level=None)\n"
                    "db.execute('pragma journal_mode = wal').fetchall()\n" + write.split("\n", 1)[1],
                    f"file:{path('excl-wal.db')}?vfs=unix-excl")
        self.compare("excl-wal.db", "vfs=unix-excl with a WAL")
        before = self.node.position("unix.db")
        for mode in ("mode=ro", "immutable=1", "mode=ro&nolock=1"):
            count = self.python("print(sqlite3.connect(sys.argv[1], uri=True)"
                                ".execute('select count(*) from t').fetchone()[0])",
                                f"file:{path('unix.db')}?{mode}")
            cluster.check_equal(count.strip(), "4", f"rows with {mode}")
        self.node.sync()
        cluster.check_equal(self.node.position("unix.db"), before, "position after reading")

    def recovered(self):
        """A writer dies in mid-transaction; the next to come is a reader."""
        for mode in ("delete", "persist", "truncate"):
            database = f"hot-{mode}.db"
            self.node.sql(database, f"PRAGMA journal_mode = {mode}; {FILL}")
            self.compare(database, f"before the crash, {mode}")
            before = self.node.position(database)
            self.python("import os, signal\n"
                        "db = sqlite3.connect(sys.argv[1], isolation_level=None)\n"
                        f"db.execute('pragma journal_mode = {mode}').fetchall()\n"
                        "db.execute('pragma cache_size = 5'); db.execute('begin')\n"
                        "db.execute('update t set y = randomblob(400)')\n"
                        "os.kill(os.getpid(), signal.SIGKILL)", self.node.path(database), status=-9)
            shim = mode != "truncate"
            self.c.sqlite(self.node.path(database), "SELECT count(*) FROM t;", shim=shim)
            self.compare(database, f"a hot journal met by a reader, {mode}, shim: {shim}")
            cluster.check_equal(self.node.position(database), before, f"{database}: position")

    def persistent_wal(self):
        code = ("import ctypes\n"
                "lib = ctypes.CDLL('libsqlite3.so.0'); db = ctypes.c_void_p(); on = ctypes.c_int(1)\n"
                "def run(sql): assert lib.sqlite3_exec(db, sql.encode(), None, None, None) == 0, sql\n"
                "lib.sqlite3_open(sys.argv[1].encode(), ctypes.byref(db))\n"
                "lib.sqlite3_file_control(db, None, 10, ctypes.byref(on))  # SQLITE_FCNTL_PERSIST_WAL\n"
                "run('pragma journal_mode = wal'); run('pragma journal_size_limit = 5000')\n"
                "run('create table if not exists t(x, y)')\n"
                "for i in range(20): run(f'insert into t values ({i}, zeroblob(3000))')\n"
                "assert lib.sqlite3_close(db) == 0")
        for round_ in range(3):
            self.python(code, self.node.path("persistent.db"))
            cluster.check(os.path.exists(self.node.path("persistent.db-wal")), "the WAL is gone")
            self.compare("persistent.db", f"a persistent WAL, round {round_}")

    def beyond_the_lock_page(self):
        """A sparse database of 1 GiB and a bit, made by hand: its freelist trunk is as SQLite has it."""
        for page_size in (4096, 65536):
            database = f"large-{page_size}.db"
            path = self.node.path(database)
            self.node.sql(database, f"PRAGMA page_size = {page_size}; {FILL}")
            self.compare(database, f"before it is large, {page_size}")
            # One blob that reaches over 1 GiB; zeros compress well.
            self.node.sql(database, "INSERT INTO t VALUES ('large', zeroblob(700000000));"
                          "INSERT INTO t VALUES ('large too', zeroblob(400000000));")
            self.node.sql(database, "INSERT INTO t VALUES ('behind', 'the lock page');"
                          "UPDATE t SET y = 1 WHERE x < 10;")
            cluster.check(os.path.getsize(path) > 1 << 30, "the database is not large")
            self.compare(database, f"beyond the lock page, {page_size}")
            self.node.sql(database, "DELETE FROM t WHERE x LIKE 'large%'; VACUUM;")
            self.compare(database, f"and back, {page_size}")
            os.unlink(path)

    def renamed(self):
        path = self.node.path
        self.node.sql("first.db", FILL)
        self.node.sql("second.db", "CREATE TABLE s(x); INSERT INTO s VALUES (1);")
        os.rename(path("first.db"), path("third.db"))
        cluster.wait_for("the new name is known", lambda: self.node.position("third.db"), 5)
        self.compare("third.db", "a rename")
        os.rename(path("third.db"), path("second.db"))
        self.compare("second.db", "a rename onto a tracked database")
        self.node.sql("second.db", "INSERT INTO t VALUES ('after', 'the rename');")
        self.compare("second.db", "a write after it")
        before = self.node.position("second.db")
        os.unlink(path("second.db"))
        self.node.sync()
        self.node.sql("second.db", "CREATE TABLE again(x); INSERT INTO again VALUES (2);")
        self.compare("second.db", "deleted and created again")
        cluster.check(self.node.position("second.db") > before, "the chain did not go on")


def test(c, only=None):
    primary = c.node("primary", retention={"age": "24h", "size": "64GiB"})
    ways = Ways(c, primary)
    failures = []
    for way in (ways.copies, ways.mapped, ways.opened, ways.recovered, ways.persistent_wal,
                ways.renamed, ways.beyond_the_lock_page):
        if only not in (None, way.__name__):
            continue
        try:
            way()
        except cluster.Failure as failure:
            failures.append(way.__name__)
            print(f"not ok {way.__name__}: {failure}", flush=True)
    cluster.check(not failures, f"failed: {failures}")


cluster.main(test)
