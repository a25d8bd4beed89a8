#!/usr/bin/env python3
"""failover_test.py BUILD_DIR [etcd|consul|s3|keys]

Three nodes, a real lease server, a writer under the shim on each. The primary's daemon is killed: another node takes
over, with all that was replicated; the old one comes back as a replica, and what it alone had is kept as a
branch. Then the lease is handed over, asked for and given away: no acknowledged row is lost, and the pause for
writers is measured."""

import json
import os
import time

import cluster
import keys
from cluster import check, check_equal, wait_for
from http_api import Listener, free_port, request
from servers import consul, etcd, gateway

TTL = 4  # seconds
DB = "app.db"

# Writes rows as fast as it may, with one connection, and notes what was acknowledged and when.
WRITER = """
import sqlite3, sys, time
path, name, log = sys.argv[1:]
db = sqlite3.connect(path, timeout=0, isolation_level=None)
out = open(log, 'a', buffering=1)
n = 0
while True:
    try:
        db.execute('insert into t values (?, ?)', (name, n))
        out.write(f'{n} {time.monotonic()}\\n')
        n += 1
    except sqlite3.OperationalError as error:
        if 'locked' not in str(error) and 'disk I/O' not in str(error) and 'no such table' not in str(error):
            out.write(f'error {error}\\n')
            raise
        time.sleep(0.001)
"""


class Writer:
    def __init__(self, c, node):
        self.name = node.name
        self.log = os.path.join(c.scratch, f"writer-{node.name}")
        self.process = c.spawn(["/usr/bin/python3", "-c", WRITER, node.path(DB), node.name, self.log], shim=True)

    def rows(self):
        """(number, time) of what was acknowledged."""
        if not os.path.exists(self.log):
            return []
        with open(self.log, encoding="ascii") as file:
            lines = [line for line in file if line.endswith("\n")]
        check(not any(line.startswith("error") for line in lines), f"the writer on {self.name} said {lines[-1:]}")
        return [(int(n), float(when)) for n, when in map(str.split, lines)]

    def stop(self):
        self.process.kill()
        self.process.wait()


def is_primary(node):
    status = node.status()
    return status["role"] == "primary" and status["lease"]["holds"]


def the_primary(nodes, seconds=cluster.DEADLINE):
    return wait_for("a primary", lambda: next((n for n in nodes if is_primary(n)), None), seconds)


def rows_of(c, node):
    return {tuple(line.split("|")) for line in c.sqlite(node.path(DB), "select who, n from t").splitlines()}


def check_all_there(c, node, writers, dropped=()):
    acknowledged = [(writer, writer.rows()) for writer in writers]  # before the look: they write on
    there = rows_of(c, node)
    for writer, rows in acknowledged:
        missing = [n for n, _ in rows if (writer.name, str(n)) not in there]
        check(all((writer.name, n) in dropped for n in missing),
              f"{len(missing)} acknowledged rows of {writer.name} are gone: {missing[:10]}")


def longest_pause(writers, begin, end):
    """Between two acknowledged rows, whoever wrote them, in milliseconds."""
    times = sorted(when for writer in writers for _, when in writer.rows() if begin <= when <= end)
    check(len(times) > 1, "nobody has written")
    return max(b - a for a, b in zip(times, times[1:])) * 1000


def crash(c, nodes, times_ttl):
    """times_ttl: that long the server may take to notice."""
    primary = the_primary(nodes)
    others = [node for node in nodes if node is not primary]
    primary.sql(DB, "create table t(who text, n int)")
    writers = [Writer(c, node) for node in nodes]
    wait_for("rows", lambda: sum(len(w.rows()) for w in writers) > 200)
    writers[nodes.index(primary)].stop()
    for node in others:
        c.wait_equal(primary, node, DB)
    # A tail that nobody else has. (Who is only stopped finds it in his socket when he goes on.)
    for node in others:
        node.kill()
    tail = [("tail", str(n)) for n in range(5)]
    primary.sql(DB, "".join(f"insert into t values ('tail', {n});" for _, n in tail))
    primary.sync()
    tail_position = primary.position(DB)
    primary.kill()
    began = time.monotonic()
    for node in others:
        node.start()
    successor = the_primary(others)
    survivors = [w for w in writers if w.name != primary.name]
    wait_for("a row after the crash", lambda: any(when > began for w in survivors for _, when in w.rows()))
    first = min(when for w in survivors for _, when in w.rows() if when > began)
    print(f"kill -9: the next acknowledged row after {first - began:.2f} s, TTL {TTL} s")
    # With four times the work that the machine can do, twice the TTL must do.
    limit = TTL * times_ttl + 1 + (0 if os.getloadavg()[0] <= 2 * os.cpu_count() else TTL)
    check(first - began < limit, f"fail-over took {first - began:.2f} s, more than {limit} s")
    check_all_there(c, successor, writers, dropped=set(tail))
    primary.start()
    wait_for("the old primary is a replica", lambda: primary.status()["role"] == "replica")
    for w in survivors:
        w.stop()
    for node in nodes:
        if node is not successor:
            c.check_identical(successor, node, DB)
    listed = json.loads(c.command("branches", "list", "--config", primary.config, "--json")[0])
    check(tail_position.split("/")[0] in json.dumps(listed), f"the tail at {tail_position} is no branch: {listed}")
    check(not rows_of(c, successor) & set(tail), "the tail has come back")
    return successor


