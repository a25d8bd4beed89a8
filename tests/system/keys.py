"""For the end-to-end tests that need TCP ports and node keys."""

import os
import socket


def free_port():
    """The first of two free ports in a row."""
    while True:
        with socket.socket() as a, socket.socket() as b:
            a.bind(("127.0.0.1", 0))
            port = a.getsockname()[1]
            if port >= 65534:
                continue
            try:
                b.bind(("127.0.0.1", port + 1))
            except OSError:
                continue
            return port


class Keys:
    """Key files made by litefs keygen, by name."""

    def __init__(self, c):
        self.c = c
        self.public = {}

    def file(self, name):
        path = os.path.join(self.c.scratch, f"{name}.key")
        if name not in self.public:
            self.public[name] = self.c.command("keygen", "--out", path)[0].strip()
        return path

    def of(self, name):
        self.file(name)
        return self.public[name]
