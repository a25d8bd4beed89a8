"""A relay between a primary's two TCP ports (PUB, and the pull socket on the next one) and its replicas.

It loses, repeats and reorders what is published, message by message; cuts, slows and stops the pull connection;
and counts what passes.  Messages are told apart by ZMTP 3.x's frames (rfc.zeromq.org/spec/23: a greeting of 64
bytes; then flags, of which 1 is MORE, 2 LONG and 4 COMMAND, a length of one or eight bytes, a body)."""

import queue
import random
import socket
import threading
import time

GREETING_BYTES = 64
MOST_ON_ITS_WAY = 4096  # pieces of 16 KiB
MORE, LONG, COMMAND = 1, 2, 4


def free_ports():
    """Two adjacent ports that nobody has at the moment."""
    while True:
        with socket.socket() as first, socket.socket() as second:
            first.bind(("127.0.0.1", 0))
            port = first.getsockname()[1]
            try:
                second.bind(("127.0.0.1", port + 1))
            except (OSError, OverflowError):
                continue
            return port


def read_exactly(connection, n):
    data = bytearray()
    while len(data) < n:
        part = connection.recv(min(n - len(data), 1 << 18))
        if not part:
            raise ConnectionError("end of stream")
        data += part
    return bytes(data)


def read_message(connection):
    """(is a command, the frames as they came)"""
    frames = b""
    while True:
        head = read_exactly(connection, 2)
        flags = head[0]
        if flags & LONG:
            head += read_exactly(connection, 7)
        frames += head + read_exactly(connection, int.from_bytes(head[1:], "big"))
        if not flags & MORE:
            return bool(flags & COMMAND), frames


class Relay:
    """port, port + 1 lead to upstream, upstream + 1.  share: of published messages, of each kind of damage."""

    def __init__(self, upstream, share=0.0, seed=None, pace=None):
        self.upstream = upstream
        self.share = share
        self.pace = pace  # bytes a second from the pull socket, or None
        self.delay = 0.0  # seconds that what comes from the pull socket is on its way
        self.spoil = 0    # of so many messages from the pull socket a byte is changed
        self.spoilt = 0
        self.open = True  # False: nothing passes, and connections stay (a partition)
        self.rng = random.Random(seed)
        self.lost = self.repeated = self.reordered = self.passed = 0
        self.pulled_bytes = 0
        self.connections = []
        self.lock = threading.Lock()
        self.port = free_ports()
        self.listeners = [socket.create_server(("127.0.0.1", self.port + i)) for i in range(2)]
        for i, listener in enumerate(self.listeners):
            threading.Thread(target=self.accept, args=(listener, upstream + i, i == 0), daemon=True).start()

    def endpoint(self):
        return f"tcp://127.0.0.1:{self.port}"

    def accept(self, listener, target, published):
        while True:
            try:
                client = listener.accept()[0]
            except OSError:
                return
            try:
                server = socket.create_connection(("127.0.0.1", target))
            except OSError:
                client.close()
                continue
            pair = (client, server)
            for end in pair:
                end.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            with self.lock:
                self.connections.append(pair)
            down = self.damage if published else self.spoil_pulled if self.spoil else self.copy_pulled
            for function, source, sink in ((self.copy, client, server), (down, server, client)):
                threading.Thread(target=self.run, args=(function, source, sink, pair), daemon=True).start()

    def run(self, function, source, sink, pair):
        try:
            function(source, sink)
        except OSError:
            pass
        self.close(pair)

    def close(self, pair):
        with self.lock:
            if pair in self.connections:
                self.connections.remove(pair)
        for end in pair:
            try:
                end.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass
            end.close()

    def wait_open(self):
        while not self.open:
            time.sleep(0.01)

    def copy(self, source, sink):
        while data := source.recv(1 << 16):
            self.wait_open()
            sink.sendall(data)

    def spoil_pulled(self, source, sink):
        """Changes a byte in the middle of large messages, as long as there are any to be spoilt."""
        greeting = GREETING_BYTES
        while greeting > 0:
            data = source.recv(greeting)
            if not data:
                return
            sink.sendall(data)
            greeting -= len(data)
        while True:
            command, message = read_message(source)
            if not command and len(message) > 1000 and self.spoil > 0:
                self.spoil -= 1
                self.spoilt += 1
                middle = len(message) // 2
                message = message[:middle] + bytes([message[middle] ^ 0x10]) + message[middle + 1:]
            sink.sendall(message)

    def copy_pulled(self, source, sink):
        late = queue.Queue(MOST_ON_ITS_WAY)
        threading.Thread(target=self.deliver, args=(late, sink), daemon=True).start()
        while data := source.recv(1 << 14):
            self.wait_open()
            if self.pace:
                time.sleep(len(data) / self.pace)
            late.put((time.monotonic() + self.delay, data))
        late.put((0, b""))

    def deliver(self, late, sink):
        """Sends each on when its time has come."""
        while True:
            due, data = late.get()
            time.sleep(max(0, due - time.monotonic()))
            if not data:
                return
            try:
                sink.sendall(data)
            except OSError:
                return
            self.pulled_bytes += len(data)

    def damage(self, source, sink):
        greeting = GREETING_BYTES  # each side sends the rest of it when it has seen the start of the other's
        while greeting > 0:
            data = source.recv(greeting)
            if not data:
                return
            sink.sendall(data)
            greeting -= len(data)
        held = None
        while True:
            command, message = read_message(source)
            self.wait_open()
            if command:
                sink.sendall(message)
                continue
            if self.rng.random() < self.share:
                self.lost += 1
                continue
            if held is None and self.rng.random() < self.share:
                held = message
                self.reordered += 1
                continue
            sink.sendall(message)
            self.passed += 1
            if self.rng.random() < self.share:
                sink.sendall(message)
                self.repeated += 1
            if held is not None:
                sink.sendall(held)
                held = None

    def cut(self):
        """Ends every connection; new ones are let in."""
        with self.lock:
            pairs = list(self.connections)
        for pair in pairs:
            self.close(pair)

    def stop(self):
        for listener in self.listeners:
            listener.close()
        self.cut()
