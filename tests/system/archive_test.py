#!/usr/bin/env python3
"""Archive and restore, end to end: two destinations, one of them encrypted, and a dead one; every
transaction of a random workload comes back byte for byte, after kill -9 of the daemon in between.

    archive_test.py BUILD_DIR [TRANSACTIONS [SEED]]
"""

import glob
import json
import os
import pty
import random
import shutil
import signal
import subprocess
import sys
import time

import cluster
from archive_workload import (Workload, check_every_transaction, check_second_writer, destination, restore,
                              wait_archived)
from cluster import check, check_equal, sha256, wait_for


def check_encrypted(c, directory, key):
    files = [f for f in glob.glob(f"{directory}/**/*", recursive=True) if ".ltx" in f]
    check(files, f"{directory} holds no files")
    for name in files:
        data = open(name, "rb").read()
        check(name.endswith(".age") and data.startswith(b"age-encryption.org/v1\n"),
              f"{name} is not encrypted")
        check(b"SQLite format 3" not in data and b"LTX1" not in data, f"{name} shows its content")
    other = os.path.join(c.scratch, "other.txt")
    c.command("archive", "keygen", "-o", other)
    for argv in ([], ["--identity", other]):
        _, (status, _, err) = restore(c, directory, *argv, status=None)
        check_equal(status, 1, f"restore with {argv or 'no key'}: {err}")
        check(not os.path.exists(os.path.join(c.scratch, "restored.db")), "a file was written")
    if shutil.which("age"):
        plain = os.path.join(c.scratch, "plain.ltx")
        c.run(["age", "-d", "-i", key, "-o", plain, next(f for f in files if ".ltx.age" in f)])
        c.command("ltx", "verify", plain)


def check_altered(c, url, *argv):
    """A byte of any file changed, or its end cut off: refused."""
    copy = os.path.join(c.scratch, "altered")
    rng = random.Random(5)
    for cut in (False, True):
        shutil.copytree(url, copy)
        plan = json.loads(c.command("restore", copy, "--database", "app.db", "--dry-run", "--json")[0])
        name = os.path.join(copy, rng.choice(plan["files"])["name"])
        size = os.path.getsize(name)
        with open(name, "r+b") as file:
            if cut:
                file.truncate(size - 1 - rng.randrange(min(size - 1, 200)))
            else:
                at = rng.randrange(size)
                file.seek(at)
                byte = file.read(1)[0]
                file.seek(at)
                file.write(bytes([byte ^ (1 << rng.randrange(8))]))
        _, (status, _, err) = restore(c, copy, *argv, status=None)
        check_equal(status, 1, f"restore from an altered {name}: {err}")
        check(not os.path.exists(os.path.join(c.scratch, "restored.db")), "a file was written")
        status, out, _ = c.command("archive", "verify", copy, *argv, status=None)
        check_equal(status, 1, f"archive verify of an altered archive: {out}")
        shutil.rmtree(copy)


def check_terminal(c, url):
    """A bar on a terminal and only there; the plan of --dry-run is what is fetched then."""
    out = os.path.join(c.scratch, "shown.db")
    argv = [c.litefs, "restore", "-o", out, url, "--database", "app.db", "--json"]
    plan = json.loads(c.run([*argv, "--dry-run"])[0])
    check(not os.path.exists(out), "--dry-run wrote a file")
    ours, terminal = pty.openpty()
    process = c.spawn(argv, stdout=subprocess.PIPE, stderr=terminal)
    done = json.loads(process.communicate()[0])
    os.close(terminal)
    shown = b""
    try:
        while part := os.read(ours, 65536):
            shown += part
    except OSError:  # the terminal's end
        pass
    check(b"%" in shown and b"[#" in shown, f"on a terminal: {shown}")
    check_equal(done["fetched"], plan["bytes"], "bytes fetched and planned")
    os.unlink(out)
    check_equal(c.run(argv)[1], "", "what is said on stderr without a terminal")
    os.unlink(out)


