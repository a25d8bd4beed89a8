#!/usr/bin/env python3
"""The shim beside other preloaded libraries and inside hostile programs.  Each writes in every journal
mode; SQLite says what is in the database, and the chain replays to its bytes."""

import glob
import os
import shutil

import cluster

MODES = ["delete", "persist", "wal"]
LIBRARIES = {
    "jemalloc": "libjemalloc.so.2",
    "tcmalloc": "libtcmalloc_minimal.so.4",
    "libfaketime": "faketime/libfaketime.so.1",
    "libeatmydata": "libeatmydata.so.1",
    "fakeroot": "libfakeroot/libfakeroot-sysv.so",
}

# HOSTILE NAME DATABASE MODE: opens, writes a row, does something unusual, writes on.
HOSTILE = r"""
import os, resource, signal, socket, sqlite3, subprocess, sys, threading, time
name, path, mode = sys.argv[1:]
def connect():
    db = sqlite3.connect(path, timeout=20, isolation_level=None, check_same_thread=False)
    db.execute("pragma journal_mode = " + mode).fetchall()
    return db
def insert(db, text):
    db.execute("insert into t values (?)", (text,))
db = connect()
db.execute("create table t(x)")
insert(db, "before")
fds = lambda: {int(n) for n in os.listdir("/proc/self/fd")}

def sockets():
    found = []
    for fd in fds():
        try:
            if os.readlink(f"/proc/self/fd/{fd}").startswith("socket:"): found.append(fd)
        except OSError: pass
    return found

def close_sockets(): # as daemonising programs do, not asking whose they are
    for fd in sockets(): os.closerange(fd, fd + 1)
def closefrom_our_sockets():
    import ctypes
    ctypes.CDLL(None).closefrom(max(100, 3))
def dup2_over_sockets():
    for fd in sockets(): os.dup2(0, fd)
def exhausted():
    global db
    db.close()
    resource.setrlimit(resource.RLIMIT_NOFILE, (64, 64))
    kept = []
    try:
        while True: kept.append(os.open("/dev/null", os.O_RDONLY))
    except OSError: pass
    for fd in kept[-4:]: os.close(fd)  # room for the database and its journal, and a little
    del kept[-4:]
    try:
        db = connect(); insert(db, "while exhausted"); db.close()
    except sqlite3.Error as error:
        print("while exhausted:", error, file=sys.stderr)
    for fd in kept: os.close(fd)
    db = connect()
def forked():
    pid = os.fork()
    if pid == 0:
        own = connect(); insert(own, "child"); own.close(); os._exit(0)
    assert os.waitpid(pid, 0)[1] == 0
def spawned():
    code = "import sqlite3, sys; d = sqlite3.connect(sys.argv[1], timeout=20); d.execute(\"insert into t values ('spawned')\"); d.commit()"
    assert subprocess.run([sys.executable, "-c", code, path]).returncode == 0
    pid = os.posix_spawn(sys.executable, [sys.executable, "-c", code, path], os.environ)
    assert os.waitpid(pid, 0)[1] == 0
def without_environment():
    assert subprocess.run(["/usr/bin/env", "-i", "/usr/bin/sqlite3", "-cmd", ".timeout 20000", path, "insert into t values ('env -i')"]).returncode == 0
def daemonised():
    global db
    db.close()  # SQLite forbids to carry a connection over
    read, write = os.pipe()
    if os.fork() == 0:
        os.setsid()
        if os.fork() != 0: os._exit(0)
        os.closerange(3, write); os.closerange(write + 1, 1 << 16)
        own = connect(); insert(own, "daemon"); own.close()
        os.write(write, b"1"); os._exit(0)
    os.close(write)
    assert os.read(read, 1) == b"1", "the daemonised child died"
    os.wait()
    db = connect()
def signals():
    signal.signal(signal.SIGALRM, lambda *_: None)
    signal.setitimer(signal.ITIMER_REAL, 0.0005, 0.0005)
    for i in range(200): insert(db, f"signal {i}")
    signal.setitimer(signal.ITIMER_REAL, 0)
def threads():
    failed = []
    def run(n):
        try:
            for i in range(5):
                own = connect(); insert(own, f"thread {n} {i}"); own.close()
                os.close(os.open(path + ".txt", os.O_RDWR | os.O_CREAT))
        except sqlite3.Error as error:
            if "locked" not in str(error): failed.append(error)
    several = [threading.Thread(target=run, args=(n,)) for n in range(6)]
    for t in several: t.start()
    for t in several: t.join()
    assert not failed, failed
def deepbind():  # as PHP loads its modules: hides a library from every preload but ours
    global db
    import ctypes
    db.close()
    lib = ctypes.CDLL("libsqlite3.so.0", mode=os.RTLD_NOW | os.RTLD_LOCAL | os.RTLD_DEEPBIND)
    handle = ctypes.c_void_p()
    assert lib.sqlite3_open(path.encode(), ctypes.byref(handle)) == 0
    assert lib.sqlite3_exec(handle, b"insert into t values ('deep')", None, None, None) == 0
    assert lib.sqlite3_close(handle) == 0
    db = connect()
def close_range():
    import ctypes
    assert ctypes.CDLL(None).close_range(min(sockets()), 0xffffffff, 0) == 0
def chrooted():
    global path, db
    db.close()
    os.chroot(os.path.dirname(path))
    path = "/" + os.path.basename(path)
    db = connect()
def nothing(): pass
globals()[name]()
insert(db, "after")
db.close()
"""
WAYS = ["nothing", "close_sockets", "closefrom_our_sockets", "dup2_over_sockets", "exhausted", "forked",
        "spawned", "without_environment", "daemonised", "signals", "threads", "deepbind", "close_range",
        "chrooted"]


