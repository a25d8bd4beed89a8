#!/usr/bin/env python3
"""Keys between nodes: who is let in, who is not, and what each is told (docs/SECURITY.md)."""

import json
import os
import socket

import cluster
from cluster import check, check_equal, wait_for
from keys import Keys, free_port


def pair(c, primary_security, replica_security, name):
    """A primary on TCP and its replica, each with its security section (None: none)."""
    endpoint = f"tcp://127.0.0.1:{free_port()}"
    extra = {} if primary_security is None else {"security": primary_security}
    primary = c.node(f"{name}-a", replication={"listen": endpoint}, **extra)
    primary.endpoint = endpoint
    extra = {} if replica_security is None else {"security": replica_security}
    replica = c.node(f"{name}-b", follows=primary, **extra)
    primary.sql("app.db", "create table if not exists t(x); insert into t values(1);")
    return primary, replica


def refused(primary, replica, replica_hears, primary_says):
    """Each end knows why; nothing has come over."""
    wait_for(f"{replica.name} to be told why",
             lambda: replica_hears in replica.status()["replication"]["last_error"])
    wait_for(f"{primary.name} to count a refusal", lambda: primary_says in
             primary.status()["replication"]["last_refusal"])
    status = primary.status()["replication"]
    check(status["refused_peers"] >= 1, f"counted: {status}")
    with open(primary.log, encoding="utf-8") as log:
        text = log.read()
    check("refused address=" in text and primary_says in text,
          f"{primary.name}'s log names the peer and why:\n{text[-2000:]}")
    check_equal(status["replicas"], [], "replicas")
    check_equal(replica.status()["replication"]["connected"], False, "connected")
    check_equal(replica.status()["databases"], [], "databases of a replica that was refused")
    primary.stop()
    replica.stop()


def test_keygen(c):
    path = os.path.join(c.scratch, "k.key")
    answer = json.loads(c.command("keygen", "--out", path, "--json")[0])
    check_equal(os.stat(path).st_mode & 0o7777, 0o600, "mode of a key file")
    check_equal(answer["file"], path, "file")
    check_equal(len(answer["public_key"]), 40, "length of a key")
    check_equal(c.command("keygen", "--show", path)[0].strip(), answer["public_key"], "shown")
    with open(path, encoding="ascii") as file:
        before = file.read()
    secret = before.split("secret-key:")[1].strip()
    check(secret not in json.dumps(answer), "the secret key is not printed")
    status, _, err = c.command("keygen", "--out", path, status=None)
    check_equal(status, 1, "overwriting")
    check("exists and is not overwritten" in err, err)
    with open(path, encoding="ascii") as file:
        check_equal(file.read(), before, "the key that was there")
    leftovers = [n for n in os.listdir(c.scratch) if n.endswith(".tmp")]
    check_equal(leftovers, [], "temporary files")


def start_error(c, config):
    """What a daemon says that does not start."""
    status, _, err = c.command("daemon", "--config", config, status=None, timeout=60)
    check(status not in (0, None), f"the daemon started with {config}")
    return err


def test_key_files(c, keys):
    """A key that others can read, or that is none, stops the start."""
    for name, spoil, wanted in [
        ("open", lambda p: os.chmod(p, 0o640), "others can get at it (mode 0640): chmod 600"),
        ("gone", os.unlink, "does not exist: litefs keygen --out"),
        ("torn", lambda p: os.truncate(p, 90), "does not hold a public key and the secret key"),
    ]:
        path = keys.file(name)
        spoil(path)
        node = c.node(f"bad-{name}", start=False,
                      security={"key-file": path, "peers": {"b": keys.of("b")}})
        err = start_error(c, node.config)
        check(wanted in err and path in err, f"{name}: {err}")


