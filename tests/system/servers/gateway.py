"""A small Ceph on loopback: one monitor, one in-memory OSD, one RADOS gateway, which speaks S3 and checks
signatures, payload digests and conditions.  Needs root and Debian's radosgw, ceph-mon and ceph-osd.

    with Gateway() as gateway:
        gateway.environment   # AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY
        gateway.url           # s3://litefs?endpoint=http://127.0.0.1:PORT, a bucket that exists
"""
import json
import os
import re
import shutil
import socket
import subprocess
import tempfile
import time
import uuid

KEY, SECRET, BUCKET = "LITEFSKEY", "litefssecret", "litefs"
PROGRAMS = ("radosgw", "radosgw-admin", "ceph", "ceph-mon", "ceph-osd", "monmaptool")
CONFIG = """[global]
fsid = {fsid}
mon host = v1:127.0.0.1:{mon_port}
mon initial members = a
public addr = 127.0.0.1
cluster addr = 127.0.0.1
ms bind msgr2 = false
auth cluster required = none
auth service required = none
auth client required = none
osd pool default size = 1
osd pool default min size = 1
osd pool default pg num = 1
osd pool default pg autoscale mode = off
# These two make a start of 3 s out of one of 16 s.
paxos propose interval = 0.05
paxos min wait = 0.01
osd crush chooseleaf type = 0
mon allow pool size one = true
mon max pg per osd = 1000
osd objectstore = memstore
memstore device bytes = 2147483648
log file = {dir}/$name.log
admin socket = {dir}/run/$name.asok
run dir = {dir}/run
keyring = {dir}/keyring
[mon.a]
host = localhost
mon data = {dir}/mon
mon addr = 127.0.0.1:{mon_port}
[osd.0]
osd data = {dir}/osd
[client.rgw]
rgw data = {dir}/rgw
rgw dns name = s3.localhost
{sessions}
rgw frontends = beast endpoint=127.0.0.1:{port} tcp_nodelay=1
"""


# With it a wrong secret is answered by AccessDenied, and no longer by SignatureDoesNotMatch.
SESSIONS = """rgw sts key = litefs-16-bytes!
rgw s3 auth use sts = true"""


def missing_program():
    return next((p for p in PROGRAMS if not shutil.which(p)), None)


def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


def wait_for(condition, seconds, what):
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            raise TimeoutError(f"{what} is not so after {seconds} s")
        time.sleep(0.1)


