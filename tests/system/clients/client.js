// client.js DATABASE JOURNAL_MODE STATEMENTS ROWS: better-sqlite3, a native module.
const fs = require('fs');
const Database = require('better-sqlite3');

const [database, mode, statements, rows] = process.argv.slice(2);
const db = new Database(database, { timeout: 20000 });
db.pragma(`journal_mode = ${mode}`);
for (const statement of fs.readFileSync(statements, 'utf8').trim().split('\n')) db.exec(statement);
const insert = db.prepare('INSERT INTO t(a, b) VALUES (?, ?)');
for (let i = 1; i <= Number(rows); ++i) insert.run(i, `bound ${i}`); // a transaction each
db.transaction(() => { for (let i = 1; i <= Number(rows); ++i) insert.run(i, `batch ${i}`); })();
console.log(db.prepare('SELECT count(*), sum(a), sum(length(b)) FROM t').raw().get().join('|'));
db.close();
