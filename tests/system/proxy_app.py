#!/usr/bin/env python3
"""A small app of http.server and sqlite3, for proxy_test.py:  proxy_app.py DATABASE PORT.  Says its port when it is ready."""

import hashlib
import http.server
import json
import sqlite3
import sys

PATH, PORT = sys.argv[1], int(sys.argv[2])


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *_):
        pass

    def answer(self, text, status=200):
        data = text.encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(data)))
        self.send_header("X-Seen", json.dumps(dict(self.headers)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(data)

    def begin(self, status, **headers):
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), value)
        self.end_headers()

    def chunk(self, data):
        self.wfile.write(b"%x\r\n%s\r\n" % (len(data), data))
        self.wfile.flush()

    def sql(self, statement, *values):
        connection = sqlite3.connect(PATH, timeout=3, isolation_level=None)
        try:
            return connection.execute(statement, values).fetchall()
        finally:
            connection.close()

    def do_GET(self):
        what, _, query = self.path.partition("?")
        if what == "/rows":
            self.answer(json.dumps([row[0] for row in self.sql("select x from t order by rowid")]))
        elif what == "/empty":
            self.begin(204)
        elif what == "/chunks":
            self.begin(200, Transfer_Encoding="chunked")
            for _ in range(int(query)):
                self.chunk(b"x" * 65536)
            self.chunk(b"")
        elif what == "/until-close":
            self.begin(200, Connection="close")
            self.wfile.write(b"y" * 100000)
            self.close_connection = True
        elif what == "/broken-off":
            self.begin(200, Content_Length="1000")
            self.wfile.write(b"z" * 10)
            self.close_connection = True
        elif what == "/dies":
            self.close_connection = True
        elif what == "/events":
            self.begin(200, Transfer_Encoding="chunked")
            self.chunk(b"first\n")
            if not self.rfile.read(1):  # until the other end has gone
                self.server.gone.append(query)
            self.close_connection = True
        elif what == "/gone":
            self.answer(json.dumps(self.server.gone))
        elif what == "/unasked" or what == "/socket" and "Upgrade" in self.headers:
            self.begin(101, Upgrade=self.headers.get("Upgrade", "x"), Connection="Upgrade")
            while data := self.rfile.read1(65536):
                self.wfile.write(data.upper())
            self.close_connection = True
        else:
            self.answer(what)

    do_HEAD = do_GET

    def pieces(self):
        if "chunked" in self.headers.get("Transfer-Encoding", ""):
            while n := int(self.rfile.readline(), 16):
                yield self.rfile.read(n)
                self.rfile.readline()
            self.rfile.readline()
        left = int(self.headers.get("Content-Length", 0))
        while left:
            data = self.rfile.read(min(left, 65536))
            left -= len(data)
            yield data

    def do_POST(self):
        if self.path == "/upload":
            digest, size = hashlib.sha256(), 0
            for piece in self.pieces():
                digest.update(piece)
                size += len(piece)
            return self.answer(f"{size} {digest.hexdigest()}")
        if self.path == "/echo":  # while it reads
            self.begin(200, Transfer_Encoding="chunked")
            for piece in self.pieces():
                self.chunk(piece)
            return self.chunk(b"")
        if self.path == "/refuse":  # without having read it
            self.close_connection = True
            return self.answer("too large", 413)
        data = b"".join(self.pieces()).decode()
        try:
            self.sql("insert into t values(?)", data)
        except sqlite3.Error as error:
            return self.answer(str(error), 500)
        return self.answer("written")

    do_PUT = do_DELETE = do_POST


class Server(http.server.ThreadingHTTPServer):
    request_queue_size = 200
    daemon_threads = True
    gone = []

    def handle_error(self, *_):
        pass  # a client that goes away


server = Server(("127.0.0.1", PORT), Handler)
print(server.server_port, flush=True)
server.serve_forever()
