# client.R DATABASE JOURNAL_MODE STATEMENTS ROWS: RSQLite, whose SQLite writes by lseek and write.
library(DBI)
arguments <- commandArgs(trailingOnly = TRUE)
rows <- as.integer(arguments[4])
db <- dbConnect(RSQLite::SQLite(), arguments[1], synchronous = NULL)
RSQLite::sqliteSetBusyHandler(db, 20000L)
invisible(dbGetQuery(db, paste("PRAGMA journal_mode =", arguments[2])))
for (statement in readLines(arguments[3])) dbExecute(db, statement)
insert <- "INSERT INTO t(a, b) VALUES (?, ?)"
for (i in seq_len(rows)) dbExecute(db, insert, params = list(i, paste("bound", i)))
dbWithTransaction(db, {
  for (i in seq_len(rows)) dbExecute(db, insert, params = list(i, paste("batch", i)))
})
cat(paste(unlist(dbGetQuery(db, "SELECT count(*), sum(a), sum(length(b)) FROM t")), collapse = "|"), "\n", sep = "")
dbDisconnect(db)
