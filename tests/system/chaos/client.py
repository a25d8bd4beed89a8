#!/usr/bin/env python3
"""client.py SESSION SEED HISTORY NODE=DIR…: does transactions as fast as it may, and records what it sees (checker.py).

With one node it is a program that lives there, and never waits for anything.  With several it travels: it carries
its position from node to node, and waits at each until that transaction is there, at most for WAIT.  SIGTERM ends it
after the operation it is in."""

import json
import random
import signal
import sqlite3
import struct
import sys
import time

DATABASES = ("wal.db", "delete.db")
LISTS = 4              # in use at a time
APPENDS_TO_A_LIST = 40
REGISTERS = 3
WAIT = 1.5             # seconds
PRIMARY = 1            # ipc/protocol.h, Role
SCHEMA = ("create table log(version integer primary key, op text unique);"
          "create table item(id integer primary key, key integer, value text);"
          "create index item_key on item(key);"
          "create table register(key integer primary key, value text);")


class Abandoned(Exception):
    """Nothing was changed."""


class Client:
    def __init__(self, session, seed, history, nodes):
        self.session = session
        self.rng = random.Random(seed)
        self.history = open(history, "a", encoding="utf-8", buffering=1)
        self.nodes = nodes
        self.connections = {}
        self.count = 0
        self.invoked = self.committing = False  # of the operation in progress
        self.carried = {}   # database: (version, tip)
        self.found = False  # and this transaction sees it
        self.known = {}     # (database, register): value as last seen
        self.stopped = False
        signal.signal(signal.SIGTERM, self.stop)

    def stop(self, *_):
        self.stopped = True

    def record(self, **event):
        self.history.write(json.dumps(event | {"t": time.monotonic()}) + "\n")

    def connection(self, node, db):
        key = node, db
        if key not in self.connections:
            self.connections[key] = sqlite3.connect(f"file:{self.nodes[node]}/{db}?mode=rw", uri=True, timeout=0.3,
                                                    isolation_level=None)
        return self.connections[key]

    def epoch(self, node):
        """Of this node's reign, or None if it is no primary."""
        with open(f"{self.nodes[node]}/.litefs/status", "rb") as file:
            _, _, role, _, epoch = struct.unpack("<IIIIQ", file.read(24))
        return epoch if role == PRIMARY else None

    # ---- What a transaction sees ----------------------------------------------------------------

    def has_carried(self, connection, db):
        version, tip = self.carried.get(db, (0, None))
        return tip is None or bool(connection.execute("select 1 from log where version = ? and op = ?",
                                                      (version, tip)).fetchone())

    def tip(self, connection, db):
        """The node may have left a branch since this session arrived."""
        self.found = len(self.nodes) > 1 and self.has_carried(connection, db)
        return connection.execute("select version, op from log order by version desc limit 1").fetchone() or (0, None)

    def lists(self, version):
        first = version // (LISTS * APPENDS_TO_A_LIST) * LISTS
        return range(first, first + LISTS)

    @staticmethod
    def read_list(connection, key):
        return [value for value, in connection.execute("select value from item where key = ? order by id", (key,))]

    @staticmethod
    def read_register(connection, key):
        row = connection.execute("select value from register where key = ?", (key,)).fetchone()
        return row[0] if row else None

    # ---- Operations -----------------------------------------------------------------------------

    def append(self, connection, node, op, db):
        """The keys were announced, so a list may be a little longer than meant."""
        keys = self.rng.sample(list(self.lists(self.carried.get(db, (0, None))[0])), self.rng.randint(1, 3))
        self.invoke(op, "append", node, db, keys)
        connection.execute("begin immediate")
        epoch = self.epoch(node)
        version, before = self.tip(connection, db)
        lists = {}
        for key in keys:
            connection.execute("insert into item(key, value) values (?, ?)", (key, op))
            lists[key] = self.read_list(connection, key)
        self.commit(connection, op, version, before, epoch)
        return version + 1, op, {"lists": lists}

    def compare_and_set(self, connection, node, op, db):
        key = self.rng.randrange(REGISTERS)
        expected = self.known.get((db, key))
        self.invoke(op, "cas", node, db, [key])
        connection.execute("begin immediate")
        epoch = self.epoch(node)
        version, before = self.tip(connection, db)
        found = self.read_register(connection, key)
        self.known[db, key] = found
        if found != expected:
            connection.execute("rollback")
            return version, before, {"registers": {key: found}}
        connection.execute("insert or replace into register values (?, ?)", (key, op))
        self.commit(connection, op, version, before, epoch)
        self.known[db, key] = op
        return version + 1, op, {"registers": {key: op}}

    def commit(self, connection, op, version, before, epoch):
        connection.execute("insert into log values (?, ?)", (version + 1, op))
        self.committing = True
        self.record(op=op, type="commit", prev=before, version=version + 1, epoch=epoch)
        connection.execute("commit")

    def read(self, connection, node, op, db):
        self.invoke(op, "read", node, db, [])
        connection.execute("begin")
        version, tip = self.tip(connection, db)
        lists = {key: self.read_list(connection, key) for key in self.lists(version)}
        registers = {key: self.read_register(connection, key) for key in range(REGISTERS)}
        connection.execute("commit")
        self.known.update({(db, key): value for key, value in registers.items()})
        return version, tip, {"lists": lists, "registers": registers}

    def invoke(self, op, f, node, db, keys):
        self.invoked = True
        self.committing = False
        self.record(op=op, type="invoke", f=f, db=db, node=node, session=self.session, keys=keys)

    # ---- The loop -------------------------------------------------------------------------------

    def arrive(self, connection, db):
        """Waits until what this session has seen is here; gives it up if it does not come."""
        if len(self.nodes) == 1 or db not in self.carried:
            return
        end = time.monotonic() + WAIT
        while time.monotonic() < end and not self.stopped:
            try:
                if self.has_carried(connection, db):
                    return
            except sqlite3.OperationalError:
                pass
            time.sleep(0.01)
        self.record(type="reset", session=self.session, db=db)
        del self.carried[db]

    def one(self):
        node = self.rng.choice(list(self.nodes))
        db = self.rng.choice(DATABASES)
        f = self.rng.choices((self.append, self.compare_and_set, self.read), (5, 2, 3))[0]
        self.count += 1
        op = f"{self.session}-{self.count}"
        self.invoked = False
        connection = None
        try:
            connection = self.connection(node, db)
            self.arrive(connection, db)
            version, tip, seen = f(connection, node, op, db)
            self.carried[db] = (version, tip)
            self.record(op=op, type="ok", version=version, tip=tip, carried=self.found, **seen)
        except sqlite3.Error as error:
            if self.invoked:
                self.refused(connection, op, error)
            return False
        return True

    def refused(self, connection, op, error):
        """A commit that is refused as busy leaves the transaction open, to be rolled back.  Any other error of a commit
        leaves it unknown."""
        busy = "locked" in str(error) and connection.in_transaction
        try:
            if connection.in_transaction:
                connection.execute("rollback")
        except sqlite3.Error:
            busy = False
        certain = busy or not self.committing
        self.record(op=op, type="fail" if certain else "unknown", error=str(error))

    def run(self):
        while not self.stopped:
            pause = 0.01 if self.one() else 0.03
            time.sleep(self.rng.uniform(0, pause))


def main():
    session, seed, history, *nodes = sys.argv[1:]
    Client(session, seed, history, dict(node.split("=", 1) for node in nodes)).run()


if __name__ == "__main__":
    main()
