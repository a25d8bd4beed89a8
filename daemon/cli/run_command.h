// litefs run [--dir DIR] [--config FILE] -- CMD…

#pragma once

#include <string>
#include <vector>

namespace CLI {
class App;
}

namespace litefs {

// command: what stood after `--`.
void AddRunCommand(CLI::App& app, const std::vector<std::string>& command, int* exit_code);

}  // namespace litefs
