#!/usr/bin/env python3
"""Wrong usage and wrong configuration: exit status 2, and one line that says what and where."""

import os

import cluster

CONFIGS = {
    "retention:\n  age: 5 parsecs\n": ':2: retention.age: "5 parsecs" is not a duration',
    "retnetion: {}\n": ":1: retnetion: unknown key (did you mean retention?)",
    "lease: {type: zookeeper}\n": ':1: lease.type: "zookeeper"',
    "lease: {primary: false}\n": ":1: lease.primary: a replica needs replication.primary",
    "replication: {listen: 'tcp://0.0.0.0:7420'}\n": ":1: replication.listen: \"tcp://0.0.0.0:7420\" leaves this machine",
    "dir: ${LITEFS_TEST_UNSET}\n": ":1: dir: ${LITEFS_TEST_UNSET} is not set",
    "dir: [\n": ":2: this is not YAML",
}

USAGE = [[], ["frobnicate"], ["run"], ["run", "--dir"], ["run", "--", ], ["run", "true"],
         ["pos"], ["export", "app.db"], ["status", "--jsno"], ["daemon", "--ready-fd", "x"],
         ["ltx"], ["ltx", "frobnicate"]]


def fails(c, *argv, env=None):
    status, out, err = c.run([c.litefs, *argv], env=env, status=None, cwd=c.scratch)
    cluster.check_equal(status, 2, f"exit status of litefs {' '.join(argv)} ({out}{err})")
    return err


def one_line(err):
    cluster.check(err.startswith("litefs: ") and err.count("\n") == 1 and err.endswith("\n"),
                  f"not one line: {err!r}")
    return err


def test(c):
    path = os.path.join(c.scratch, "bad.yml")
    commands = [["daemon"], ["run", "--", "true"], ["status"], ["pos", "a.db"],
                ["export", "a.db", "b.db"]]
    for text, message in CONFIGS.items():
        with open(path, "w", encoding="utf-8") as file:
            file.write(text)
        for name, *rest in commands:
            err = one_line(fails(c, name, "--config", path, *rest))
            cluster.check(path in err and message in err, f"{text!r}: {err!r}")
        cluster.check(message in one_line(fails(c, "daemon", env={"LITEFS_CONFIG": path})),
                      "the same by LITEFS_CONFIG")
    for missing in ("/nonexistent.yml", c.scratch):
        cluster.check(missing in one_line(fails(c, "daemon", "--config", missing)),
                      f"names {missing}")
    for argv in USAGE:
        err = fails(c, *argv)
        if argv:
            one_line(err)
    for command in ([], ["run"], ["daemon"], ["status"], ["pos"], ["export"], ["ltx"],
                    ["ltx", "apply"]):
        out, _ = c.command(*command, "--help")
        cluster.check("Example:\n  litefs " in out, f"{command} --help has no example")
    cluster.check(c.command("--version")[0].startswith("litefs "), "--version")
    cluster.check(not os.path.exists(os.path.join(c.scratch, ".litefs")),
                  "a failed command made a .litefs")
    print(f"{len(CONFIGS)} configurations, {len(USAGE)} usages")


cluster.main(test)
