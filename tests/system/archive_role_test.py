#!/usr/bin/env python3
"""Two nodes, one bucket, a lease in a real etcd: the primary's role goes from one to the other by a hand-over, by a
crash that leaves a tail which only the archive has, and by a daemon that stood still. Each new primary goes on where
its own history leads off from the archive's, and every transaction comes back.

    archive_role_test.py BUILD_DIR [SEED]
"""

import os
import random
import signal
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "servers"))
import cluster
import etcd
import gateway
from archive_workload import Workload, archive_command, check_every_transaction, destination, restore, wait_archived
from cluster import check, check_equal, sha256, wait_for

TTL = 3  # seconds
DB = "app.db"


def holds(node):
    status = node.status()
    return status["role"] == "primary" and status["lease"]["holds"]


class History:
    """What was recorded on the line, by whomever."""

    def __init__(self, c, seed):
        self.cluster, self.seed, self.recorded = c, seed, {}

    def write(self, node, count):
        """Transactions on the primary, all archived; returns what they recorded."""
        self.seed += 1
        workload = Workload(self.cluster, node, DB, self.seed, "delete")
        for _ in range(count):
            workload.step()
        workload.close()
        wait_archived(node, "s3", DB)
        return workload.recorded


def the_epoch(c, url, **options):
    return archive_command(c, "info", url, **options)["databases"][0]["epoch"]


def hand_over(c, history, old, new):
    c.wait_equal(old, new, DB)
    c.command("handoff", "--config", old.config, new.status()["node_id"])
    wait_for(f"{new.name} reigns", lambda: holds(new))
    history.recorded |= history.write(new, 8)
    wait_for(f"{old.name} archives no more", lambda: not old.status()["archive"])


def check_log_says(node, text, wanted):
    said = text in open(node.log, encoding="utf-8").read()
    check_equal(said, wanted, f"{node.name}'s log says \"{text}\"")


def crash(c, history, old, new, url, **options):
    """What only the old one and the archive had becomes a history that was left."""
    c.wait_equal(old, new, DB)
    os.kill(new.process.pid, signal.SIGSTOP)
    tail = history.write(old, 5)
    epoch = the_epoch(c, url, **options)
    old.kill()
    os.kill(new.process.pid, signal.SIGCONT)
    wait_for(f"{new.name} reigns", lambda: holds(new))
    recorded = history.write(new, 8)
    check(set(tail) & set(recorded), f"no transaction number is in both histories: {tail} {recorded}")
    history.recorded |= recorded
    check_log_says(new, "is not in this node's history", True)
    for txid, (digest, _) in sorted(tail.items()):
        out, _ = restore(c, url, "--txid", f"{txid:x}", "--epoch", str(epoch), **options)
        check_equal(sha256(out), digest, f"the tail at {txid:x}")
    old.start()
    c.wait_equal(new, old, DB)


def stand_still(c, history, old, new):
    """Another reigns meanwhile; what the old one does when it goes on harms nothing."""
    c.wait_equal(old, new, DB)
    os.kill(old.process.pid, signal.SIGSTOP)
    wait_for(f"{new.name} reigns", lambda: holds(new))
    history.recorded |= history.write(new, 8)
    os.kill(old.process.pid, signal.SIGCONT)
    wait_for(f"{old.name} is a replica", lambda: old.status()["role"] == "replica")
    check_equal(old.status()["archive"], [], f"{old.name}'s archives")
    history.recorded |= history.write(new, 3)
    check_equal(destination(new, "s3")["databases"][0]["error"], "", f"{new.name}'s archive")


def test(c, seed=None):
    if missing := gateway.missing_program():
        raise cluster.Skip(f"{missing} is not installed")
    seed = int(seed) if seed else random.randrange(1 << 32)
    print(f"seed {seed}")
    with gateway.Gateway() as server, etcd.Server(c) as leases:
        url = f"s3://{gateway.BUCKET}/cluster?endpoint={server.endpoint}"
        entry = {"name": "s3", "url": url, "interval": "50ms", "levels": ["1s", "2s"], "snapshots": "5s",
                 "s3": {"access-key-id": gateway.KEY, "secret-access-key": gateway.SECRET}}
        lease = {"type": "etcd", "url": leases.url, "key": "test/archive", "ttl": f"{TTL}s"}
        nodes = [c.node(name, lease=lease, archive=[entry]) for name in ("a", "b")]
        environment = {"env": server.environment}
        old = wait_for("a primary", lambda: next((n for n in nodes if holds(n)), None))
        new = next(n for n in nodes if n is not old)
        history = History(c, seed)
        history.recorded |= history.write(old, 8)
        check_equal(the_epoch(c, url, **environment), 1, "the first reign's epoch")
        hand_over(c, history, old, new)
        check_equal(the_epoch(c, url, **environment), 2, "the epoch after a hand-over")
        for text in ("is not in this node's history", "the chain does not reach back"):
            check_log_says(new, text, False)
        info = archive_command(c, "info", url, **environment)["databases"][0]
        check_equal(info["other_files"], 0, f"files that are not on the line: {info}")
        crash(c, history, new, old, url, **environment)
        stand_still(c, history, old, new)
        hand_over(c, history, new, old)
        check_every_transaction(c, url, history, **environment)
        c.command("archive", "verify", url, **environment)
        print(f"{len(history.recorded)} transactions on the line, epoch {the_epoch(c, url, **environment)}")


cluster.main(test)
