#!/usr/bin/env python3
"""The app's own system calls are the same with and without the shim, in the same order and with the same
results; what is more is ours: questions about what a descriptor is, and talk with the daemon."""

import os
import re
import shutil

import cluster

MODES = ["delete", "truncate", "persist", "memory", "wal", "exclusive-wal"]
FILL = ("CREATE TABLE t(id INTEGER PRIMARY KEY, x); WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 "
        "FROM n WHERE i < 20) INSERT INTO t SELECT i, zeroblob(700) FROM n;")
CALLS = "open,openat,creat,close,dup,dup2,dup3,fcntl,read,pread64,write,pwrite64,writev,pwritev,ftruncate," \
        "fallocate,fsync,fdatasync,unlink,unlinkat,rename,stat,lstat,newfstatat,fstat,access,faccessat," \
        "readlink,readlinkat,lseek,mmap,munmap,socket,connect,sendto,recvmsg,ppoll,mkdir,rmdir"
# What the shim may do beside the app's calls.
QUESTIONS = ("newfstatat(", "fstat(", "readlinkat(", "faccessat(", "lseek(")
TALK = ("socket(", "sendto(", "recvmsg(", "ppoll(", "connect(")


def normal(line):
    """A call without what differs from run to run."""
    line = re.sub(r"^\d+ +", "", line)
    line = re.sub(r"0x[0-9a-f]+", "ADDRESS", line)
    line = re.sub(r"st_[a-z]*=[^,}]*", "", line)
    line = re.sub(r"etilqs_[0-9a-f]+", "etilqs", line)
    line = re.sub(r"pipe:\[\d+\]", "pipe", line)
    return re.sub(r", *(?=[,}])", "", line)


def traced(c, workload, path, mode, shim):
    log = path + ".strace"
    env = {"LD_PRELOAD": c.shim} if shim else {}
    options = [item for key, value in env.items() for item in ("-E", f"{key}={value}")]
    out = c.run(["strace", "-f", "-y", "-s", "0", "-o", log, "-e", f"trace={CALLS}", *options, workload,
                 path, mode])[0]
    with open(log, encoding="utf-8") as file:
        lines = [normal(line.rstrip("\n")) for line in file]
    # From the first call that names the database: before it is the loader's business.
    first = next(i for i, line in enumerate(lines) if f'"{path}"' in line or f"<{path}>" in line)
    return out, lines[first:]


def ours(line):
    """Whether a call may be the shim's."""
    if line.startswith(QUESTIONS + TALK):
        return True
    if line.startswith("pread64(") and line.endswith(", 16, 0) = 16"):
        return True  # is it a database?
    if line.startswith("pread64(") and line.endswith(", 4, 24) = 4"):
        return True  # where does a transaction begin?
    if "/.litefs/status" in line and line.startswith(("openat(", "pread64(", "mmap(")):
        return True  # what does a writer get on this node?
    if "litefs-ring" in line:
        return line.startswith(("close(", "mmap("))
    if "/.litefs/" in line or "socket:" in line or "<UNIX" in line:
        return line.startswith(("close(", "fcntl(", "mmap("))
    return line.startswith("munmap(")


def compare(c, workload, template, directory, mode):
    runs = {}
    for kind, place in (("native", os.path.join(c.scratch, "native")), ("shim", directory)):
        os.makedirs(place, exist_ok=True)
        path = os.path.join(place, f"{mode}.db")
        shutil.copyfile(template, path)
        out, lines = traced(c, workload, path, mode, kind == "shim")
        runs[kind] = (out, [line.replace(place, "DIR") for line in lines])
    cluster.check_equal(runs["shim"][0], runs["native"][0], f"{mode}: what the program said")
    native, more = runs["native"][1], 0
    at = 0
    for line in runs["shim"][1]:
        if at < len(native) and line == native[at]:
            at += 1
            continue
        cluster.check(ours(line), f"{mode}: a call that is neither the app's nor ours: {line}\n"
                      f"the app's next is {native[at] if at < len(native) else 'none'}")
        more += 1
    cluster.check_equal(at, len(native), f"{mode}: the app's calls under the shim")
    cluster.check(more > 0, f"{mode}: the shim did nothing")
    print(f"{mode}: {len(native)} calls of the app's, the same; {more} of ours")


def test(c):
    if shutil.which("strace") is None:
        raise cluster.Skip("strace is not installed")
    node = c.node("primary")
    workload = c.build_program("workload", "tests/fault/workload.cc", "-lsqlite3")
    template = os.path.join(c.scratch, "template.db")
    c.sqlite(template, FILL)
    failures = []
    for mode in MODES:
        try:
            compare(c, workload, template, node.dir, mode)
        except cluster.Failure as failure:
            failures.append(mode)
            print(f"not ok {failure}")
    cluster.check(not failures, f"failed: {failures}")


cluster.main(test)