def role_event(listener):
    """The next change of the role that a node tells of."""
    while True:
        event = listener.next()
        check(event is not None, "the event stream has ended")
        if event["type"] == "primaryChange":
            return event["data"]


def hand_off(c, nodes, primary, ports):
    writers = [Writer(c, node) for node in nodes]
    for node in nodes:  # new logs would mix with the old ones
        check_equal(node.status()["databases"][0]["name"], DB, f"{node.name}'s database")
    wait_for("rows again", lambda: len(writers[nodes.index(primary)].rows()) > 50)
    pauses = []
    for _ in range(3):
        target = next(node for node in nodes if node is not primary)
        begin = time.monotonic()
        c.command("handoff", "--config", primary.config, target.status()["node_id"])
        wait_for(f"{target.name} is the primary", lambda t=target: is_primary(t))
        before = len(writers[nodes.index(target)].rows())
        wait_for("rows on the new primary", lambda w=writers[nodes.index(target)], n=before: len(w.rows()) > n + 20)
        pauses.append(longest_pause(writers, begin, time.monotonic()))
        primary = target
    print("handoff: writers paused for " + ", ".join(f"{pause:.0f}" for pause in pauses) + " ms")
    replica = next(node for node in nodes if node is not primary)
    listener = Listener(ports[replica.name])
    check(not listener.next()["data"]["isPrimary"], "the first event of a replica")
    c.command("promote", "--config", replica.config)
    check(is_primary(replica), "litefs promote has ended, and the node is no primary")
    check(role_event(listener)["isPrimary"], "primaryChange on the node that was promoted")
    c.command("demote", "--config", replica.config)
    wait_for("demote: a replica", lambda: replica.status()["role"] == "replica")
    check(not role_event(listener)["isPrimary"], "primaryChange on the node that was demoted")
    check(the_primary(nodes) is not replica, "demote has changed nothing")
    check_equal(request(ports[replica.name], "/demote", method="POST")[0], 409, "POST /demote on a replica")
    status, answer = request(ports[replica.name], "/promote", method="POST")
    check_equal(status, 200, f"POST /promote: {answer}")
    check(is_primary(replica) and role_event(listener)["isPrimary"], "POST /promote has ended")
    primary = replica
    for writer in writers:
        writer.stop()
    for node in nodes:
        if node is not primary:
            c.check_identical(primary, node, DB)
    check_all_there(c, primary, writers)
    replica = next(node for node in nodes if node is not primary)
    status, _, err = c.command("handoff", "--config", replica.config, "0", status=None)
    check(status == 1 and "not the primary" in err, f"handoff on a replica: {status} {err}")


def with_keys(c, nodes):
    """Each lets the others in, and knows the key of each."""
    pairs = keys.Keys(c)
    for node in nodes:
        others = [other for other in nodes if other is not node]
        node.settings["security"] = {"key-file": pairs.file(node.name),
                                     "peers": {other.name: pairs.of(other.name) for other in others},
                                     "dial-keys": {other.endpoint: pairs.of(other.name) for other in others}}
        node.configure(None, **node.settings)


def server_of(c, kind):
    """(the server, its type, and after how many times the TTL it has noticed that an owner is dead)"""
    if kind == "consul":
        return consul.Server(c), "consul", 3
    if kind == "s3":
        if missing := gateway.missing_program():
            raise cluster.Skip(f"{missing} is not installed")
        server = gateway.Gateway()
        os.environ.update(server.environment)
        return server, "s3", 1.1
    return etcd.Server(c), "etcd", 1


def test(c, kind="etcd"):
    server, lease_type, times_ttl = server_of(c, kind)
    with server:
        lease = {"type": lease_type, "url": server.url, "key": "test/failover", "ttl": f"{TTL}s"}
        ports = {name: free_port() for name in ("a", "b", "c")}
        nodes = []
        for name, port in ports.items():
            node = c.node(name, start=False)
            node.settings = {"lease": lease, "http": {"listen": f"127.0.0.1:{port}"}}
            node.configure(None, **node.settings)
            nodes.append(node)
        if kind == "keys":
            with_keys(c, nodes)
        for node in nodes:
            node.start()
        successor = crash(c, nodes, times_ttl)
        check_equal({bool(n.status()["replication"]["encrypted"]) for n in nodes}, {kind == "keys"}, "encrypted")
        for node in nodes:
            os.unlink(os.path.join(c.scratch, f"writer-{node.name}"))
        successor.sql(DB, "delete from t")
        hand_off(c, nodes, successor, ports)


if __name__ == "__main__":
    cluster.main(test)
