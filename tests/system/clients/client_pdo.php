<?php
// client_pdo.php DATABASE JOURNAL_MODE STATEMENTS ROWS: PHP's PDO.
[, $database, $mode, $statements, $rows] = $argv;
$db = new PDO("sqlite:$database", null, null, [PDO::ATTR_ERRMODE => PDO::ERRMODE_EXCEPTION]);
$db->exec('PRAGMA busy_timeout = 20000');
$db->query("PRAGMA journal_mode = $mode")->fetchAll();
foreach (file($statements) as $statement) {
    $db->exec($statement);
}
$insert = $db->prepare('INSERT INTO t(a, b) VALUES (?, ?)');
for ($i = 1; $i <= $rows; $i++) {  // a transaction each
    $insert->execute([$i, "bound $i"]);
}
$db->beginTransaction();
for ($i = 1; $i <= $rows; $i++) {
    $insert->execute([$i, "batch $i"]);
}
$db->commit();
$row = $db->query('SELECT count(*), sum(a), sum(length(b)) FROM t')->fetch(PDO::FETCH_NUM);
echo implode('|', $row), "\n";
