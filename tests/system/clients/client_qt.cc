// client_qt DATABASE JOURNAL_MODE STATEMENTS ROWS: Qt's QSQLITE driver.
#include <QCoreApplication>
#include <QFile>
#include <QSqlDatabase>
#include <QSqlError>
#include <QSqlQuery>
#include <QTextStream>
#include <QVariant>
#include <cstdio>
#include <cstdlib>

static void Must(bool ok, const QSqlError& error) {
  if (ok) return;
  std::fprintf(stderr, "%s\n", qPrintable(error.text()));
  std::exit(1);
}

int main(int argc, char** argv) {
  QCoreApplication app(argc, argv);
  const QStringList args = QCoreApplication::arguments();
  {
    QSqlDatabase db = QSqlDatabase::addDatabase("QSQLITE");
    db.setDatabaseName(args[1]);
    db.setConnectOptions("QSQLITE_BUSY_TIMEOUT=20000");
    Must(db.open(), db.lastError());
    const auto run = [&](const QString& sql) {
      QSqlQuery query(db);
      Must(query.exec(sql), query.lastError());
    };
    run("PRAGMA journal_mode = " + args[2]);
    QFile file(args[3]);
    if (!file.open(QIODevice::ReadOnly)) return 1;
    for (QTextStream lines(&file); !lines.atEnd();) run(lines.readLine());
    QSqlQuery insert(db);
    Must(insert.prepare("INSERT INTO t(a, b) VALUES (?, ?)"), insert.lastError());
    for (const char* kind : {"bound %1", "batch %1"}) {
      const bool batch = kind[1] == 'a';
      if (batch) Must(db.transaction(), db.lastError());
      for (int i = 1; i <= args[4].toInt(); ++i) {
        insert.bindValue(0, i);
        insert.bindValue(1, QString(kind).arg(i));
        Must(insert.exec(), insert.lastError());
      }
      if (batch) Must(db.commit(), db.lastError());
    }
    QSqlQuery query("SELECT count(*), sum(a), sum(length(b)) FROM t", db);
    Must(query.next(), query.lastError());
    std::printf("%lld|%lld|%lld\n", query.value(0).toLongLong(), query.value(1).toLongLong(),
                query.value(2).toLongLong());
  }
  QSqlDatabase::removeDatabase("qt_sql_default_connection");
  return 0;
}
