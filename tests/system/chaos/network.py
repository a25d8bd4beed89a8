"""The network between nodes, and between nodes and the lease server, as relays in this process.

    network = Network()
    port = network.relay("a", upstream_port)            # whoever of known() connects speaks to "a"
    port = network.relay("etcd", port, source="a")      # what connects here is "a"
    network.block({("a", "b")})                         # nothing from a gets to b, until unblock

A link that is blocked holds its bytes, and delivers them later, as TCP does after a partition.  Who has connected is
found by the socket's inode among the descriptors of the known processes (proc(5), net/tcp)."""

import collections
import os
import socket
import threading


def free_ports(n=1):
    """n adjacent ports of loopback that nobody has at the moment; returns the first."""
    while True:
        with socket.socket() as first:
            first.bind(("127.0.0.1", 0))
            port = first.getsockname()[1]
            others = [socket.socket() for _ in range(n - 1)]
            try:
                for i, other in enumerate(others, 1):
                    other.bind(("127.0.0.1", port + i))
                return port
            except (OSError, OverflowError):
                continue
            finally:
                for other in others:
                    other.close()


def inode_of(client_port, server_port):
    """Of the socket of whoever has connected from client_port; it may be one of IPv6, with IPv4's address in it."""
    for table, loopback in (("tcp", "0100007F"), ("tcp6", "0000000000000000FFFF00000100007F")):
        wanted = [f"{loopback}:{client_port:04X}", f"{loopback}:{server_port:04X}"]
        with open(f"/proc/net/{table}", encoding="ascii") as file:
            for line in file:
                words = line.split()
                if words[1:3] == wanted:
                    return words[9]
    return None


def has_socket(pid, inode):
    try:
        for fd in os.listdir(f"/proc/{pid}/fd"):
            try:
                if os.readlink(f"/proc/{pid}/fd/{fd}") == f"socket:[{inode}]":
                    return True
            except OSError:
                continue
    except OSError:
        pass
    return False


class Network:
    def __init__(self):
        self.changed = threading.Condition()
        self.blocked = collections.Counter()  # (from, to): by how many faults
        self.held = collections.Counter()     # (from, to): reads that have waited
        self.pids = {}                        # name: a function that returns its daemon's pid, or None
        self.listeners = []

    # ---- Partitions -----------------------------------------------------------------------------

    def block(self, links):
        with self.changed:
            self.blocked.update(links)

    def unblock(self, links):
        with self.changed:
            self.blocked.subtract(links)
            self.changed.notify_all()

    def passes(self, link):
        """Waits until the link is open."""
        with self.changed:
            if self.blocked[link] > 0:
                self.held[link] += 1
            while self.blocked[link] > 0:
                self.changed.wait()

    # ---- Relays ---------------------------------------------------------------------------------

    def relay(self, target, upstream, source=None, adjacent=1):
        port = free_ports(adjacent)
        for i in range(adjacent):
            listener = socket.create_server(("127.0.0.1", port + i), backlog=64)
            self.listeners.append(listener)
            threading.Thread(target=self.accept, args=(listener, port + i, target, upstream + i, source),
                             daemon=True).start()
        return port

    def accept(self, listener, port, target, upstream, source):
        while True:
            try:
                client, address = listener.accept()
            except OSError:
                return
            threading.Thread(target=self.connect, args=(client, address[1], port, target, upstream, source),
                             daemon=True).start()

    def who(self, client_port, port):
        inode = inode_of(client_port, port)
        return next((name for name, pid in list(self.pids.items()) if inode and has_socket(pid(), inode)), None)

    def connect(self, client, client_port, port, target, upstream, source):
        source = source or self.who(client_port, port)
        if source is None:  # it has gone again
            client.close()
            return
        self.passes((source, target))
        try:
            server = socket.create_connection(("127.0.0.1", upstream))
        except OSError:
            client.close()
            return
        for end in (client, server):
            end.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        threading.Thread(target=self.pump, args=(client, server, (source, target)), daemon=True).start()
        threading.Thread(target=self.pump, args=(server, client, (target, source)), daemon=True).start()

    def pump(self, source, sink, link):
        try:
            while data := source.recv(1 << 16):
                self.passes(link)
                sink.sendall(data)
        except OSError:
            pass
        for end in (source, sink):
            try:
                end.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass

    def close(self):
        for listener in self.listeners:
            listener.close()
