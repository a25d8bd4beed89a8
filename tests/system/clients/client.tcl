# client.tcl DATABASE JOURNAL_MODE STATEMENTS ROWS: SQLite's own Tcl interface.
package require sqlite3

lassign $argv database mode statements rows
sqlite3 db $database
db timeout 20000
db eval "PRAGMA journal_mode = $mode"
set file [open $statements]
while {[gets $file statement] >= 0} { db eval $statement }
close $file
for {set i 1} {$i <= $rows} {incr i} {
  set text "bound $i"
  db eval {INSERT INTO t(a, b) VALUES ($i, $text)}
}
db transaction {
  for {set i 1} {$i <= $rows} {incr i} {
    set text "batch $i"
    db eval {INSERT INTO t(a, b) VALUES ($i, $text)}
  }
}
puts [join [db eval {SELECT count(*), sum(a), sum(length(b)) FROM t}] |]
db close
