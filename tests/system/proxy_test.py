#!/usr/bin/env python3
"""The HTTP proxy in front of a small app (Python's http.server and sqlite3 under the shim), on a primary and a replica: a
client that writes by the replica's proxy reads its write there; a read waits for the cookie's transaction, in time and not in
time; writes are forwarded or redirected; paths that go straight; bodies of any form and size in bounded memory; web
sockets; clients that are hostile, slow or both; apps and primaries that are not there."""

import hashlib
import http.client
import json
import os
import socket
import threading
import time

import cluster
from cluster import check, check_equal, wait_for

MIB = 1 << 20

APP = r"""
import hashlib, http.server, json, sqlite3, sys, time
path, port = sys.argv[1], int(sys.argv[2])

class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = 'HTTP/1.1'
    def log_message(self, *_): pass
    def answer(self, text, status=200):
        data = text.encode()
        self.send_response(status)
        self.send_header('Content-Length', str(len(data)))
        self.send_header('X-Seen', json.dumps(dict(self.headers)))
        self.end_headers()
        if self.command != 'HEAD': self.wfile.write(data)
    def sql(self, statement, *values):
        connection = sqlite3.connect(path, timeout=10, isolation_level=None)
        try: return connection.execute(statement, values).fetchall()
        finally: connection.close()
    def do_GET(self):
        what = self.path.split('?')[0]
        if what == '/rows': return self.answer(json.dumps([r[0] for r in self.sql('select x from t order by rowid')]))
        if what == '/empty':
            self.send_response(204); self.end_headers(); return
        if what == '/chunks':
            self.send_response(200); self.send_header('Transfer-Encoding', 'chunked'); self.end_headers()
            for _ in range(int(self.path.split('?')[1])):
                self.wfile.write(b'10000\r\n' + b'x' * 65536 + b'\r\n')
            self.wfile.write(b'0\r\n\r\n'); return
        if what == '/until-close':
            self.send_response(200); self.send_header('Connection', 'close'); self.end_headers()
            self.wfile.write(b'y' * 100000); self.close_connection = True; return
        if what == '/events':
            self.send_response(200); self.send_header('Transfer-Encoding', 'chunked'); self.end_headers()
            self.wfile.write(b'6\r\nfirst\n\r\n'); self.wfile.flush()
            self.rfile.readline()  # until the client's end has gone
            return
        if what == '/socket':
            self.send_response(101); self.send_header('Upgrade', 'echo'); self.send_header('Connection', 'Upgrade'); self.end_headers()
            while data := self.rfile.read1(65536): self.wfile.write(data.upper())
            self.close_connection = True; return
        self.answer(what)
    do_HEAD = do_GET
    def body(self):
        digest, size = hashlib.sha256(), 0
        if 'chunked' in self.headers.get('Transfer-Encoding', ''):
            while n := int(self.rfile.readline(), 16):
                digest.update(self.rfile.read(n)); size += n; self.rfile.readline()
            self.rfile.readline()
        left = int(self.headers.get('Content-Length', 0))
        while left:
            data = self.rfile.read(min(left, 65536)); digest.update(data); left -= len(data); size += len(data)
        return f'{size} {digest.hexdigest()}'
    def do_POST(self):
        if self.path == '/upload': return self.answer(self.body())
        data = self.rfile.read(int(self.headers.get('Content-Length', 0))).decode()
        try: self.sql('insert into t values(?)', data)
        except sqlite3.Error as error: return self.answer(str(error), 500)
        self.answer('written')

class Server(http.server.ThreadingHTTPServer):
    request_queue_size = 200

server = Server(('127.0.0.1', port), Handler)
print(server.server_port, flush=True)
server.serve_forever()
"""


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


