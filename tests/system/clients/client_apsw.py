# client_apsw.py DATABASE JOURNAL_MODE STATEMENTS ROWS: APSW.
import sys

import apsw

database, mode, statements, rows = sys.argv[1:]
db = apsw.Connection(database)
db.setbusytimeout(20000)
cursor = db.cursor()
cursor.execute(f"PRAGMA journal_mode = {mode}").fetchall()
with open(statements, encoding="utf-8") as file:
    for statement in file:
        cursor.execute(statement)
insert = "INSERT INTO t(a, b) VALUES (?, ?)"
for i in range(1, int(rows) + 1):  # a transaction each
    cursor.execute(insert, (i, f"bound {i}"))
with db:
    cursor.executemany(insert, [(i, f"batch {i}") for i in range(1, int(rows) + 1)])
print("|".join(map(str, cursor.execute("SELECT count(*), sum(a), sum(length(b)) FROM t").fetchone())))
db.close()
