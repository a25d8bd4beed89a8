#!/usr/bin/env python3
"""litefs run: exit status, signals, terminal, daemon, and nothing configured."""

import glob
import os
import pty
import signal
import subprocess
import sys
import threading

import cluster

COUNT_INTERRUPTS = """
import signal, sys, time
count = 0
def interrupted(*_):
    global count
    count += 1
signal.signal(signal.SIGINT, interrupted)
print("up", flush=True)
end = time.monotonic() + 1.5
while time.monotonic() < end:
    time.sleep(0.05)
print("interrupts:", count, flush=True)
"""

# Writes until told to stop, across whatever happens to the daemon.
WRITER = """
import sqlite3, sys
db = sqlite3.connect(sys.argv[1], timeout=30, isolation_level=None)
db.execute("create table if not exists t(x)")
print("up", flush=True)
for line in sys.stdin:
    db.execute("insert into t values (?)", (line.strip(),))
    print("done", flush=True)
"""


def run(c, dir_, *argv, **options):
    return c.command("run", "--dir", dir_, "--", *argv, **options)


def daemon_pid(c, dir_):
    status, out, _ = c.command("status", "--dir", dir_, "--json", status=None)
    return int(out.split('"pid":')[1].split(",")[0].strip(" }\n")) if status == 0 else None


def daemon_is_gone(dir_):
    """Nobody holds the directory's lock.  (To ask the daemon would be to use it.)"""
    inode = os.stat(os.path.join(dir_, ".litefs/lock")).st_ino
    with open("/proc/locks", encoding="ascii") as file:
        return not any(f":{inode} " in line for line in file)


def test_exit_status(c, dir_):
    run(c, dir_, "sh", "-c", "exit 0")
    run(c, dir_, "sh", "-c", "exit 7", status=7)
    run(c, dir_, "sh", "-c", "kill -9 $$", status=128 + 9)
    run(c, dir_, "sh", "-c", "kill -TERM $$", status=128 + 15)
    _, err = run(c, dir_, "no-such-program", status=127)
    cluster.check("no-such-program" in err, f"names what is not found: {err}")
    run(c, dir_, "/etc/passwd", status=126)
    out, _ = run(c, dir_, "cat", input="through")
    cluster.check_equal(out, "through", "standard input and output")
    out, _ = run(c, dir_, "sh", "-c", 'printf "%s," "$@"', "x", "--dir", "--", "a b", "")
    cluster.check_equal(out, "--dir,--,a b,,", "arguments")
    out, _ = run(c, dir_, "sh", "-c", "echo $LD_PRELOAD", env={"LD_PRELOAD": ""})
    cluster.check_equal(out.strip(), c.shim, "LD_PRELOAD")


def test_captures_before_it_returns(c, dir_):
    database = os.path.join(dir_, "app.db")
    for i, mode in enumerate(["delete", "wal", "truncate", "wal"]):
        run(c, dir_, "sqlite3", "-bail", database,
            f"pragma journal_mode = {mode}; create table t{i}(x); insert into t{i} values ({i});")
        chain = sorted(glob.glob(os.path.join(dir_, ".litefs/dbs/app.db/ltx/*.ltx")))
        copy = os.path.join(c.scratch, f"copy{i}.db")
        c.command("ltx", "apply", "--db", copy, *chain)
        cluster.check_equal(c.sqlite(copy, f"select x from t{i}"), str(i),
                            f"what the chain holds when `run` in {mode} returns")


def test_daemon_comes_and_goes(c, dir_):
    run(c, dir_, c.litefs, "status", "--dir", dir_)
    cluster.wait_for("the daemon goes when it is not used", lambda: daemon_is_gone(dir_), 20)
    run(c, dir_, c.litefs, "pos", os.path.join(dir_, "app.db"))
    before = run(c, dir_, c.litefs, "status", "--dir", dir_)[0]
    cluster.check("app.db" in before, f"status by a child of run: {before}")


