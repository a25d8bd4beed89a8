// litefs promote, demote, handoff: who is the primary, by the operator's wish (docs/CLUSTER.md).

#pragma once

namespace CLI {
class App;
}

namespace litefs {

// Adds the commands; *exit_code is set when one of them runs.
void AddRoleCommands(CLI::App& app, int* exit_code);

}  // namespace litefs
