-- client.lua DATABASE JOURNAL_MODE STATEMENTS ROWS: LuaSQL.
local database, mode, statements, rows = table.unpack(arg)
local db = assert(require('luasql.sqlite3').sqlite3():connect(database))
local function run(sql)
  local result = assert(db:execute(sql))
  if type(result) == 'userdata' then
    local row = {result:fetch()}
    result:close()
    return row
  end
end
db:setautocommit(true)
run('PRAGMA busy_timeout = 20000')
run('PRAGMA journal_mode = ' .. mode)
for statement in io.lines(statements) do run(statement) end
for i = 1, tonumber(rows) do -- a transaction each
  run(string.format("INSERT INTO t(a, b) VALUES (%d, 'bound %d')", i, i))
end
run('BEGIN')
for i = 1, tonumber(rows) do run(string.format("INSERT INTO t(a, b) VALUES (%d, 'batch %d')", i, i)) end
run('COMMIT')
print(table.concat(run('SELECT count(*), sum(a), sum(length(b)) FROM t'), '|'))
db:close()