def test_concurrent_runs(c, dir_):
    database = os.path.join(dir_, "many.db")
    results = []

    def one(i):
        results.append(run(c, dir_, "sqlite3", "-bail", "-cmd", ".timeout 20000", database,
                           f"create table if not exists t(x); insert into t values ({i});",
                           status=None))

    for _ in range(3):
        cluster.wait_for("no daemon", lambda: daemon_is_gone(dir_), 20)
        threads = [threading.Thread(target=one, args=(i,)) for i in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    failed = [r for r in results if r[0] != 0]
    cluster.check(not failed, f"{len(failed)} of 24 concurrent runs failed: {failed[:2]}")
    cluster.check_equal(run(c, dir_, "sqlite3", database, "select count(*) from t")[0].strip(),
                        "24", "rows of 24 concurrent runs")


def start(c, dir_, *argv):
    process = c.spawn([c.litefs, "run", "--dir", dir_, "--", *argv], stdin=subprocess.PIPE,
                      stdout=subprocess.PIPE, text=True)
    cluster.check_equal(process.stdout.readline(), "up\n", "the command's first line")
    return process


def test_signals(c, dir_):
    names = ["TERM", "INT", "HUP", "QUIT", "USR1", "USR2", "WINCH"]
    traps = "".join(f'trap "echo {name}; exit {i + 20}" {name};' for i, name in enumerate(names))
    for i, name in enumerate(names):
        process = start(c, dir_, "bash", "-c", traps + "echo up; while :; do sleep 0.05; done")
        process.send_signal(getattr(signal, "SIG" + name))
        out, _ = process.communicate(timeout=20)
        cluster.check_equal((out, process.returncode), (f"{name}\n", i + 20), f"SIG{name} arrives")


def state(pid):
    with open(f"/proc/{pid}/stat", encoding="ascii") as file:
        return file.read().rsplit(")", 1)[1].split()[0]


def test_stop_and_continue(c, dir_):
    process = start(c, dir_, sys.executable, "-c", COUNT_INTERRUPTS)
    process.send_signal(signal.SIGTSTP)
    cluster.wait_for("run stops with its command", lambda: state(process.pid) == "T", 10)
    process.send_signal(signal.SIGCONT)
    out, _ = process.communicate(timeout=20)
    cluster.check_equal((out, process.returncode), ("interrupts: 0\n", 0), "after SIGCONT")


def test_terminal_interrupt_arrives_once(c, dir_):
    pid, terminal = pty.fork()
    if pid == 0:
        os.execve(c.litefs, [c.litefs, "run", "--dir", dir_, "--", sys.executable, "-c",
                             COUNT_INTERRUPTS], cluster.clean_environment())
    output = b""

    def read_until(word):
        nonlocal output
        try:
            while word not in output:
                output += os.read(terminal, 4096)
        except OSError:  # the end of a terminal
            pass

    read_until(b"up")
    os.write(terminal, b"\x03")
    read_until(b"interrupts: 1")
    _, status = os.waitpid(pid, 0)
    os.close(terminal)
    cluster.check(b"interrupts: 1" in output, f"one Ctrl-C: {output!r}")
    cluster.check_equal(os.waitstatus_to_exitcode(status), 0, "exit status after Ctrl-C")


def test_daemon_is_replaced(c, dir_):
    database = os.path.join(dir_, "replaced.db")
    process = start(c, dir_, "/usr/bin/python3", "-c", WRITER, database)

    def write(text):
        process.stdin.write(text + "\n")
        process.stdin.flush()
        cluster.check_equal(process.stdout.readline(), "done\n", f"the write {text}")

    write("before")
    first = cluster.wait_for("a daemon", lambda: daemon_pid(c, dir_), 20)
    threading.Event().wait(1.2)  # a daemon that ends within its first second is not replaced
    os.kill(first, signal.SIGKILL)
    write("after")
    second = cluster.wait_for("another daemon",
                              lambda: daemon_pid(c, dir_) not in (None, first) and
                              daemon_pid(c, dir_), 20)
    cluster.check(second != first, "a new daemon")
    write("and on")
    process.stdin.close()
    cluster.check_equal(process.wait(30), 0, "exit status")
    chain = sorted(glob.glob(os.path.join(dir_, ".litefs/dbs/replaced.db/ltx/*.ltx")))
    copy = os.path.join(c.scratch, "replaced-copy.db")
    c.command("ltx", "apply", "--db", copy, *chain)
    cluster.check_equal(c.sqlite(copy, "select group_concat(x) from t"), "before,after,and on",
                        "what the chain holds")


def test_a_daemon_that_cannot_start(c, dir_):
    broken = os.path.join(c.scratch, "broken")
    os.makedirs(os.path.join(broken, ".litefs"))
    os.makedirs(os.path.join(broken, ".litefs/lock"))  # where the daemon wants a file
    _, err = run(c, broken, "true", status=1)
    cluster.check("the daemon did not start" in err and "daemon.log" in err, f"says why: {err}")


def test_nothing_configured(c, _):
    fresh = os.path.join(c.scratch, "fresh")
    os.mkdir(fresh, 0o700)
    c.command("run", "--", "sqlite3", "-bail", "here.db", "create table t(x)", cwd=fresh)
    cluster.check(glob.glob(os.path.join(fresh, ".litefs/dbs/here.db/ltx/*.ltx")), "no chain")
    mode = os.stat(os.path.join(fresh, ".litefs")).st_mode & 0o777
    cluster.check_equal(oct(mode), "0o700", "mode of .litefs in a private directory")


def test_no_output_of_ours(c, dir_):
    out, err = run(c, dir_, "sh", "-c", "echo out; echo err >&2")
    cluster.check_equal((out, err), ("out\n", "err\n"), "what run prints")
    # A daemon that kept our pipe would keep this from ending.
    done = subprocess.run(f"x=$({c.litefs} run --dir {dir_} -- echo hi); echo $x", shell=True,
                          capture_output=True, text=True, timeout=20, check=True)
    cluster.check_equal(done.stdout, "hi\n", "in $(…)")


def test(c):
    dir_ = os.path.join(c.scratch, "data")
    tests = [(name, f) for name, f in globals().items() if name.startswith("test_")]
    for name, function in tests:
        function(c, dir_)
        print(name[5:].replace("_", " "))
    cluster.wait_for("the last daemon goes", lambda: daemon_is_gone(dir_), 20)


cluster.main(test)
