"""A Consul of its own for a test (consul.sh).

    with consul.Server(c) as server:
        server.url
"""

import os
import subprocess
import urllib.error
import urllib.request

import cluster
from servers.etcd import free_port

SCRIPT = os.path.join(os.path.dirname(os.path.abspath(__file__)), "consul.sh")


class Server:
    def __init__(self, c):
        if subprocess.run([SCRIPT, "--fetch"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
                          check=False).returncode != 0:
            raise cluster.Skip("there is no Consul, and Debian's cannot be fetched")
        self.cluster = c
        self.ports = [free_port() for _ in range(3)]
        self.url = f"http://127.0.0.1:{self.ports[0]}"
        self.process = None

    def __enter__(self):
        log = open(os.path.join(self.cluster.scratch, "consul.log"), "ab")
        self.process = self.cluster.spawn([SCRIPT, os.path.join(self.cluster.scratch, "consul"), *map(str, self.ports)],
                                          stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        log.close()
        cluster.wait_for("Consul makes sessions", self.makes_sessions)
        return self

    def __exit__(self, *_):
        self.process.kill()

    def makes_sessions(self):
        """A leader alone is too early."""
        request = urllib.request.Request(self.url + "/v1/session/create", data=b'{"TTL":"10s"}', method="PUT")
        try:
            with urllib.request.urlopen(request, timeout=5) as answer:
                return answer.status == 200
        except (urllib.error.URLError, OSError):
            return False
