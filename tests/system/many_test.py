#!/usr/bin/env python3
"""many_test.py BUILD_DIR [DATABASES]: a node with many databases. All of them are listed, replicated and
written; while idle they cost next to no processor time and little memory; a daemon that runs out of
descriptors says so and serves on."""

import os
import resource
import shutil
import subprocess
import time

import cluster

DATABASES = 400  # make soak takes 1,000
IDLE_SECONDS = 5
MAX_IDLE_SHARE = 0.01  # of a core
MAX_MIB = 100


def cpu_seconds(node):
    with open(f"/proc/{node.process.pid}/stat", encoding="ascii") as file:
        fields = file.read().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def make_databases(c, node, count):
    template = os.path.join(c.scratch, "template.db")
    c.sqlite(template, "CREATE TABLE t(x INTEGER PRIMARY KEY, y); INSERT INTO t(y) VALUES (randomblob(9000));")
    names = [f"tenant-{i:04}.db" for i in range(count)]
    for name in names:
        shutil.copyfile(template, node.path(name))
    return names


def check_all_equal(primary, replica, names):
    def missing():
        wanted = {d["name"]: (d["txid"], d["checksum"]) for d in primary.status()["databases"]}
        here = {d["name"]: (d["txid"], d["checksum"]) for d in replica.status()["databases"]}
        cluster.check_equal(sorted(wanted), names, "the primary's databases")
        return [name for name in names if here.get(name) != wanted[name]]

    cluster.wait_for("the replica has them all", lambda: not missing(), 120)


def check_idle(nodes):
    before = {node.name: cpu_seconds(node) for node in nodes}
    time.sleep(IDLE_SECONDS)  # what is measured
    for node in nodes:
        share = (cpu_seconds(node) - before[node.name]) / IDLE_SECONDS
        mib = node.rss_kib() / 1024
        print(f"{node.name}: idle at {share:.1%} of a core, {mib:.0f} MiB")
        cluster.check(share <= MAX_IDLE_SHARE, f"{node.name}: {share:.1%} of a core while idle")
        cluster.check(mib <= MAX_MIB, f"{node.name}: {mib:.0f} MiB")


def check_want_of_descriptors(c):
    node = c.node("poor", start=False)
    node.start(preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_NOFILE, (60, 60)))
    node.sql("one.db", "CREATE TABLE t(x);")
    apps = []
    for i in range(45):  # a quarter of the descriptors is kept for files
        apps.append(c.spawn(["sqlite3", "-bail", node.path("one.db")], shim=True, text=True,
                            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE))
        apps[-1].stdin.write(f".timeout 20000\nINSERT INTO t VALUES ({i});\n")
        apps[-1].stdin.flush()

    def reported():
        with open(node.log, encoding="utf-8") as file:
            return "no file descriptor is left" in file.read()

    cluster.wait_for("the want is reported", reported)
    before = cpu_seconds(node)
    time.sleep(1)  # what is measured
    share = cpu_seconds(node) - before
    cluster.check(share < 0.3, f"out of descriptors the daemon takes {share:.0%} of a core")
    for app in apps[:35]:
        app.kill()
        app.wait()
    node.sql("one.db", "INSERT INTO t VALUES ('after');")
    cluster.check_equal(node.sql("one.db", "SELECT count(*) FROM t WHERE x = 'after';"), "1", "rows after it")
    for app in apps[35:]:
        app.kill()
    for app in apps:
        said = app.communicate()[1]
        cluster.check("I/O" not in said, f"a session has taken the descriptors that a commit needs: {said}")
    print("out of descriptors: said so, and served on")


def test(c, count=str(DATABASES)):
    primary = c.node("primary", start=False)
    names = make_databases(c, primary, int(count))
    started = time.monotonic()
    primary.start()
    print(f"the primary took {count} databases in: {time.monotonic() - started:.1f} s")
    started = time.monotonic()
    replica = c.node("replica", follows=primary)
    check_all_equal(primary, replica, names)
    print(f"the replica had them {time.monotonic() - started:.1f} s after its start")
    check_idle([primary, replica])
    for name in names[::10]:
        primary.sql(name, "INSERT INTO t(y) VALUES (1);")
    check_all_equal(primary, replica, names)
    c.check_identical(primary, replica, names[-1])
    check_want_of_descriptors(c)


cluster.main(test)