def library(name):
    found = glob.glob(f"/usr/lib/*/{LIBRARIES[name]}")
    return found[0] if found else None


class Company:
    def __init__(self, c, node):
        self.c, self.node = c, node
        self.failures = []
        self.skipped = []

    def case(self, name, run):
        try:
            run()
            print(f"{name}: equal", flush=True)
        except cluster.Failure as failure:
            self.failures.append(name)
            print(f"not ok {name}: {failure}", flush=True)

    def compare(self, database):
        self.node.sync()
        path = self.node.path(database)
        cluster.check_equal(self.c.sqlite(path, "pragma integrity_check"), "ok", database)
        cluster.wait_for(f"{database}: the chain is equal", lambda: self.c.replay(
            self.node, database) == self.c.committed_sha256(path), 5)

    def hostile(self, way, mode, preload=None):
        database = f"{way}-{mode}-{len(preload or '')}.db"
        env = {"LD_PRELOAD": preload or self.c.shim}
        self.c.run(["/usr/bin/python3", "-c", HOSTILE, way, self.node.path(database), mode], env=env,
                   timeout=60)
        rows = self.c.sqlite(self.node.path(database), "SELECT x FROM t").split("\n")
        cluster.check("before" in rows and "after" in rows, f"{database}: rows {rows}")
        self.compare(database)

    def workload(self, name, argv, env):
        for mode in MODES:
            database = f"{name}-{mode}.db"
            self.c.sqlite(self.node.path(database), "CREATE TABLE t(id INTEGER PRIMARY KEY, x); WITH "
                          "RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 20) "
                          "INSERT INTO t SELECT i, randomblob(700) FROM n;")
            out, err = self.c.run([*argv, self.node.path(database), mode], env=env)
            cluster.check("!" not in out and "+106" in out, f"{name}: {out}{err}")
            self.compare(database)


def test(c):
    node = c.node("primary", retention={"age": "24h", "size": "16GiB"})
    company = Company(c, node)
    workload = c.build_program("workload", "tests/fault/workload.cc", "-lsqlite3")
    for name in LIBRARIES:
        other = library(name)
        if other is None:
            company.skipped.append(name)
            continue
        for order in (f"{c.shim}:{other}", f"{other}:{c.shim}"):
            first = "before" if order.startswith(c.shim) else "after"
            company.case(f"the shim {first} {name}", lambda o=order, n=f"{name}-{first}": company.workload(
                n, [workload], {"LD_PRELOAD": o}))
    seek = c.build_library("seek_write", "tests/fault/seek_write.cc")
    company.case("lseek and write, no sync", lambda: company.workload(
        "seek", [workload], {"LD_PRELOAD": f"{seek}:{c.shim}"}))
    for san in ("address", "thread"):
        program = c.build_program(f"workload-{san}", "tests/fault/workload.cc", f"-fsanitize={san}",
                                  "-lsqlite3")
        runtime = c.run(["g++", f"-print-file-name=lib{san[0]}san.so"])[0].strip()
        company.case(f"a program under {san} sanitizer", lambda p=program, r=runtime, s=san:
                     company.workload(f"san-{s}", [p], {"LD_PRELOAD": f"{r}:{c.shim}"}))
    for way in WAYS:
        if way == "chrooted" and os.geteuid() != 0:
            company.skipped.append("chroot (not root)")
            continue
        for mode in MODES:
            company.case(f"{way}, {mode}", lambda w=way, m=mode: company.hostile(w, m))
    if company.skipped:
        print(f"skipped, not installed or not allowed: {company.skipped}")
    cluster.check(not company.failures, f"failed: {company.failures}")


cluster.main(test)
