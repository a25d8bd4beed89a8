#!/usr/bin/env python3
"""The primary's daemon is gone (killed) or hangs (stopped) while an app writes. when-away: refuse: the app
gets a clean error after the time-out and loses nothing; continue: it goes on, and the daemon takes in
what it missed when it is back. The replica has the same bytes in the end, in every journal mode."""

import os
import signal
import subprocess

import cluster

MODES = ["delete", "truncate", "persist", "memory", "off", "wal"]
# Their writers wait for no answer: a daemon that hangs is noticed when the ring is full.
RING_MODES = ["delete", "truncate", "persist"]
MOST_IN_RING = 300
TIMEOUT_SECONDS = 0.5

# Commits a row for each line of its input; answers with the seconds it took, or the error.
APP = """
import sqlite3, sys, time
db = sqlite3.connect(sys.argv[1], timeout=0, isolation_level=None)
db.execute(f"PRAGMA journal_mode = {sys.argv[2]}")
db.execute("CREATE TABLE IF NOT EXISTS t(x INTEGER PRIMARY KEY, y)")
print("ready", flush=True)
for line in sys.stdin:
    started = time.monotonic()
    try:
        db.execute("INSERT INTO t(y) VALUES (randomblob(3000))")
        print(time.monotonic() - started, flush=True)
    except sqlite3.OperationalError as error:
        print(error, flush=True)
"""


class App:
    def __init__(self, c, path, mode):
        self.process = c.spawn(["/usr/bin/python3", "-c", APP, path, mode], shim=True, text=True,
                               stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        self.c = c
        self.rows = 0
        cluster.check_equal(self.process.stdout.readline().strip(), "ready", "the app")

    def ask(self):
        self.process.stdin.write("\n")
        self.process.stdin.flush()
        return self.process.stdout.readline().strip()

    def commit(self):
        answer = self.ask()
        try:
            seconds = float(answer)
        except ValueError:
            raise cluster.Failure(f"the app's commit: {answer}") from None
        self.rows += 1
        return seconds

    def commit_until_refused(self, most):
        for _ in range(most):
            answer = self.ask()
            if answer == "disk I/O error":
                return
            cluster.check("." in answer, f"the app's commit: {answer}")
            self.rows += 1
        raise cluster.Failure(f"{most} commits, and the daemon's absence was not noticed")

    def refused(self):
        answer = self.ask()
        cluster.check(answer in ("database is locked", "disk I/O error"),
                      f"the app was told {answer!r}, not that the database is locked")

    def close(self):
        self.process.stdin.close()
        cluster.check_equal(self.process.wait(30), 0, "the app's exit status")
        self.c.processes.remove(self.process)


def away(node, how):
    if how == "killed":
        node.kill()
    else:
        os.kill(node.process.pid, signal.SIGSTOP)


def back(node, how):
    if how == "killed":
        node.start()
    else:
        os.kill(node.process.pid, signal.SIGCONT)


def check_rows(c, primary, replica, database, app):
    cluster.check_equal(c.sqlite(primary.path(database), "SELECT count(*) FROM t;"), str(app.rows),
                        f"{database}: rows that were confirmed")

    def equal():
        primary.sync()
        return c.replay(primary, database) == c.committed_sha256(primary.path(database))

    cluster.wait_for(f"{database}: the chain has what the app wrote", equal)
    c.check_identical(primary, replica, database)


def go_on(c, primary, replica, mode, how):
    database = f"continue-{mode}-{how}.db"
    app = App(c, primary.path(database), mode)
    app.commit()
    app.commit()  # with which its ring is in use
    away(primary, how)
    seconds = app.commit()
    unnoticed = mode in [*RING_MODES, "wal"] and how == "stopped"
    cluster.check(unnoticed or seconds >= 0.9 * TIMEOUT_SECONDS,
                  f"{database}: waited for {seconds:.2f} s only")
    seconds = min(app.commit() for _ in range(20))
    cluster.check(seconds < TIMEOUT_SECONDS / 2, f"{database}: a later commit took {seconds:.2f} s")
    back(primary, how)
    cluster.wait_for(f"{database}: the app finds the daemon",
                     lambda: app.commit() and primary.database_status(database)["sessions"] == 1)
    app.commit()
    app.close()
    check_rows(c, primary, replica, database, app)


def refuse(c, primary, replica, mode, how):
    database = f"refuse-{mode}-{how}.db"
    app = App(c, primary.path(database), mode)
    app.commit()
    app.commit()  # with which its ring is in use
    away(primary, how)
    # Its rollback journal is there to be played back; without one SQLite cannot undo.
    if how == "stopped" and mode in RING_MODES:
        app.commit_until_refused(MOST_IN_RING)
        app.refused()
    elif not (how == "stopped" and mode in ("memory", "off", "wal")):
        app.refused()
        app.refused()
    back(primary, how)
    app.commit()
    app.close()
    check_rows(c, primary, replica, database, app)


def test(c):
    settings = {"write-timeout": f"{int(TIMEOUT_SECONDS * 1000)}ms"}
    for policy, run in (("continue", go_on), ("refuse", refuse)):
        primary = c.node(f"primary-{policy}", **settings, **{"when-away": policy})
        replica = c.node(f"replica-{policy}", follows=primary)
        for how in ("killed", "stopped"):
            for mode in MODES:
                run(c, primary, replica, mode, how)
            print(f"{policy}, {how}: {len(MODES)} journal modes, identical on the replica", flush=True)


cluster.main(test)
