"""The nodes of a chaos run, their programs, their lease server and the network between them (faults.py: what
is done to them)."""

import collections
import json
import mmap
import os
import sqlite3
import struct
import subprocess
import time

import cluster
from cluster import check, wait_for

from chaos import client, network
from servers import etcd, gateway

TTL = 3  # seconds
CLIENT = os.path.join(os.path.dirname(os.path.abspath(__file__)), "client.py")


class Etcd(etcd.Server):
    type = "etcd"

    @staticmethod
    def url_at(port):
        return f"http://127.0.0.1:{port}"


class Bucket:
    """A bucket of Ceph; what is killed and stopped is the gateway before it."""

    type = "s3"

    def __init__(self, _):
        if missing := gateway.missing_program():
            raise cluster.Skip(f"{missing} is not installed")

    def __enter__(self):
        self.gateway = gateway.Gateway()
        os.environ.update(self.gateway.environment)
        self.ports = [self.gateway.port]
        return self

    def __exit__(self, *_):
        self.gateway.stop()

    @staticmethod
    def url_at(port):
        return f"s3://{gateway.BUCKET}?endpoint=http://127.0.0.1:{port}"

    @property
    def process(self):
        return self.gateway.processes[-1][1]

    def kill(self):
        self.gateway.stop_gateway()

    def restart(self):
        self.gateway.start_gateway()


LEASES = {"etcd": Etcd, "s3": Bucket}


class Clock:
    """The wall clock of one daemon (tests/fault/wall_clock.cc)."""

    def __init__(self, path):
        self.path = path
        with open(path, "wb") as file:
            file.write(bytes(mmap.PAGESIZE))
        with open(path, "r+b") as file:
            self.page = mmap.mmap(file.fileno(), mmap.PAGESIZE)

    def set(self, seconds):
        self.page[:8] = struct.pack("<q", int(seconds * 1e9))

    def looks(self):
        return struct.unpack("<q", self.page[8:16])[0]


class Member:
    """A node, the relay before it, and the program that lives there."""

    def __init__(self, world, name):
        self.world, self.name = world, name
        self.node_id = name * 16
        self.clock = Clock(os.path.join(world.c.scratch, f"{name}.clock"))
        self.environment = {"LD_PRELOAD": world.wall_clock, "WALL_CLOCK_OFFSET": self.clock.path}
        self.apps_started = 0
        self.app = None
        port = network.free_ports(2)
        relayed = world.network.relay(name, port, adjacent=2)
        lease_port = world.network.relay("lease", world.lease.ports[0], source=name)
        self.node = world.c.node(
            name, start=False,
            lease={"type": world.lease.type, "url": world.lease.url_at(lease_port), "key": "test/chaos",
                   "ttl": f"{TTL}s"},
            replication={"listen": f"tcp://127.0.0.1:{port}", "advertise": f"tcp://127.0.0.1:{relayed}"},
            **{"node-id": self.node_id, "write-timeout": "1s"} | world.options)
        world.network.pids[name] = lambda: self.node.process and self.node.process.pid

    def start_daemon(self):
        self.node.start(env=self.environment)

    def start_app(self):
        self.apps_started += 1
        session = f"{self.name}{self.apps_started}"
        self.app = self.world.start_client(session, {self.name: self.node.dir})

    def reigns(self):
        """By its status page, as its apps see it."""
        try:
            with open(self.node.path(".litefs/status"), "rb") as file:
                _, _, role, _, _, deadline = struct.unpack("<IIIIQQ", file.read(32))
        except (OSError, struct.error):
            return False
        return role == client.PRIMARY and deadline > time.clock_gettime_ns(time.CLOCK_BOOTTIME)

    def check_alive(self):
        process = self.node.process
        check(process is None or process.poll() is None or self.name in self.world.busy,
              f"the daemon of {self.name} has ended by itself, with status {process and process.returncode}")
        check(self.app is None or self.app.poll() is None or self.name in self.world.busy,
              f"the program on {self.name} has ended by itself, with status {self.app and self.app.returncode}")


