"""What the two fault sweeps share: the program that looks at databases (tests/fault/check.cc), and what the
workload (tests/fault/workload.cc) has confirmed."""

import os
import subprocess

import cluster

# The database that each point begins with.
FILL = ("PRAGMA page_size = 1024; CREATE TABLE t(id INTEGER PRIMARY KEY, x); WITH RECURSIVE n(i) AS (SELECT 1 "
        "UNION ALL SELECT i + 1 FROM n WHERE i < 8) INSERT INTO t SELECT i, randomblob(500) FROM n;")
INITIAL = set(range(1, 9))


class Checker:
    """fault_check, under the shim.  For one thread."""

    def __init__(self, c, scratch):
        os.makedirs(scratch)
        program = os.path.join(os.path.dirname(c.litefs), "tests", "fault_check")
        cluster.check(os.path.exists(program), f"{program} is not built (make {program})")
        self.process = c.spawn([program, scratch], shim=True, text=True, stdin=subprocess.PIPE,
                               stdout=subprocess.PIPE)

    def ask(self, *words):
        print(*words, file=self.process.stdin, flush=True)
        answer = self.process.stdout.readline().strip()
        cluster.check(answer and not answer.startswith("fail "), answer or "fault_check is dead")
        return answer

    def rows(self, path):
        """The database is sound; its rows."""
        return {int(word) for word in self.ask("content", path).split()[1:]}


def main(test):
    """cluster.main, in memory unless TMPDIR says otherwise: a sync costs nothing there, and the faults are ours."""
    if os.access("/dev/shm", os.W_OK):
        os.environ.setdefault("TMPDIR", "/dev/shm")
    cluster.main(test)


def check_rows(rows, lines):
    """Every confirmed row is there, and no row whose deletion was confirmed."""
    added = {int(line[1:]) for line in lines if line.startswith("+")}
    deleted = {int(line[1:]) for line in lines if line.startswith("-")}
    in_doubt = {3, 102}  # a deletion may be done and not said
    lost = (INITIAL | added) - deleted - rows - in_doubt
    cluster.check(not lost, f"confirmed rows are lost: {sorted(lost)}")
    cluster.check(not deleted & rows, f"confirmed deletions came back: {sorted(deleted & rows)}")
    cluster.check(103 not in rows, "a transaction that was rolled back is there")
