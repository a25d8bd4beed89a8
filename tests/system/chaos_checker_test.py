#!/usr/bin/env python3
"""chaos_checker_test.py [BUILD_DIR]: the checker of histories (chaos/checker.py) accepts a good one, and says of
each bad one what is wrong with it."""

import copy
import sys
import unittest

from chaos import checker

DB = "x.db"
SURVIVES = {"integrity": "ok", "position": "4/abc", "sha256": "1"}


class History:
    """Written by hand: every line is an operation of one session."""

    def __init__(self):
        self.events, self.now = [], 0.0

    def add(self, **event):
        self.now += 1
        self.events.append({"t": self.now} | event)

    def write(self, op, prev, version, node="a", epoch=1, f="append", keys=(1,), end="ok", error="", **seen):
        session = op.split("-")[0]
        self.add(op=op, type="invoke", f=f, db=DB, node=node, session=session, keys=list(keys))
        self.add(op=op, type="commit", prev=prev, version=version, epoch=epoch)
        if end == "ok":
            self.add(op=op, type="ok", version=version, tip=op, **seen)
        elif end:
            self.add(op=op, type=end, error=error or "disk I/O error")
        return self

    def read(self, op, version, tip, node="a", carried=False, **seen):
        self.add(op=op, type="invoke", f="read", db=DB, node=node, session=op.split("-")[0], keys=[])
        self.add(op=op, type="ok", version=version, tip=tip, carried=carried, **seen)
        return self


def final_of(log, lists, registers=None, branches=()):
    nodes = {name: dict(SURVIVES) for name in "abc"}
    return {"databases": {DB: {"log": log, "lists": lists, "registers": registers or {}, "nodes": nodes,
                               "branches": [{"node": "a", "branch": f"b{i}", "log": list(branch)}
                                            for i, branch in enumerate(branches)]}}}


def good():
    """Two writers, a register, a reader on a replica that is behind."""
    history = History()
    history.write("a1-1", None, 1, lists={"1": ["a1-1"]})
    history.write("a1-2", "a1-1", 2, f="cas", keys=[0], registers={"0": "a1-2"})
    history.read("b1-1", 1, "a1-1", node="b", lists={"1": ["a1-1"]}, registers={"0": None})
    history.write("b1-2", "a1-2", 3, node="b", epoch=2, keys=[1, 2])
    history.read("b1-3", 3, "b1-2", node="b", lists={"1": ["a1-1", "b1-2"], "2": ["b1-2"]}, registers={"0": "a1-2"})
    history.write("a1-4", "b1-2", 4, epoch=3, end=None)  # killed in its commit, which survived
    history.write("a1-5", "a1-4", 5, epoch=3, end="fail", error="database is locked")
    final = final_of(["a1-1", "a1-2", "b1-2", "a1-4"], {"1": ["a1-1", "b1-2", "a1-4"], "2": ["b1-2"]}, {"0": "a1-2"})
    return history, final


def forked():
    """a1-2 was acknowledged on a, which was cut off; b reigns from a1-1 on, and a keeps a branch."""
    history = History()
    history.write("a1-1", None, 1)
    history.write("a1-2", "a1-1", 2)
    history.write("b1-1", "a1-1", 2, node="b", epoch=2)
    return history, final_of(["a1-1", "b1-1"], {"1": ["a1-1", "b1-1"]}, branches=[["a1-1", "a1-2"]])


