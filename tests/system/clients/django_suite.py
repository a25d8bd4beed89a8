#!/usr/bin/env python3
"""django_suite.py BUILD_DIR: Django's own database tests, on SQLite files: the same result, test by test, on a
tracked directory with the shim as on a plain one without; then the replica has the databases' bytes."""

import os
import re
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), ".."))
import cluster  # noqa: E402

SUITES = ("aggregation annotations atomic backends basic bulk_create constraints custom_pk datatypes "
          "db_functions delete expressions fixtures get_or_create inspectdb introspection lookup "
          "many_to_many migrations model_fields multiple_database ordering queries raw_query schema "
          "select_for_update transaction_hooks transactions update").split()
SETTINGS = """
import os
D = os.environ["DJANGO_TEST_DIRECTORY"]
DATABASES = {alias: {"ENGINE": "django.db.backends.sqlite3", "NAME": f"{D}/{alias}.db",
                     "TEST": {"NAME": f"{D}/test_{alias}.db"}} for alias in ("default", "other")}
SECRET_KEY = "secret"
PASSWORD_HASHERS = ["django.contrib.auth.hashers.MD5PasswordHasher"]
DEFAULT_AUTO_FIELD = "django.db.models.AutoField"
USE_TZ = False
"""


def run_suites(c, tests, directory, shim):
    suites = [s for s in SUITES if os.path.isdir(os.path.join(tests, s))]
    cluster.check(len(suites) > 20, f"only {suites} are there")
    status, out, err = c.run(
        ["/usr/bin/python3", "runtests.py", "--settings=settings_files", "--parallel=1", "--keepdb", "-v2", *suites],
        shim=shim, status=None, timeout=1500, cwd=tests,
        env={"DJANGO_TEST_DIRECTORY": directory, "PYTHONPATH": c.scratch, "PYTHONHASHSEED": "0"})
    results = dict(re.findall(r"^(test\w* \([\w.]+\)).*?\.\.\. (ok|FAIL|ERROR|skipped|expected failure)\b",
                              err + out, re.M | re.S))
    cluster.check(len(results) > 1000, f"{len(results)} results, exit status {status}: {err[-2000:]}")
    return results


def test(c):
    tests = os.path.join(os.path.dirname(c.litefs), "clients/Django/tests")
    if not os.path.isdir(tests):
        raise cluster.Skip("Django's tests are not there (tests/system/clients/install-all)")
    with open(os.path.join(c.scratch, "settings_files.py"), "w", encoding="utf-8") as file:
        file.write(SETTINGS)
    plain = os.path.join(c.scratch, "plain")
    os.mkdir(plain)
    without = run_suites(c, tests, plain, shim=False)
    primary = c.node("primary")
    replica = c.node("replica", follows=primary)
    under = run_suites(c, tests, primary.dir, shim=True)
    different = {t: (without.get(t), under.get(t)) for t in {*without, *under} if without.get(t) != under.get(t)}
    cluster.check(not different, f"{len(different)} tests differ: {dict(list(different.items())[:20])}")
    for name in ("test_default.db", "test_other.db"):
        txid = primary.database_status(name)["txid"]
        cluster.check(int(txid, 16) > 100, f"{name}: at {txid} only")
        c.check_identical(primary, replica, name)
        print(f"{name}: {int(txid, 16)} transactions, identical on the replica")
    passed = sum(result == "ok" for result in under.values())
    print(f"ok django's tests ({len(under)} results the same with the shim, {passed} of them ok)")


cluster.main(test)
