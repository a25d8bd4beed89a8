"""Real nodes for the end-to-end tests: daemons, databases and clients as processes.

    import cluster
    def test(c):
        primary = c.node("a")
        replica = c.node("b", follows=primary)
        primary.sql("app.db", "create table t(x)")
        c.check_identical(primary, replica, "app.db")
    cluster.main(test)

A test is run as  TEST BUILD_DIR [ARGUMENT…].  Its scratch directory goes when it passes, and stays
when it fails.  Every process that was started is killed at the end.  Exit status: 0 passed, 1
failed, 77 skipped.
"""

import glob
import hashlib
import json
import os
import select
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import traceback

SKIPPED = 77
DEADLINE = 60  # seconds, for anything that should take far less


class Failure(Exception):
    """The system under test did something wrong."""


class Skip(Exception):
    """This machine cannot run the test."""


def check(condition, message):
    if not condition:
        raise Failure(message)


def check_equal(got, wanted, what):
    check(got == wanted, f"{what}: got {got!r}, wanted {wanted!r}")


def wait_for(what, condition, seconds=DEADLINE):
    """Returns the first true value of condition(); fails after the deadline."""
    end = time.monotonic() + seconds
    pause = 0.01
    while True:
        value = condition()
        if value:
            return value
        check(time.monotonic() < end, f"{what}: not within {seconds} s")
        time.sleep(pause)
        pause = min(pause * 1.5, 0.25)


def sha256(path):
    digest = hashlib.sha256()
    with open(path, "rb") as file:
        while data := file.read(1 << 20):
            digest.update(data)
    return digest.hexdigest()


def clean_environment(**extra):
    """Ours, without anything that would steer litefs."""
    kept = {k: v for k, v in os.environ.items() if not k.startswith("LITEFS_") and k != "LD_PRELOAD"}
    return kept | extra


