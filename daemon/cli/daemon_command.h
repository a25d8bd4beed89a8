// litefs daemon [--dir DIR] [--config FILE]

#pragma once

namespace CLI {
class App;
}

namespace litefs {

void AddDaemonCommand(CLI::App& app, int* exit_code);

}  // namespace litefs
