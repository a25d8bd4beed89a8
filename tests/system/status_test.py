#!/usr/bin/env python3
"""litefs status, pos and export against a running pair of nodes."""

import json
import os
import re
import subprocess

import cluster

FILL = ("PRAGMA journal_mode = wal; CREATE TABLE t(id INTEGER PRIMARY KEY, x); "
        "CREATE TABLE sum(n); INSERT INTO sum VALUES (0);")
# Each transaction keeps  count(t) = sum.n,  so a torn copy shows.
WRITER = """
import sqlite3, sys
db = sqlite3.connect(sys.argv[1], timeout=20, isolation_level=None)
print("up", flush=True)
while True:
    db.execute("begin immediate")
    db.execute("insert into t(x) values (hex(randomblob(500)))")
    db.execute("update sum set n = n + 1")
    db.execute("commit")
"""


def check_status(c, primary, replica):
    c.wait_equal(primary, replica, "app.db")
    status = primary.status()
    for key in ("version", "pid", "node_id", "cluster_id", "role", "dir", "uptime_ms", "databases",
                "replication"):
        cluster.check(key in status, f"litefs status --json has no {key}")
    cluster.check_equal(status["role"], "primary", "role")
    cluster.check_equal(status["dir"], primary.dir, "dir")
    cluster.check_equal(status["pid"], primary.process.pid, "pid")
    database = next(d for d in status["databases"] if d["name"] == "app.db")
    cluster.check_equal(f"{database['txid']}/{database['checksum']}", primary.position("app.db"),
                        "position by status and by pos")
    cluster.check_equal((database["journal"], database["error"]), ("wal", ""), "journal and error")
    cluster.check(database["ltx_files"] >= 1, "no LTX files")

    other = replica.status()
    cluster.check_equal(other["role"], "replica", "the replica's role")
    cluster.check_equal(other["cluster_id"], status["cluster_id"], "cluster id of both")
    cluster.check(other["node_id"] != status["node_id"], "both have one node id")

    def replica_is_seen():
        seen = primary.status()["replication"]["replicas"]
        return any(r["node_id"] == other["node_id"] and
                   {"name": "app.db", "txid": database["txid"]} in r["databases"] for r in seen)

    cluster.wait_for("the primary lists its replica with its position", replica_is_seen)
    cluster.wait_for("the replica is connected and not behind",
                     lambda: replica.status()["replication"]["connected"] and
                     replica.status()["replication"]["lag_transactions"] == 0)
    for node in (primary, replica):
        text = c.command("status", "--config", node.config)[0]
        cluster.check("app.db" in text and database["txid"] in text, f"litefs status: {text}")


def check_pos(c, primary):
    by_name = c.command("pos", "--config", primary.config, "app.db")[0]
    by_path = c.command("pos", primary.path("app.db"))[0]
    cluster.check(re.fullmatch(r"[0-9a-f]{16}/[0-9a-f]{16}\n", by_name), f"litefs pos: {by_name}")
    cluster.check_equal(by_path, by_name, "litefs pos by path")
    as_json = json.loads(c.command("pos", "--json", "--dir", primary.dir, "app.db")[0])
    cluster.check_equal(f"{as_json['txid']}/{as_json['checksum']}\n", by_name, "litefs pos --json")
    _, err = c.command("pos", primary.path("nope.db"), status=1)
    cluster.check("nope.db" in err and "app.db" in err, f"unknown database: {err}")
    c.command("pos", "--dir", primary.dir, "x/app.db", status=2)


def check_export(c, primary):
    target = os.path.join(c.scratch, "copy.db")
    out, _ = c.command("export", primary.path("app.db"), target)
    cluster.check(primary.position("app.db") in out, f"litefs export: {out}")
    _, err = c.command("export", primary.path("app.db"), target, status=1)
    cluster.check("--force" in err, f"export over a file: {err}")
    c.command("export", "--force", primary.path("app.db"), target)
    open(target + "-wal", "w", encoding="ascii").close()
    _, err = c.command("export", "--force", primary.path("app.db"), target, status=1)
    cluster.check("-wal" in err, f"export beside a foreign WAL: {err}")
    os.unlink(target + "-wal")
    _, err = c.command("export", primary.path("nope.db"), target + "2", status=1)
    cluster.check("nope.db" in err and "app.db" in err, f"export of an unknown database: {err}")
    _, err = c.command("export", primary.path("app.db"), "/nonexistent/x.db", status=1)
    cluster.check("/nonexistent" in err, f"export into nowhere: {err}")
    left = [name for name in os.listdir(c.scratch) if name.endswith(".tmp")]
    cluster.check(not left, f"left behind: {left}")


def check_export_while_written(c, primary):
    writer = c.spawn(["/usr/bin/python3", "-c", WRITER, primary.path("app.db")], shim=True,
                     stdout=subprocess.PIPE)
    writer.stdout.readline()
    counts = []
    for i in range(8):
        copy = os.path.join(c.scratch, f"live{i}.db")
        out, _ = c.command("export", primary.path("app.db"), copy)
        cluster.check_equal(c.sqlite(copy, "PRAGMA integrity_check"), "ok", "a copy's integrity")
        count, sum_ = c.sqlite(copy, "SELECT count(*), (SELECT n FROM sum) FROM t").split("|")
        cluster.check_equal(count, sum_, "rows of a copy, counted and kept")
        checksum = c.command("ltx", "checksum", copy)[0].strip()
        cluster.check(checksum in out, f"checksum of a copy: {checksum}, reported: {out}")
        counts.append(int(count))
    cluster.check(counts[-1] > counts[0] and counts == sorted(counts),
                  f"the writer did not write, or copies went back: {counts}")
    writer.kill()
    writer.wait()


def test(c):
    primary = c.node("primary")
    replica = c.node("replica", follows=primary)
    primary.sql("app.db", FILL)
    check_status(c, primary, replica)
    check_pos(c, primary)
    check_export(c, primary)
    check_export_while_written(c, primary)
    c.check_identical(primary, replica, "app.db")
    primary.stop()
    for argv in (["status"], ["pos", "app.db"], ["export", "app.db", f"{c.scratch}/none.db"]):
        _, err = c.command(argv[0], "--dir", primary.dir, *argv[1:], status=1)
        cluster.check_equal(err, f"litefs: no daemon runs for {primary.dir} (start one: litefs "
                                 f"daemon --dir {primary.dir})\n", f"{argv[0]} without a daemon")
    print("status, pos and export tell the truth")


cluster.main(test)
