#!/usr/bin/env python3
"""What only the dead primary had, and the lease's record knows of: nobody reigns without it, unless told to by
promote --force, which says what is abandoned; the node that comes back keeps that as a branch."""

import base64
import json
import os
import urllib.request

import cluster
from cluster import check, check_equal, wait_for
from servers import etcd

TTL = 2  # seconds
DB = "app.db"
KEY = "test/force"


def noted(server):
    """The position in the record of the lease server."""
    body = json.dumps({"key": base64.b64encode(f"{KEY}/record".encode()).decode()}).encode()
    with urllib.request.urlopen(server.url + "/v3/kv/range", body, timeout=5) as answer:
        pairs = json.load(answer).get("kvs", [])
    record = json.loads(base64.b64decode(pairs[0]["value"])) if pairs else {}
    return record.get("positions", {}).get("databases", {}).get(DB)


def leave_a_tail(server, a, b):
    """a writes alone, and dies when the record knows of it."""
    b.stop()
    a.sql(DB, "".join(f"insert into t values ('tail', {n});" for n in range(5)))
    a.sync()
    tail = a.position(DB)
    wait_for("the record has what only a has", lambda: noted(server) == tail)
    a.kill()
    return tail


def check_nobody_reigns(b, tail):
    problem = wait_for("b says why it does not reign",
                       lambda: (text := b.status()["lease"]["problem"]) and DB in text and text)
    check(tail.split("/")[0] in problem, f"b's problem does not name {tail}: {problem}")
    status, _, err = b.cluster.command("promote", "--config", b.config, status=None)
    check(status != 0 and "the cluster has reached" in err, f"promote without force: {status} {err}")
    check(not b.status()["lease"]["holds"], "b reigns without the tail")


def test(c):
    with etcd.Server(c) as server:
        lease = {"type": "etcd", "url": server.url, "key": KEY, "ttl": f"{TTL}s"}
        a = c.node("a", lease=lease)
        wait_for("a reigns", lambda: a.status()["lease"]["holds"])
        a.sql(DB, "pragma journal_mode = wal; create table t(who, n); insert into t values ('both', 0)")
        b = c.node("b", lease=lease)
        c.check_identical(a, b, DB)
        tail = leave_a_tail(server, a, b)
        b.start()
        check_nobody_reigns(b, tail)

        out, _ = c.command("promote", "--force", "--config", b.config)
        check("abandoned" in out and tail in out, f"promote --force does not say what it abandons: {out}")
        check(b.status()["lease"]["holds"], "promote --force has ended, and b does not reign")
        b.sql(DB, "insert into t values ('b', 1)")

        a.start()
        wait_for("a is a replica", lambda: a.status()["role"] == "replica")
        c.check_identical(b, a, DB)
        check_equal(c.sqlite(a.path(DB), "select who, n from t order by rowid"), "both|0\nb|1", "a's rows")
        branches = json.loads(c.command("branches", "list", "--config", a.config, "--json", DB)[0])["branches"]
        check_equal([branch["txid"] for branch in branches], [tail.split("/")[0]], "a's branches")
        saved = os.path.join(c.scratch, "saved.db")
        c.command("branches", "export", "--config", a.config, DB, branches[0]["branch"], saved)
        check_equal(c.sqlite(saved, "select count(*) from t where who = 'tail'"), "5", "abandoned rows on the branch")
        # Nobody is abandoned by a promotion that is safe.
        answer = json.loads(c.command("promote", "--force", "--json", "--config", a.config)[0])
        check_equal(answer["abandoned"], [], "abandoned when the lease was handed over")
        c.check_identical(a, b, DB)


if __name__ == "__main__":
    cluster.main(test)
