#!/usr/bin/env python3
"""Runs SQLite workloads side by side: plain, under the shim, with replicas, with an archive.

    bench/run.py BUILD_DIR [--quick | --smoke] [--only REGEX] [--json FILE] [--seconds S] [--repeat N]

Each case has a fixed number of operations, chosen so that plain SQLite takes --seconds for it; each
repetition runs it in every setup, in turn, in an order that rotates.  What is compared is always
what ran beside each other.  docs/BENCHMARKS.md says what the columns are.
"""

import argparse
import json
import os
import platform
import re
import signal
import subprocess
import sys
import time

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import report  # noqa: E402
import setups  # noqa: E402
from setups import cluster  # noqa: E402

ROWS = 10_000
JOURNALS = ("wal", "delete", "truncate")
SYNCS = ("off", "normal", "full")
FEWEST = {"scan": 5, "cold": 50, "batch": 5, "bulk": 2000, "processes": 40}
LAG_RATE = 200


def all_cases():
    cases = [("insert", journal, sync) for journal in JOURNALS for sync in SYNCS]
    cases += [("batch", journal, sync) for journal in ("wal", "delete") for sync in SYNCS]
    cases += [("update", "wal", "normal"), ("update", "delete", "full"), ("bulk", "wal", "normal"),
              ("bulk", "delete", "full"), ("point", "wal", "normal"), ("point", "delete", "full"),
              ("cold", "wal", "normal"), ("cold", "delete", "full"), ("scan", "wal", "normal"),
              ("scan", "delete", "full"), ("mixed", "wal", "normal"), ("mixed", "delete", "full"),
              ("processes", "wal", "normal"), ("processes", "delete", "full")]
    return cases


QUICK = [("insert", "wal", "normal"), ("insert", "delete", "full"), ("insert", "delete", "off"),
         ("batch", "wal", "normal"), ("point", "wal", "normal")]
SMOKE = [("insert", "wal", "normal"), ("insert", "delete", "off"), ("processes", "wal", "normal"),
         ("point", "delete", "full")]


def case_name(kind, journal, sync):
    return f"{kind}-{journal}-{sync}"


class Bench:
    def __init__(self, nodes, options):
        self.nodes = nodes
        self.options = options
        self.workload = os.path.abspath(options.workload or
                                        os.path.join(options.build_dir, "bench", "workload"))
        self.setups = [setups.Setup(nodes, name) for name in options.setups]
        self.result = {"format": 1, "machine": machine(nodes.scratch), "options": {
            "seconds": options.seconds, "repeat": options.repeat}, "cases": [], "lag": []}

    def argv(self, setup, case, operations, kind=None):
        kind_, journal, sync = case
        return [self.workload, kind or kind_, setup.path(case_name(*case) + ".db"), "--journal",
                journal, "--sync", sync, "--rows", str(ROWS), "--ops", str(operations)]

    def prepare(self, case):
        for setup in self.setups:
            setup.run(self.argv(setup, case, 1, kind="setup"))

    def calibrate(self, case):
        """The number of operations that take plain SQLite the wanted time.  Runs them everywhere, so
        that the first measured run is nobody's first."""
        fewest = FEWEST.get(case[0], 20)
        plain = self.setups[0]
        for setup in self.setups:
            run = setup.run(self.argv(setup, case, fewest))
            if setup is plain:
                rate = report.rate(run)
        return max(fewest, int(rate * self.options.seconds))

    def run_case(self, case, operations, repetition):
        order = self.setups[repetition % len(self.setups):] + self.setups[:repetition % len(self.setups)]
        return {setup.name: setup.run(self.argv(setup, case, operations)) for setup in order}

    def run(self, cases):
        started = time.monotonic()
        entries = []
        for case in cases:
            self.prepare(case)
            entries.append({"name": case_name(*case), "kind": case[0], "journal": case[1],
                            "sync": case[2], "operations": self.calibrate(case),
                            "runs": {setup.name: [] for setup in self.setups}})
        for repetition in range(self.options.repeat):
            for case, entry in zip(cases, entries):
                for name, run in self.run_case(case, entry["operations"], repetition).items():
                    entry["runs"][name].append(run)
            print(f"repetition {repetition + 1} of {self.options.repeat}, "
                  f"{time.monotonic() - started:.0f} s", file=sys.stderr)
        self.result["cases"] = entries

    def run_lag(self, journals, operations):
        setup = next((s for s in self.setups if s.name == "replica"), None)
        if setup is None:
            return
        for journal in journals:
            case = ("paced", journal, "normal")
            setup.run(self.argv(setup, case, 1, kind="setup"))
            entry = {"name": f"lag-{journal}", "rate": LAG_RATE, "runs": []}
            for repetition in range(self.options.repeat):
                rows = ROWS + repetition * operations
                argv = self.argv(setup, case, operations)
                observed = list(argv)
                observed[1] = "observe"
                observed[2] = setup.replicas[0].path(os.path.basename(argv[2]))
                observed[observed.index("--rows") + 1] = str(rows)
                observer = self.nodes.spawn(observed, text=True, stdout=subprocess.PIPE)
                setup.run([*argv, "--rate", str(LAG_RATE)])
                out, _ = observer.communicate(timeout=120)
                self.nodes.processes.remove(observer)
                cluster.check(observer.returncode == 0, "the observer of the replica failed")
                entry["runs"].append(json.loads(out))
            self.result["lag"].append(entry)

    def run_parts(self):
        """The Google Benchmark programs."""
        self.result["parts"] = []
        directory = os.path.join(self.options.build_dir, "bench")
        for name in sorted(os.listdir(directory)):
            if not name.endswith("_bench"):
                continue
            out, _ = self.nodes.run([os.path.join(directory, name), "--benchmark_format=json",
                                     "--benchmark_repetitions=3",
                                     "--benchmark_report_aggregates_only=true"], timeout=1800)
            self.result["parts"] += json.loads(out)["benchmarks"]


