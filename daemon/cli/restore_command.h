// litefs restore.

#pragma once

namespace CLI {
class App;
}

namespace litefs {

void AddRestoreCommand(CLI::App& app, int* exit_code);

}  // namespace litefs
