// litefs pos [--dir DIR] DB [--json]

#pragma once

namespace CLI {
class App;
}

namespace litefs {

void AddPosCommand(CLI::App& app, int* exit_code);

}  // namespace litefs
