#!/usr/bin/env python3
"""sqlite3, python3, perl (DBD::SQLite) and php (SQLite3 and PDO), unmodified, write under the shim
in all four journal modes; the replica ends with the same bytes."""

import os
import sys

import cluster

MODES = ["delete", "truncate", "persist", "wal"]
ROWS = 25


def clients(c):
    """Name, and the command that runs it: argv of (database, mode)."""
    here = os.path.join(c.source, "tests/system/clients")
    statements = os.path.join(here, "statements.sql")

    def script(*argv):
        return lambda database, mode: [*argv, database, mode, statements, str(ROWS)]

    found = {
        "python": script("/usr/bin/python3", f"{here}/client.py"),
        "perl": script("perl", f"{here}/client.pl"),
        "php": script("php", f"{here}/client_sqlite3.php"),
        "pdo": script("php", f"{here}/client_pdo.php"),
    }
    if os.path.realpath(sys.executable) != os.path.realpath("/usr/bin/python3"):
        found["python2nd"] = script(sys.executable, f"{here}/client.py")
    return found


def shell_script(c, mode):
    """What the other clients do, for the sqlite3 shell."""
    with open(os.path.join(c.source, "tests/system/clients/statements.sql"), encoding="utf-8") as f:
        statements = f.read()
    rows = [f"INSERT INTO t(a, b) VALUES ({i}, '{{}} {i}');\n" for i in range(1, ROWS + 1)]
    bound = "".join(row.format("bound") for row in rows)
    batch = "".join(row.format("batch") for row in rows)
    return (f"PRAGMA journal_mode = {mode};\n{statements}{bound}BEGIN;\n{batch}COMMIT;\n"
            "SELECT count(*), sum(a), sum(length(b)) FROM t;\n")


def write(c, primary, name, argv, mode):
    database = primary.path(f"{name}-{mode}.db")
    if argv is None:
        out = c.sqlite(database, shell_script(c, mode), shim=True)
    else:
        out = c.run(argv(database, mode), shim=True)[0].strip()
    return out.splitlines()[-1]


def test(c):
    primary = c.node("primary")
    replica = c.node("replica", follows=primary)
    # What all of them must see, from a database of its own without the shim.
    expected = c.sqlite(os.path.join(c.scratch, "plain.db"), shell_script(c, "delete"))
    expected = expected.splitlines()[-1]

    for name, argv in {"sqlite3": None, **clients(c)}.items():
        for mode in MODES:
            cluster.check_equal(write(c, primary, name, argv, mode), expected, f"{name} in {mode}")
            database = f"{name}-{mode}.db"
            c.check_identical(primary, replica, database)
            if mode != "wal":  # the files themselves, once nobody has them open
                sums = [cluster.sha256(node.path(database)) for node in (primary, replica)]
                cluster.check_equal(sums[1], sums[0], f"{database}: sha256 of the files")
            shown = c.sqlite(replica.path(database), "PRAGMA journal_mode; SELECT count(*) FROM t;")
            # TRUNCATE and PERSIST are of a connection; only WAL is of the file.
            wanted = "wal" if mode == "wal" else "delete"
            cluster.check_equal(shown.split(), [wanted, expected.split("|")[0]],
                                f"{database} as a reader of the replica sees it")
        print(f"{name}: 4 journal modes, identical on the replica")


cluster.main(test)
