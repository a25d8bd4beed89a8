# client.py DATABASE JOURNAL_MODE STATEMENTS ROWS: Python's sqlite3 module.
import sqlite3
import sys

database, mode, statements, rows = sys.argv[1:]
db = sqlite3.connect(database, timeout=20, isolation_level=None)
db.execute(f"PRAGMA journal_mode = {mode}").fetchall()
with open(statements, encoding="utf-8") as file:
    for statement in file:
        db.execute(statement)
insert = "INSERT INTO t(a, b) VALUES (?, ?)"
for i in range(1, int(rows) + 1):  # a transaction each
    db.execute(insert, (i, f"bound {i}"))
db.execute("BEGIN")
db.executemany(insert, [(i, f"batch {i}") for i in range(1, int(rows) + 1)])
db.execute("COMMIT")
row = db.execute("SELECT count(*), sum(a), sum(length(b)) FROM t").fetchone()
print("|".join(map(str, row)))
db.close()
