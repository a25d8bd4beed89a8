#!/usr/bin/env python3
"""A shim of another version is refused with a reason, on the wire and in the daemon's log, and counted; the apps of
the right version are served on.  (The other way round: tests/preload/run.sh, "a daemon of another version".)"""

import os
import socket

import cluster

OTHER = 99


def text(value):
    data = value.encode()
    return (bytes([0xA0 | len(data)]) if len(data) < 32 else b"\xd9" + bytes([len(data)])) + data


def hello(version):
    """docs/IPC.md: [1, version, pid, name, device, inode, program, flags]."""
    return b"\x98\x01" + bytes([version, 1]) + text("app.db") + b"\x00\x00" + text("old-app") + b"\x00"


def greet(node, version):
    with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as connection:
        connection.settimeout(cluster.DEADLINE)
        connection.connect(node.path(".litefs/socket"))
        connection.send(hello(version))
        answer, descriptors, _, _ = socket.recv_fds(connection, 65536, 4)
        for fd in descriptors:
            os.close(fd)
        end = connection.recv(65536) if version == OTHER else None
        return answer, end, len(descriptors)


def test(c):
    node = c.node("primary")
    node.sql("app.db", "CREATE TABLE t(x);")
    before = node.status()["counters"]
    answer, end, descriptors = greet(node, OTHER)
    for word in (b"protocol 99", b"use both from one release", b"old-app"):
        cluster.check(word in answer, f"the refusal does not say {word!r}: {answer!r}")
    cluster.check_equal((end, descriptors), (b"", 0), "after the refusal: the end, and no descriptor")
    log = open(node.log, encoding="utf-8").read()
    cluster.check("protocol 99" in log and "old-app" in log, f"the daemon's log: {log}")
    counters = node.status()["counters"]
    cluster.check_equal(counters["refused_sessions"], before["refused_sessions"] + 1, "refused_sessions")
    version = int(next(line for line in open(os.path.join(c.source, "ipc/protocol.h"), encoding="utf-8")
                       if "kProtocolVersion =" in line).rstrip("; \n").split()[-1])
    answer, _, descriptors = greet(node, version)
    cluster.check_equal(descriptors, 1, f"descriptors of a welcome: {answer!r}")
    node.sql("app.db", "INSERT INTO t VALUES (1);")
    counters = node.status()["counters"]
    cluster.check_equal(counters["transactions"], 2, f"transactions in {counters}")
    cluster.check(counters["sessions"] >= before["sessions"] + 2, f"sessions: {before}, {counters}")
    cluster.check(counters["pages"] >= 3 and counters["ltx_files"] == 2 and counters["ltx_bytes"] > 200,
                  f"counters: {counters}")


cluster.main(test)
