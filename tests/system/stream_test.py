#!/usr/bin/env python3
"""stream_test.py BUILD_DIR [SEED]: replicas behind a network that misbehaves (relay.py) end where the primary is.

What is published is lost, repeated and reordered, 1 %, 10 % and 50 % of it each, or not published at all; a
replica that stands still, or whose network does, delays nobody and costs a bounded amount of memory; a snapshot
that is cut off is continued where it stopped."""

import os
import random
import signal
import statistics
import time

import cluster
import relay

MIB = 1 << 20
SHARES = (0.01, 0.1, 0.5)
TABLE = "CREATE TABLE t(x INTEGER PRIMARY KEY, y);"
FLOOD_MIB = 96
# What a daemon may grow by: credit 4 MiB and a queue of 8 MiB for each replica, 64 MiB for PUB's queues
# (docs/REPLICATION.md section 6), and what the allocator keeps.
MAX_GROWTH_MIB = 90


def primary_on_tcp(c, name, **config):
    node = c.node(name, start=False)
    port = relay.free_ports()
    node.endpoint = f"tcp://127.0.0.1:{port}"
    node.configure(None, **config)
    node.start()
    return node, port


def behind(c, name, link, **config):
    """A replica that sees its primary through link."""
    primary = type("Link", (), {"endpoint": link.endpoint()})
    return c.node(name, follows=primary, **config)


def lossy(c, seed):
    primary, port = primary_on_tcp(c, "source")
    links = [relay.Relay(port, share, f"{seed}-{share}") for share in SHARES]
    replicas = [behind(c, f"loses-{link.share:.0%}".replace("%", ""), link) for link in links]
    quiet, quiet_port = primary_on_tcp(c, "quiet", replication={"publish": False})
    links.append(relay.Relay(quiet_port))
    pulls = behind(c, "pulls", links[-1])
    modes = {"wal.db": "wal", "delete.db": "delete"}
    for database, mode in modes.items():
        for node in (primary, quiet):
            node.sql(database, f"PRAGMA journal_mode = {mode}; {TABLE}")
    for replica in replicas:
        for database in modes:
            c.wait_equal(primary, replica, database)
    # PUB is heard before there is anything to lose.
    cluster.wait_for("PUB is heard", lambda: all(link.passed > 0 for link in links[:-1]))
    rng = random.Random(seed)
    for _ in range(6):
        for database in modes:
            rows = "; ".join(f"INSERT INTO t(y) VALUES (randomblob({rng.randrange(4000)}))" for _ in range(20))
            for node in (primary, quiet):
                node.sql(database, rows + ";")
    for replica, source in [*((replica, primary) for replica in replicas), (pulls, quiet)]:
        for database in modes:
            c.check_identical(source, replica, database)
    for replica, link in zip(replicas, links):
        print(f"{link.share:.0%}: {link.passed} messages passed, {link.lost} lost, {link.repeated} repeated, "
              f"{link.reordered} reordered")
        cluster.check(link.share < 0.1 or min(link.lost, link.repeated, link.reordered) > 0,
                      f"{replica.name}: the relay did no damage")
    cluster.check_equal(links[-1].passed, 0, "messages published with publish: false")
    for link in links:
        link.stop()
    for node in (primary, quiet, pulls, *replicas):
        node.stop()


def follow_seconds(primary, replica, database):
    """From a commit on the primary until the replica has it."""
    primary.sql(database, "INSERT INTO t(y) VALUES (1);")
    start = time.monotonic()
    wanted = primary.position(database)
    cluster.wait_for(f"{replica.name} follows", lambda: replica.position(database) == wanted)
    return time.monotonic() - start


def slow(c):
    """One replica is stopped, another's network takes no more; the third, and the primary, go on."""
    primary, port = primary_on_tcp(c, "busy")
    link = relay.Relay(port)
    stuck = behind(c, "stuck", link)
    stopped = c.node("stopped", follows=primary)
    good = c.node("good", follows=primary)
    primary.sql("app.db", f"PRAGMA journal_mode = wal; {TABLE}")
    for replica in (stuck, stopped, good):
        c.wait_equal(primary, replica, "app.db")
    before = statistics.median(follow_seconds(primary, good, "app.db") for _ in range(5))
    memory = {node.name: node.rss_kib() for node in (primary, stuck, good)}
    stopped.process.send_signal(signal.SIGSTOP)
    link.open = False
    highest = dict(memory)
    for _ in range(FLOOD_MIB // 4):
        primary.sql("app.db", "DELETE FROM t; INSERT INTO t(y) WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 "
                              f"FROM n WHERE i < 64) SELECT randomblob({65000}) FROM n;")
        for node in (primary, stuck, good):
            highest[node.name] = max(highest[node.name], node.rss_kib())
    c.wait_equal(primary, good, "app.db")
    during = statistics.median(follow_seconds(primary, good, "app.db") for _ in range(5))
    print(f"a commit reaches the good replica in {before * 1000:.0f} ms, beside peers that stand still in "
          f"{during * 1000:.0f} ms")
    # Mostly the time of the commands themselves, on a machine that may be loaded.
    cluster.check(during < 5 * before + 1, f"beside peers that stand still it takes {during:.2f} s")
    stopped.process.send_signal(signal.SIGCONT)
    link.open = True
    for replica in (stuck, stopped):
        c.check_identical(primary, replica, "app.db")
    for node in (primary, stuck, good):
        highest[node.name] = max(highest[node.name], node.rss_kib())
        growth = (highest[node.name] - memory[node.name]) / 1024
        print(f"{node.name}: grew by {growth:.0f} MiB")
        cluster.check(growth < MAX_GROWTH_MIB, f"{node.name}: grew by {growth:.0f} MiB")
    link.stop()
    for node in (primary, stuck, stopped, good):
        node.stop()


def resumed(c, mib=24, cuts=3):
    primary, port = primary_on_tcp(c, "big", retention={"age": "1s", "size": "64KiB"})
    primary.sql("app.db", TABLE + "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < "
                f"{mib * 16}) INSERT INTO t(y) SELECT randomblob(65000) FROM n;")
    size = os.path.getsize(primary.path("app.db"))
    link = relay.Relay(port, pace=6 * MIB)
    replica = behind(c, "cut-off", link)
    for i in range(cuts):
        wanted = (i + 1) * size // (cuts + 2)
        cluster.wait_for(f"{wanted} bytes passed", lambda wanted=wanted: link.pulled_bytes > wanted)
        link.cut()
        cluster.check(link.pulled_bytes < size, "the snapshot has come whole before the cut")
    link.pace = None
    c.check_identical(primary, replica, "app.db")
    print(f"{cuts} cuts: {link.pulled_bytes / MIB:.1f} MiB were sent for a database of {size / MIB:.1f} MiB")
    # What was under way in buffers at a cut is sent again: credit (4 MiB) at most.
    cluster.check(link.pulled_bytes < size * 1.02 + cuts * 4.2 * MIB, "bytes were sent again")
    link.stop()


def test(c, seed=None):
    seed = seed or str(random.SystemRandom().randrange(1 << 32))
    print(f"seed {seed} (again: stream_test.py BUILD_DIR {seed})", flush=True)
    lossy(c, seed)
    slow(c)
    resumed(c)


cluster.main(test)
