#!/usr/bin/env python3
"""Archives on a server that speaks SFTP, OpenSSH's: the contract of an object store, as it is and with connections
that are cut all the time; host keys and user keys; then a daemon that archives there while the server is killed, and
every transaction restored.

    sftp_test.py BUILD_DIR [TRANSACTIONS [SEED]]
"""

import glob
import os
import random
import subprocess
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "servers"))
import cluster
import sftp
from archive_workload import (Workload, archive_command, check_every_transaction, check_second_writer, destination,
                              wait_archived)
from cluster import check, check_equal, wait_for

CASES = 13  # of the contract


def run_contract(c, url, tests="Stores/*/sftp"):
    program = os.path.join(os.path.dirname(c.litefs), "tests/archive_test")
    return subprocess.run([program, f"--gtest_filter={tests}"], text=True, timeout=300, stdout=subprocess.PIPE,
                          stderr=subprocess.STDOUT, check=False,
                          env=cluster.clean_environment(LITEFS_TEST_SFTP_URL=url))


def check_passes(done, cases):
    check(done.returncode == 0 and done.stdout.count("[       OK ]") == cases, done.stdout)


def check_cut(c, server, seed):
    """Each request is tried six times. Without the case that moves megabytes: no connection lives for so many."""
    with sftp.CuttingProxy(server, 30_000, seed) as proxy:
        check_passes(run_contract(c, server.url("cut", proxy.port), "Stores/*/sftp:-*MovesLargeFiles*"), CASES - 1)
        check(proxy.cuts > 5, f"only {proxy.cuts} connections were cut")
        print(f"the contract with {proxy.cuts} connections cut")


def check_keys(c, server):
    """Who is not known is not spoken to, and does not let us in."""
    empty, other = f"{server.dir}/empty", f"{server.dir}/other"
    open(empty, "w", encoding="ascii").close()
    server.know(server.port, "other-host", other)
    for known_hosts in (empty, other):
        status, _, err = c.command("archive", "info", server.url("x", known_hosts=known_hosts), status=None)
        check(status == 1 and "not trusted" in err and known_hosts in err, f"{known_hosts}: {status} {err}")
    status, _, err = c.command("archive", "info", server.url("x", key="stranger"), status=None)
    check(status == 1 and "is not let in" in err, f"a stranger's key: {status} {err}")
    for url, said in ((server.url("x", key="none"), "the private key"), ("sftp://h/x", "there is no user"),
                      (server.url("x", known_hosts="/none"), "the known hosts"), ("sftp://a@h", "no directory")):
        status, _, err = c.command("archive", "info", url, status=None)
        check(status != 0 and said in err, f"{url}: {status} {err}")


def test(c, transactions="15", seed=None):
    if missing := sftp.missing_program():
        raise cluster.Skip(f"{missing} is not installed")
    seed = int(seed) if seed else random.randrange(1 << 32)
    print(f"seed {seed}")
    with sftp.Server() as server:
        check_passes(run_contract(c, server.url("plain")), CASES)
        check_cut(c, server, seed)
        check_keys(c, server)
        entry = {"name": "far", "url": server.url("node"), "interval": "50ms", "levels": ["1s", "2s"],
                 "snapshots": "3s"}
        node = c.node("a", archive=[entry])
        workload = Workload(c, node, "app.db", seed, "wal" if seed % 2 else "delete")
        for i in range(int(transactions)):
            workload.step()
            if i == 5:
                server.stop()
                before = destination(node, "far")["failures"]
            if i == 8:
                wait_for("an upload has failed", lambda n=before: destination(node, "far")["failures"] > n)
                server.start()
            if i == 11:
                node.kill()
                node.start()
        workload.close()
        wait_archived(node, "far", "app.db")
        wait_for("compactions", lambda: destination(node, "far")["compactions"] > 0)
        check_every_transaction(c, entry["url"], workload)
        c.command("archive", "verify", entry["url"])
        levels = {file["level"] for file in archive_command(c, "list", entry["url"])["files"]}
        check({0, 1, 9} <= levels, f"levels {levels}")
        check_second_writer(c, node, entry)
        left = glob.glob(f"{server.data}/**/.litefs-tmp-*", recursive=True, include_hidden=True)
        check_equal([name for name in left if "/node/" in name and os.path.getsize(name) == 0], [], "empty remains")


cluster.main(test)
