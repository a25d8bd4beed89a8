#!/usr/bin/env python3
"""chaos_test.py BUILD_DIR [--seed N|any] [--seconds N] [--nodes 3..5] [--round N] [--lease etcd|s3] [--set KEY=VALUE]
              [--kept]

Nodes with a lease in a real etcd (or a bucket of Ceph), programs that write and read on each, one that travels between them, and faults
that follow from a seed: kills, stops, partitions, jumps of the wall clock, changes of the role, the lease server
ending.  What the programs saw is judged by chaos/checker.py; at the end all is healed, somebody can write, and all
nodes hold the same bytes.  A run is made of rounds (60 s), each with a cluster and a seed of its own, the next number.
--set gives the nodes a setting, as on-replica-write=forward.  --kept runs the seeds that have found something.
Without arguments (make test): 20 s as it comes, and 20 s of forwarded writes and synchronous commit.

A seed repeats the schedule and what the programs try, not the kernel's scheduling: docs/TESTING.md."""

import argparse
import collections
import json
import os
import random
import sys
import time

import cluster
from chaos import checker, client, faults, schedule, world

NAMES = "abcde"
MOST_FAULTS_AT_ONCE = 3
SHORT = [{}, {"on-replica-write": "forward", "sync": 1}]
# (seed, nodes, seconds): what it has found.
KEPT = [
    (40, 4, 60),  # a branch that a node left for only what differed, and then again, could not be exported
    (60, 3, 60),  # a forwarded transaction that was refused was in the primary's file: the next one brought its pages along
]


class Round:
    def __init__(self, c, seed, options):
        self.c, self.seed, self.options = c, seed, options
        nodes = options.nodes or 3 + seed % 3
        self.rng = random.Random(f"who {seed}")
        self.world = world.World(c, seed, NAMES[:nodes], options.lease, options.settings)
        self.schedule = schedule.make(seed, options.round, NAMES[:nodes])
        self.faults, self.fired, self.skipped = [], collections.Counter(), 0
        self.journal = []  # what was done, for a failure

    def note(self, text):
        self.journal.append(f"{time.monotonic():.3f} {text}")

    def run(self):
        again = f"chaos_test.py BUILD_DIR --seed {self.seed} --seconds {self.options.round} --nodes {len(self.world.members)}"
        again += f" --lease {self.options.lease}" + "".join(f" --set {k}={v}" for k, v in self.options.settings.items())
        print(f"seed {self.seed}: {again}", flush=True)
        try:
            self.world.start()
            self.disturb()
            self.heal()
            return self.judge()
        except Exception:
            self.report()
            raise

    # ---- Faults ---------------------------------------------------------------------------------

    def resolve(self, step):
        """(member, other), never the same."""
        members = self.world.members
        member = self.world.primary() if step.target == schedule.PRIMARY else members[step.target]
        member = member or members[self.rng.choice(list(members))]
        other = members[step.other]
        if other is member:
            names = list(members)
            other = members[names[(names.index(member.name) + 1) % len(names)]]
        return member, other

    def begin(self, step):
        self.faults = [fault for fault in self.faults if not self.ended(fault)]
        member, other = self.resolve(step)
        held = {"lease"} if "lease server" in step.kind else {member.name}
        if held & self.world.busy or len(self.faults) >= MOST_FAULTS_AT_ONCE:
            self.skipped += 1
            return
        self.world.busy |= held
        self.note(f"{step.kind}: {member.name} (other: {other.name}) {step.lasts:.2f} s")
        fault = faults.Fault(self.world, step, member, other, held)
        self.faults.append(fault)
        fault.start()

    def ended(self, fault):
        if fault.is_alive():
            return False
        self.note(f"end of {fault.step.kind}: {fault.member.name}, {'fired' if fault.fired else 'without effect'}")
        if fault.error is not None:
            raise cluster.Failure(f"{fault.step.kind} on {fault.member.name}: {fault.error}")
        self.fired[fault.step.kind] += fault.fired
        return True

    def disturb(self):
        began = time.monotonic()
        for step in self.schedule:
            while (left := began + step.at - time.monotonic()) > 0:
                self.progress(time.monotonic() - began)
                time.sleep(min(left, 0.5))
                self.check_alive()
            self.begin(step)

    def check_alive(self):
        for member in self.world.members.values():
            member.check_alive()

    def progress(self, seconds):
        if sys.stdout.isatty():
            primary = self.world.primary()
            print(f"\r{seconds:5.0f} s of {self.options.round}: {sum(self.fired.values())} faults, "
                  f"{len(self.faults)} now; primary: {primary.name if primary else '-'}   ", end="", flush=True)

    def heal(self):
        for fault in self.faults:
            fault.over.set()
        for fault in self.faults:
            fault.join(120)
            cluster.check(self.ended(fault), f"{fault.step.kind} on {fault.member.name} does not end")
        self.faults = []
        self.world.wait_for_primary()
        healed = time.monotonic()
        self.note("healed")
        cluster.wait_for("writes after all was healed", lambda: self.world.acknowledged(healed) > 10)
        self.world.stop_clients()

    # ---- The verdict ----------------------------------------------------------------------------

    def judge(self):
        final = self.world.final()
        events = self.world.events()
        with open(os.path.join(self.c.scratch, "final.json"), "w", encoding="utf-8") as file:
            json.dump(final, file)
        errors, counts = checker.check(events, final, self.options.settings.get("sync", 0))
        acknowledged = sum(counts[f"{f} ok"] for f in ("append", "cas"))
        print(("\r" if sys.stdout.isatty() else "") + f"{acknowledged} writes and {counts['read ok']} reads "
              f"acknowledged, {counts['acknowledged and lost']} writes on a branch; {sum(self.fired.values())} faults "
              f"({self.skipped} skipped); ended {self.ends(counts)}", flush=True)
        cluster.check(not errors, "the history is wrong:\n" + checker.describe(errors))
        cluster.check(acknowledged > self.options.round, f"only {acknowledged} writes: this says nothing")
        cluster.check(sum(self.fired.values()) * 5 > self.options.round, f"too few faults have fired: {self.fired}")
        return self.fired, counts

    @staticmethod
    def ends(counts):
        return ", ".join(f"{counts[f'{f} {end}']} {f} {end}" for f in ("append", "cas", "read")
                         for end in ("fail", "unknown"))

    def report(self):
        print(f"--- what was done (seed {self.seed}; logs and history in {self.c.scratch})")
        print("\n".join(self.journal))


