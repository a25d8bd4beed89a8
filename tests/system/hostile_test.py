#!/usr/bin/env python3
"""Peers that speak ZMTP by hand and mean no good: the primary drops them, keeps its memory, and goes on
serving its replica.  Once without keys, where anybody gets past the handshake, once with."""

import os
import random
import socket
import struct
import threading
import time

import cluster
from cluster import check
from keyed_peer import KeyedPeer
from keys import Keys, free_port

# What the daemon may grow by under any of the attacks below, each of which sends far more.
MAX_GROWTH_KIB = 200 << 10
FLOOD_BYTES = 64 << 20
FLOOD_SECONDS = 20
FRAME = {"more": 1, "long": 2, "command": 4}


class Peer:
    """A ZMTP 3.0 connection, NULL mechanism."""

    def __init__(self, port, kind, handshake=True):
        self.socket = socket.create_connection(("127.0.0.1", port), timeout=30)
        if handshake:
            self.socket.sendall(b"\xff" + bytes(8) + b"\x7f\x03\x00" + b"NULL".ljust(20, b"\0") +
                                bytes(32))
            ready = b"\x05READY\x0bSocket-Type" + struct.pack(">I", len(kind)) + kind
            self.socket.sendall(self.frame(ready, FRAME["command"]))
            check(self.receive_some(64), "there is a greeting")

    @staticmethod
    def frame(body, flags=0):
        if len(body) < 256:
            return bytes([flags, len(body)]) + body
        return bytes([flags | FRAME["long"]]) + struct.pack(">Q", len(body)) + body

    def receive_some(self, size):
        data = b""
        while len(data) < size:
            part = self.socket.recv(size - len(data))
            if not part:
                break
            data += part
        return data

    def flood(self, block):
        """Sends block again and again.  Returns the bytes that were taken, and whether the peer was dropped."""
        # Answers are read and thrown away, so that nothing else than being dropped stops it.
        def drain():
            try:
                while self.socket.recv(65536):
                    pass
            except OSError:
                pass
        threading.Thread(target=drain, daemon=True).start()
        sent = 0
        end = time.monotonic() + FLOOD_SECONDS
        try:
            while sent < FLOOD_BYTES and time.monotonic() < end:
                self.socket.sendall(block)
                sent += len(block)
        except ConnectionError:
            return sent, True
        return sent, False

    def is_dropped(self, seconds=30):
        self.socket.settimeout(seconds)
        try:
            while self.socket.recv(65536):
                pass
            return True
        except ConnectionError:
            return True
        except OSError:
            return False

    def close(self):
        self.socket.close()


def multi_part(count):
    """Frames that all say that more is to come."""
    return Peer.frame(b"", FRAME["more"]) * count


def subscriptions(seed, count):
    """As many different topics, of 200 bytes each."""
    rng = random.Random(seed)
    return b"".join(Peer.frame(b"\x01" + rng.randbytes(200)) for _ in range(count))


def garbage(seed, count):
    rng = random.Random(seed)
    return b"".join(Peer.frame(rng.randbytes(rng.randrange(1, 120))) for _ in range(count))


class Attack:
    """Watches the primary while an attack runs."""

    def __init__(self, c, primary, replica):
        self.c, self.primary, self.replica = c, primary, replica
        self.port = int(primary.endpoint.rsplit(":", 1)[1])
        self.before_kib = primary.rss_kib()
        self.peak_kib = self.before_kib
        self.rows = 0

    def run(self, name, attack):
        stop = threading.Event()

        def watch():
            while not stop.is_set():
                self.peak_kib = max(self.peak_kib, self.primary.rss_kib())
                stop.wait(0.01)
        self.peak_kib = self.primary.rss_kib()
        before = self.peak_kib
        watcher = threading.Thread(target=watch)
        watcher.start()
        try:
            result = attack()
        finally:
            stop.set()
            watcher.join()
        growth = self.peak_kib - before
        print(f"{name}: {result}, at most {growth} KiB more")
        check(growth < MAX_GROWTH_KIB, f"{name}: the daemon grew by {growth} KiB")
        check(self.primary.process.poll() is None, f"{name}: the daemon is gone")
        # The primary serves on.
        self.rows += 1
        self.primary.sql("app.db", f"insert into t values({self.rows})")
        self.c.check_identical(self.primary, self.replica, "app.db")

    def flood(self, name, port, kind, block):
        def attack():
            peer = Peer(port, kind)
            sent, dropped = peer.flood(block)
            dropped = dropped or peer.is_dropped()
            peer.close()
            check(dropped, f"{name}: sent {sent} bytes and was not dropped")
            return f"dropped after {sent} bytes"
        self.run(name, attack)

    def once(self, name, port, kind, data, handshake=True):
        def attack():
            peer = Peer(port, kind, handshake)
            try:
                peer.socket.sendall(data)
            except ConnectionError:
                pass
            check(peer.is_dropped(), f"{name}: not dropped")
            peer.close()
            return "dropped"
        self.run(name, attack)


