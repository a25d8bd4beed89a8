"""A client of the HTTP API (docs/HTTP.md), for tests."""

import http.client
import json
import queue
import socket
import threading

import cluster


def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


def request(port, path, method="GET", headers=None):
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=40)
    try:
        connection.request(method, path, headers=headers or {})
        response = connection.getresponse()
        return response.status, response.read().decode()
    finally:
        connection.close()


def get_json(port, path, status=200):
    got, body = request(port, path)
    cluster.check_equal(got, status, f"GET {path}: {body}")
    return json.loads(body)


class Listener(threading.Thread):
    """Reads /events of a node until its end."""

    def __init__(self, port):
        super().__init__(daemon=True)
        self.events = queue.Queue()
        self.connection = http.client.HTTPConnection("127.0.0.1", port, timeout=40)
        self.connection.request("GET", "/events")
        self.response = self.connection.getresponse()
        self.start()

    def run(self):
        for line in self.response:
            self.events.put(json.loads(line))
        self.events.put(None)

    def next(self):
        while True:
            event = self.events.get(timeout=40)
            if event is None or event["type"] != "heartbeat":
                return event
