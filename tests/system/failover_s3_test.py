#!/usr/bin/env python3
"""failover_test.py with a lease in a bucket of Ceph's gateway."""

import cluster
import failover_test

cluster.main(lambda c: failover_test.test(c, "s3"))