class Cluster:
    def __init__(self, build_dir):
        build_dir = os.path.abspath(build_dir)
        self.litefs = os.path.join(build_dir, "litefs")
        self.shim = os.path.join(build_dir, "liblitefs.so")
        self.source = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
        # Short: socket paths have at most 107 bytes.
        self.scratch = tempfile.mkdtemp(prefix="lfs.")
        self.processes = []
        self.nodes = []

    def node(self, name, **options):
        node = Node(self, name, **options)
        self.nodes.append(node)
        return node

    def spawn(self, argv, shim=False, env=None, **options):
        """A process that dies with the test at the latest."""
        environment = clean_environment(**(env or {}))
        if shim:
            environment["LD_PRELOAD"] = self.shim
        process = subprocess.Popen(argv, env=environment, **options)
        self.processes.append(process)
        return process

    def run(self, argv, shim=False, env=None, input=None, status=0, timeout=120, **options):
        """Runs to the end.  Returns (stdout, stderr) or, with status=None, (status, out, err)."""
        process = self.spawn(argv, shim, env, text=True, stdin=subprocess.PIPE,
                             stdout=subprocess.PIPE, stderr=subprocess.PIPE, **options)
        shown = " ".join(argv)[:500]
        try:
            out, err = process.communicate(input or "", timeout=timeout)
        except subprocess.TimeoutExpired:
            process.kill()
            out, err = process.communicate()
            raise Failure(f"{shown}: still running after {timeout} s\n{out}{err}") from None
        self.processes.remove(process)
        if status is None:
            return process.returncode, out, err
        check(process.returncode == status,
              f"{shown}: exit status {process.returncode}, wanted {status}\n{out}{err}")
        return out, err

    def command(self, *argv, **options):
        """litefs …"""
        return self.run([self.litefs, *argv], **options)

    def sqlite(self, path, sql, shim=False, **options):
        """The stock shell; stops at the first error.  Returns what it printed."""
        return self.run(["sqlite3", "-batch", "-bail", "-cmd", ".timeout 20000", path], shim=shim,
                        input=sql + "\n", **options)[0].strip()

    def build_library(self, name, source, *flags):
        """Compiles a source of the tests into BUILD_DIR/tests/NAME.so, if it is newer."""
        return self._compile(f"{name}.so", source, "-fPIC", "-shared", *flags)

    def build_program(self, name, source, *flags):
        return self._compile(name, source, *flags)

    def _compile(self, name, source, *flags):
        out = os.path.join(os.path.dirname(self.litefs), "tests", name)
        source = os.path.join(self.source, source)
        if not os.path.exists(out) or os.path.getmtime(out) < os.path.getmtime(source):
            os.makedirs(os.path.dirname(out), exist_ok=True)
            self.run([*os.environ.get("CXX", "g++").split(), "-std=c++20", "-O1", "-Wall", "-Wextra", "-Werror",
                      "-pthread", "-o", f"{out}.{os.getpid()}", source, *flags])
            os.replace(f"{out}.{os.getpid()}", out)  # tests run beside each other
        return out

    def committed_sha256(self, path):
        """Of the database as SQLite itself sees it: a copy, recovered and checkpointed by it."""
        copy = os.path.join(self.scratch, f"committed-{os.path.basename(path)}")
        for suffix in ("", "-journal", "-wal"):
            if os.path.exists(path + suffix):
                shutil.copyfile(path + suffix, copy + suffix)
        if os.path.exists(copy + "-wal") or os.path.exists(copy + "-journal"):
            self.sqlite(copy, "SELECT count(*) FROM sqlite_schema; PRAGMA wal_checkpoint(TRUNCATE);")
        with open(copy, "r+b") as file:
            header = file.read(100)
            # The header's size counts if it is as new as the change counter (SQLite file format,
            # 1.3.7); what lies beyond is not of the database.
            page_size = int.from_bytes(header[16:18], "big")
            pages = int.from_bytes(header[28:32], "big")
            if header[24:28] == header[92:96] and pages != 0:
                file.truncate(pages * (65536 if page_size == 1 else page_size))
        digest = sha256(copy)
        for suffix in ("", "-journal", "-wal", "-shm"):
            if os.path.exists(copy + suffix):
                os.unlink(copy + suffix)
        return digest

    def replay(self, node, database):
        """The whole chain applied to an empty file; its sha256."""
        copy = os.path.join(self.scratch, f"replay-{database}")
        if os.path.exists(copy):
            os.unlink(copy)
        self.command("ltx", "apply", "--db", copy, *node.ltx_files(database))
        digest = sha256(copy)
        os.unlink(copy)
        return digest

    def wait_equal(self, a, b, database, seconds=DEADLINE):
        """b has reached what was committed on a before this call.  Returns the position."""
        a.sync()
        wanted = a.position(database)
        check(wanted is not None, f"{a.name} does not know {database}")
        try:
            wait_for("", lambda: b.position(database) == wanted, seconds)
        except Failure:
            raise Failure(f"{database}: {a.name} is at {wanted}, {b.name} still at "
                          f"{b.position(database)} after {seconds} s") from None
        return wanted

    def check_identical(self, a, b, database, seconds=DEADLINE):
        """b holds a's bytes, both are sound, and the position's checksum is that of the bytes."""
        position = self.wait_equal(a, b, database, seconds)
        sums = []
        for node in (a, b):
            copy = os.path.join(self.scratch, f"{node.name}-{database}.export")
            node.export(database, copy)
            sums.append(sha256(copy))
            checksum = self.command("ltx", "checksum", copy)[0].strip()
            check_equal(checksum, position.split("/")[1], f"{node.name}/{database}: checksum")
            for path in (copy, node.path(database)):
                check_equal(self.sqlite(path, "pragma integrity_check"), "ok",
                            f"{path}: integrity_check")
        check_equal(sums[1], sums[0], f"{database}: sha256 on {b.name} and {a.name}")
        return sums[0]

    def remove_scratch(self):
        """A daemon's own child (a settling reader) may outlive it by a moment, and remove a file of its own."""
        for last in (False, False, True):
            try:
                return shutil.rmtree(self.scratch)
            except OSError:
                if last:
                    raise

    def close(self, passed):
        for process in self.processes:
            if process.poll() is None:
                process.kill()
        for process in self.processes:
            process.wait()
        if passed:
            self.remove_scratch()
            return
        for node in self.nodes:
            print(f"--- the end of {node.name}'s log")
            print(node.log_tail())
        print(f"--- {self.scratch} is kept")


