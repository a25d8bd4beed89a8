// The command line of `litefs`: one table of commands, each in a file of its own.

#pragma once

namespace litefs {

// Runs the command that argv names.  Returns the exit status: 0, 1 for an error, 2 for wrong usage
// or configuration, or what the command says (`run`: the status of the program it ran).
int RunCommandLine(int argc, char** argv);

}  // namespace litefs
