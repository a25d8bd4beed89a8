"""What the tests of archives share: a writer whose every transaction is recorded, and restores that are compared
with the recording."""

import datetime
import json
import os
import shutil
import signal
import subprocess
import sys
import time

from cluster import check, check_equal, sha256, wait_for

# Runs under the shim: one transaction for each line; the reader looks at the file before the next.
WRITER = r"""
import random, sqlite3, sys
path, seed, mode = sys.argv[1], int(sys.argv[2]), sys.argv[3]
r = random.Random(seed)
db = sqlite3.connect(path, timeout=60, isolation_level=None)
db.execute("pragma journal_mode = " + mode)
db.execute("create table if not exists t(id integer primary key, a blob, n int)")
print("ready", flush=True)
for line in sys.stdin:
    db.execute("begin immediate")
    what = r.random()
    if what < 0.5:
        for _ in range(r.randrange(1, 20)):
            db.execute("insert into t(a, n) values (?, ?)", (r.randbytes(r.randrange(2000)), r.randrange(1000)))
    elif what < 0.85:
        db.execute("update t set n = n + 1, a = ? where id % 7 = ?", (r.randbytes(500), r.randrange(7)))
        db.execute("insert into t(n) values (1)")
    else:
        db.execute("delete from t where id % 3 = ?", (r.randrange(3),))
        db.execute("insert into t(n) values (2)")
    db.execute("commit")
    if r.random() < 0.1:
        db.execute("vacuum")
    print("done", flush=True)
"""


class Workload:
    """A writer, and the database after each transaction: recorded[txid] = (sha256, time in ms)."""

    def __init__(self, c, node, database, seed, journal_mode="delete"):
        self.cluster = c
        self.node = node
        self.path = node.path(database)
        self.database = database
        self.recorded = {}
        self.process = c.spawn([sys.executable, "-c", WRITER, self.path, str(seed), journal_mode], shim=True,
                               stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        self.read("ready")

    def read(self, wanted):
        line = self.process.stdout.readline().strip()
        check_equal(line, wanted, "the writer")

    def step(self):
        self.begin()
        self.end()

    def begin(self):
        self.process.stdin.write("\n")
        self.process.stdin.flush()

    def end(self):
        self.read("done")
        self.node.sync()
        digest = self.cluster.committed_sha256(self.path)
        txid = int(self.node.position(self.database).split("/")[0], 16)
        self.recorded[txid] = (digest, time.time_ns() // 1_000_000)

    def close(self):
        self.process.stdin.close()
        self.process.wait(60)


def destination(node, name):
    return next(d for d in node.status()["archive"] if d["name"] == name)


def wait_archived(node, name, database):
    node.sync()
    wanted = node.position(database).split("/")[0]

    def reached():
        for entry in destination(node, name)["databases"]:
            if entry["name"] == database and entry["txid"] == wanted:
                return True
        return False
    wait_for(f"{name} has {database} at {wanted}", reached)
    return wanted


def archive_command(c, *argv, **options):
    """litefs archive … --json"""
    return json.loads(c.command("archive", *argv, "--json", **options)[0])


def restore(c, url, *argv, database="app.db", status=0, **options):
    out = os.path.join(c.scratch, "restored.db")
    if os.path.exists(out):
        os.unlink(out)
    result = c.command("restore", "-o", out, url, "--database", database, "--quiet", *argv,
                       status=status, **options)
    return out, result


def check_every_transaction(c, url, workload, *argv, **options):
    for txid, (digest, _) in sorted(workload.recorded.items()):
        out, _ = restore(c, url, "--txid", f"{txid:x}", *argv, **options)
        check_equal(sha256(out), digest, f"{url} at transaction {txid:x}")
    # Moments between transactions: the last one that was not later.
    for txid, (digest, ms) in sorted(workload.recorded.items())[::7]:
        at = datetime.datetime.fromtimestamp(ms / 1000, datetime.timezone.utc)
        out, _ = restore(c, url, "--timestamp", at.isoformat(), *argv, **options)
        check_equal(sha256(out), digest, f"{url} at {at}")
    out, _ = restore(c, url, *argv, **options)
    check_equal(sha256(out), workload.recorded[max(workload.recorded)][0], f"{url} at the end")


def check_second_writer(c, node, entry, **options):
    """A copy of the node, started by mistake: the one that came first stops, and says so, though it writes nothing:
    its compactions would delete by a listing that is not true any more."""
    entry = entry | {"levels": ["1s", "2s"]}
    twin = c.node("twin", start=False)
    shutil.rmtree(twin.dir)
    node.stop()
    node.configure(None, archive=[entry])
    shutil.copytree(node.dir, twin.dir, ignore=shutil.ignore_patterns("socket"))
    node.start()
    wait_archived(node, entry["name"], "app.db")
    node.sql("app.db", "insert into t(n) values (100)")
    wait_archived(node, entry["name"], "app.db")
    twin.configure(None, archive=[entry])
    twin.start()
    twin.sql("app.db", "insert into t(n) values (200)")
    wait_archived(twin, entry["name"], "app.db")
    node.sql("app.db", "insert into t(n) values (101)")
    node.sync()
    check_succeeded(node, entry["name"])
    out, _ = restore(c, entry["url"], **options)
    check_equal(c.sqlite(out, "select n from t order by id desc limit 1"), "200", "the line")
    epoch = archive_command(c, "info", entry["url"], **options)["databases"][0]["epoch"]
    out, _ = restore(c, entry["url"], "--epoch", str(epoch - 1), **options)
    check_equal(c.sqlite(out, "select n from t order by id desc limit 1"), "100", "the one before")
    c.command("archive", "verify", entry["url"], **options)
    check_idle_writer_is_succeeded(c, node, twin, entry)
    twin.stop()


def check_succeeded(node, name):
    said = wait_for("the one that was succeeded stops", lambda: next(
        (d["error"] for d in destination(node, name)["databases"] if d["error"]), None))
    check("another writer" in said, said)


def check_idle_writer_is_succeeded(c, node, twin, entry):
    """The twin's turn: it stands still while it is succeeded, writes nothing more, and has windows to close."""
    node.kill()
    twin.sql("app.db", "insert into t(n) values (201)")
    wait_archived(twin, entry["name"], "app.db")
    os.kill(twin.process.pid, signal.SIGSTOP)
    node.start()  # it claims again
    node.sql("app.db", "insert into t(n) values (102)")
    wait_archived(node, entry["name"], "app.db")
    os.kill(twin.process.pid, signal.SIGCONT)
    check_succeeded(twin, entry["name"])
