#!/usr/bin/env python3
"""throttled_test.py BUILD_DIR: a replica behind a slow and distant network: the lag that it shows is true, and ends.

The relay lets so many bytes a second through and delivers them late.  The test knows when each transaction was
committed and how large its file is, and compares every status of the replica with that, in transactions, bytes and
milliseconds.  A second relay damages what passes: the replica drops it, says so and asks again."""

import os
import time

import cluster
import relay
from cluster import check

MIB = 1 << 20
PACE = 2 * MIB
DELAY = 0.15
TRANSACTIONS, ROWS = 10, 30
# A beacon's spacing, half of a round trip that goes slowly one way only, and a machine that may be loaded.
TOLERANCE_MS = 25 + DELAY * 1000 + 400


def start(c, name, link_options):
    primary = c.node(name, start=False)
    port = relay.free_ports()
    primary.endpoint = f"tcp://127.0.0.1:{port}"
    primary.configure(None)
    primary.start()
    link = relay.Relay(port)
    for option, value in link_options.items():
        setattr(link, option, value)
    replica = c.node(name + "-replica", follows=type("Link", (), {"endpoint": link.endpoint()}))
    primary.sql("app.db", "PRAGMA journal_mode = wal; CREATE TABLE t(x INTEGER PRIMARY KEY, y);")
    c.wait_equal(primary, replica, "app.db")
    return primary, replica, link


def txid_of(node):
    return int(node.position("app.db").split("/")[0], 16)


def file_sizes(primary):
    """Of the chain, by transaction."""
    sizes = {}
    for path in primary.ltx_files("app.db"):
        first, last = (int(part, 16) for part in os.path.basename(path)[:-4].split("-"))
        cluster.check_equal(first, last, "transactions of one file")
        sizes[first] = os.path.getsize(path)
    return sizes


class Truth:
    """When each transaction was committed, between two times, and how large it is."""

    def __init__(self, primary):
        self.times = {}
        for _ in range(TRANSACTIONS):
            before = time.monotonic()
            primary.sql("app.db", f"INSERT INTO t(y) WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n "
                                  f"WHERE i < {ROWS}) SELECT randomblob(40000) FROM n;")
            self.times[txid_of(primary)] = (before, time.monotonic())
        self.sizes = file_sizes(primary)
        self.last = max(self.times)

    def compare(self, replica):
        """Returns how many transactions are missing."""
        asked = time.monotonic()
        shown = replica.database_status("app.db")
        answered = time.monotonic()
        txid, lag = int(shown["txid"], 16), shown["lag"]
        missing = [number for number in self.sizes if number > txid]
        if lag["transactions"] is None or lag["ms"] is None:
            check(False, f"the lag is not known: {shown}")
        cluster.check_equal(lag["transactions"], len(missing), f"transactions missing at {txid}")
        cluster.check_equal(lag["bytes"], sum(self.sizes[number] for number in missing), f"bytes missing at {txid}")
        if missing:
            earliest, latest = self.times[missing[0]]
            least, most = (asked - latest) * 1000 - TOLERANCE_MS, (answered - earliest) * 1000 + TOLERANCE_MS
            check(least <= lag["ms"] <= most, f"{txid}: lag {lag['ms']} ms, not {least:.0f} to {most:.0f}")
        return len(missing)


def true_lag(c):
    primary, replica, link = start(c, "far", {"pace": PACE, "delay": DELAY})
    truth = Truth(primary)
    # PUB is not throttled: it announces what is too large for it.
    cluster.wait_for("the last is known",
                     lambda: int(replica.database_status("app.db")["lag"]["primary_txid"], 16) == truth.last)
    seen = set()
    end = time.monotonic() + 120
    while (missing := truth.compare(replica)) > 0:
        check(time.monotonic() < end, f"{missing} transactions are still missing")
        seen.add(missing)
        time.sleep(0.05)
    check(len(seen) > 3, f"the link was no obstacle: {seen}")
    c.check_identical(primary, replica, "app.db")
    cluster.wait_for("the lag is 0", lambda: replica.status()["replication"]["lag_ms"] == 0)
    print(f"true at {sorted(seen, reverse=True)} transactions behind, through {PACE / MIB:.0f} MiB/s and {DELAY * 1000:.0f} ms")
    link.stop()
    for node in (primary, replica):
        node.stop()


def spoilt(c, count=5):
    primary, replica, link = start(c, "spoilt", {"spoil": count})
    primary.sql("app.db", "INSERT INTO t(y) WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 60) "
                          "SELECT randomblob(40000) FROM n;")
    c.check_identical(primary, replica, "app.db")
    cluster.check_equal(link.spoilt, count, "messages that the relay changed")
    text = replica.log_tail(200)
    check("does not match its digest" in text or "malformed" in text, f"the replica says nothing of it:\n{text}")
    print(f"{count} messages with a changed byte: dropped, said, and equal in the end")
    link.stop()
    for node in (primary, replica):
        node.stop()


def test(c):
    true_lag(c)
    spoilt(c)


cluster.main(test)
