# client.rb DATABASE JOURNAL_MODE STATEMENTS ROWS: Ruby's sqlite3 gem.
require 'sqlite3'

database, mode, statements, rows = ARGV
db = SQLite3::Database.new(database)
db.busy_timeout = 20_000
db.execute("PRAGMA journal_mode = #{mode}")
File.foreach(statements) { |statement| db.execute(statement) }
insert = db.prepare('INSERT INTO t(a, b) VALUES (?, ?)')
(1..rows.to_i).each { |i| insert.execute(i, "bound #{i}") } # a transaction each
db.transaction { (1..rows.to_i).each { |i| insert.execute(i, "batch #{i}") } }
insert.close
puts db.execute('SELECT count(*), sum(a), sum(length(b)) FROM t')[0].join('|')
db.close
