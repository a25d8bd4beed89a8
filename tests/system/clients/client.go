// client DATABASE JOURNAL_MODE STATEMENTS ROWS: mattn/go-sqlite3, by cgo.
package main

import (
	"database/sql"
	"fmt"
	"os"
	"strconv"
	"strings"

	_ "github.com/mattn/go-sqlite3"
)

func must(err error) {
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func main() {
	db, err := sql.Open("sqlite3", "file:"+os.Args[1]+"?_busy_timeout=20000")
	must(err)
	db.SetMaxOpenConns(1)
	run := func(statement string, values ...interface{}) {
		_, err := db.Exec(statement, values...)
		must(err)
	}
	run("PRAGMA journal_mode = " + os.Args[2])
	text, err := os.ReadFile(os.Args[3])
	must(err)
	for _, statement := range strings.Split(strings.TrimSpace(string(text)), "\n") {
		run(statement)
	}
	rows, err := strconv.Atoi(os.Args[4])
	must(err)
	for i := 1; i <= rows; i++ { // a transaction each
		run("INSERT INTO t(a, b) VALUES (?, ?)", i, fmt.Sprintf("bound %d", i))
	}
	tx, err := db.Begin()
	must(err)
	for i := 1; i <= rows; i++ {
		_, err := tx.Exec("INSERT INTO t(a, b) VALUES (?, ?)", i, fmt.Sprintf("batch %d", i))
		must(err)
	}
	must(tx.Commit())
	var count, sum, length int64
	must(db.QueryRow("SELECT count(*), sum(a), sum(length(b)) FROM t").Scan(&count, &sum, &length))
	fmt.Printf("%d|%d|%d\n", count, sum, length)
	must(db.Close())
}