class Node:
    """One daemon and its directory.  follows: the primary of a replica."""

    def __init__(self, cluster, name, follows=None, start=True, dir=None, **config):
        self.cluster = cluster
        self.name = name
        self.dir = dir or os.path.join(cluster.scratch, name)
        self.endpoint = f"ipc://{cluster.scratch}/{name}.s"
        self.config = os.path.join(cluster.scratch, name + ".yml")
        self.log = os.path.join(cluster.scratch, name + ".log")
        self.process = None
        os.makedirs(self.dir, exist_ok=True)
        self.configure(follows, **config)
        if start:
            self.start()

    def configure(self, follows, **config):
        replication = {"primary": follows.endpoint} if follows else {"listen": self.endpoint}
        settings = {
            "dir": self.dir,
            "lease": {"type": "static", "primary": follows is None},
            "replication": replication | config.pop("replication", {}),
        }
        with open(self.config, "w", encoding="utf-8") as file:
            json.dump(settings | config, file, indent=1)  # JSON is YAML

    def start(self, **options):
        ready, ready_writer = os.pipe()
        log = open(self.log, "ab")
        self.process = self.cluster.spawn(
            [self.cluster.litefs, "daemon", "--config", self.config, "--ready-fd",
             str(ready_writer)], pass_fds=[ready_writer], stdin=subprocess.DEVNULL, stdout=log,
            stderr=log, **options)
        log.close()
        os.close(ready_writer)
        try:
            readable = select.select([ready], [], [], DEADLINE)[0]
            check(readable, f"{self.name}: the daemon is not ready after {DEADLINE} s")
            check(os.read(ready, 1), f"{self.name}: the daemon did not start")
        finally:
            os.close(ready)

    def stop(self):
        """A clean end: SIGTERM, exit status 0."""
        self.process.terminate()
        try:
            self.process.wait(DEADLINE)
        except subprocess.TimeoutExpired:
            raise Failure(f"{self.name}: runs on after SIGTERM") from None
        check_equal(self.process.returncode, 0, f"{self.name}: exit status after SIGTERM")
        self.cluster.processes.remove(self.process)
        self.process = None

    def kill(self):
        self.process.kill()
        self.process.wait()
        self.cluster.processes.remove(self.process)
        self.process = None

    def path(self, database):
        return os.path.join(self.dir, database)

    def sql(self, database, sql):
        """The stock shell under the shim."""
        return self.cluster.sqlite(self.path(database), sql, shim=True)

    def position(self, database):
        """"txid/checksum", or None if the node has no such database."""
        status, out, err = self.cluster.command("pos", "--config", self.config, database,
                                                status=None)
        if status == 1 and "has no database" in err:
            return None
        check_equal(status, 0, f"litefs pos {database} on {self.name}: {err}")
        return out.strip()

    def export(self, database, file):
        self.cluster.command("export", "--config", self.config, "--force", database, file)

    def status(self):
        return json.loads(self.cluster.command("status", "--config", self.config, "--json")[0])

    def database_status(self, database):
        return next((d for d in self.status()["databases"] if d["name"] == database), None)

    def sync(self):
        """All that has been committed is captured (docs/IPC.md, control requests)."""
        request = b'{"request":"sync"}'
        with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as connection:
            connection.settimeout(DEADLINE)
            connection.connect(self.path(".litefs/socket"))
            connection.send(b"\x93\x14\x01" + bytes([0xA0 | len(request)]) + request)
            reply = connection.recv(65536)
        # [103, id 1, errno 0, …]
        check(reply[:4] == b"\x94\x67\x01\x00", f"{self.name}: sync was answered {reply!r}")

    def ltx_files(self, database):
        return sorted(glob.glob(self.path(f".litefs/dbs/{database}/ltx/*.ltx")))

    def rss_kib(self):
        with open(f"/proc/{self.process.pid}/status", encoding="ascii") as file:
            return next(int(line.split()[1]) for line in file if line.startswith("VmRSS:"))

    def log_tail(self, lines=25):
        if not os.path.exists(self.log):
            return "(none)"
        with open(self.log, encoding="utf-8", errors="replace") as file:
            return "".join(file.readlines()[-lines:]).rstrip()


def main(test):
    if len(sys.argv) < 2:
        sys.exit(f"usage: {sys.argv[0]} BUILD_DIR [ARGUMENT…]")
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    cluster = Cluster(sys.argv[1])
    status = 1
    try:
        test(cluster, *sys.argv[2:])
        status = 0
    except Failure as failure:
        print(f"FAILED: {failure}")
    except Skip as skip:
        print(f"SKIPPED: {skip}")
        status = SKIPPED
    except Exception:
        traceback.print_exc(file=sys.stdout)
    finally:
        cluster.close(passed=status != 1)
    sys.exit(status)