class Site:
    """A node, its app and its proxy."""

    def __init__(self, c, name, follows=None, app_port=None, **proxy):
        self.port = free_port()
        self.app_port = app_port or free_port()
        settings = {"listen": f"127.0.0.1:{self.port}", "target": f"127.0.0.1:{self.app_port}", "database": "app.db",
                    "passthrough": ["/static/*", "*.png"], "wait": "1s"}
        self.node = c.node(name, follows=follows and follows.node, proxy=settings | proxy)
        self.c = c
        self.app = None

    def start_app(self):
        self.app = self.c.spawn(["/usr/bin/python3", "-c", APP, self.node.path("app.db"), str(self.app_port)], shim=True,
                                text=True, stdout=-1)
        check(self.app.stdout.readline(), "the app did not start")

    def ask(self, method, path, body=None, headers=None, port=None):
        """Status, headers and body."""
        connection = http.client.HTTPConnection("127.0.0.1", port or self.port, timeout=60)
        connection.request(method, path, body, headers or {})
        answer = connection.getresponse()
        result = answer.status, answer.headers, answer.read().decode()
        connection.close()
        return result

    def raw(self, data, timeout=60):
        """Sends it on a connection of its own; all that comes back until the end."""
        with socket.create_connection(("127.0.0.1", self.port), timeout=timeout) as connection:
            connection.sendall(data)
            answer = b""
            while part := connection.recv(65536):
                answer += part
            return answer

    def peak_kib(self):
        with open(f"/proc/{self.node.process.pid}/status", encoding="ascii") as file:
            return next(int(line.split()[1]) for line in file if line.startswith("VmHWM:"))


def cookie_of(headers):
    cookie = headers.get("Set-Cookie", "")
    check(cookie.startswith("__txid="), f"no cookie in {headers}")
    return {"Cookie": "a=b; " + cookie.split(";")[0]}


def rows(answer):
    check_equal(answer[0], 200, answer[2])
    return json.loads(answer[2])


def test_read_your_writes(primary, replica):
    status, headers, _ = replica.ask("GET", "/rows")
    check_equal((status, headers.get("Set-Cookie")), (200, None), "a read has no cookie")
    for i in range(30):
        status, headers, text = replica.ask("POST", "/", f"r{i}")
        check_equal((status, text), (200, "written"), "a write by the replica's proxy")
        cookie = cookie_of(headers)
        seen = rows(replica.ask("GET", "/rows", headers=cookie))
        check(f"r{i}" in seen, f"the replica does not show r{i}: {seen[-3:]}")
    status, headers, _ = primary.ask("POST", "/", "p")
    check("p" in rows(replica.ask("GET", "/rows", headers=cookie_of(headers))), "a write by the primary's proxy")
    # The app has seen what the client sent, and nothing that is the connections' own.
    seen = json.loads(replica.ask("GET", "/x", headers={"X-Mine": "1", "Connection": "X-Private", "X-Private": "2"})[1]["X-Seen"])
    check_equal((seen.get("X-Mine"), seen.get("X-Private")), ("1", None), "headers")


def test_wait(c, primary, replica):
    position = c.wait_equal(primary.node, replica.node, "app.db")
    txid = int(position.split("/")[0], 16)
    future = {"Cookie": f"__txid={txid + 1:016x}"}
    started = time.monotonic()
    status, _, text = replica.ask("GET", "/rows", headers=future)
    check_equal(status, 504, text)
    check(time.monotonic() - started >= 1, "it did not wait")
    check_equal(replica.ask("GET", "/a.png", headers=future)[0], 200, "a path that goes straight")
    check_equal(replica.ask("GET", "/rows", headers={"Cookie": "__txid=x"})[0], 200, "a cookie that is none")
    check_equal(primary.ask("GET", "/rows", headers=future)[0], 200, "on the primary nobody waits")
    # Woken by the transaction.
    answer = []
    reader = threading.Thread(target=lambda: answer.append(replica.ask("GET", "/rows", headers=future)))
    waits = replica.node.status()["waits"]
    reader.start()
    wait_for("the read waits", lambda: replica.node.status()["waits"] > waits)
    primary.ask("POST", "/", "awaited")
    reader.join(30)
    check("awaited" in rows(answer[0]), "the read that waited")
    # Written on a replica by a path that goes straight: that is the app's own affair.
    status, headers, text = replica.ask("POST", "/static/x", "no")
    check_equal((status, text, headers.get("Set-Cookie")), (500, "database is locked", None), "straight to the app")


