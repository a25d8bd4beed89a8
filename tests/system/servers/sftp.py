"""OpenSSH's server on loopback, with host and user keys of its own, as another user than root.  Gives nothing but
SFTP.

    with sftp.Server() as server:
        server.url("dir")         # sftp://USER@127.0.0.1:PORT/…/dir?key-file=…&known-hosts-file=…
        server.stop(); server.start()

    with sftp.CuttingProxy(server, seed=1) as proxy:
        server.url("dir", proxy.port)    # resets each connection after some bytes
        proxy.cuts
"""
import os
import pwd
import random
import shutil
import signal
import socket
import struct
import subprocess
import tempfile
import threading
import time

SSHD = "/usr/sbin/sshd"
USER = "www-data"  # if the tests run as root; systemd has "nobody" locked
CONFIG = """Port {port}
ListenAddress 127.0.0.1
HostKey {dir}/host
AuthorizedKeysFile {dir}/authorized_keys
PidFile none
UsePAM no
StrictModes no
PasswordAuthentication no
KbdInteractiveAuthentication no
MaxStartups 200
Subsystem sftp internal-sftp
ForceCommand internal-sftp
"""


def missing_program():
    return next((p for p in (SSHD, "ssh-keygen") if not shutil.which(p)), None)


def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


class Server:
    def __init__(self):
        self.dir = tempfile.mkdtemp(prefix="litefs-sftp-")
        self.account = pwd.getpwnam(USER) if os.getuid() == 0 else pwd.getpwuid(os.getuid())
        self.port = free_port()
        self.process = None
        for name in ("host", "key", "stranger", "other-host"):
            subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", f"{self.dir}/{name}"], check=True)
        shutil.copyfile(f"{self.dir}/key.pub", f"{self.dir}/authorized_keys")
        self.known_hosts = f"{self.dir}/known_hosts"
        self.know(self.port)
        with open(f"{self.dir}/config", "w", encoding="ascii") as file:
            file.write(CONFIG.format(port=self.port, dir=self.dir))
        self.data = f"{self.dir}/data"
        os.mkdir(self.data)
        if os.getuid() == 0:
            for path in (self.dir, self.data, f"{self.dir}/host", f"{self.dir}/authorized_keys"):
                os.chown(path, self.account.pw_uid, self.account.pw_gid)
        self.start()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.stop()
        shutil.rmtree(self.dir, ignore_errors=True)

    def know(self, port, key="host", file=None):
        """A line of known_hosts."""
        with open(f"{self.dir}/{key}.pub", encoding="ascii") as public:
            kind, text = public.read().split()[:2]
        with open(file or self.known_hosts, "a", encoding="ascii") as out:
            out.write(f"[127.0.0.1]:{port} {kind} {text}\n")

    def url(self, directory, port=None, key="key", known_hosts=None):
        return (f"sftp://{self.account.pw_name}@127.0.0.1:{port or self.port}{self.data}/{directory}"
                f"?key-file={self.dir}/{key}&known-hosts-file={known_hosts or self.known_hosts}")

    def start(self):
        as_user = {"user": self.account.pw_uid, "group": self.account.pw_gid, "extra_groups": []}
        log = open(f"{self.dir}/log", "ab")
        self.process = subprocess.Popen([SSHD, "-D", "-e", "-f", f"{self.dir}/config"], stdin=subprocess.DEVNULL,
                                        stdout=log, stderr=log, start_new_session=True,
                                        **(as_user if os.getuid() == 0 else {}))
        log.close()
        deadline = time.monotonic() + 30
        while True:
            try:
                socket.create_connection(("127.0.0.1", self.port), timeout=5).close()
                return
            except OSError:
                if self.process.poll() is not None or time.monotonic() > deadline:
                    raise
                time.sleep(0.02)

    def stop(self):
        """With all its connections, at once; each is a child and a grandchild."""
        pids, found = [], [self.process.pid]
        while found:
            pids += found
            children = subprocess.run(["pgrep", "-P", ",".join(map(str, found))], capture_output=True, text=True,
                                      check=False)
            found = [int(pid) for pid in children.stdout.split()]
        for pid in pids:
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                pass
        self.process.wait()


class CuttingProxy:
    """Each connection is reset after so many bytes, at random, exponentially distributed about mean_bytes."""

    def __init__(self, server, mean_bytes, seed=None):
        self.server, self.mean_bytes, self.rng = server, mean_bytes, random.Random(seed)
        self.cuts = 0
        self.mu = threading.Lock()
        self.listener = socket.create_server(("127.0.0.1", 0), backlog=64)
        self.port = self.listener.getsockname()[1]
        server.know(self.port)
        threading.Thread(target=self._accept, daemon=True).start()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.listener.shutdown(socket.SHUT_RDWR)
        self.listener.close()

    def _accept(self):
        while True:
            try:
                connection, _ = self.listener.accept()
                upstream = socket.create_connection(("127.0.0.1", self.server.port))
            except OSError:
                return
            budget = [self.rng.expovariate(1 / self.mean_bytes)]
            for a, b in ((connection, upstream), (upstream, connection)):
                threading.Thread(target=self._copy, args=(a, b, budget), daemon=True).start()

    def _copy(self, source, target, budget):
        try:
            while data := source.recv(1 << 16):
                with self.mu:
                    had = budget[0]
                    budget[0] -= len(data)
                    cut = budget[0] < 0
                    self.cuts += cut and had >= 0
                if cut:
                    target.sendall(data[:max(0, int(had))])
                    for end in (source, target):
                        end.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                        end.shutdown(socket.SHUT_RDWR)
                    break
                target.sendall(data)
        except OSError:
            pass
        for end in (source, target):
            end.close()