def machine(directory):
    def first(path, prefix):
        with open(path, encoding="utf-8") as file:
            return next((line.split(":", 1)[1].strip() for line in file if line.startswith(prefix)), "")

    def output(*argv):
        try:
            return subprocess.run(argv, capture_output=True, text=True, check=False).stdout.strip()
        except FileNotFoundError:
            return ""
    return {"cpu": first("/proc/cpuinfo", "model name"), "cores": os.cpu_count(),
            "memory": first("/proc/meminfo", "MemTotal"), "kernel": platform.release(),
            "filesystem": output("stat", "-f", "-c", "%T", directory),
            "load_before": os.getloadavg()[0], "compiler": output("g++", "-dumpfullversion"),
            "revision": output("git", "describe", "--always", "--dirty"),
            "time": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())}


def check_smoke(result):
    """That all of it worked; no number is judged."""
    for entry in result["cases"]:
        for setup, runs in entry["runs"].items():
            for run in runs:
                cluster.check(run["operations"] > 0 and run["seconds"] > 0, f"{entry['name']} {setup}")
                cluster.check(setup == "plain" or run["daemon"]["rss_kib"] > 0,
                              f"{entry['name']} {setup}: no daemon was measured")
                wrote = run.get("daemon", {}).get("wrote_bytes", 1)
                cluster.check(entry["kind"] == "point" or wrote > 0,
                              f"{entry['name']} {setup}: the daemon wrote nothing")
    for lag in result["lag"]:
        cluster.check(all(0 < run["p50_us"] for run in lag["runs"]), lag["name"])


def parse(arguments):
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("build_dir")
    parser.add_argument("--quick", action="store_true", help="few cases, about a minute")
    parser.add_argument("--smoke", action="store_true", help="a few operations each: does it work?")
    parser.add_argument("--parts", action="store_true", help="also the Google Benchmark programs")
    parser.add_argument("--only", default=".", help="cases whose name matches")
    parser.add_argument("--setups", default="plain,shim,replica,replicas3,archive")
    parser.add_argument("--seconds", type=float, help="of plain SQLite for one run")
    parser.add_argument("--repeat", type=int)
    parser.add_argument("--json", help="write the result there")
    parser.add_argument("--workload", help="the program, if not BUILD_DIR/bench/workload")
    options = parser.parse_args(arguments)
    small = options.smoke or options.quick
    options.setups = options.setups.split(",")
    if options.setups[0] != "plain" or not set(options.setups) <= set(setups.REPLICAS):
        parser.error("--setups: plain first, then of " + ", ".join(setups.REPLICAS))
    if small:
        options.setups = [s for s in options.setups if s not in ("replicas3", "archive")]
    options.seconds = options.seconds or (0.02 if options.smoke else 0.5 if options.quick else 1.0)
    options.repeat = options.repeat or (1 if options.smoke else 5 if options.quick else 7)
    return options


def main():
    options = parse(sys.argv[1:])
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    chosen = SMOKE if options.smoke else QUICK if options.quick else all_cases()
    chosen = [case for case in chosen if re.search(options.only, case_name(*case))]
    nodes = cluster.Cluster(options.build_dir)
    passed = False
    try:
        bench = Bench(nodes, options)
        bench.run(chosen)
        bench.run_lag(("wal", "delete") if options.only == "." else (), 20 if options.smoke else 400)
        if options.parts:
            bench.run_parts()
        bench.result["machine"]["load_after"] = os.getloadavg()[0]
        report.print_table(bench.result)
        if options.json:
            with open(options.json, "w", encoding="utf-8") as file:
                json.dump(bench.result, file, indent=1)
                file.write("\n")
        if options.smoke:
            check_smoke(bench.result)
        passed = True
    except cluster.Failure as failure:
        print(f"FAILED: {failure}")
    finally:
        nodes.close(passed)
    sys.exit(0 if passed else 1)


if __name__ == "__main__":
    main()