def parse(arguments):
    parser = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0])
    parser.add_argument("--seed", default="1", help="a number, or any")
    parser.add_argument("--seconds", type=int, default=60)
    parser.add_argument("--round", type=int, default=60, help="seconds of a round")
    parser.add_argument("--nodes", type=int, choices=(3, 4, 5))
    parser.add_argument("--lease", choices=tuple(world.LEASES), default="etcd")
    parser.add_argument("--set", dest="settings", action="append", default=[], metavar="KEY=VALUE")
    parser.add_argument("--kept", action="store_true")
    options = parser.parse_args(arguments)
    options.settings = {key: int(value) if value.isdigit() else value
                        for key, value in (setting.split("=", 1) for setting in options.settings)}
    options.round = min(options.round, options.seconds)
    return options


def run_round(c, seed, options):
    """In a cluster and directory of its own; of a round that failed they are the test's, and stay."""
    scratch, c.scratch = c.scratch, os.path.join(c.scratch, str(seed))
    os.mkdir(c.scratch)
    one = Round(c, seed, options)
    try:
        result = one.run()
    finally:
        one.world.close()
    for process in list(c.processes):
        process.kill()
        process.wait()
        c.processes.remove(process)
    c.nodes.clear()
    c.scratch = scratch
    return result


def test(c, *arguments):
    options = parse(arguments)
    seed = random.SystemRandom().randrange(1 << 20) if options.seed == "any" else int(options.seed)
    rounds = [(seed + i, options.nodes, options.settings) for i in range(max(1, options.seconds // options.round))]
    if options.kept:
        rounds = [(seed, nodes, options.settings) for seed, nodes, _ in KEPT]
    if not arguments:
        options.round = 20
        rounds = [(seed + i, None, settings) for i, settings in enumerate(SHORT)]
    fired, counts = collections.Counter(), collections.Counter()
    for number, options.nodes, options.settings in rounds:
        more_fired, more_counts = run_round(c, number, options)
        fired += more_fired
        counts += more_counts
    print("faults that fired: " + ", ".join(f"{kind} {n}" for kind, n in fired.most_common()))
    print(f"{len(rounds)} rounds: {counts['append ok'] + counts['cas ok']} writes acknowledged, "
          f"{counts['acknowledged and lost']} of them on branches; {counts['read ok']} reads explained")


if __name__ == "__main__":
    cluster.main(test)
