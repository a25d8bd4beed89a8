"""A proxy before an HTTP server that does to requests what networks and busy servers do.

    with FaultyProxy(port, share=0.1, seed=1) as proxy:
        proxy.port                       # speak to this one; http, or https with tls=(certificate, key)
        proxy.fired                      # how often each fault has happened
        with proxy.hold("/1/", "after") as held:      # the next PUT whose path contains this…
            held.wait()                  # …has come here, and gets no answer

The faults: "error" and "slow_down" (answers with 500 and 503, the server knows nothing of the request), "reset"
(neither does it), "lost" (the server has done it, and the connection is reset before the answer), "truncated" (the
answer ends in the middle of its body), "pause" (the answer takes its time).  Which request is hit is random; each kind
of fault has its turn.
"""
import collections
import random
import re
import socket
import ssl
import struct
import threading
import time

FAULTS = ("error", "slow_down", "reset", "lost", "pause", "truncated")  # the last: only of what has a body
PAUSE = 0.3  # seconds


class Gone(Exception):
    """The other side has closed its connection."""


def receive(connection):
    part = connection.recv(1 << 18)
    if not part:
        raise Gone()
    return part


def read_until(connection, mark, data):
    """(what comes up to the mark and with it, the bytes after it)"""
    while mark not in data:
        data += receive(connection)
    end = data.index(mark) + len(mark)
    return data[:end], data[end:]


def read_chunks(connection, rest):
    """(a chunked body as it came, the bytes after it)"""
    body = b""
    while True:
        line, rest = read_until(connection, b"\r\n", rest)
        size = int(line, 16)
        while len(rest) < size + 2:
            rest += receive(connection)
        body, rest = body + line + rest[:size + 2], rest[size + 2:]
        if size == 0:
            return body, rest


def read_body(connection, head, rest):
    """(the body, the bytes after it)"""
    if re.search(rb"\r\ntransfer-encoding: *chunked", head, re.I):
        return read_chunks(connection, rest)
    found = re.search(rb"\r\ncontent-length: *(\d+)", head, re.I)
    size = int(found.group(1)) if found else 0
    while len(rest) < size:
        rest += receive(connection)
    return rest[:size], rest[size:]


def reset(connection):
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    connection.close()


class Hold:
    def __init__(self, pattern, when):
        self.pattern, self.when = pattern, when
        self.arrived, self.released = threading.Event(), threading.Event()

    def wait(self, seconds=60):
        if not self.arrived.wait(seconds):
            raise TimeoutError(f"no PUT of …{self.pattern}… within {seconds} s")

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.released.set()


class FaultyProxy:
    def __init__(self, upstream_port, share=0.0, seed=None, tls=None):
        self.upstream_port, self.share = upstream_port, share
        self.rng = random.Random(seed)
        self.fired, self.turns = collections.Counter(), collections.Counter()
        self.requests = 0
        self.mu = threading.Lock()
        self.holding = None
        self.tls = None
        if tls:
            self.tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            self.tls.load_cert_chain(*tls)
        self.listener = socket.create_server(("127.0.0.1", 0), backlog=64)
        self.port = self.listener.getsockname()[1]
        threading.Thread(target=self._accept, daemon=True).start()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.listener.shutdown(socket.SHUT_RDWR)
        self.listener.close()

    def hold(self, pattern, when):
        """when: "before" the server knows of it, or "after" it has done it."""
        hold = Hold(pattern, when)
        with self.mu:
            self.holding = hold
        return hold

    def _accept(self):
        while True:
            try:
                connection, _ = self.listener.accept()
            except OSError:
                return
            threading.Thread(target=self._serve, args=(connection,), daemon=True).start()

    def _serve(self, connection):
        try:
            if self.tls:
                connection = self.tls.wrap_socket(connection, server_side=True)
            with connection, socket.create_connection(("127.0.0.1", self.upstream_port)) as upstream:
                rest = b""
                while True:
                    rest = self._one(connection, upstream, rest)
        except (OSError, Gone, ssl.SSLError):
            pass

    def _choose(self, line):
        """(fault or None, hold or None)"""
        with self.mu:
            self.requests += 1
            hold = self.holding
            if hold and line.startswith(b"PUT ") and hold.pattern.encode() in line:
                self.holding = None
                return None, hold
            if self.rng.random() >= self.share:
                return None, None
            kind = line.split(b" ", 1)[0]
            faults = FAULTS if kind == b"GET" else FAULTS[:-1]
            self.turns[kind] += 1
            return faults[-self.turns[kind] % len(faults)], None

    def _count(self, fault):
        with self.mu:
            self.fired[fault] += 1

    def _one(self, connection, upstream, rest):
        head, rest = read_until(connection, b"\r\n\r\n", rest)
        if re.search(rb"\r\nexpect: *100-continue", head, re.I):
            connection.sendall(b"HTTP/1.1 100 Continue\r\n\r\n")
            head = re.sub(rb"\r\nexpect:[^\r]*", b"", head, flags=re.I)
        body, rest = read_body(connection, head, rest)
        fault, hold = self._choose(head.split(b"\r\n", 1)[0])
        if hold and hold.when == "before":
            self._wait(hold)
        if fault in ("error", "slow_down"):
            self._refuse(connection, fault, head)
            return rest
        if fault == "reset":
            self._count(fault)
            reset(connection)
            raise Gone()
        upstream.sendall(head + body)
        answer, left = read_until(upstream, b"\r\n\r\n", b"")
        content = b"" if head.startswith(b"HEAD ") else read_body(upstream, answer, left)[0]
        if hold:
            self._wait(hold)
        if fault == "lost":
            self._count(fault)
            reset(connection)
            raise Gone()
        if fault == "pause":
            self._count(fault)
            time.sleep(PAUSE)
        if fault == "truncated" and len(content) > 1:
            self._count(fault)
            connection.sendall(answer + content[:len(content) // 2])
            raise Gone()
        connection.sendall(answer + content)
        return rest

    @staticmethod
    def _wait(hold):
        hold.arrived.set()
        hold.released.wait()
        raise Gone()

    def _refuse(self, connection, fault, head):
        self._count(fault)
        status, code = ("500 Internal Server Error", "InternalError") if fault == "error" else (
            "503 Slow Down", "SlowDown")
        text = b"" if head.startswith(b"HEAD ") else f"<Error><Code>{code}</Code></Error>".encode()
        connection.sendall(f"HTTP/1.1 {status}\r\nContent-Length: {len(text)}\r\n\r\n".encode() + text)