def test_bodies(primary, replica):
    check_equal(primary.ask("HEAD", "/x")[2], "", "HEAD")
    check_equal(primary.ask("GET", "/empty")[0], 204, "no content")
    check_equal(len(primary.ask("GET", "/until-close")[2]), 100000, "a body that ends with the connection")
    check_equal(len(primary.ask("GET", "/chunks?3")[2]), 3 * 65536, "chunks")
    old = primary.raw(b"GET /chunks?2 HTTP/1.0\r\n\r\n")
    check(old.startswith(b"HTTP/1.0 200") and old.endswith(b"\r\n\r\n" + b"x" * 131072), "an HTTP/1.0 client")
    two = primary.raw(b"GET /one HTTP/1.1\r\nHost: a\r\n\r\nGET /two HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
    check(two.count(b"HTTP/1.1 200") == 2 and two.endswith(b"/two"), f"two requests at once: {two}")
    upload = b"POST /upload HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nConnection: close\r\nContent-Length: 5\r\n\r\n"
    answer = primary.raw(upload + b"12345")
    check(answer.startswith(b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200"), f"Expect: {answer[:100]}")
    # Large ones, both ways, by way of both proxies.
    data = os.urandom(MIB) * 100
    before = [primary.peak_kib(), replica.peak_kib()]
    wanted = f"{len(data)} {hashlib.sha256(data).hexdigest()}"
    check_equal(replica.ask("POST", "/upload", data)[2], wanted, "an upload by the replica")
    pieces = [data[i:i + 700000] for i in range(0, len(data), 700000)]
    connection = http.client.HTTPConnection("127.0.0.1", replica.port, timeout=60)
    connection.request("POST", "/upload", iter(pieces), encode_chunked=True, headers={"Transfer-Encoding": "chunked"})
    check_equal(connection.getresponse().read().decode(), wanted, "an upload in chunks")
    connection.close()
    check_equal(len(primary.ask("GET", "/chunks?1600")[2]), 1600 * 65536, "a download")
    grown = max(primary.peak_kib() - before[0], replica.peak_kib() - before[1])
    check(grown < 20 << 10, f"memory grew by {grown} KiB for 100 MiB")
    print(f"100 MiB both ways: the daemons grew by {grown} KiB")


def test_streams(replica):
    with socket.create_connection(("127.0.0.1", replica.port), timeout=60) as connection:
        connection.sendall(b"GET /events HTTP/1.1\r\nHost: a\r\n\r\n")
        answer = b""
        while b"first\n" not in answer:  # although the body goes on
            part = connection.recv(65536)
            check(part, f"the event did not come: {answer}")
            answer += part
    with socket.create_connection(("127.0.0.1", replica.port), timeout=60) as connection:
        connection.sendall(b"GET /socket HTTP/1.1\r\nHost: a\r\nConnection: keep-alive, Upgrade\r\nUpgrade: echo\r\n\r\nhello")
        answer = b""
        while not answer.endswith(b"HELLO"):
            part = connection.recv(65536)
            check(part, f"no echo: {answer}")
            answer += part
        check(answer.startswith(b"HTTP/1.1 101"), f"no switch: {answer}")
        data = os.urandom(4 * MIB).replace(b"\0", b"a")
        sender = threading.Thread(target=lambda: connection.sendall(data))
        sender.start()
        echo = b""
        while len(echo) < len(data):
            part = connection.recv(1 << 16)
            check(part, "the tunnel ended")
            echo += part
        sender.join()
        check(echo == data.upper(), "the tunnel changed bytes")


def test_hostile(primary):
    check_equal(primary.raw(b"GET / HTTP/1.1\r\nX: " + b"a" * 100000 + b"\r\n\r\n")[:12], b"HTTP/1.1 431", "a long header")
    for bad in (b"\0\1\2\3\r\n\r\n", b"GET /\r\n\r\n", b"GET / HTTP/9.9\r\n\r\n", b"GET / HTTP/1.1\r\nno colon\r\n\r\n",
                b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
                b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\n12345",
                b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: -5\r\n\r\n"):
        check_equal(primary.raw(bad)[:12], b"HTTP/1.1 400", repr(bad))
    # Slow clients, each with a header that never ends: others are served at once, and they are closed in time.
    slow = [socket.create_connection(("127.0.0.1", primary.port), timeout=60) for _ in range(100)]
    started = time.monotonic()
    for connection in slow:
        connection.sendall(b"GET / HTTP/1.1\r\nHost: a\r\n")
    ended = set()
    slowest = 0
    while len(ended) < len(slow):
        check(time.monotonic() - started < 30, f"{len(slow) - len(ended)} slow clients are still there after 30 s")
        asked = time.monotonic()
        check_equal(primary.ask("GET", "/x")[0], 200, "a request beside slow ones")
        slowest = max(slowest, time.monotonic() - asked)
        for i, connection in enumerate(slow):
            if i in ended:
                continue
            try:
                connection.sendall(b"X: y\r\n")
                connection.settimeout(0.001)
                if not connection.recv(1):
                    ended.add(i)
            except TimeoutError:
                pass
            except OSError:
                ended.add(i)
    check(time.monotonic() - started > 5, "slow clients were closed too early")
    check(slowest < 5, f"a request took {slowest:.1f} s beside slow clients")
    print(f"100 slow clients were closed after {time.monotonic() - started:.1f} s; the slowest request took {slowest:.2f} s")
    for connection in slow:
        connection.close()
    # A body that never comes ends with the client.
    with socket.create_connection(("127.0.0.1", primary.port), timeout=60) as connection:
        connection.sendall(b"POST /upload HTTP/1.1\r\nHost: a\r\nContent-Length: 1000000\r\n\r\nabc")
    check_equal(primary.ask("GET", "/x")[0], 200, "after a client that went away")


def test_absent(c, primary, replica, redirecting):
    status, headers, _ = redirecting.ask("POST", "/rows?a=b", "x")
    check_equal((status, headers["Location"]), (307, f"http://127.0.0.1:{primary.port}/rows?a=b"), "redirect")
    forwarded = redirecting.ask("POST", "/", "x", {"LiteFS-Forwarded": "1"})
    check_equal(forwarded[0], 503, "a request that was forwarded once")
    redirecting.app.kill()
    redirecting.app.wait()
    check_equal(redirecting.ask("GET", "/x")[0], 502, "without the app")
    primary.node.kill()
    check_equal(replica.ask("GET", "/x")[0], 200, "reads without the primary")
    check_equal(replica.ask("POST", "/", "x")[0], 502, "writes without the primary")
    lonely = Site(c, "lonely", follows=primary)
    check_equal(lonely.ask("POST", "/", "x")[0], 503, "a primary that was never heard of")


def test(c):
    primary = Site(c, "p")
    primary.start_app()
    primary.node.sql("app.db", "pragma journal_mode=wal; create table t(x)")
    replica = Site(c, "r", follows=primary)
    redirecting = Site(c, "d", follows=primary, **{"on-write": "redirect"})
    for site in (replica, redirecting):
        c.wait_equal(primary.node, site.node, "app.db")
        site.start_app()
    test_read_your_writes(primary, replica)
    test_wait(c, primary, replica)
    test_bodies(primary, replica)
    test_streams(replica)
    test_hostile(primary)
    c.check_identical(primary.node, replica.node, "app.db")
    test_absent(c, primary, replica, redirecting)


cluster.main(test)
