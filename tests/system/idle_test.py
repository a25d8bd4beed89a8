#!/usr/bin/env python3
"""idle_test.py BUILD_DIR: a daemon that has nothing to do does not wake up at all: not by itself, not with an app
that has a database open, nor its HTTP proxy. With a replica, only what keeps the connection alive is heard."""

import os
import socket
import subprocess
import time

import cluster

SECONDS = 5
MAX_CONNECTED = 20  # a second: heartbeats, pings and beacons, over all threads of a node


def wake_ups(node):
    """How often any thread of the daemon has waited and been woken."""
    total = 0
    for thread in os.listdir(f"/proc/{node.process.pid}/task"):
        with open(f"/proc/{node.process.pid}/task/{thread}/status", encoding="ascii") as file:
            total += sum(int(line.split()[1]) for line in file if line.startswith("voluntary_ctxt_switches"))
    return total


def settled(node):
    """Waits until what the daemon does after work (a look at the directory, retention) is done."""
    seen = [wake_ups(node)]

    def quiet():
        seen.append(wake_ups(node))
        return len(seen) > 20 and seen[-1] == seen[-20]

    cluster.wait_for(f"{node.name} is quiet", quiet, 60)


def counted(nodes):
    before = [wake_ups(node) for node in nodes]
    time.sleep(SECONDS)  # what is measured
    return [wake_ups(node) - b for node, b in zip(nodes, before)]


def test(c):
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    primary = c.node("primary", proxy={"addr": f":{port}", "target": ":1", "db": "app.db"})
    socket.create_connection(("127.0.0.1", port)).close()  # the proxy is there, and has had somebody
    primary.sql("app.db", "PRAGMA journal_mode = wal; CREATE TABLE t(x); INSERT INTO t VALUES (1);")
    settled(primary)
    alone, = counted([primary])
    print(f"alone: {alone} wake-ups in {SECONDS} s")
    cluster.check_equal(alone, 0, "wake-ups of a daemon that is alone")

    with c.spawn(["sqlite3", "-bail", primary.path("app.db")], shim=True, text=True, stdin=subprocess.PIPE,
                 stdout=subprocess.PIPE) as app:
        app.stdin.write("INSERT INTO t VALUES (2); SELECT count(*) FROM t;\n")
        app.stdin.flush()
        cluster.check_equal(app.stdout.readline(), "2\n", "rows")
        settled(primary)
        with_app, = counted([primary])
        print(f"with an app that has the database open: {with_app} wake-ups")
        cluster.check_equal(with_app, 0, "wake-ups with an idle app")
        app.stdin.close()

    replica = c.node("replica", follows=primary)
    cluster.wait_for("the replica has it", lambda: replica.position("app.db") == primary.position("app.db"), 30)
    time.sleep(SECONDS)  # it tidies what it has applied
    for node, count in zip((primary, replica), counted([primary, replica])):
        print(f"connected, {node.name}: {count / SECONDS:.1f} wake-ups a second")
        cluster.check(count <= MAX_CONNECTED * SECONDS, f"{node.name}: {count} wake-ups in {SECONDS} s")


cluster.main(test)