class Gateway:
    """Started by the constructor; one start in twenty fails, so that is tried twice.  sessions: for session()."""

    def __init__(self, sessions=False):
        self.sessions = sessions
        for last in (False, True):
            self.processes = []
            self.dir = tempfile.mkdtemp(prefix="litefs-gateway-")
            try:
                self._start()
                return
            except (TimeoutError, subprocess.SubprocessError):
                self.stop()
                if last:
                    raise

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.stop()

    @property
    def environment(self):
        return {"AWS_ACCESS_KEY_ID": KEY, "AWS_SECRET_ACCESS_KEY": SECRET,
                "AWS_CONFIG_FILE": "/dev/null", "AWS_SHARED_CREDENTIALS_FILE": "/dev/null"}

    @property
    def endpoint(self):
        return f"http://127.0.0.1:{self.port}"

    @property
    def url(self):
        return f"s3://{BUCKET}?endpoint={self.endpoint}"

    def session(self):
        """The environment of one who has taken on a role for an hour: another key, and a token to it."""
        admin = ("radosgw-admin", "-n", "client.rgw")
        trust = {"Effect": "Allow", "Principal": {"AWS": ["arn:aws:iam:::user/litefs"]}, "Action": ["sts:AssumeRole"]}
        allow = {"Effect": "Allow", "Action": ["s3:*"], "Resource": ["arn:aws:s3:::*"]}
        policy = lambda statement: json.dumps({"Version": "2012-10-17", "Statement": [statement]})
        self._run(*admin, "role", "create", "--role-name=archive", "--assume-role-policy-doc=" + policy(trust))
        self._run(*admin, "role-policy", "put", "--role-name=archive", "--policy-name=all",
                  "--policy-doc=" + policy(allow))
        answer = subprocess.run(["curl", "-sSf", "-m", "60", "--aws-sigv4", "aws:amz:us-east-1:sts",
                                 "-u", f"{KEY}:{SECRET}", "-d", "Action=AssumeRole&RoleSessionName=archive"
                                 "&RoleArn=arn:aws:iam:::role/archive&Version=2011-06-15", self.endpoint + "/"],
                                check=True, timeout=90, stdout=subprocess.PIPE, text=True).stdout
        found = {name: re.search(f"<{name}>([^<]+)<", answer).group(1)
                 for name in ("AccessKeyId", "SecretAccessKey", "SessionToken")}
        return self.environment | {"AWS_ACCESS_KEY_ID": found["AccessKeyId"],
                                   "AWS_SECRET_ACCESS_KEY": found["SecretAccessKey"],
                                   "AWS_SESSION_TOKEN": found["SessionToken"]}

    def stop(self):
        """The gateway may end by itself; the others hold nothing that is worth it."""
        for name, process in reversed(self.processes):
            process.terminate() if name == "radosgw" else process.kill()
            try:
                process.wait(10)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
        shutil.rmtree(self.dir, ignore_errors=True)

    def stop_gateway(self):
        """The rest goes on: somebody else starts it, again and again (config)."""
        name, process = self.processes.pop()
        assert name == "radosgw", name
        process.kill()
        process.wait()

    def start_gateway(self):
        self._spawn("radosgw", "-n", "client.rgw")
        wait_for(self._answers, 60, "the gateway answers")

    @property
    def config(self):
        return f"{self.dir}/ceph.conf"

    def _run(self, *command, check=True):
        with open(f"{self.dir}/setup.log", "ab") as log:
            return subprocess.run([*command, "-c", f"{self.dir}/ceph.conf"], check=check, stderr=log,
                                  stdout=subprocess.PIPE, timeout=60, text=True).stdout

    def _spawn(self, name, *arguments):
        out = open(f"{self.dir}/{name}.out", "ab")
        process = subprocess.Popen([name, *arguments, "-c", f"{self.dir}/ceph.conf", "-f"],
                                   stdout=out, stderr=out, stdin=subprocess.DEVNULL)
        self.processes.append((name, process))
        return process

    def _start(self):
        fsid, osd_id = str(uuid.uuid4()), str(uuid.uuid4())
        mon_port, self.port = free_port(), free_port()
        for name in ("mon", "osd", "rgw", "run"):
            os.mkdir(f"{self.dir}/{name}")
        open(f"{self.dir}/keyring", "w").close()
        with open(f"{self.dir}/ceph.conf", "w") as config:
            config.write(CONFIG.format(fsid=fsid, dir=self.dir, mon_port=mon_port, port=self.port,
                                       sessions=SESSIONS if self.sessions else ""))
        monmap = f"{self.dir}/monmap"
        self._run("monmaptool", "--create", "--clobber", "--fsid", fsid,
                  "--addv", "a", f"[v1:127.0.0.1:{mon_port}]", monmap)
        self._run("ceph-mon", "--mkfs", "-i", "a", "--monmap", monmap)
        self._spawn("ceph-mon", "-i", "a")
        self._run("ceph", "--connect-timeout", "30", "osd", "new", osd_id)
        self._run("ceph-osd", "-i", "0", "--mkfs", "--osd-uuid", osd_id)
        self._start_osd()
        self.start_gateway()
        self._run("radosgw-admin", "-n", "client.rgw", "user", "create", "--uid=litefs",
                  "--display-name=litefs", f"--access-key={KEY}", f"--secret-key={SECRET}")
        self._make_bucket()

    def _start_osd(self):
        """It now and then gives up at its first contact with the monitor."""
        for _ in range(5):
            osd = self._spawn("ceph-osd", "-i", "0")
            try:
                wait_for(lambda: osd.poll() is not None or "1 up" in self._run("ceph", "osd", "stat"), 30,
                         "the OSD is up")
                if osd.poll() is None:
                    return
            except TimeoutError:
                osd.kill()
        raise TimeoutError("the OSD does not start")

    def _answers(self):
        with socket.socket() as s:
            return s.connect_ex(("127.0.0.1", self.port)) == 0

    def _make_bucket(self):
        subprocess.run(["curl", "-sSf", "-m", "60", "-X", "PUT", "--aws-sigv4", "aws:amz:us-east-1:s3",
                        "-u", f"{KEY}:{SECRET}", "-H", "x-amz-content-sha256: UNSIGNED-PAYLOAD",
                        f"{self.endpoint}/{BUCKET}"], check=True, timeout=90)
