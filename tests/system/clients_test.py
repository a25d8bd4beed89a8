#!/usr/bin/env python3
"""clients_test.py BUILD_DIR [all]: programs that use SQLite, unmodified, write under the shim in all four
journal modes; the replica ends with the same bytes. Without "all" only those that every machine for
the tests has; with it all of docs/CLIENTS.md, one line each ("ok NAME VERSION", "skip NAME (why)")."""

import glob
import os
import shutil
import subprocess
import sys

import cluster

MODES = ["delete", "truncate", "persist", "wal"]
ROWS = 25
ALWAYS = ["sqlite3", "python", "perl", "php", "pdo"]
JDBC = "/usr/share/java/sqlite-jdbc.jar"
CARGO = """[package]
name = "client"
version = "0.1.0"
edition = "2018"
[dependencies]
rusqlite = "*"
[[bin]]
name = "client"
path = "{source}"
"""
CARGO_CONFIG = """[source.crates-io]
replace-with = "packaged"
[source.packaged]
directory = "/usr/share/cargo/registry"
"""


class Missing(Exception):
    pass


class Clients:
    """How each client is built and started: build() returns argv, to which the arguments are added."""

    def __init__(self, c):
        self.c = c
        self.here = os.path.join(c.source, "tests/system/clients")
        self.out = os.path.join(os.path.dirname(c.litefs), "clients")
        os.makedirs(self.out, exist_ok=True)

    def names(self):
        return [name[6:] for name in dir(self) if name.startswith("build_")]

    def program(self, *names):
        for name in names:
            found = shutil.which(name)
            if found:
                return found
        raise Missing(f"no {names[0]}")

    def check(self, argv, **options):
        """Something that must work for the client to be there."""
        done = subprocess.run(argv, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
                              stdin=subprocess.DEVNULL, **options)
        if done.returncode != 0:
            raise Missing((done.stdout.strip().splitlines() or [argv[0]])[-1][:120])
        return done.stdout.strip()

    def script(self, interpreter, file, probe):
        self.check([interpreter, *probe])
        return [interpreter, os.path.join(self.here, file)]

    def build_python(self):
        return self.script("/usr/bin/python3", "client.py", ["-c", "import sqlite3"])

    def build_python2nd(self):
        """The one that runs the tests, where it is another."""
        if os.path.realpath(sys.executable) == os.path.realpath("/usr/bin/python3"):
            raise Missing("no second python")
        return self.script(sys.executable, "client.py", ["-c", "import sqlite3"])

    def build_perl(self):
        return self.script(self.program("perl"), "client.pl", ["-MDBD::SQLite", "-e1"])

    def build_php(self):
        return self.script(self.program("php"), "client_sqlite3.php", ["-r", "new SQLite3(':memory:');"])

    def build_pdo(self):
        return self.script(self.program("php"), "client_pdo.php", ["-r", "new PDO('sqlite::memory:');"])

    def build_ruby(self):
        return self.script(self.program("ruby"), "client.rb", ["-rsqlite3", "-e", "1"])

    def build_tcl(self):
        tcl = self.program("tclsh")
        self.check(["sh", "-c", f"echo 'package require sqlite3' | {tcl}"])
        return [tcl, os.path.join(self.here, "client.tcl")]

    def build_lua(self):
        return self.script(self.program("lua5.4", "lua"), "client.lua", ["-e", "require 'luasql.sqlite3'"])

    def build_apsw(self):
        return self.script("/usr/bin/python3", "client_apsw.py", ["-c", "import apsw"])

    def build_django(self):
        return self.script("/usr/bin/python3", "client_django.py", ["-c", "import django"])

    def build_r(self):
        return self.script(self.program("Rscript"), "client.R", ["-e", "library(RSQLite)"])

    def build_node(self):
        module = os.path.join(self.out, "node_modules/better-sqlite3")
        if not os.path.exists(module):
            raise Missing("no better-sqlite3")
        shutil.copy(os.path.join(self.here, "client.js"), self.out)
        return [self.program("node"), os.path.join(self.out, "client.js")]

    def build_java(self):
        javac = self.program("javac")
        if not os.path.exists(JDBC):
            raise Missing("no sqlite-jdbc")
        self.check([javac, "-d", self.out, os.path.join(self.here, "Client.java")])
        return [self.program("java"), "-cp", f"{self.out}:{JDBC}", "Client"]

    def build_go(self):
        go = self.program("go")
        if not os.path.exists("/usr/share/gocode/src/github.com/mattn/go-sqlite3"):
            raise Missing("no go-sqlite3")
        out = os.path.join(self.out, "client_go")
        self.check([go, "build", "-o", out, os.path.join(self.here, "client.go")],
                   env=os.environ | {"GO111MODULE": "off", "GOPATH": "/usr/share/gocode",
                                     "GOCACHE": os.path.join(self.out, "gocache"), "GOFLAGS": ""})
        return [out]

    def build_rust(self):
        if not glob.glob("/usr/share/cargo/registry/rusqlite-*"):
            raise Missing("no rusqlite")
        project = os.path.join(self.out, "rust")
        os.makedirs(os.path.join(project, ".cargo"), exist_ok=True)
        with open(os.path.join(project, "Cargo.toml"), "w", encoding="utf-8") as file:
            file.write(CARGO.format(source=os.path.join(self.here, "client.rs")))
        with open(os.path.join(project, ".cargo/config"), "w", encoding="utf-8") as file:
            file.write(CARGO_CONFIG)
        environment = {k: v for k, v in os.environ.items() if not k.startswith(("RUST", "CARGO"))}
        environment |= {"PATH": "/usr/bin:/bin", "CARGO_HOME": os.path.join(self.out, "cargo")}
        self.check(["/usr/bin/cargo", "build", "--offline", "--quiet"], cwd=project, env=environment)
        return [os.path.join(project, "target/debug/client")]

    def build_qt(self):
        out = os.path.join(self.out, "client_qt")
        flags = self.check(["pkg-config", "--cflags", "--libs", "Qt5Sql"]).split()
        self.check(["g++", "-std=c++17", "-fPIC", "-o", out, os.path.join(self.here, "client_qt.cc"), *flags])
        return [out]

    def version(self, name):
        """What docs/CLIENTS.md names."""
        packages = {"python": "python3", "perl": "libdbd-sqlite3-perl", "php": "php-sqlite3", "pdo": "php-sqlite3",
                    "ruby": "ruby-sqlite3", "tcl": "libsqlite3-tcl", "lua": "lua-sql-sqlite3",
                    "apsw": "python3-apsw", "django": "python3-django", "r": "r-cran-rsqlite",
                    "java": "libxerial-sqlite-jdbc-java", "go": "golang-github-mattn-go-sqlite3-dev",
                    "rust": "librust-rusqlite-dev", "qt": "libqt5sql5-sqlite", "sqlite3": "sqlite3"}
        if name in packages:
            done = subprocess.run(["dpkg-query", "-W", "-f", "${Version}", packages[name]],
                                  stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
            return done.stdout
        return ""


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
        statements = os.path.join(c.source, "tests/system/clients/statements.sql")
        out = c.run([*argv, database, mode, statements, str(ROWS)], shim=True)[0].strip()
    return out.splitlines()[-1]


def check_client(c, primary, replica, name, argv, expected):
    for mode in MODES:
        cluster.check_equal(write(c, primary, name, argv, mode), expected, f"{name} in {mode}")
        database = f"{name}-{mode}.db"
        c.check_identical(primary, replica, database)
        cluster.check_equal(primary.database_status(database)["reconciled"], 0,
                            f"{database}: transactions that only a comparison found")
        if mode != "wal":  # the files themselves, once nobody has them open
            sums = [cluster.sha256(node.path(database)) for node in (primary, replica)]
            cluster.check_equal(sums[1], sums[0], f"{database}: sha256 of the files")
        shown = c.sqlite(replica.path(database), "PRAGMA journal_mode; SELECT count(*) FROM t;")
        # TRUNCATE and PERSIST are of a connection; only WAL is of the file.
        wanted = "wal" if mode == "wal" else "delete"
        cluster.check_equal(shown.split(), [wanted, expected.split("|")[0]],
                            f"{database} as a reader of the replica sees it")


def test(c, which=""):
    primary = c.node("primary")
    replica = c.node("replica", follows=primary)
    # What all of them must see, from a database of its own without the shim.
    expected = c.sqlite(os.path.join(c.scratch, "plain.db"), shell_script(c, "delete"))
    expected = expected.splitlines()[-1]
    clients = Clients(c)
    failed = []
    for name in ["sqlite3", *clients.names()]:
        if which != "all" and name not in [*ALWAYS, "python2nd"]:
            continue
        try:
            argv = None if name == "sqlite3" else getattr(clients, f"build_{name}")()
            check_client(c, primary, replica, name, argv, expected)
            print(f"ok {name} {clients.version(name)}".rstrip(), flush=True)
        except Missing as missing:
            cluster.check(name not in ALWAYS, f"{name}: {missing}")
            print(f"skip {name} ({missing})", flush=True)
        except cluster.Failure as failure:
            failed.append(name)
            print(f"not ok {name}: {failure}", flush=True)
    cluster.check(not failed, f"failed: {failed}")


if __name__ == "__main__":
    cluster.main(test)
