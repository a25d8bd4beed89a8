"""Judges what clients of a cluster have seen (pure: no process, no clock, no file).

    errors, counts = check(events, final, sync=0)

events: what clients recorded, each a dict; an operation is an `invoke`, for a write that got as far as its COMMIT a
`commit`, and at most one of `ok`, `fail` (nothing was changed, for certain) and `unknown`; none of these is unknown too.

    {"op": "a1-7", "type": "invoke", "f": "append" | "cas" | "read", "db": "x.db", "node": "a", "session": "a1",
     "t": 1.5, "keys": [1, 2]}                       keys: of the lists appended to, or of the register that is set
    {"op": "a1-7", "type": "commit", "t": 1.6, "prev": "c2-9", "version": 18, "epoch": 3}
    {"op": "a1-7", "type": "ok", "t": 1.7, "version": 18, "tip": "a1-7", "lists": {"1": […]}, "registers": {"1": …}}
    {"type": "reset", "session": "a1", "db": "x.db"}   the session gives up the position that it carried

Every write adds a row (version, op) to the table `log`, in its transaction; its value, in lists and registers, is its
name. A read reports the last row that it saw (version, tip) and the content beside it. So a history is a tree of
transactions, and a log, or a tip in one, is a path from its root.

final: what was left when all was healed.

    {"databases": {"x.db": {"log": ["c2-9", …], "lists": {"1": […]}, "registers": {…},
                            "nodes": {"a": {"position": "…", "sha256": "…", "integrity": "ok"}},
                            "branches": [{"node": "a", "branch": "…", "log": […]}],
                            "unconfirmed": 0}}}   commits that returned and that a node has said nobody confirmed
"""

import bisect
import collections

MOST_SHOWN = 5
# What a client may be told; anything else is an error of the system.
REFUSALS = ("database is locked", "attempt to write a readonly database", "disk I/O error", "unable to open database file",
            "no such table")


class Op:
    def __init__(self, invoke):
        self.name, self.f, self.db = invoke["op"], invoke["f"], invoke["db"]
        self.node, self.session = invoke["node"], invoke["session"]
        self.keys = [str(key) for key in invoke.get("keys", [])]
        self.began = invoke["t"]
        self.committing = None  # the event
        self.end = None         # the event
        self.outcome = "unknown"

    @property
    def writes(self):
        return self.f != "read"

    @property
    def acknowledged(self):
        """A write that was told to have happened (a compare-and-set may have found another value)."""
        return self.writes and self.outcome == "ok" and self.end.get("tip") == self.name


class Content:
    """The lists and registers after each transaction of one log."""

    def __init__(self, log, ops):
        self.log = log
        self.index = {name: i + 1 for i, name in enumerate(log)}
        self.appended, self.set = {}, {}  # key: (versions, values)
        for version, name in enumerate(log, 1):
            op = ops.get(name)
            for key in op.keys if op else []:
                versions, values = (self.appended if op.f == "append" else self.set).setdefault(key, ([], []))
                versions.append(version)
                values.append(name)

    def list_at(self, key, version):
        versions, values = self.appended.get(key, ([], []))
        return values[:bisect.bisect_right(versions, version)]

    def register_at(self, key, version):
        versions, values = self.set.get(key, ([], []))
        n = bisect.bisect_right(versions, version)
        return values[n - 1] if n else None


