// litefs export [--dir DIR] DB FILE [--force]

#pragma once

namespace CLI {
class App;
}

namespace litefs {

void AddExportCommand(CLI::App& app, int* exit_code);

}  // namespace litefs
