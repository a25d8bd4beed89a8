# client_django.py DATABASE JOURNAL_MODE STATEMENTS ROWS: Django's ORM on its SQLite back end.
import sys

import django
from django.conf import settings

database, mode, statements, rows = sys.argv[1:]
settings.configure(DATABASES={"default": {"ENGINE": "django.db.backends.sqlite3", "NAME": database,
                                          "OPTIONS": {"timeout": 20}}})
django.setup()

from django.db import connection, models, transaction  # noqa: E402


class Row(models.Model):
    a = models.IntegerField()
    b = models.TextField()

    class Meta:
        app_label = "client"
        db_table = "t"


with connection.cursor() as cursor:
    cursor.execute(f"PRAGMA journal_mode = {mode}")
    with open(statements, encoding="utf-8") as file:
        for statement in file:
            cursor.execute(statement.replace("%", "%%"), ())
for i in range(1, int(rows) + 1):  # a transaction each
    Row.objects.create(a=i, b=f"bound {i}")
with transaction.atomic():
    Row.objects.bulk_create([Row(a=i, b=f"batch {i}") for i in range(1, int(rows) + 1)])
with connection.cursor() as cursor:
    cursor.execute("SELECT count(*), sum(a), sum(length(b)) FROM t")
    print("|".join(map(str, cursor.fetchone())))
connection.close()
