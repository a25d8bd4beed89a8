<?php
// client_sqlite3.php DATABASE JOURNAL_MODE STATEMENTS ROWS: PHP's SQLite3 class.
[, $database, $mode, $statements, $rows] = $argv;
$db = new SQLite3($database);
$db->enableExceptions(true);
$db->busyTimeout(20000);
$db->querySingle("PRAGMA journal_mode = $mode");
foreach (file($statements) as $statement) {
    $db->exec($statement);
}
$insert = $db->prepare('INSERT INTO t(a, b) VALUES (:a, :b)');
$run = function (string $word) use ($insert, $rows): void {
    for ($i = 1; $i <= $rows; $i++) {
        $insert->bindValue(':a', $i, SQLITE3_INTEGER);
        $insert->bindValue(':b', "$word $i", SQLITE3_TEXT);
        $insert->execute();
        $insert->reset();
    }
};
$run('bound');  // a transaction each
$db->exec('BEGIN');
$run('batch');
$db->exec('COMMIT');
echo implode('|', $db->querySingle('SELECT count(*), sum(a), sum(length(b)) FROM t', true)), "\n";
$insert->close();
$db->close();
