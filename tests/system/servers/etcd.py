"""An etcd of its own for a test.

    with etcd.Server(c) as server:
        server.url
"""

import os
import shutil
import signal
import socket
import subprocess
import urllib.error
import urllib.request

import cluster


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


class Server:
    def __init__(self, c):
        if shutil.which("etcd") is None:
            raise cluster.Skip("there is no etcd (apt-get install etcd-server)")
        self.cluster = c
        self.ports = [free_port(), free_port()]
        self.url = f"http://127.0.0.1:{self.ports[0]}"
        self.process = None

    def __enter__(self):
        self.restart()
        return self

    def restart(self):
        """Starts it, on what it has on its disk, and waits until it answers."""
        script = os.path.join(os.path.dirname(os.path.abspath(__file__)), "etcd.sh")
        data = os.path.join(self.cluster.scratch, "etcd")
        log = open(os.path.join(self.cluster.scratch, "etcd.log"), "ab")
        self.process = self.cluster.spawn([script, data, *map(str, self.ports)],
                                          stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        log.close()
        cluster.wait_for("etcd answers", self.healthy)

    def __exit__(self, *_):
        self.process.kill()

    def kill(self):
        self.process.kill()
        self.process.wait()

    def healthy(self):
        try:
            with urllib.request.urlopen(self.url + "/health", timeout=5) as answer:
                return b"true" in answer.read()
        except (urllib.error.URLError, OSError):
            return False

    def stop(self):
        os.kill(self.process.pid, signal.SIGSTOP)

    def go_on(self):
        os.kill(self.process.pid, signal.SIGCONT)
