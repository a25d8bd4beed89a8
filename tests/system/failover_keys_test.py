#!/usr/bin/env python3
"""failover_test.py with connections that are encrypted with keys."""

import cluster
import failover_test

cluster.main(lambda c: failover_test.test(c, "keys"))