class Checker:
    def __init__(self, events, final, sync):
        self.errors = collections.defaultdict(list)
        self.counts = collections.Counter()
        self.final, self.sync = final["databases"], sync
        self.ops = {}
        self.sessions = collections.defaultdict(list)  # (session, database): events in order
        for event in sorted(events, key=lambda e: e["t"]):
            self.take(event)

    def take(self, event):
        kind = event["type"]
        if kind == "reset":
            self.sessions[event["session"], event["db"]].append(event)
            return
        if kind == "invoke":
            if event["op"] in self.ops:
                self.error("two operations of one name", event["op"])
            self.ops[event["op"]] = Op(event)
            return
        op = self.ops.get(event["op"])
        if op is None:
            self.error("an end without a beginning", event["op"])
        elif kind == "commit":
            op.committing = event
        elif op.end is not None:
            self.error("an operation with two ends", event["op"])
        else:
            op.end, op.outcome = event, kind
            if kind != "ok" and not any(event["error"].startswith(refusal) for refusal in REFUSALS):
                self.error("an error that no client should see", f"{op.name} on {op.node}: {event['error']}")
            self.counts[f"{op.f} {kind}"] += 1
            self.sessions[op.session, op.db].append(event)

    def error(self, what, detail):
        self.errors[what].append(str(detail))

    # ---- One database ---------------------------------------------------------------------------

    def check_database(self, db, final):
        ops = {name: op for name, op in self.ops.items() if op.db == db}
        main = Content(final["log"], ops)
        branches = [(b, Content(b["log"], ops)) for b in final["branches"]]
        self.check_logs(db, ops, [("the surviving log", main)] +
                        [(f"branch {b['branch']} of {b['node']}", content) for b, content in branches])
        self.check_tables(db, main, final)
        self.check_equal_nodes(db, final["nodes"])
        lost = [op for op in ops.values() if op.acknowledged and op.name not in main.index]
        self.check_lost(db, lost, branches, final.get("unconfirmed", 0))
        self.check_reads(db, ops, main, branches)
        self.check_lists_without_logs(db, ops, main)
        self.check_order(db, ops, main)
        self.check_fences(db, main, [content for _, content in branches])
        self.check_sessions(db, main, branches)

    def check_logs(self, db, ops, logs):
        """No phantom, no duplicate, no lost update; and the same transaction has the same past everywhere."""
        past = {}
        for where, content in logs:
            if len(content.index) != len(content.log):
                twice = [name for name, n in collections.Counter(content.log).items() if n > 1]
                self.error("a transaction that happened twice", f"{db}, {where}: {twice[:MOST_SHOWN]}")
            for version, name in enumerate(content.log, 1):
                op = ops.get(name)
                before = content.log[version - 2] if version > 1 else None
                if op is None or not op.writes:
                    self.error("a phantom: nobody wrote it", f"{db}, {where}: {name}")
                    continue
                if op.outcome == "fail":
                    self.error("a phantom: its writer was told that it failed",
                               f"{db}, {where}: {name}: {op.end.get('error')}")
                seen = op.committing
                if seen is not None and (seen["prev"], seen["version"]) != (before, version):
                    self.error("a lost update", f"{db}, {where}: {name} saw {seen['version']} after {seen['prev']}, "
                               f"and stands at {version} after {before}")
                if past.setdefault(name, (before, version)) != (before, version):
                    self.error("one transaction with two pasts", f"{db}, {where}: {name}")

    def check_tables(self, db, main, final):
        """What is in the tables at the end is what the log's transactions did."""
        n = len(main.log)
        for key, values in final["lists"].items():
            if values != main.list_at(key, n):
                self.error("a list that is not what was appended", f"{db}: list {key}: {values[-MOST_SHOWN:]}")
        for key in main.appended:
            if key not in final["lists"]:
                self.error("a list that is not what was appended", f"{db}: list {key} is gone")
        for key, value in final["registers"].items():
            if value != main.register_at(key, n):
                self.error("a register that is not what was set", f"{db}: register {key}: {value}")

    def check_equal_nodes(self, db, nodes):
        for name, node in nodes.items():
            if node["integrity"] != "ok":
                self.error("an unsound database", f"{db} on {name}: {node['integrity']}")
        for what in ("position", "sha256"):
            if len({node[what] for node in nodes.values()}) > 1:
                self.error(f"nodes that differ in their {what}", f"{db}: { {k: v[what] for k, v in nodes.items()} }")

    def check_lost(self, db, lost, branches, unconfirmed):
        """With synchronous commit no more is lost than the nodes have said."""
        self.counts["acknowledged and lost"] += len(lost)
        kept = set().union(*(content.index for _, content in branches)) if branches else set()
        for op in lost:
            if self.sync and len(lost) > unconfirmed:
                self.error("an acknowledged write that is lost, with synchronous commit", f"{db}: {op.name} on {op.node}")
            if op.name not in kept:
                self.error("an acknowledged write that is lost, and in no branch", f"{db}: {op.name} on {op.node}")

    # ---- Reads ----------------------------------------------------------------------------------

    @staticmethod
    def place(tip, main, branches):
        """The log that has this transaction; the empty database is the beginning of each."""
        if tip is None or tip in main.index:
            return main
        return next((content for _, content in branches if tip in content.index), None)

    def check_reads(self, db, ops, main, branches):
        for op in ops.values():
            if op.outcome != "ok" or "tip" not in op.end:
                continue
            tip, version = op.end["tip"], op.end["version"]
            content = self.place(tip, main, branches)
            if content is None:
                if not op.acknowledged:  # else it is among the lost
                    self.error("a read of what is nowhere", f"{db}: {op.name} on {op.node} saw {tip} at {version}")
                continue
            if version != content.index.get(tip, 0):
                self.error("a read at a wrong version", f"{db}: {op.name}: {tip} at {version}")
                continue
            for key, values in op.end.get("lists", {}).items():
                if values != content.list_at(key, version):
                    self.error("a read that no state explains", f"{db}: {op.name} at {version}: list {key}")
            for key, value in op.end.get("registers", {}).items():
                if value != content.register_at(key, version):
                    self.error("a read that no state explains", f"{db}: {op.name} at {version}: register {key}: {value}")

    def check_lists_without_logs(self, db, ops, main):
        """By the lists alone: prefixes of one another, but for what ends in a value that did not survive."""
        longest = {}
        for op in sorted(ops.values(), key=lambda o: o.began):
            for key, values in (op.end or {}).get("lists", {}).items():
                if len(set(values)) != len(values):
                    self.error("a list with a value twice", f"{db}: {op.name}: list {key}")
                if values and values[-1] not in main.index:
                    continue
                known = longest.get(key, [])
                short, long = sorted((known, values), key=len)
                if long[:len(short)] != short:
                    self.error("lists of which none is the beginning of the other", f"{db}: {op.name}: list {key}")
                longest[key] = long

    # ---- Time -----------------------------------------------------------------------------------

    def check_order(self, db, ops, main):
        """A write that began when another one had been acknowledged comes after it."""
        there = sorted((op for op in ops.values() if op.name in main.index), key=lambda o: o.began)
        ends = sorted((op for op in there if op.acknowledged), key=lambda o: o.end["t"])
        latest, i = None, 0
        for op in there:
            while i < len(ends) and ends[i].end["t"] < op.began:
                if latest is None or main.index[ends[i].name] > main.index[latest.name]:
                    latest = ends[i]
                i += 1
            if latest is not None and main.index[op.name] < main.index[latest.name]:
                self.error("a write before one that was acknowledged when it began",
                           f"{db}: {op.name} is before {latest.name}")

    def check_fences(self, db, main, branches):
        """Nobody wrote outside of a reign: an epoch has one writer, epochs grow along a log, and of two branches
        that part, one had ended when the other began."""
        writers = {}
        contents = [main, *branches]
        for content in contents:
            last = 0
            for name in content.log:
                op = self.ops.get(name)
                if op is None or op.committing is None:
                    continue
                epoch, node = op.committing["epoch"], op.node
                if epoch is None:  # by way of another node
                    continue
                if epoch < last:
                    self.error("an epoch that goes back", f"{db}: {name}: {epoch} after {last}")
                last = max(last, epoch)
                if writers.setdefault(epoch, node) != node:
                    self.error("two writers in one epoch", f"{db}: {name}: {node} and {writers[epoch]} in {epoch}")
        for i, one in enumerate(contents):
            for other in contents[i + 1:]:
                self.check_parted(db, one, other)

    def check_parted(self, db, one, other):
        fork = next((i for i, (a, b) in enumerate(zip(one.log, other.log)) if a != b), None)
        if fork is None:
            return  # one is the beginning of the other
        self.counts["branches that parted"] += 1
        tails = [[self.ops[name] for name in content.log[fork:] if name in self.ops and self.ops[name].acknowledged]
                 for content in (one, other)]
        if not all(tails):
            return
        # Of each: when the first was done, and when the last went to its commit.
        (first_a, last_a), (first_b, last_b) = (
            (min(tail, key=lambda o: o.end["t"]), max(tail, key=lambda o: (o.committing or {"t": o.began})["t"]))
            for tail in tails)
        def after(late, early):
            return (late.committing or {"t": late.began})["t"] > early.end["t"]
        if after(last_a, first_b) and after(last_b, first_a):
            self.error("two nodes wrote at the same time",
                       f"{db}: after {one.log[fork - 1] if fork else 'the beginning'}: {first_a.name}…{last_a.name} on "
                       f"{last_a.node}, {first_b.name}…{last_b.name} on {last_b.node}")

    def check_sessions(self, db, main, branches):
        """What a session has seen or written it sees again, unless that did not survive or it was reset."""
        for (session, database), events in self.sessions.items():
            if database != db:
                continue
            tip = None
            for event in events:
                if event["type"] == "reset":
                    tip = None
                if event["type"] != "ok" or "tip" not in event:
                    continue
                now = event["tip"]
                content = self.place(now, main, branches)
                survived = tip is not None and tip in main.index
                carried = event.get("carried") and tip is not None
                if content is not None and (survived or carried) and (
                        content.index.get(tip, len(content.log) + 1) > content.index.get(now, 0)):
                    self.error("a session that goes back", f"{db}: {session}: {now} after {tip}, in {event['op']}")
                tip = now


def check(events, final, sync=0):
    """Returns ({what: [details]}, counts)."""
    checker = Checker(events, final, sync)
    for db, state in checker.final.items():
        checker.check_database(db, state)
    for op in checker.ops.values():
        if op.end is None:
            checker.counts[f"{op.f} unknown"] += 1
    return dict(checker.errors), checker.counts


def describe(errors):
    lines = []
    for what, details in errors.items():
        lines.append(f"{what} ({len(details)}):")
        lines += [f"  {detail}" for detail in details[:MOST_SHOWN]]
    return "\n".join(lines)
