"""The ways in which bench/run.py starts a workload: plain, and under the shim with daemons."""

import json
import os
import socket
import subprocess
import sys
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "tests", "system"))
import cluster  # noqa: E402

CATCH_UP_SECONDS = 300

# name: replicas, or None for plain SQLite
REPLICAS = {"plain": None, "shim": 0, "replica": 1, "replicas3": 3, "archive": 0}
TITLES = {"plain": "plain SQLite", "shim": "shim + daemon", "replica": "one replica",
          "replicas3": "three replicas", "archive": "archive to a directory"}


def free_port_pair():
    """A port and the next one, both free a moment ago."""
    while True:
        with socket.socket() as first, socket.socket() as second:
            first.bind(("127.0.0.1", 0))
            port = first.getsockname()[1]
            try:
                second.bind(("127.0.0.1", port + 1))
            except (OSError, OverflowError):
                continue
            return port


def control(node, request):
    """A request of docs/IPC.md to a node's daemon; its answer."""
    text = json.dumps(request).encode()
    assert len(text) < 256
    with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as connection:
        connection.settimeout(CATCH_UP_SECONDS)
        connection.connect(node.path(".litefs/socket"))
        connection.send(b"\x93\x14\x01\xd9" + bytes([len(text)]) + text)
        reply = connection.recv(65536)
    # [103, id 1, errno, text]
    if reply[:4] != b"\x94\x67\x01\x00":
        return None
    return json.loads(reply[reply.index(b"{"):])


def process_numbers(pid):
    """CPU seconds and written bytes so far, memory now, of a process."""
    nanoseconds = 0
    for task in os.listdir(f"/proc/{pid}/task"):  # the daemons' threads live as long as they do
        with open(f"/proc/{pid}/task/{task}/schedstat", encoding="ascii") as file:
            nanoseconds += int(file.read().split()[0])
    with open(f"/proc/{pid}/io", encoding="ascii") as file:
        io = dict(line.split(": ") for line in file.read().splitlines())
    with open(f"/proc/{pid}/status", encoding="ascii") as file:
        rss = next(int(line.split()[1]) for line in file if line.startswith("VmRSS:"))
    return {"cpu_s": nanoseconds / 1e9,
            "wrote_bytes": int(io["wchar"]), "disk_bytes": int(io["write_bytes"]), "rss_kib": rss}


class Setup:
    """Plain SQLite, or a primary and its replicas."""

    def __init__(self, nodes, name, primary_config=None, replicas=None):
        self.cluster = nodes
        self.name = name
        self.replicas = []
        self.primary = None
        count = REPLICAS.get(name, replicas)
        if count is None:
            self.dir = os.path.join(nodes.scratch, name)
            os.mkdir(self.dir)
            return
        config = dict(primary_config or {})
        if name == "archive":
            config["archive"] = [{"url": os.path.join(nodes.scratch, f"{name}.archive")}]
        self.primary = nodes.node(f"{name}-p", start=False)
        self.primary.endpoint = f"tcp://127.0.0.1:{free_port_pair()}" if count else ""
        self.primary.configure(None, **config)
        self.primary.start()
        self.dir = self.primary.dir
        for i in range(count):
            self.replicas.append(nodes.node(f"{name}-r{i}", follows=self.primary))

    def path(self, database):
        return os.path.join(self.dir, database)

    def daemons(self):
        return [self.primary, *self.replicas] if self.primary else []

    def position(self, node, database):
        answer = control(node, {"request": "pos", "database": database})
        return answer and (answer["txid"], answer["checksum"])

    def catch_up(self, database):
        """Returns when every daemon has all that was committed; how long that took."""
        if not self.primary:
            return 0.0
        start = time.monotonic()
        control(self.primary, {"request": "sync"})
        wanted = self.position(self.primary, database)
        for node in self.replicas:
            while self.position(node, database) != wanted:
                cluster.check(time.monotonic() < start + CATCH_UP_SECONDS,
                              f"{self.name}: {database} does not reach {node.name}")
                time.sleep(0.002)
        return time.monotonic() - start

    def popen(self, argv):
        return self.cluster.spawn(argv, shim=self.primary is not None, text=True,
                                  stdout=subprocess.PIPE, stderr=subprocess.PIPE)

    def run(self, argv, timeout=1200):
        """Runs a workload; its JSON with the daemons' part."""
        before = [process_numbers(node.process.pid) for node in self.daemons()]
        out, _ = self.cluster.run(argv, shim=self.primary is not None, timeout=timeout)
        result = json.loads(out) if out.strip() else {}
        if self.primary:
            result["catch_up_s"] = self.catch_up(os.path.basename(argv[2]))
            after = [process_numbers(node.process.pid) for node in self.daemons()]
            change = [{k: a[k] - (0 if k == "rss_kib" else b[k]) for k in a}
                      for a, b in zip(after, before)]
            result["daemon"] = change[0]
            result["replicas"] = change[1:]
        return result