class World:
    def __init__(self, c, seed, names, lease, options):
        self.c, self.seed, self.options = c, seed, options
        self.history = os.path.join(c.scratch, "history")
        os.mkdir(self.history)
        self.wall_clock = c.build_library("wall_clock", "tests/fault/wall_clock.cc")
        self.network = network.Network()
        self.lease = LEASES[lease](c)
        self.busy = set()  # what a fault has in its hands
        self.lease.__enter__()
        self.members = {name: Member(self, name) for name in names}
        self.traveller = None

    def close(self):
        self.network.close()
        self.lease.__exit__()

    # ---- Its life -------------------------------------------------------------------------------

    def start(self):
        for member in self.members.values():
            member.start_daemon()
        first = self.wait_for_primary()
        for db in client.DATABASES:
            first.node.sql(db, f"pragma journal_mode = {db.split('.')[0]}; {client.SCHEMA}")
        for member in self.members.values():
            if member is not first:
                for db in client.DATABASES:
                    self.c.wait_equal(first.node, member.node, db)
        for member in self.members.values():
            member.start_app()
        self.traveller = self.start_client("t1", {m.name: m.node.dir for m in self.members.values()})

    def start_client(self, session, directories):
        history = os.path.join(self.history, f"{session}.jsonl")
        log = open(os.path.join(self.c.scratch, f"client-{session}.log"), "wb")
        process = self.c.spawn(["/usr/bin/python3", CLIENT, session, f"{self.seed} {session}", history,
                                *(f"{name}={path}" for name, path in directories.items())],
                               shim=True, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        log.close()
        return process

    def primary(self):
        return next((member for member in self.members.values() if member.reigns()), None)

    def wait_for_primary(self):
        return wait_for("a primary", self.primary, 60)

    def stop_clients(self):
        processes = [member.app for member in self.members.values()] + [self.traveller]
        for process in processes:
            process.terminate()
        for process in processes:
            try:
                process.wait(30)
            except subprocess.TimeoutExpired:
                raise cluster.Failure(f"a client does not end: {' '.join(process.args[:4])}") from None
            check(process.returncode == 0, f"a client ended with status {process.returncode}")

    def events(self):
        events = []
        for name in os.listdir(self.history):
            with open(os.path.join(self.history, name), encoding="utf-8") as file:
                # The last line of a client that was killed may be cut.
                events += [json.loads(line) for line in file if line.endswith("\n")]
        return events

    def acknowledged(self, since=0):
        return sum(1 for event in self.events()
                   if event["type"] == "ok" and event["tip"] == event["op"] and event["t"] > since)

    # ---- What is left at the end ----------------------------------------------------------------

    def wait_equal(self):
        """All nodes are at one position; returns {database: position}."""
        nodes = [member.node for member in self.members.values()]
        primary = self.wait_for_primary().node
        primary.sync()
        positions = {}
        for db in client.DATABASES:
            def same(db=db):
                seen = {node.position(db) for node in nodes}
                return len(seen) == 1 and seen.pop()
            try:
                positions[db] = wait_for("", same, 60)
            except cluster.Failure:
                shown = {node.name: (node.position(db), node.status()["lease"]) for node in nodes}
                raise cluster.Failure(f"{db}: the nodes do not agree: {shown}") from None
        return positions

    def final(self):
        positions = self.wait_equal()
        return {"databases": {db: self.final_of(db, position) for db, position in positions.items()}}

    def final_of(self, db, position):
        nodes, state = {}, None
        for member in self.members.values():
            copy = os.path.join(self.c.scratch, f"{member.name}-{db}.export")
            member.node.export(db, copy)
            nodes[member.name] = {"position": member.node.position(db), "sha256": cluster.sha256(copy),
                                  "integrity": self.c.sqlite(copy, "pragma integrity_check")}
            state = state or self.content(copy)
        return state | {"nodes": nodes, "branches": self.branches(db), "unconfirmed": self.unconfirmed(db)}

    def unconfirmed(self, db):
        """Commits in WAL mode that returned although no replica may have them, as the nodes' logs say (docs/CLUSTER.md):
        SQLite knows no failure there. In a rollback mode they are errors."""
        if db != "wal.db":
            return 0
        said = f"db={db} a commit is not confirmed by its replicas"
        count = 0
        for member in self.members.values():
            with open(member.node.log, encoding="utf-8", errors="replace") as file:
                count += sum(said in line for line in file)
        return count

    @staticmethod
    def content(path):
        with sqlite3.connect(path) as connection:
            if not connection.execute("select 1 from sqlite_schema where name = 'log'").fetchone():
                return {"log": [], "lists": {}, "registers": {}}  # a branch from before the schema
            log = [op for op, in connection.execute("select op from log order by version")]
            lists = collections.defaultdict(list)
            for key, value in connection.execute("select key, value from item order by id"):
                lists[str(key)].append(value)
            registers = {str(key): value for key, value in connection.execute("select key, value from register")}
        return {"log": log, "lists": dict(lists), "registers": registers}

    def branches(self, db):
        found = []
        for member in self.members.values():
            config = ["--config", member.node.config]
            listed = json.loads(self.c.command("branches", "list", *config, "--json", db)[0])["branches"]
            for i, branch in enumerate(listed):
                copy = os.path.join(self.c.scratch, f"{member.name}-{db}.branch-{i}")
                self.c.command("branches", "export", *config, db, branch["branch"], copy)
                found.append({"node": member.name, "branch": branch["branch"], "log": self.content(copy)["log"]})
        return found


