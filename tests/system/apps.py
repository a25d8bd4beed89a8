"""Apps of tests that talk to them, and what is asked of nodes beside them."""

import select
import signal
import subprocess

from cluster import check, check_equal, wait_for

# argv: database, a name, a log. Inserts rows until it is killed, with one connection that is never closed, and notes
# what was acknowledged.
WRITER = """
import sqlite3, sys, time
path, name, log = sys.argv[1:]
connection = sqlite3.connect(path, timeout=1, isolation_level=None)
out = open(log, 'a', buffering=1)
n = 0
while True:
    try:
        connection.execute('insert into t values (?)', (f'{name} {n}',))
        out.write(f'{name} {n}\\n')
    except sqlite3.OperationalError:
        if connection.in_transaction:
            connection.execute('rollback')
        time.sleep(0.001)
    n += 1
"""


class App:
    """A Python program under the shim that says "ready", reads lines and answers each with one."""

    def __init__(self, c, source, *argv):
        self.process = c.spawn(["/usr/bin/python3", "-c", source, *argv], shim=True, text=True,
                               stdin=subprocess.PIPE, stdout=subprocess.PIPE, bufsize=1)
        check_equal(self.hear(), "ready", "the app")

    def tell(self, line):
        self.process.stdin.write(line + "\n")
        self.process.stdin.flush()

    def commit(self, line="insert"):
        self.tell(line)
        return self.hear()

    def answered(self, seconds):
        return bool(select.select([self.process.stdout], [], [], seconds)[0])

    def hear(self):
        check(self.answered(60), "the app has not answered in 60 s")
        return self.process.stdout.readline().strip()


def sync_of(node, database):
    return node.database_status(database)["sync"]


def counter(node, name):
    return node.status()["counters"][name]


def stop(node):
    """SIGSTOP, and it has stopped."""
    node.process.send_signal(signal.SIGSTOP)
    wait_for(f"{node.name} stands still",
             lambda: open(f"/proc/{node.process.pid}/stat").read().rsplit(")", 1)[1].split()[0] == "T")


def go_on(node):
    node.process.send_signal(signal.SIGCONT)
