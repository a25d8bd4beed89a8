// litefs ltx {list,dump,verify,apply,compact,checksum,encode-db}: work on LTX files and plain
// database files, without a daemon.

#pragma once

namespace CLI {
class App;
}

namespace litefs {

// Adds the command to app.  When one of its subcommands has run, *exit_code is 0, or 1 for a
// failure, which has been said on standard error.  Usage mistakes are left to CLI11's ParseError.
// exit_code must live as long as app.
void AddLtxCommands(CLI::App& app, int* exit_code);

}  // namespace litefs