def test_unencrypted_networks(c):
    """Without keys nothing leaves this machine, in neither direction, unless it is wanted."""
    for role, replication in [("listen", {"listen": "tcp://0.0.0.0:7420"}),
                              ("primary", {"primary": "tcp://192.0.2.1:7420"})]:
        node = c.node(f"net-{role}", start=False)
        with open(node.config, "w", encoding="utf-8") as file:
            json.dump({"dir": node.dir, "replication": replication,
                       "lease": {"type": "static", "primary": role == "listen"}}, file)
        err = start_error(c, node.config)
        check(f"replication.{role}" in err and "leaves this machine" in err and
              "security.key-file" in err and "insecure: true" in err, err)


def test_let_in(c, keys):
    """The right keys: everything comes over, and status says that it was encrypted."""
    primary, replica = pair(
        c, {"key-file": keys.file("a"), "peers": {"berlin": keys.of("b")}},
        {"key-file": keys.file("b"), "primary-key": keys.of("a")}, "in")
    primary.sql("app.db", "pragma journal_mode=wal; insert into t values(randomblob(300000));")
    c.check_identical(primary, replica, "app.db")
    for node, name in ((primary, "a"), (replica, "b")):
        replication = node.status()["replication"]
        check_equal(replication["encrypted"], True, f"{node.name}: encrypted")
        check_equal(replication["public_key"], keys.of(name), f"{node.name}: public_key")
        text = c.command("status", "--config", node.config)[0]
        check("encrypted" in text, text)
    check_equal(primary.status()["replication"]["refused_peers"], 0, "refused")
    # By PUB too, which is a socket of its own.
    check_equal(wait_for("PUB", lambda: replica.status()["replication"].get("pub_healthy")), True,
                "pub_healthy")
    check_wire_is_encrypted(primary)
    primary.stop()
    replica.stop()


def check_wire_is_encrypted(primary):
    """The greeting of both sockets says CURVE (ZMTP 3.0: 20 bytes of mechanism at offset 12)."""
    port = int(primary.endpoint.rsplit(":", 1)[1])
    for at in (port, port + 1):
        with socket.create_connection(("127.0.0.1", at), timeout=30) as connection:
            connection.sendall(b"\xff" + bytes(8) + b"\x7f\x03\x00" + b"CURVE".ljust(20, b"\0") +
                               bytes(32))
            greeting = b""
            while len(greeting) < 64:
                data = connection.recv(64 - len(greeting))
                check(data, f"port {at} closed after {greeting!r}")
                greeting += data
            check_equal(greeting[12:32].rstrip(b"\0"), b"CURVE", f"mechanism on port {at}")


def test_turned_away(c, keys):
    a, b = keys.file("a"), keys.file("b")
    in_a = {"key-file": a, "peers": {"b": keys.of("b")}}
    in_b = {"key-file": b, "primary-key": keys.of("a")}
    stranger = {"key-file": keys.file("x"), "primary-key": keys.of("a")}
    refused(*pair(c, in_a, stranger, "stranger"),
            f"add its key {keys.of('x')} to security.peers",
            f'key="{keys.of("x")}" why="this key is not on the list: add it to security.peers')
    wrong = {"key-file": b, "primary-key": keys.of("x")}
    refused(*pair(c, in_a, wrong, "wrong"), "security.primary-key",
            "it has another public key for this node: litefs keygen --show")
    refused(*pair(c, in_a, None, "none"), "set security.key-file here",
            "it does not encrypt: set security.key-file there")
    # "… too" if libzmq has read the greeting before the connection ends.
    refused(*pair(c, None, in_b, "plain"), "set security.key-file there",
            "it asks for keys, and this node has none: set security.key-file here")