def check_refusals(c, url, workload):
    out = os.path.join(c.scratch, "there.db")
    with open(out, "w", encoding="ascii") as file:
        file.write("mine")
    status, _, err = c.command("restore", "-o", out, url, status=None)
    check(status == 1 and "--force" in err, f"an existing file: {status} {err}")
    check_equal(open(out, encoding="ascii").read(), "mine", "the existing file")
    c.command("restore", "-o", out, url, "--force")
    check_equal(sha256(out), workload.recorded[max(workload.recorded)][0], "--force")
    # Killed anywhere, the file is the old one or the new one.
    killed = 0
    for delay in (0.0, 0.005, 0.02, 0.05):
        with open(out, "w", encoding="ascii") as file:
            file.write("mine")
        process = c.spawn([c.litefs, "restore", "-o", out, url, "--force", "--quiet"])
        time.sleep(delay)
        process.kill()
        killed += process.wait() == -signal.SIGKILL
        c.processes.remove(process)
        check(sha256(out) == workload.recorded[max(workload.recorded)][0]
              or open(out, "rb").read() == b"mine", "a killed restore left a part")
    check(killed > 0, "no restore was killed")
    status, _, err = c.command("restore", "-o", out + "x", url, "--txid", "fffff", status=None)
    check(status == 1 and "is not in the archive" in err, f"a transaction to come: {err}")


def check_follow_and_seed(c, url):
    """From the archive alone; a file that readers have open."""
    writer = c.node("writer", archive=[{"name": "plain", "url": url, "interval": "50ms"}])
    writer.sql("app.db", "create table t(n); insert into t values (1)")
    wait_archived(writer, "plain", "app.db")
    out = os.path.join(c.scratch, "followed.db")
    follower = c.spawn([c.litefs, "restore", "-o", out, url, "--database", "app.db", "--follow"],
                       stdout=subprocess.DEVNULL)
    count = lambda: os.path.exists(out) and c.run(
        ["sqlite3", out, "select count(*) from t"], status=None)[1].strip()
    wait_for("the first state", lambda: count() == "1")
    for n in range(2, 5):
        writer.sql("app.db", f"insert into t values ({n})")
        writer.sync()
        wait_for(f"row {n}", lambda: count() == str(n))
    follower.send_signal(signal.SIGTERM)
    check_equal(follower.wait(60), 0, "the follower's exit status")
    c.processes.remove(follower)
    replica = c.node("seeded", follows=writer, archive=[{"name": "plain", "url": url, "seed": True}])
    check("seeded txid=" in open(replica.log, encoding="utf-8").read(), "the replica was not seeded")
    writer.sql("app.db", "insert into t values (99)")
    c.check_identical(writer, replica, "app.db")
    writer.stop()
    replica.stop()


def test(c, transactions="40", seed=None):
    seed = int(seed) if seed else random.randrange(1 << 32)
    print(f"seed {seed}")
    rng = random.Random(seed)
    plain, secret = os.path.join(c.scratch, "plain"), os.path.join(c.scratch, "secret")
    key = os.path.join(c.scratch, "key.txt")
    recipient = c.command("archive", "keygen", "-o", key)[0].strip()
    common = {"interval": "50ms", "levels": ["1s", "2s", "4s"], "snapshots": "3s"}
    node = c.node("a", archive=[
        {"name": "dead", "url": os.path.join(c.scratch, "not", "there")},
        {"name": "plain", "url": plain} | common,
        {"name": "secret", "url": secret, "encrypt": {"recipients": [recipient]}} | common])
    workload = Workload(c, node, "app.db", seed)
    kills = 0
    for i in range(int(transactions)):
        if i % 10 == 5:
            time.sleep(rng.random() * 0.3)  # anywhere in an upload or a compaction
            workload.begin()
            node.kill()
            node.start()
            workload.end()
            kills += 1
        else:
            workload.step()
    workload.close()
    check(kills > 0, "no daemon was killed")
    for name in ("plain", "secret"):
        wait_archived(node, name, "app.db")
    dead = destination(node, "dead")
    check(dead["failures"] > 0 and dead["last_error"], f"the dead destination: {dead}")
    check(dead["databases"][0]["backlog_files"] > 0, f"the dead destination's backlog: {dead}")
    wait_for("compactions", lambda: destination(node, "plain")["compactions"] > 0
             and destination(node, "secret")["compactions"] > 0)
    check_every_transaction(c, plain, workload)
    check_every_transaction(c, secret, workload, "--identity", key)
    for directory in (plain, secret):
        levels = {name.split("/")[-2] for name in glob.glob(f"{directory}/app.db/*/*.ltx*")}
        check({"0", "1", "9"} <= levels, f"{directory} has levels {sorted(levels)}")
    check_encrypted(c, secret, key)
    c.command("archive", "verify", plain)
    c.command("archive", "verify", secret, "--identity", key)
    check_altered(c, plain)
    check_altered(c, secret, "--identity", key)
    check_terminal(c, plain)
    check_refusals(c, plain, workload)
    check_second_writer(c, node, {"name": "plain", "url": plain, "interval": "50ms"})
    check_follow_and_seed(c, os.path.join(c.scratch, "third"))


cluster.main(test)
