#!/usr/bin/env python3
"""The object stores against a real S3 server, which checks signatures, digests and conditions."""
import os
import subprocess
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "servers"))
import gateway


def run_contract(program, server, **environment):
    return subprocess.run([program, "--gtest_filter=*/s3"], text=True, timeout=300,
                          stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                          env={**os.environ, **server.environment, "LITEFS_TEST_S3_URL": server.url,
                               **environment})


def main():
    program = f"{sys.argv[1]}/tests/archive_test"
    if missing := gateway.missing_program():
        print(f"SKIPPED: {missing} is not installed")
        return 77
    with gateway.Gateway() as server:
        done = run_contract(program, server)
        print(done.stdout)
        assert done.returncode == 0
        assert done.stdout.count("[       OK ]") >= 13, "the tests have not run on S3"
        wrong = run_contract(program, server, AWS_SECRET_ACCESS_KEY="wrong")
        assert wrong.returncode != 0
        assert "the secret key does not belong to the key id" in wrong.stdout, wrong.stdout
    return 0


if __name__ == "__main__":
    sys.exit(main())
