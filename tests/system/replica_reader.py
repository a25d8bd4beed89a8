"""replica_reader.py DATABASE KIND SEED CONNECTIONS THREADS HOLD_SECONDS: many connections read one database.

Goes on until SIGTERM, then prints one JSON object of counts.  Ends at once with status 1 at anything that no
reader may see: an error other than busy, a sum that does not hold, a snapshot that does not repeat, a state older
than one seen before, a database that is not sound.  busy_timeout is 0 throughout.

KIND: wal       a connection that is open already may not get "busy" either
      rollback  "busy" is counted, and how long a connection was busy without a break
      mixed     as rollback; the journal mode changes under the readers
"""

import contextlib
import json
import os
import random
import signal
import sqlite3
import sys
import threading
import time
import traceback

PATH, KIND, SEED = sys.argv[1], sys.argv[2], sys.argv[3]
CONNECTIONS, THREADS, HOLD = int(sys.argv[4]), int(sys.argv[5]), float(sys.argv[6])
# No snapshot is held across the end of such a period, so that the log can begin anew then.
BREATH_EVERY, BREATH = 3.0, 0.7

stop = threading.Event()
counts = {"version": sqlite3.sqlite_version, "shim": "liblitefs" in os.environ.get("LD_PRELOAD", ""),
          "transactions": 0, "repeated": 0, "checked": 0, "opened": 0, "busy": 0, "busy_opening": 0,
          "longest_busy": 0.0, "newest": 0, "last": 0}
counts_lock = threading.Lock()


def count(what):
    with counts_lock:
        counts[what] += 1


def breathing():
    return time.time() % BREATH_EVERY < BREATH


class Reader:
    """One connection: opens, begins, reads twice or more in one snapshot, ends, sometimes closes."""

    def __init__(self, rng):
        self.rng = rng
        self.db = None
        self.fresh = True  # has not read anything yet
        self.first = None
        self.ends = 0
        self.busy_since = None

    def step(self):
        try:
            if self.first is None:
                self.begin()
            elif time.monotonic() > self.ends or stop.is_set() or breathing():
                self.end()
            else:
                self.repeat()
            self.busy_since = None
        except sqlite3.OperationalError as error:
            self.refused(error)

    def refused(self, error):
        opening = self.fresh
        # A WAL database is refused to who opens it while another process closes it: SQLite tries EXCLUSIVE then.
        if not error.sqlite_errorname.startswith("SQLITE_BUSY") or (KIND == "wal" and not opening):
            error.add_note(f"{error.sqlite_errorname}")
            raise error
        count("busy_opening" if opening else "busy")
        now = time.monotonic()
        self.busy_since = self.busy_since or now
        with counts_lock:
            counts["longest_busy"] = max(counts["longest_busy"], now - self.busy_since)
        self.first = None
        if self.db is not None and self.db.in_transaction:
            self.db.execute("rollback")

    def begin(self):
        if breathing():
            return
        if self.db is None:
            self.db = sqlite3.connect(PATH, timeout=0, isolation_level=None, check_same_thread=False)
            self.fresh = True
            count("opened")
        with counts_lock:
            seen = counts["newest"]
        self.db.execute("begin")
        first = self.look()
        self.fresh = False
        if first[0] < seen:
            raise AssertionError(f"transaction {first[0]} after {seen} was seen")
        with counts_lock:
            counts["newest"] = max(counts["newest"], first[0])
            counts["transactions"] += 1
        self.first = first
        self.ends = time.monotonic() + self.rng.random() ** 3 * HOLD

    def look(self):
        n, total, rows, size = self.db.execute("select n, total, rows, bytes from book").fetchone()
        found = self.db.execute("select sum(amount) from account").fetchone()[0]
        noise = self.db.execute("select count(*), ifnull(sum(length(x)), 0) from noise").fetchone()
        if found != total or noise != (rows, size):
            raise AssertionError(f"torn: book {(n, total, rows, size)}, found {(found, *noise)}")
        return n, total, rows, size

    def repeat(self):
        if self.rng.random() < 0.05:
            check = self.rng.choice(["integrity_check", "quick_check"])
            answer = self.db.execute(f"pragma {check}").fetchall()
            if answer != [("ok",)]:
                raise AssertionError(f"{check}: {answer[:5]}")
            count("checked")
        again = self.look()
        if again != self.first:
            raise AssertionError(f"a snapshot changed from {self.first} to {again}")
        count("repeated")

    def end(self):
        self.db.execute("commit")
        self.first = None
        if self.rng.random() < 0.2:
            self.db.close()
            self.db = None


def work(number):
    rng = random.Random(f"{SEED}-{number}")
    readers = [Reader(rng) for _ in range(CONNECTIONS // THREADS)]
    try:
        while not stop.is_set():
            busy = [reader for reader in readers if reader.busy_since]
            # Who was refused asks again soon, so that its time is measured and not that of its turn.
            for reader in busy[:5] + [rng.choice(readers)]:
                reader.step()
            time.sleep(0.001)
        for reader in readers:
            if reader.first is not None:
                reader.end()
            if reader.db is not None:
                reader.db.close()
        if number == 0:  # what a reader finds who comes last
            with contextlib.closing(sqlite3.connect(PATH, timeout=20)) as last:
                counts["last"] = last.execute("select n from book").fetchone()[0]
    except BaseException:  # pylint: disable=broad-except
        traceback.print_exc(file=sys.stderr)
        print(f"{PATH}: {counts}", file=sys.stderr, flush=True)
        os._exit(1)


def main():
    signal.signal(signal.SIGTERM, lambda *_: stop.set())
    threads = [threading.Thread(target=work, args=(i,)) for i in range(THREADS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    print(json.dumps(counts), flush=True)


main()