def huge(flags, size):
    """The head of a frame that claims to be so long, and some of it."""
    return bytes([flags | FRAME["long"]]) + struct.pack(">Q", size) + bytes(4096)


def attack_open(c):
    """Without keys everybody on this machine is let in."""
    endpoint = f"tcp://127.0.0.1:{free_port()}"
    primary = c.node("open-a", replication={"listen": endpoint})
    primary.endpoint = endpoint
    replica = c.node("open-b", follows=primary)
    primary.sql("app.db", "create table t(x)")
    c.check_identical(primary, replica, "app.db")
    attack = Attack(c, primary, replica)
    pub, pull = attack.port, attack.port + 1
    refused = primary.status()["replication"]["refused_peers"]
    for port, kind, where in ((pub, b"SUB", "pub"), (pull, b"DEALER", "pull")):
        attack.once(f"{where}: huge frame", port, kind, huge(0, 1 << 40))
        attack.once(f"{where}: largest size", port, kind, huge(0, (1 << 63) - 1))
        attack.once(f"{where}: HTTP", port, kind, b"GET / HTTP/1.0\r\n\r\n" + bytes(64), False)
        attack.flood(f"{where}: endless message", port, kind, multi_part(10000))
    attack.flood("pub: endless subscriptions", pub, b"SUB", subscriptions(1, 500))
    attack.flood("pull: garbage", pull, b"DEALER", garbage(2, 500))
    status = primary.status()["replication"]
    check(status["refused_peers"] >= refused + 4, f"the dropped are counted: {status}")
    counters = primary.status()["counters"]
    check(counters["refused_peers"] >= refused + 4 and counters["malformed_messages"] >= 8,
          f"counters: {counters}")
    check(primary.log_tail(2000).count("that nobody asked for") >= 3, primary.log_tail(60))
    primary.stop()
    replica.stop()


def attack_keys(c):
    """With keys a stranger does not get past the handshake."""
    keys = Keys(c)
    endpoint = f"tcp://127.0.0.1:{free_port()}"
    primary = c.node("keys-a", replication={"listen": endpoint}, security={
        "key-file": keys.file("a"), "peers": {"b": keys.of("b")}})
    primary.endpoint = endpoint
    replica = c.node("keys-b", follows=primary, security={
        "key-file": keys.file("b"), "primary-key": keys.of("a")})
    primary.sql("app.db", "create table t(x)")
    c.check_identical(primary, replica, "app.db")
    attack = Attack(c, primary, replica)
    hello = b"\xff" + bytes(8) + b"\x7f\x03\x00" + b"CURVE".ljust(20, b"\0") + bytes(32)
    for port, kind in ((attack.port, b"SUB"), (attack.port + 1, b"DEALER")):
        for mechanism in (b"NULL", b"PLAIN"):
            greeting = b"\xff" + bytes(8) + b"\x7f\x03\x00" + mechanism.ljust(20, b"\0") + bytes(32)
            attack.once(f"{kind}: {mechanism}", port, kind, greeting + multi_part(50000), False)
        attack.once(f"{kind}: no HELLO", port, kind, hello + multi_part(50000), False)
        attack.once(f"{kind}: false HELLO", port, kind, hello + Peer.frame(
            b"\x05HELLO\x01\x00" + bytes(72) + os.urandom(120), FRAME["command"]), False)
        attack.once(f"{kind}: huge HELLO", port, kind, hello + huge(FRAME["command"], 1 << 40),
                    False)
        # Says nothing for ever: the handshake has its time.
        attack.once(f"{kind}: silence", port, kind, b"", False)
    status = primary.status()["replication"]
    check(status["refused_peers"] >= 10, f"strangers are counted: {status}")
    attack_with_a_key(attack, keys)
    primary.stop()
    replica.stop()


def attack_with_a_key(attack, keys):
    """A replica that has gone mad, or was taken over: it has proved its key."""
    primary = attack.primary
    before = primary.status()
    peer = KeyedPeer(attack.port + 1, keys.file("b"), keys.of("a"))
    rng = random.Random(3)

    def is_dropped():
        peer.send(rng.randbytes(rng.randrange(1, 4000)))
        now = primary.status()
        return (now["replication"]["refused_peers"] > before["replication"]["refused_peers"] and
                now["counters"]["malformed_messages"] >= before["counters"]["malformed_messages"] + 8)

    attack.run("garbage by who has a key",
               lambda: cluster.wait_for("the peer to be dropped and counted", is_dropped) and "dropped")
    peer.close()


def test(c):
    attack_open(c)
    attack_keys(c)


cluster.main(test)
