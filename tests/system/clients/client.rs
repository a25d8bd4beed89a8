// client DATABASE JOURNAL_MODE STATEMENTS ROWS: rusqlite.
use rusqlite::{params, Connection};
use std::time::Duration;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let args: Vec<String> = std::env::args().collect();
    let rows: i64 = args[4].parse()?;
    let mut db = Connection::open(&args[1])?;
    db.busy_timeout(Duration::from_secs(20))?;
    db.query_row(&format!("PRAGMA journal_mode = {}", args[2]), [], |_| Ok(()))?;
    for statement in std::fs::read_to_string(&args[3])?.lines() {
        db.execute_batch(statement)?;
    }
    let insert = "INSERT INTO t(a, b) VALUES (?1, ?2)";
    for i in 1..=rows {
        db.execute(insert, params![i, format!("bound {}", i)])?; // a transaction each
    }
    let transaction = db.transaction()?;
    for i in 1..=rows {
        transaction.execute(insert, params![i, format!("batch {}", i)])?;
    }
    transaction.commit()?;
    let row: (i64, i64, i64) = db.query_row(
        "SELECT count(*), sum(a), sum(length(b)) FROM t", [], |r| Ok((r.get(0)?, r.get(1)?, r.get(2)?)))?;
    println!("{}|{}|{}", row.0, row.1, row.2);
    Ok(())
}
