#!/usr/bin/env python3
"""A static role that is changed in the configuration of running daemons, in either order: no acknowledged row is lost,
never do two nodes write, and who cannot give up its role without a loss keeps it."""

import signal

import cluster
from cluster import check, check_equal, wait_for
from failover_test import Writer

DB = "app.db"


def roles(a, b):
    return a.status()["role"], b.status()["role"]


def tell(node, follows):
    """Writes another role into its configuration."""
    node.configure(follows, replication={"listen": node.endpoint})


def reload(node, status=0):
    got, out, err = node.cluster.command("reload", "--config", node.config, status=None)
    check_equal(got, status, f"litefs reload on {node.name}: {out}{err}")
    return out + err


def await_following(replica, primary):
    replica_id = replica.status()["node_id"]
    wait_for(f"{replica.name} follows {primary.name}",
             lambda: any(r["node_id"] == replica_id for r in primary.status()["replication"]["replicas"]))


def await_rows(writer):
    before = len(writer.rows())
    wait_for(f"rows of the program on {writer.name}", lambda: len(writer.rows()) > before + 20)


def check_all_there(c, nodes, writers):
    rows = [(writer.name, str(n)) for writer in writers for n, _ in writer.rows()]
    c.check_identical(*nodes, DB)
    for node in nodes:
        there = set(map(tuple, (line.split("|") for line in c.sqlite(node.path(DB), "select who, n from t").split())))
        missing = [row for row in rows if row not in there]
        check(not missing, f"{len(missing)} acknowledged rows are not on {node.name}: {missing[:5]}")


def primary_first(a, b, writers):
    """The primary is told first: for a while nobody writes."""
    tell(a, b)
    a.process.send_signal(signal.SIGHUP)
    wait_for("a is a replica", lambda: roles(a, b) == ("replica", "replica"))
    check_equal(b.status()["lease"]["problem"], "", "b's problem")
    tell(b, None)
    reload(b)
    wait_for("b is the primary", lambda: roles(a, b) == ("replica", "primary"))
    await_rows(writers[1])
    await_following(a, b)


def replica_first(a, b, writers):
    """The replica is told first, and waits; the primary writes on until it is told."""
    tell(a, None)
    said = reload(a)
    check("waits until" in said and b.endpoint in said, f"reload on a replica says: {said}")
    await_rows(writers[1])
    check_equal(roles(a, b), ("replica", "primary"), "roles before the primary is told")
    check("is told to be the primary" in a.status()["lease"]["problem"], "status does not say what a waits for")
    tell(b, a)
    reload(b)
    wait_for("a is the primary", lambda: roles(a, b) == ("primary", "replica"))
    await_rows(writers[0])
    await_following(b, a)


def without_a_replica(a, b, writers):
    """The primary does not give up what nobody else has."""
    b.kill()
    await_rows(writers[0])
    tell(a, b)
    said = reload(a, status=1)
    check("still the primary" in said, f"reload without a replica says: {said}")
    await_rows(writers[0])
    check_equal(a.status()["role"], "primary", "a's role")
    tell(a, None)
    b.start()


def by_force(a, b, writers):
    """The primary has gone for good."""
    await_following(b, a)
    tell(b, None)
    reload(b)
    for writer in writers:
        writer.stop()
    a.cluster.wait_equal(a, b, DB)
    a.kill()
    check_equal(b.status()["role"], "replica", "b's role when the primary has gone")
    b.cluster.command("promote", "--force", "--config", b.config)
    wait_for("b is the primary", lambda: b.status()["role"] == "primary")
    b.sql(DB, "insert into t values ('forced', 1)")
    tell(a, b)
    a.start()


def test(c):
    a = c.node("a", start=False)
    b = c.node("b", start=False)
    tell(a, None)
    tell(b, a)
    a.start()
    b.start()
    a.sql(DB, "create table t(who text, n int)")
    c.check_identical(a, b, DB)
    said = c.command("promote", "--config", b.config, status=None)[2]
    check("litefs reload" in said, f"promote of a static replica says: {said}")
    writers = [Writer(c, node) for node in (a, b)]
    for change in (primary_first, replica_first, without_a_replica, by_force):
        change(a, b, writers)
        print(f"{change.__name__}: {[len(writer.rows()) for writer in writers]} rows")
    check_all_there(c, (b, a), writers)
    check_equal([node.status()["lease"]["epoch"] for node in (a, b)], [3, 3], "epochs after three changes")


if __name__ == "__main__":
    cluster.main(test)
