#!/usr/bin/env python3
"""foreign_abi_test.py BUILD_DIR: a musl program under the shim is like any other; a 32-bit one, and static ones, run
without it, and what they write is taken in by comparison. SQLite's source is better-sqlite3's."""

import os
import shutil

import cluster

FLAGS = ["-O1", "-DSQLITE_THREADSAFE=0", "-DSQLITE_OMIT_LOAD_EXTENSION"]
# What compiles it, and whether the shim is in it.
KINDS = {
    "musl": (["musl-gcc"], True),
    "musl-static": (["musl-gcc", "-static"], False),
    "static": (["gcc", "-static"], False),
    "32-bit": (["gcc", "-m32"], False),
}
TRANSACTIONS = ["CREATE TABLE t(x);", "INSERT INTO t VALUES (1);", "PRAGMA journal_mode = wal;",
                "INSERT INTO t VALUES (2);", "UPDATE t SET x = x + 1;"]


def test(c):
    out = os.path.join(os.path.dirname(c.litefs), "clients")
    source = os.path.join(out, "node_modules/better-sqlite3/deps/sqlite3")
    if not os.path.exists(f"{source}/sqlite3.c"):
        raise cluster.Skip("SQLite's source is not there (tests/system/clients/install-all)")
    primary = c.node("primary")
    replica = c.node("replica", follows=primary)
    app = os.path.join(c.source, "tests/system/clients/foreign_abi.c")
    for kind, (compiler, under_shim) in KINDS.items():
        program = os.path.join(out, f"foreign-{kind}")
        if shutil.which(compiler[0]) is None:
            print(f"skip {kind} (no {compiler[0]})")
            continue
        if not os.path.exists(program):
            c.run([*compiler, *FLAGS, f"-I{source}", "-o", program, app, f"{source}/sqlite3.c"], timeout=300)
        database = f"{kind}.db"
        c.run([program, primary.path(database)], shim=True, input="\n".join(TRANSACTIONS) + "\n")
        cluster.wait_for(f"{database}: the daemon knows it", lambda: primary.database_status(database))

        def equal():
            primary.sync()
            return c.replay(primary, database) == c.committed_sha256(primary.path(database))

        cluster.wait_for(f"{database}: the chain has what was written", equal, 5)
        status = primary.database_status(database)
        if under_shim:
            cluster.check_equal((int(status["txid"], 16), status["reconciled"]), (len(TRANSACTIONS), 0),
                                f"{database}: transactions, and those by comparison")
        else:
            cluster.check(status["reconciled"] >= 1, f"{database}: {status}")
        c.check_identical(primary, replica, database)
        print(f"ok {kind}: {int(status['txid'], 16)} transactions, {status['reconciled']} by comparison")


cluster.main(test)
