#!/usr/bin/env python3
"""The contract of leases (tests/lease/lease_test.cc) in a bucket of a real S3 server, whose gateway is stopped, killed
and started again."""

import os
import subprocess
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "servers"))
import gateway

CASES = 13


def main():
    program = f"{sys.argv[1]}/tests/lease_test"
    if missing := gateway.missing_program():
        print(f"SKIPPED: {missing} is not installed")
        return 77
    with gateway.Gateway() as server:
        server.stop_gateway()
        environment = {**os.environ, **server.environment, "LITEFS_TEST_S3_URL": server.url,
                       "LITEFS_TEST_CEPH_CONF": server.config}
        done = subprocess.run([program, "--gtest_filter=*LeaseBackend*/S3"], text=True, timeout=300, env=environment,
                              stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    passed = done.stdout.count("[       OK ]")
    print(f"{passed} cases passed")
    if done.returncode != 0 or passed < CASES:
        print(done.stdout[-20000:])
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
