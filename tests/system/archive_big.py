#!/usr/bin/env python3
"""A large database goes to a real S3 server in parts and comes back, and neither the daemon nor the restore takes more
memory for it than for a small one.

    archive_big.py BUILD_DIR [MIB]        # make test-archive: 1024
"""

import os
import sys
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "servers"))
import cluster
import gateway
from archive_workload import destination, wait_archived
from cluster import check, check_equal, sha256

DAEMON_MIB, RESTORE_MIB = 120, 200  # more than at the beginning; in all

FILL = r"""
import os, sqlite3, sys
db = sqlite3.connect(sys.argv[1], isolation_level=None)
db.execute("create table t(id integer primary key, filler)")
db.execute("begin")
db.executemany("insert into t values (?, ?)", ((i, os.urandom(3900)) for i in range(int(sys.argv[2]) * 256)))
db.execute("commit")
"""


def peak_mib(process):
    with open(f"/proc/{process.pid}/status", encoding="ascii") as file:
        return next(int(line.split()[1]) for line in file if line.startswith("VmHWM:")) / 1024


def reset_peak(process):
    with open(f"/proc/{process.pid}/clear_refs", "w", encoding="ascii") as file:
        file.write("5")


def restore(c, out, url, **options):
    """Returns its seconds and its largest memory in MiB."""
    process = c.spawn([c.litefs, "restore", "-o", out, url, "--quiet"], **options)
    began = time.monotonic()
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    check_equal(process.returncode, 0, "litefs restore: exit status")
    return time.monotonic() - began, usage.ru_maxrss / 1024


def test(c, mib="160"):
    if missing := gateway.missing_program():
        raise cluster.Skip(f"{missing} is not installed")
    with gateway.Gateway() as server:
        url = f"s3://{gateway.BUCKET}/big?endpoint={server.endpoint}"
        entry = {"name": "s3", "url": url, "s3": {"access-key-id": gateway.KEY, "secret-access-key": gateway.SECRET}}
        node = c.node("a", archive=[entry])
        node.stop()
        c.run([sys.executable, "-c", FILL, node.path("app.db"), mib], timeout=600)
        wanted = sha256(node.path("app.db"))
        node.configure(None)  # takes the file in; the archive comes later
        node.start()
        node.sync()
        node.stop()
        node.configure(None, archive=[entry])
        node.start()
        before, began = peak_mib(node.process), time.monotonic()
        reset_peak(node.process)
        cluster.wait_for("the archive", lambda: any(
            d["name"] == "app.db" and int(d["txid"], 16) > 0 for d in destination(node, "s3")["databases"]), 280)
        wait_archived(node, "s3", "app.db")
        upload = time.monotonic() - began
        peak = peak_mib(node.process)
        out = os.path.join(c.scratch, "restored.db")
        seconds, restore_peak = restore(c, out, url, env=server.environment)
        check_equal(sha256(out), wanted, "the restored bytes")
        print(f"{mib} MiB: uploaded in {upload:.1f} s by a daemon of {peak:.0f} MiB at most (at its start "
              f"{before:.0f}); restored in {seconds:.1f} s with {restore_peak:.0f} MiB")
        check(peak < before + DAEMON_MIB, f"the daemon took {peak:.0f} MiB, at its start {before:.0f}")
        check(restore_peak < RESTORE_MIB, f"the restore took {restore_peak:.0f} MiB")


cluster.main(test)
