# client.pl DATABASE JOURNAL_MODE STATEMENTS ROWS: DBD::SQLite, which has an SQLite of its own.
use strict;
use warnings;
use DBI;

my ($database, $mode, $statements, $rows) = @ARGV;
my $db = DBI->connect("dbi:SQLite:dbname=$database", '', '',
                      {RaiseError => 1, PrintError => 0, AutoCommit => 1});
$db->do('PRAGMA busy_timeout = 20000');
$db->selectrow_array("PRAGMA journal_mode = $mode");
open(my $file, '<', $statements) or die "$statements: $!";
while (my $statement = <$file>) {
  $db->do($statement);
}
my $insert = $db->prepare('INSERT INTO t(a, b) VALUES (?, ?)');
$insert->execute($_, "bound $_") for 1 .. $rows;    # a transaction each
$db->begin_work;
$insert->execute($_, "batch $_") for 1 .. $rows;
$db->commit;
print join('|', $db->selectrow_array('SELECT count(*), sum(a), sum(length(b)) FROM t')), "\n";
$insert->finish;
$db->disconnect;
