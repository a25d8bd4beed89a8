#!/usr/bin/env python3
"""Archive and restore on a real S3 server, through a proxy that breaks requests all the time; the daemon is killed
while an upload or a compaction is on its way.  Plain and encrypted; beside them a destination that never answers.

    archive_s3_test.py BUILD_DIR [TRANSACTIONS [SEED]]
"""

import os
import random
import socket
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "servers"))
import cluster
import faulty_proxy
import gateway
from archive_workload import (Workload, archive_command, check_every_transaction, check_second_writer, destination,
                              wait_archived)
from cluster import check, wait_for

# Where the daemon dies: during the upload of what, before or after the server has done it.
DEATHS = (("/plain/app.db/0/", "before"), ("/secret/app.db/0/", "after"), ("/plain/app.db/1/", "before"),
          ("/plain/app.db/1/", "after"), ("/secret/app.db/9/", "after"))


def die(node, workload, proxy, where, when):
    """The daemon is killed while that upload waits for its answer."""
    with proxy.hold(where, when) as held:
        for _ in range(300):
            workload.step()
            if held.arrived.wait(0.1):
                break
        check(held.arrived.is_set(), f"nothing was uploaded to {where}")
        node.kill()
    node.start()


def check_hung(node):
    """It has not delayed the others, who are done."""
    hung = destination(node, "hung")
    check(hung["databases"][0]["backlog_files"] > 0, f"the destination that hangs: {hung}")
    check(hung["uploaded_files"] == 0, f"the destination that hangs: {hung}")


def test(c, transactions="10", seed=None):
    if missing := gateway.missing_program():
        raise cluster.Skip(f"{missing} is not installed")
    seed = int(seed) if seed else random.randrange(1 << 32)
    print(f"seed {seed}")
    key = os.path.join(c.scratch, "key.txt")
    recipient = c.command("archive", "keygen", "-o", key)[0].strip()
    with gateway.Gateway() as server, faulty_proxy.FaultyProxy(server.port, 0.05, seed) as proxy, \
            socket.create_server(("127.0.0.1", 0)) as deaf:
        keys = {"access-key-id": gateway.KEY, "secret-access-key": gateway.SECRET}
        url = f"s3://{gateway.BUCKET}/%s?endpoint=http://127.0.0.1:{proxy.port}"
        common = {"interval": "50ms", "levels": ["1s", "2s"], "snapshots": "3s", "s3": keys}
        plain = {"name": "plain", "url": url % "plain"} | common
        secret = {"name": "secret", "url": url % "secret", "encrypt": {"recipients": [recipient]}} | common
        hung = {"name": "hung", "url": f"s3://nowhere?endpoint=http://127.0.0.1:{deaf.getsockname()[1]}", "s3": keys}
        node = c.node("a", archive=[hung, plain, secret])
        workload = Workload(c, node, "app.db", seed, "wal" if seed % 2 else "delete")
        for where, when in DEATHS:
            die(node, workload, proxy, where, when)
        for _ in range(int(transactions)):
            workload.step()
        workload.close()
        for name in ("plain", "secret"):
            wait_archived(node, name, "app.db")
        check_hung(node)
        wait_for("compactions", lambda: destination(node, "plain")["compactions"] > 0)
        environment = {"env": server.environment}
        proxy.share = 0.1
        check_every_transaction(c, plain["url"], workload, **environment)
        check_every_transaction(c, secret["url"], workload, "--identity", key, **environment)
        c.command("archive", "verify", plain["url"], **environment)
        c.command("archive", "verify", secret["url"], "--identity", key, **environment)
        files = archive_command(c, "list", plain["url"], **environment)["files"]
        check({0, 1, 9} <= {file["level"] for file in files}, f"levels: {files}")
        print(f"{len(workload.recorded)} transactions, {proxy.requests} requests, faults: {dict(proxy.fired)}")
        missing = [fault for fault in faulty_proxy.FAULTS if proxy.fired[fault] == 0]
        check(not missing, f"these faults never happened: {missing}")
        node.kill()
        node.configure(None, archive=[plain])
        node.start()
        check_second_writer(c, node, plain, **environment)


cluster.main(test)
