#!/usr/bin/env python3
"""The keys of an encrypted archive change while it is written: from one to both to the other. Each file opens with
the keys of its time, in the stock `age` program too; what comes after the change needs the new key alone.

    archive_keys_test.py BUILD_DIR [SEED]
"""

import glob
import os
import random
import shutil

import cluster
from archive_workload import Workload, archive_command, check_every_transaction, restore, wait_archived
from cluster import check, check_equal, sha256, wait_for


def read_with(c, age_file, key):
    """Whether the stock program opens it."""
    return c.run(["age", "-d", "-i", key, "-o", os.path.join(c.scratch, "plain"), age_file], status=None)[0] == 0


def files_of(place):
    return set(glob.glob(f"{place}/**/*.age", recursive=True))


def check_files(c, files, opened_by, refused_by):
    check(files, "no files")
    for name in sorted(files):
        for key in opened_by:
            check(read_with(c, name, key), f"{name} does not open with {key}")
        for key in refused_by:
            check(not read_with(c, name, key), f"{name} opens with {key}")


def test(c, seed=None):
    if not shutil.which("age"):
        raise cluster.Skip("age is not installed")
    seed = int(seed) if seed else random.randrange(1 << 32)
    print(f"seed {seed}")
    old, new, both = (os.path.join(c.scratch, name) for name in ("old.txt", "new.txt", "both.txt"))
    old_recipient, new_recipient = (c.command("archive", "keygen", "-o", key)[0].strip() for key in (old, new))
    with open(both, "w", encoding="ascii") as file:
        file.writelines(open(key, encoding="ascii").read() for key in (old, new))
    place = os.path.join(c.scratch, "secret")
    node = c.node("a", start=False)
    recorded, last, files = {}, {}, {}
    phases = {"old": [old_recipient], "both": [old_recipient, new_recipient], "new": [new_recipient]}
    for number, (phase, recipients) in enumerate(phases.items()):
        before = files_of(place)
        node.configure(None, archive=[{"name": "secret", "url": place, "interval": "20ms", "levels": ["1s", "2s"],
                                       "snapshots": "2s", "encrypt": {"recipients": recipients}}])
        node.start()
        workload = Workload(c, node, "app.db", seed + number)
        for _ in range(6):
            workload.step()
        workload.close()
        last[phase] = max(workload.recorded)
        recorded |= workload.recorded
        wait_archived(node, "secret", "app.db")
        wait_for("a snapshot with these keys", lambda txid=last[phase]: any(
            file["level"] == 9 and file["max_txid"] == f"{txid:016x}"
            for file in archive_command(c, "list", place)["files"]))
        files[phase] = files_of(place) - before
        node.stop()
    check_files(c, files["old"], [old], [new])
    check_files(c, files["both"], [old, new], [])
    check_files(c, files["new"] - files["both"], [new], [old])
    workload.recorded = recorded
    check_every_transaction(c, place, workload, "--identity", both)
    c.command("archive", "verify", place, "--identity", both)
    for phase, key, may in (("old", old, True), ("old", new, False), ("both", old, True), ("both", new, True),
                            ("new", new, True), ("new", old, False)):
        out, (status, _, err) = restore(c, place, "--txid", f"{last[phase]:x}", "--identity", key, status=None)
        check_equal(status, 0 if may else 1, f"{phase} with {os.path.basename(key)}: {err}")
        check(not os.path.exists(out) or sha256(out) == recorded[last[phase]][0], f"{phase}: other bytes")
        check_equal(os.path.exists(out), may, f"{phase} with {os.path.basename(key)}: a file")


cluster.main(test)
