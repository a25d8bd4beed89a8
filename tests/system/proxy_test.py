#!/usr/bin/env python3
"""The HTTP proxy in front of a small app (proxy_app.py, under the shim), on a primary and a replica: a client that writes
on the one reads its write on the other, although replication is held up; a read waits for the cookie's transaction, in
time and not in time; writes are redirected, also after a change of roles; paths that go straight; bodies of any form and
size, both ways at once, in bounded memory; web sockets; a fail-over with etcd; clients that are hostile, slow or gone; apps and primaries that are not there."""

import hashlib
import http.client
import json
import os
import socket
import threading
import time

import cluster
import relay
from cluster import check, check_equal, wait_for
from servers import etcd

MIB = 1 << 20
HELLO = b"GET /socket HTTP/1.1\r\nHost: a\r\nConnection: keep-alive, Upgrade\r\nUpgrade: %s\r\n\r\n"


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


class Site:
    """A node, its app and its proxy."""

    def __init__(self, c, name, follows=None, replication=None, lease=None, **proxy):
        self.c = c
        self.port = free_port()
        self.app_port = free_port()
        settings = {"addr": f":{self.port}", "target": f"localhost:{self.app_port}", "db": "app.db",
                    "passthrough": ["/static/*", "*.png"], "wait": "1s"}
        self.node = c.node(name, follows=follows, proxy=settings | proxy, replication=replication or {},
                           **({"lease": lease} if lease else {}), **{"on-replica-write": "busy"})
        self.settings = settings | proxy
        self.app = None

    def start_app(self):
        program = os.path.join(self.c.source, "tests/system/proxy_app.py")
        self.app = self.c.spawn(["/usr/bin/python3", program, self.node.path("app.db"), str(self.app_port)], shim=True,
                                text=True, stdout=-1)
        check(self.app.stdout.readline(), "the app did not start")

    def ask(self, method, path, body=None, headers=None):
        """Status, headers and body."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=60)
        try:
            connection.request(method, path, body, headers or {})
            answer = connection.getresponse()
            return answer.status, answer.headers, answer.read().decode()
        finally:
            connection.close()

    def connect(self):
        return socket.create_connection(("127.0.0.1", self.port), timeout=60)

    def raw(self, data):
        """Sends it on a connection of its own; all that comes back until the end."""
        with self.connect() as connection:
            connection.sendall(data)
            return read_all(connection)

    def counter(self, name):
        return self.node.status()["counters"]["proxy_" + name]

    def peak_kib(self):
        with open(f"/proc/{self.node.process.pid}/status", encoding="ascii") as file:
            return next(int(line.split()[1]) for line in file if line.startswith("VmHWM:"))


def read_all(connection):
    answer = b""
    while part := connection.recv(1 << 16):
        answer += part
    return answer


def read_until(connection, enough):
    answer = b""
    while not enough(answer):
        part = connection.recv(1 << 16)
        check(part, f"the connection ended: {answer[:200]}")
        answer += part
    return answer


def cookie_of(headers):
    cookie = headers.get("Set-Cookie", "")
    check(cookie.startswith("__txid=") and "; Path=/;" in cookie, f"no cookie in {headers}")
    return {"Cookie": "a=b; " + cookie.split(";")[0]}


def rows(answer):
    check_equal(answer[0], 200, answer[2])
    return json.loads(answer[2])


def test_read_your_writes(primary, replica, link):
    """What the client has written by the primary's proxy, it reads by the replica's, with replication held up: the
    read waits until it flows. One without the cookie does not."""
    status, headers, _ = replica.ask("GET", "/rows")
    check_equal((status, headers.get("Set-Cookie")), (200, None), "a read gives no cookie")
    for i in range(30):
        status, headers, text = primary.ask("POST", "/", f"r{i}")
        check_equal((status, text), (200, "written"), "a write")
        seen = rows(replica.ask("GET", "/rows", headers=cookie_of(headers)))
        check(f"r{i}" in seen, f"the replica does not show r{i}: {seen[-3:]}")
    for i in range(3):
        link.open = False
        status, headers, text = primary.ask("PUT", "/", f"late{i}")
        check_equal((status, text), (200, "written"), "a write")
        check(f"late{i}" not in rows(replica.ask("GET", "/rows")), "replication was not held up")
        answer = []
        reader = threading.Thread(target=lambda h=headers: answer.append(replica.ask("GET", "/rows", headers=cookie_of(h))))
        reader.start()
        wait_for("the read waits", lambda: replica.node.status()["waits"] == 1)
        check(not answer, "the read did not wait")
        link.open = True
        reader.join(60)
        check(f"late{i}" in rows(answer[0]), f"the replica does not show late{i}")


def test_wait(c, primary, replica):
    position = c.wait_equal(primary.node, replica.node, "app.db")
    future = {"Cookie": f"__txid={int(position.split('/')[0], 16) + 1:016x}"}
    timeouts = replica.counter("wait_timeouts")
    with replica.connect() as connection:  # is kept
        for method in ("HEAD", "GET"):
            started = time.monotonic()
            connection.sendall(f"{method} /rows HTTP/1.1\r\nHost: a\r\nCookie: {future['Cookie']}\r\n\r\n".encode())
            answer = read_until(connection, lambda a: b"\r\n\r\n" in a)
            check(answer.startswith(b"HTTP/1.1 504 "), f"not in time: {answer}")
            took = time.monotonic() - started
            check(1 <= took < 10, f"it waited for {took:.1f} s")
    check_equal(replica.counter("wait_timeouts"), timeouts + 2, "timeouts")
    check_equal(replica.ask("GET", "/a.png", headers=future)[0], 200, "a path that goes straight")
    check_equal(replica.ask("GET", "/rows", headers={"Cookie": "__txid=x"})[0], 200, "a cookie that is none")
    check_equal(primary.ask("GET", "/rows", headers=future)[0], 200, "on the primary nobody waits")
    # A write by a path that goes straight: that is the app's own affair.
    status, headers, text = replica.ask("POST", "/static/x", "no")
    check_equal((status, text, headers.get("Set-Cookie")), (500, "database is locked", None), "straight to the app")
    check_equal(primary.ask("POST", "/static/x", "yes")[1].get("Set-Cookie"), None, "straight to the app")


def test_redirect(primary, replica):
    before = replica.counter("redirects")
    for method in ("POST", "PUT", "DELETE", "PATCH", "OPTIONS"):
        status, headers, text = replica.ask(method, "/rows?a=b", "x")
        where = f"http://127.0.0.1:{primary.port}"
        check_equal((status, headers["Location"], text), (307, where + "/rows?a=b", f"the primary is at {where}\n"), method)
    check_equal(replica.counter("redirects"), before + 5, "redirects")
    for site, text in ((replica, f"go to {where}"), (primary, "are served here")):
        shown = site.c.command("status", "--config", site.node.config)[0]
        check(f"HTTP proxy: http://127.0.0.1:{site.port}, 0 connections, writes {text}\n" in shown, shown)
    # As a client does that follows it.
    status, headers, _ = primary.ask("POST", replica.ask("POST", "/", "x")[1]["Location"].partition(str(primary.port))[2], "far")
    check_equal(status, 200, "the redirected write")
    check("far" in rows(replica.ask("GET", "/rows", headers=cookie_of(headers))), "the redirected write")


def test_bodies(site):
    check_equal(site.ask("HEAD", "/x")[2], "", "HEAD")
    check_equal(site.ask("GET", "/empty")[0], 204, "no content")
    check_equal(len(site.ask("GET", "/until-close")[2]), 100000, "a body that ends with the connection")
    check_equal(len(site.ask("GET", "/chunks?3")[2]), 3 * 65536, "chunks")
    old = site.raw(b"GET /chunks?2 HTTP/1.0\r\n\r\n")
    check(old.startswith(b"HTTP/1.0 200") and old.endswith(b"\r\n\r\n" + b"x" * 131072), f"an HTTP/1.0 client: {old[:100]}")
    two = site.raw(b"GET /one HTTP/1.1\r\nHost: a\r\n\r\nGET /two HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
    check(two.count(b"HTTP/1.1 200") == 2 and two.endswith(b"/two"), f"two requests at once: {two}")
    connection = http.client.HTTPConnection("127.0.0.1", site.port, timeout=60)
    for method, path, body in [("GET", "/x", None), ("POST", "/upload", b"ab"), ("HEAD", "/y", None), ("GET", "/chunks?1", None)] * 20:
        connection.request(method, path, body)
        answer = connection.getresponse()
        answer.read()
        check(answer.status == 200 and not answer.will_close, f"{method} {path}: the connection is not kept")
    connection.close()
    upload = b"POST /upload HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nConnection: close\r\nContent-Length: 5\r\n\r\n"
    with site.connect() as raw:
        raw.sendall(upload)
        check_equal(read_until(raw, lambda a: a.endswith(b"\r\n\r\n")), b"HTTP/1.1 100 Continue\r\n\r\n", "Expect")
        raw.sendall(b"12345")
        check(read_all(raw).startswith(b"HTTP/1.1 200"), "after 100 Continue")
    # The app has seen what the client sent, and nothing that is the connections' own.
    seen = json.loads(site.ask("GET", "/x", headers={"X-Mine": "1", "Connection": "X-Private", "X-Private": "2"})[1]["X-Seen"])
    check_equal((seen.get("X-Mine"), seen.get("X-Private"), seen["Connection"]), ("1", None, "close"), "headers")


def test_large(site):
    data = os.urandom(MIB) * 100
    before = site.peak_kib()
    wanted = f"{len(data)} {hashlib.sha256(data).hexdigest()}"
    check_equal(site.ask("POST", "/upload", data)[2], wanted, "an upload")
    pieces = [data[i:i + 700000] for i in range(0, len(data), 700000)]
    connection = http.client.HTTPConnection("127.0.0.1", site.port, timeout=60)
    connection.request("POST", "/upload", iter(pieces), encode_chunked=True, headers={"Transfer-Encoding": "chunked"})
    check_equal(connection.getresponse().read().decode(), wanted, "an upload in chunks")
    connection.close()
    check_equal(len(site.ask("GET", "/chunks?1600")[2]), 1600 * 65536, "a download")
    # Both at once: the app answers while it reads, and neither end holds more than a little of it.
    with site.connect() as raw:
        raw.sendall(b"POST /echo HTTP/1.1\r\nHost: a\r\nConnection: close\r\nContent-Length: %d\r\n\r\n" % len(data))
        sender = threading.Thread(target=lambda: raw.sendall(data))
        sender.start()
        answer = http.client.HTTPResponse(raw)
        answer.begin()
        check_equal(hashlib.sha256(answer.read()).hexdigest(), wanted.split()[1], "an echo")
        sender.join()
    # A client that does not read: it is not read for it, and the app stands still.
    with site.connect() as raw:
        raw.sendall(b"GET /chunks?1600 HTTP/1.1\r\nHost: a\r\n\r\n")
        read_until(raw, lambda a: len(a) > 1000)
        check_equal(site.ask("GET", "/x")[0], 200, "beside a client that does not read")
    grown = site.peak_kib() - before
    check(grown < 20 << 10, f"memory grew by {grown} KiB for 100 MiB")
    print(f"100 MiB up, down and both at once: the daemon grew by {grown} KiB")
    # An app that refuses a body has its say, although it has not read it.
    with site.connect() as raw:
        raw.sendall(b"POST /refuse HTTP/1.1\r\nHost: a\r\nContent-Length: 100000000\r\n\r\n" + b"a" * 1000)
        check(read_all(raw).startswith(b"HTTP/1.1 413"), "a refused body")


def test_streams(site):
    with site.connect() as connection:
        connection.sendall(b"GET /events?one HTTP/1.1\r\nHost: a\r\n\r\n")
        read_until(connection, lambda a: b"first\n" in a)  # although the body goes on
        check_equal(json.loads(site.ask("GET", "/gone")[2]), [], "who has gone")
    wait_for("the app knows that its client has gone", lambda: json.loads(site.ask("GET", "/gone")[2]) == ["one"])
    with site.connect() as connection:
        connection.sendall(HELLO % b"websocket" + b"hello")
        answer = read_until(connection, lambda a: a.endswith(b"HELLO"))
        check(answer.startswith(b"HTTP/1.1 101"), f"no switch: {answer}")
        data = os.urandom(4 * MIB)
        sender = threading.Thread(target=lambda: connection.sendall(data))
        sender.start()
        echo = read_until(connection, lambda a: len(a) >= len(data))
        sender.join()
        check(echo == data.upper(), "the tunnel changed bytes")
        connection.shutdown(socket.SHUT_WR)
        check_equal(read_all(connection), b"", "after the end of the tunnel")
    other = site.raw((HELLO % b"h2c").replace(b"keep-alive", b"close"))
    check(other.startswith(b"HTTP/1.1 200") and b'"Upgrade"' not in other, f"another protocol is not passed on: {other}")
    check_equal(site.ask("GET", "/unasked")[0], 502, "an app that leaves HTTP unasked")


def test_hostile(site):
    bad_before = site.counter("bad_requests")
    check_equal(site.raw(b"GET / HTTP/1.1\r\nX: " + b"a" * 100000 + b"\r\n\r\n")[:12], b"HTTP/1.1 431", "a long header")
    check_equal(site.raw(b"GET /" + b"a" * 100000)[:12], b"HTTP/1.1 431", "a long path")
    bad = [b"\0\1\2\3\r\n\r\n", b"GET /\r\n\r\n", b"GET / HTTP/9.9\r\n\r\n", b"GET / HTTP/1.1\r\nno colon\r\n\r\n",
           b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
           b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\n0\r\n\r\n",
           b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\n12345",
           b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: -5\r\n\r\n",
           b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 99999999999999999999999\r\n\r\n",
           b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: gzip\r\nContent-Length: 5\r\n\r\n12345",
           b"POST / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
           b"POST /upload HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\nxyz\r\n",
           b"CONNECT a:80 HTTP/1.1\r\nHost: a\r\n\r\n", b"GET http://a/ HTTP/1.1\r\nHost: a\r\n\r\n"]
    for request in bad:
        check_equal(site.raw(request)[:12], b"HTTP/1.1 400", repr(request))
    check_equal(site.counter("bad_requests"), bad_before + 2 + len(bad), "bad requests")
    for prefix in (b"", b"GET", b"GET / HTTP/1.1\r\nHost", b"POST / HTTP/1.1\r\nContent-Length: 10\r\n\r\nabc"):
        with site.connect() as connection:  # that goes away in the middle
            connection.sendall(prefix)
    # Slow clients, each with a header that never ends: others are served at once, and they are closed in time.
    slow = [site.connect() for _ in range(100)]
    started = time.monotonic()
    for connection in slow:
        connection.sendall(b"GET / HTTP/1.1\r\nHost: a\r\n")
        connection.setblocking(False)
    slowest = 0
    ended = set()
    while len(ended) < len(slow):
        check(time.monotonic() - started < 30, f"{len(slow) - len(ended)} slow clients are still there after 30 s")
        asked = time.monotonic()
        check_equal(site.ask("GET", "/x")[0], 200, "a request beside slow ones")
        slowest = max(slowest, time.monotonic() - asked)
        for connection in set(slow) - ended:
            try:
                connection.send(b"X: y\r\n")
                if not connection.recv(1):
                    ended.add(connection)
            except BlockingIOError:
                pass
            except OSError:
                ended.add(connection)
    took = time.monotonic() - started
    check(5 < took, f"slow clients were closed after {took:.1f} s")
    check(slowest < 5, f"a request took {slowest:.1f} s beside slow clients")
    print(f"100 slow clients were closed after {took:.1f} s; the slowest request took {slowest:.2f} s")
    for connection in slow:
        connection.close()
    wait_for("nobody is connected", lambda: site.node.status()["proxy"]["connections"] == 0)


def test_many(site):
    """More than there may be: further ones are closed at once, and there are no more threads than before."""
    threads = len(os.listdir(f"/proc/{site.node.process.pid}/task"))
    many = [site.connect() for _ in range(1030)]
    wait_for("1024 connections", lambda: site.node.status()["proxy"]["connections"] == 1024)
    wait_for("the others are refused", lambda: site.counter("refused_connections") == 6)
    check(len(os.listdir(f"/proc/{site.node.process.pid}/task")) <= threads + 1, "a thread for each connection")
    check_equal(many[-1].recv(1), b"", "a connection too many")
    many[0].sendall(b"GET /x HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
    check(read_all(many[0]).endswith(b"/x"), "a request on one of 1024 connections")
    for connection in many:
        connection.close()
    wait_for("nobody is connected", lambda: site.node.status()["proxy"]["connections"] == 0)


def test_change_of_roles(c):
    """The redirect follows the role, and so does who waits."""
    old = Site(c, "old", wait="60s")
    new = Site(c, "new", follows=old.node, replication={"listen": f"ipc://{c.scratch}/new.s"})
    old.node.sql("app.db", "create table t(x)")
    c.wait_equal(old.node, new.node, "app.db")
    for site in (old, new):
        site.start_app()
    check_equal(old.ask("POST", "/", "before")[0], 200, "a write on the primary")
    check_equal(new.ask("POST", "/", "x")[1]["Location"], f"http://127.0.0.1:{old.port}/", "the redirect")
    c.wait_equal(old.node, new.node, "app.db")
    for site, follows in ((old, new.node), (new, None)):
        site.node.configure(follows, proxy=site.settings, replication={"listen": site.node.endpoint},
                            **{"on-replica-write": "busy"})
        c.command("reload", "--config", site.node.config)
    wait_for("the new primary", lambda: new.node.status()["role"] == "primary")
    status, headers, _ = new.ask("POST", "/", "after")
    check_equal(status, 200, "a write on the new primary")
    check_equal(rows(old.ask("GET", "/rows", headers=cookie_of(headers))), ["before", "after"], "a read on the old one")
    check_equal(old.ask("POST", "/", "x")[1]["Location"], f"http://127.0.0.1:{new.port}/", "the redirect")


def reigns(site):
    status = site.node.status()
    return status["role"] == "primary" and status["lease"]["holds"]


def test_fail_over(c):
    """With a lease: writes are redirected to whoever reigns, also after the primary was killed and when it is back."""
    with etcd.Server(c) as server:
        lease = {"type": "etcd", "url": server.url, "key": "test/proxy", "ttl": "2s"}
        sites = [Site(c, name, lease=lease) for name in ("x", "y", "z")]
        old = wait_for("a primary", lambda: next((site for site in sites if reigns(site)), None))
        old.node.sql("app.db", "create table t(x)")
        others = [site for site in sites if site is not old]
        for site in sites:
            wait_for("the database", lambda s=site: s.node.database_status("app.db"))
            site.start_app()
        status, headers, _ = old.ask("POST", "/", "before")
        check_equal(status, 200, "a write on the primary")
        for site in others:
            check_equal(rows(site.ask("GET", "/rows", headers=cookie_of(headers))), ["before"], "a read on a replica")
            answer = site.ask("POST", "/", "x")
            check_equal((answer[0], answer[1]["Location"]), (307, f"http://127.0.0.1:{old.port}/"), "the redirect")
        old.node.kill()
        new = wait_for("another primary", lambda: next((site for site in others if reigns(site)), None))
        third = next(site for site in others if site is not new)
        urls = {f"http://127.0.0.1:{site.port}/" for site in (old, new)}

        def is_redirected(site):
            status, headers, text = site.ask("POST", "/", "x")
            check(status == 503 or (status == 307 and headers["Location"] in urls), f"{status}, {headers}, {text}")
            return headers["Location"] == f"http://127.0.0.1:{new.port}/"

        wait_for("the redirect to the new primary", lambda: is_redirected(third))
        status, headers, _ = new.ask("POST", "/", "after")
        check_equal(status, 200, "a write on the new primary")
        check_equal(rows(third.ask("GET", "/rows", headers=cookie_of(headers))), ["before", "after"], "a read after it")
        old.node.start()
        wait_for("the old primary is a replica", lambda: old.node.status()["role"] == "replica")
        wait_for("its redirect", lambda: is_redirected(old))
        check_equal(rows(old.ask("GET", "/rows", headers=cookie_of(headers))), ["before", "after"], "a read on the old one")
        for site in sites:
            site.node.stop()


def test_absent(c, primary, replica):
    gateways = replica.counter("bad_gateways")
    check_equal(replica.ask("GET", "/dies")[0], 502, "an app that gives no answer")
    broken = replica.raw(b"GET /broken-off HTTP/1.1\r\nHost: a\r\n\r\n")
    check(broken.endswith(b"\r\n\r\n" + b"z" * 10), f"an answer that breaks off: {broken}")
    replica.app.kill()
    replica.app.wait()
    status, _, text = replica.ask("GET", "/x")
    check_equal(status, 502, text)
    check(f"localhost:{replica.app_port} cannot be reached: " in text, text)
    check_equal(replica.counter("bad_gateways"), gateways + 2, "bad gateways")
    replica.start_app()
    check_equal(replica.ask("GET", "/x")[0], 200, "the app is back")
    primary.node.kill()
    check_equal(replica.ask("GET", "/rows")[0], 200, "reads without the primary")
    lonely = Site(c, "lonely", follows=primary.node)
    status, headers, text = lonely.ask("POST", "/", "x")
    check_equal((status, headers["Retry-After"], text), (503, "1", "the primary is not known\n"), "no primary was heard of")
    # A read that waits does not keep the daemon from ending.
    future = b"GET / HTTP/1.1\r\nHost: a\r\nCookie: __txid=00000000ffffffff\r\n\r\n"
    patient = Site(c, "patient", follows=primary.node, wait="10m")
    with patient.connect() as connection:
        connection.sendall(future)
        wait_for("the read waits", lambda: patient.node.status()["waits"] == 1)
        patient.node.stop()
        check_equal(read_all(connection), b"", "the daemon ended")


def test(c):
    port = relay.free_ports()
    primary = Site(c, "p", replication={"listen": f"tcp://127.0.0.1:{port}"})
    primary.start_app()
    primary.node.sql("app.db", "pragma journal_mode=wal; create table t(x)")
    link = relay.Relay(port)
    replica = Site(c, "r", follows=type("Link", (), {"endpoint": link.endpoint()}), wait="20s")
    c.wait_equal(primary.node, replica.node, "app.db")
    replica.start_app()
    test_read_your_writes(primary, replica, link)
    direct = Site(c, "d", follows=type("Link", (), {"endpoint": f"tcp://127.0.0.1:{port}"}))
    c.wait_equal(primary.node, direct.node, "app.db")
    direct.start_app()
    test_wait(c, primary, direct)
    test_redirect(primary, direct)
    test_bodies(primary)
    test_large(primary)
    test_streams(primary)
    test_hostile(primary)
    test_many(primary)
    test_change_of_roles(c)
    test_fail_over(c)
    c.check_identical(primary.node, direct.node, "app.db")
    test_absent(c, primary, direct)


cluster.main(test)