def test_taken_off_the_list(c, keys):
    """A key that leaves the file of peers loses its connection, and gets it back with its line."""
    peers = os.path.join(c.scratch, "peers")

    def write(text):
        with open(peers + ".new", "w", encoding="ascii") as file:
            file.write(text)
        os.rename(peers + ".new", peers)

    write(f"# who may connect\n{keys.of('b')} berlin\n")
    primary, replica = pair(c, {"key-file": keys.file("a"), "peers-file": peers},
                            {"key-file": keys.file("b"), "primary-key": keys.of("a")}, "off")
    c.check_identical(primary, replica, "app.db")
    before = replica.position("app.db")
    write("# nobody\n")
    wait_for("the replica to be turned away", lambda: keys.of("b") in
             replica.status()["replication"]["last_error"])
    primary.sql("app.db", "insert into t values(2)")
    check_equal(replica.position("app.db"), before, "position of a replica that is shut out")
    check(primary.status()["replication"]["refused_peers"] >= 1, "counted")
    write(f"{keys.of('b')}\n")
    c.check_identical(primary, replica, "app.db")
    primary.stop()
    replica.stop()


def dialled_pair(c, dial_key, peers, keys, name):
    """A primary that connects to its replica: dial-keys there, peers here."""
    endpoint = f"tcp://127.0.0.1:{free_port()}"
    sections = {"a": {"replication": {"dial": [endpoint]},
                      "security": {"key-file": keys.file("a"), "dial-keys": {endpoint: dial_key}}},
                "b": {"replication": {"accept": endpoint},
                      "security": {"key-file": keys.file("b"), "peers": peers}}}
    nodes = []
    for which in ("b", "a"):
        node = c.node(f"{name}-{which}", start=False)
        with open(node.config, "w", encoding="utf-8") as file:
            json.dump({"dir": node.dir, "lease": {"type": "static", "primary": which == "a"}} | sections[which], file)
        node.start()
        nodes.append(node)
    replica, primary = nodes
    primary.sql("app.db", "create table t(x); insert into t values(1);")
    return primary, replica


def test_dialled(c, keys):
    """The replica binds and has the list; the primary expects the key of dial-keys."""
    primary, replica = dialled_pair(c, keys.of("b"), {"paris": keys.of("a")}, keys, "dial")
    c.check_identical(primary, replica, "app.db")
    check_equal(replica.status()["replication"]["refused_peers"], 0, "refused")
    primary.stop()
    replica.stop()
    for name, dial_key, peers, hears, says in [
            ("dial-stranger", keys.of("b"), {"x": keys.of("x")}, f"add its key {keys.of('a')} to security.peers",
             f'key="{keys.of("a")}" why="this key is not on the list'),
            ("dial-wrong", keys.of("x"), {"paris": keys.of("a")}, "broke off the handshake",
             "it has another public key for this node")]:
        primary, replica = dialled_pair(c, dial_key, peers, keys, name)
        wait_for(f"{name}: the primary to be told why",
                 lambda p=primary, text=hears: text in json.dumps(p.status()["replication"], ensure_ascii=False))
        wait_for(f"{name}: the replica to count it",
                 lambda r=replica, text=says: text in r.status()["replication"]["last_refusal"])
        check_equal(replica.status()["databases"], [], f"{name}: databases of a replica that let nobody in")
        primary.stop()
        replica.stop()


def test_endpoint_taken(c):
    """A Unix socket that another daemon listens on is not taken from it."""
    first = c.node("first")
    replica = c.node("first-replica", follows=first)
    second = c.node("second", start=False)
    second.endpoint = first.endpoint
    second.configure(None)
    err = start_error(c, second.config)
    check("another process listens there" in err, err)
    first.sql("app.db", "create table t(x);")
    c.check_identical(first, replica, "app.db")
    first.kill()
    first.start()  # what a dead daemon has left is nobody's
    first.sql("app.db", "insert into t values(1);")
    c.check_identical(first, replica, "app.db")
    first.stop()
    replica.stop()


def test(c):
    keys = Keys(c)
    test_keygen(c)
    test_key_files(c, keys)
    test_unencrypted_networks(c)
    test_let_in(c, keys)
    test_turned_away(c, keys)
    test_taken_off_the_list(c, keys)
    test_dialled(c, keys)
    test_endpoint_taken(c)


cluster.main(test)
