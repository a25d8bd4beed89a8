#!/usr/bin/env python3
"""netns_test.py BUILD_DIR [SEED]: nodes in network namespaces of their own, on one bridge.

Delay, loss and partitions, by netem where the kernel has it, else by the links themselves: a link that is down
loses everything.  Writers never wait for it.  Afterwards every replica holds the primary's bytes; its positions
never went back, and its chain has no gap.  Needs root."""

import os
import random
import subprocess
import threading
import time

import cluster

TABLE = "CREATE TABLE t(x INTEGER PRIMARY KEY, y);"
DATABASES = {"wal.db": "wal", "delete.db": "delete"}


class Net:
    """A bridge in a namespace of its own, so that nothing of the machine's network is touched."""

    def __init__(self, names):
        self.prefix = f"lfs{os.getpid()}"
        self.hub = f"{self.prefix}hub"
        self.names = {name: f"{self.prefix}{name}" for name in names}
        self.made = []
        try:
            self.make(self.hub)
            self.ip(self.hub, "link add bridge type bridge")
            self.ip(self.hub, "link set bridge up")
            for i, (name, space) in enumerate(self.names.items()):
                self.make(space)
                self.ip(self.hub, f"link add to-{name} type veth peer name eth0 netns {space}")
                self.ip(self.hub, f"link set to-{name} master bridge up")
                self.ip(space, f"addr add 10.99.0.{i + 1}/24 dev eth0")
                self.ip(space, "link set lo up")
                self.ip(space, "link set eth0 up")
        except (OSError, subprocess.CalledProcessError) as error:
            self.close()
            raise cluster.Skip(f"no network namespaces: {getattr(error, 'stderr', error)}") from None

    def make(self, space):
        subprocess.run(["ip", "netns", "add", space], check=True, capture_output=True, text=True)
        self.made.append(space)

    def ip(self, space, command):
        subprocess.run(["ip", "-n", space, *command.split()], check=True, capture_output=True, text=True)

    def netem(self, name, effect):
        """Of what the node sends and gets; False where the kernel has no netem."""
        for space, link in ((self.hub, f"to-{name}"), (self.names[name], "eth0")):
            result = subprocess.run(["tc", "-n", space, "qdisc", "replace", "dev", link, "root", "netem", *effect.split()],
                                    check=False, capture_output=True, text=True)
            if result.returncode != 0:
                return False
        return True

    def part(self, name):
        self.ip(self.hub, f"link set to-{name} down")

    def heal(self, name):
        self.ip(self.hub, f"link set to-{name} up")

    def close(self):
        for space in self.made:
            subprocess.run(["ip", "netns", "del", space], check=False, capture_output=True)


def node_in(c, net, name, follows=None):
    node = c.node(name, start=False)
    node.endpoint = f"tcp://10.99.0.{list(net.names).index(name) + 1}:7420"
    node.configure(follows, insecure=True)
    plain = c.litefs
    wrapper = os.path.join(c.scratch, f"litefs-{name}")
    with open(wrapper, "w", encoding="utf-8") as file:
        file.write(f'#!/bin/sh\nexec ip netns exec {net.names[name]} "{plain}" "$@"\n')
    os.chmod(wrapper, 0o755)
    try:
        c.litefs = wrapper
        node.start()
    finally:
        c.litefs = plain
    return node


class Watch:
    """Positions of the replicas, which may only grow."""

    def __init__(self, replicas):
        self.replicas = replicas
        self.seen = {}
        self.wrong = []
        self.looks = 0
        self.stop = threading.Event()
        self.thread = threading.Thread(target=self.run)
        self.thread.start()

    def run(self):
        while not self.stop.wait(0.1):
            for replica in self.replicas:
                for database in replica.status()["databases"]:
                    key = (replica.name, database["name"])
                    txid = int(database["txid"], 16) if isinstance(database["txid"], str) else database["txid"]
                    if txid < self.seen.get(key, 0):
                        self.wrong.append(f"{key} went from {self.seen[key]} back to {txid}")
                    self.seen[key] = txid
                    self.looks += 1

    def end(self):
        self.stop.set()
        self.thread.join()
        cluster.check(not self.wrong, f"positions: {self.wrong}")
        cluster.check(self.looks > 10, "next to no look at the positions")


def check_no_gap(node, database):
    names = [os.path.basename(path)[:-4].split("-") for path in node.ltx_files(database)]
    for (_, last), (first, _) in zip(names, names[1:]):
        cluster.check_equal(int(first, 16), int(last, 16) + 1, f"{node.name}/{database}: the file after {last}")


def write(primary, rng, seconds):
    """Returns the longest that a command took."""
    longest = 0
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        for database in DATABASES:
            start = time.monotonic()
            primary.sql(database, f"INSERT INTO t(y) VALUES (randomblob({rng.randrange(60000)}));")
            longest = max(longest, time.monotonic() - start)
    return longest


def disturb(c, net, primary, replicas, rng):
    a, b = replicas
    if net.netem("a", "delay 40ms 15ms reorder 25%"):
        write(primary, rng, 1.5)
        for database in DATABASES:
            c.wait_equal(primary, a, database)
        net.netem("b", "loss 10%")
        write(primary, rng, 1.5)
        print("delay, reordering and loss by netem")
    else:
        print("the kernel has no netem: partitions only")
    for name, replica in (("a", a), ("b", b), ("primary", None)):
        net.part(name)
        before = [r.position(d) for r in ([replica] if replica else replicas) for d in DATABASES]
        longest = write(primary, rng, 1.5)
        after = [r.position(d) for r in ([replica] if replica else replicas) for d in DATABASES]
        cluster.check_equal(after, before, f"positions while {name} is cut off")
        net.heal(name)
        write(primary, rng, 0.5)
        print(f"{name} was cut off; the longest write took {longest:.2f} s")


def run(c, net, seed):
    rng = random.Random(seed)
    primary = node_in(c, net, "primary")
    replicas = [node_in(c, net, name, primary) for name in ("a", "b")]
    for database, mode in DATABASES.items():
        primary.sql(database, f"PRAGMA journal_mode = {mode}; {TABLE}")
        for replica in replicas:
            c.wait_equal(primary, replica, database)
    watch = Watch(replicas)
    try:
        disturb(c, net, primary, replicas, rng)
        for replica in replicas:
            for database in DATABASES:
                c.check_identical(primary, replica, database)
                check_no_gap(replica, database)
    finally:
        watch.stop.set()
    watch.end()
    print(f"healed: all identical; {watch.looks} looks at positions that only grew")


def test(c, seed=None):
    seed = seed or str(random.SystemRandom().randrange(1 << 32))
    print(f"seed {seed} (again: netns_test.py BUILD_DIR {seed})", flush=True)
    if os.geteuid() != 0:
        raise cluster.Skip("needs root")
    net = Net(["primary", "a", "b"])
    try:
        run(c, net, seed)
    finally:
        net.close()


cluster.main(test)
