#!/usr/bin/env python3
"""The object stores against a real S3 server, which checks signatures, digests and conditions: as it is, with a
session's keys and token, behind a proxy that breaks one request in ten, by TLS, and with the bucket in the host's name."""
import os
import re
import subprocess
import sys
import tempfile

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "servers"))
import faulty_proxy
import gateway

CASES = 17  # of the contract, and of S3 alone


def run(program, server, url, tests="*/s3", **environment):
    return subprocess.run([program, f"--gtest_filter={tests}"], text=True, timeout=300, stdout=subprocess.PIPE,
                          stderr=subprocess.STDOUT,
                          env={**os.environ, **server.environment, "LITEFS_TEST_S3_URL": url, **environment})


def check_passes(done, cases):
    if done.returncode != 0 or done.stdout.count("[       OK ]") < cases:
        print(done.stdout)
        raise AssertionError("the tests have not all passed on S3")


def check_faults(program, server):
    """Each request is tried six times, so that one in a million fails for good.  Without a case that does not retry, and
    one of a thousand requests."""
    with faulty_proxy.FaultyProxy(server.port, share=0.1, seed=1) as proxy:
        url = f"s3://{gateway.BUCKET}?endpoint=http://127.0.0.1:{proxy.port}"
        check_passes(run(program, server, url, "*/s3:-*SweepsUploads*:*MoreThanAPage*"), CASES - 2)
        print(f"{proxy.requests} requests, faults: {dict(proxy.fired)}")
        missing = [fault for fault in faulty_proxy.FAULTS if proxy.fired[fault] == 0]
        assert not missing, f"these faults never happened: {missing}"


def check_tls(program, server):
    with tempfile.TemporaryDirectory() as scratch:
        certificate, key = f"{scratch}/cert.pem", f"{scratch}/key.pem"
        subprocess.run(["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes",
                        "-days", "2", "-subj", "/CN=litefs test", "-addext", "subjectAltName=IP:127.0.0.1",
                        "-keyout", key, "-out", certificate], check=True, stderr=subprocess.DEVNULL)
        with faulty_proxy.FaultyProxy(server.port, tls=(certificate, key)) as proxy:
            url = f"s3://{gateway.BUCKET}?endpoint=https://127.0.0.1:{proxy.port}"
            check_passes(run(program, server, f"{url}&ca-file={certificate}", "*GivesBackWhatWasPut/s3"), 1)
            assert proxy.requests > 0, "nothing has passed by TLS"
            stranger = run(program, server, url, "*GivesBackWhatWasPut/s3")
            assert stranger.returncode != 0 and "the server is not trusted" in stranger.stdout, stranger.stdout


def check_session(program):
    """Keys for an hour are worth nothing without the token that came with them."""
    with gateway.Gateway(sessions=True) as server:
        session = server.session()
        # Without a case that makes a request of its own, which knows no token.
        check_passes(run(program, server, server.url, "*/s3:-*SweepsUploads*", **session), CASES - 1)
        token = session["AWS_SESSION_TOKEN"]
        for other in ("", token[:100] + ("A" if token[100] != "A" else "B") + token[101:]):
            without = run(program, server, server.url, "*GivesBackWhatWasPut/s3",
                          **session | {"AWS_SESSION_TOKEN": other})
            assert without.returncode != 0 and re.search("HTTP status 40[03]", without.stdout), without.stdout


def main():
    program = f"{sys.argv[1]}/tests/archive_test"
    if missing := gateway.missing_program():
        print(f"SKIPPED: {missing} is not installed")
        return 77
    with gateway.Gateway() as server:
        check_passes(run(program, server, server.url), CASES)
        wrong = run(program, server, server.url, "*GivesBackWhatWasPut/s3", AWS_SECRET_ACCESS_KEY="wrong")
        assert wrong.returncode != 0
        assert "the secret key does not belong to the key id" in wrong.stdout, wrong.stdout
        check_faults(program, server)
        check_tls(program, server)
        # Names below localhost are this machine (RFC 6761), also to libcurl.
        virtual = f"s3://{gateway.BUCKET}?endpoint=http://s3.localhost:{server.port}&style=virtual"
        check_passes(run(program, server, virtual, "*GivesBackWhatWasPut/s3:*OddNames/s3"), 2)
    check_session(program)
    return 0


if __name__ == "__main__":
    sys.exit(main())
