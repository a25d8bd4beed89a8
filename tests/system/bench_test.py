#!/usr/bin/env python3
"""The benchmark itself works: every setup runs, is measured, compared and drawn.  Judges no number."""

import json
import os
import xml.etree.ElementTree

import cluster


def test(c):
    workload = c.build_program("bench-workload", "bench/workload.cc", "-lsqlite3")
    bench = os.path.join(c.source, "bench")
    result = os.path.join(c.scratch, "result.json")
    c.run([os.path.join(bench, "run.py"), os.path.dirname(c.litefs), "--smoke", "--workload", workload,
           "--json", result])
    with open(result, encoding="utf-8") as file:
        cases = json.load(file)["cases"]
    cluster.check_equal(len(cases), 4, "cases")
    for case in cases:
        cluster.check_equal(sorted(case["runs"]), ["plain", "replica", "shim"], case["name"])

    same, _ = c.run([os.path.join(bench, "compare"), result, result])
    lines = same.splitlines()[1:]
    cluster.check_equal(len(lines), 2 * len(cases) + 2, f"lines of compare:\n{same}")
    for line in lines:
        cluster.check(" 0.0%" in line and not line.endswith("*"), f"a result differs from itself: {line}")

    picture = os.path.join(c.scratch, "result.svg")
    c.run([os.path.join(bench, "plot.py"), result, picture])
    texts = [e.text for e in xml.etree.ElementTree.parse(picture).iter() if e.tag.endswith("text")]
    for case in cases:
        cluster.check(case["name"] in texts, f"the picture lacks {case['name']}")


cluster.main(test)