class CheckerTest(unittest.TestCase):
    def errors(self, history, final, sync=0):
        return checker.check(history.events, final, sync)[0]

    def finds(self, what, history, final, sync=0):
        errors = self.errors(history, final, sync)
        self.assertIn(what, errors, checker.describe(errors))

    def test_a_good_history(self):
        history, final = good()
        self.assertEqual(self.errors(history, final, sync=1), {})

    def test_a_loss_that_is_kept_as_a_branch(self):
        history, final = forked()
        self.assertEqual(self.errors(history, final), {})
        self.finds("an acknowledged write that is lost, with synchronous commit", history, final, sync=1)
        final["databases"][DB]["unconfirmed"] = 1
        self.assertEqual(self.errors(history, final, sync=1), {})

    def test_a_loss_that_is_kept_nowhere(self):
        history, final = forked()
        final["databases"][DB]["branches"] = []
        self.finds("an acknowledged write that is lost, and in no branch", history, final)

    def test_a_read_of_what_is_nowhere(self):
        history, final = good()
        history.read("c1-1", 9, "z9-9", node="c")
        self.finds("a read of what is nowhere", history, final)

    def test_phantoms(self):
        history, final = good()
        log = final["databases"][DB]["log"]
        log.append("z9-9")
        self.finds("a phantom: nobody wrote it", history, final)
        log[-1] = "a1-5"
        self.finds("a phantom: its writer was told that it failed", history, final)
        log[-1] = "b1-1"
        self.finds("a phantom: nobody wrote it", history, final)

    def test_a_duplicate(self):
        history, final = good()
        final["databases"][DB]["log"].append("a1-1")
        self.finds("a transaction that happened twice", history, final)

    def test_a_lost_update(self):
        history, final = good()
        del final["databases"][DB]["log"][1]
        self.finds("a lost update", history, final)

    def test_one_transaction_with_two_pasts(self):
        history, final = forked()
        history.write("c1-1", "b1-1", 3, node="b", epoch=2, end=None)
        final["databases"][DB]["log"].append("c1-1")
        final["databases"][DB]["branches"][0]["log"].append("c1-1")
        self.finds("one transaction with two pasts", history, final)

    def test_tables_that_are_not_the_logs(self):
        history, final = good()
        state = final["databases"][DB]
        for key, value, what in (("lists", {"1": ["a1-1", "a1-4", "b1-2"], "2": ["b1-2"]}, "list"),
                                 ("lists", {"1": ["a1-1", "b1-2", "a1-4"]}, "list"),
                                 ("registers", {"0": "a1-1"}, "register")):
            with self.subTest(key=key, value=value):
                changed = copy.deepcopy(final)
                changed["databases"][DB][key] = value
                self.finds(f"a {what} that is not what was {'appended' if what == 'list' else 'set'}", history, changed)
        self.assertEqual(self.errors(history, {"databases": {DB: state}}), {})

    def test_reads_that_no_state_explains(self):
        for seen in ({"lists": {"1": []}}, {"lists": {"1": ["b1-2", "a1-1"]}}, {"registers": {"0": None}},
                     {"lists": {"2": ["b1-2", "b1-2"]}}):
            with self.subTest(seen=seen):
                history, final = good()
                history.read("c1-1", 3, "b1-2", node="c", **seen)
                self.finds("a read that no state explains", history, final)

    def test_a_read_at_a_wrong_version(self):
        history, final = good()
        history.read("c1-1", 2, "b1-2", node="c")
        self.finds("a read at a wrong version", history, final)

    def test_lists_that_fork(self):
        history, final = good()
        history.read("c1-1", 3, "b1-2", lists={"1": ["b1-2"]})
        self.finds("lists of which none is the beginning of the other", history, final)
        history.read("c1-2", 3, "b1-2", lists={"1": ["a1-1", "a1-1"]})
        self.finds("a list with a value twice", history, final)

    def test_a_session_that_goes_back(self):
        history, final = good()
        history.read("b1-9", 2, "a1-2", node="b", lists={"1": ["a1-1"]})
        self.finds("a session that goes back", history, final)

    def test_a_session_may_go_back_when_what_it_saw_is_lost(self):
        history, final = forked()
        history.read("a1-3", 2, "b1-1", lists={"1": ["a1-1", "b1-1"]})
        self.assertEqual(self.errors(history, final), {})
        history.events[-1]["carried"] = True
        self.finds("a session that goes back", history, final)
        history.events.insert(-1, {"type": "reset", "session": "a1", "db": DB, "t": history.now - 0.5})
        self.assertEqual(self.errors(history, final), {})

    def test_a_write_before_one_that_was_acknowledged(self):
        history, final = good()
        history.write("c1-1", "a1-1", 2, node="c")
        log = final["databases"][DB]["log"]
        log.insert(1, "c1-1")
        self.finds("a write before one that was acknowledged when it began", history, final)

    def test_two_nodes_that_write_at_the_same_time(self):
        history, final = forked()
        history.write("a1-3", "a1-2", 3)  # a goes on, after b has begun
        final["databases"][DB]["branches"][0]["log"].append("a1-3")
        self.finds("two nodes wrote at the same time", history, final)

    def test_epochs(self):
        history, final = good()
        history.events[1]["epoch"] = 9
        self.finds("an epoch that goes back", history, final)
        history, final = forked()
        for event in history.events:
            event.pop("epoch", None) if event["type"] != "commit" else event.update(epoch=1)
        self.finds("two writers in one epoch", history, final)

    def test_nodes_that_differ(self):
        for what, error in (("position", "nodes that differ in their position"),
                            ("sha256", "nodes that differ in their sha256"), ("integrity", "an unsound database")):
            with self.subTest(what=what):
                history, final = good()
                final["databases"][DB]["nodes"]["c"][what] = "other"
                self.finds(error, history, final)

    def test_errors_that_no_client_should_see(self):
        history, final = good()
        history.write("c1-1", "a1-4", 5, end="unknown", error="database disk image is malformed")
        self.finds("an error that no client should see", history, final)

    def test_events_that_do_not_fit(self):
        history, final = good()
        history.add(op="a1-1", type="ok", version=1, tip="a1-1")
        self.finds("an operation with two ends", history, final)
        history.add(op="q1-1", type="ok", version=1, tip="a1-1")
        self.finds("an end without a beginning", history, final)
        history.add(op="a1-1", type="invoke", f="read", db=DB, node="a", session="a1")
        self.finds("two operations of one name", history, final)


if __name__ == "__main__":
    unittest.main(argv=sys.argv[:1])
