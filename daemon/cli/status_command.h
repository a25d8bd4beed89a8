// litefs status [--dir DIR] [--json]

#pragma once

namespace CLI {
class App;
}

namespace litefs {

void AddStatusCommand(CLI::App& app, int* exit_code);

}  // namespace litefs
