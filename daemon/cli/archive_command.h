// litefs archive list|info|verify|prune|keygen.

#pragma once

namespace CLI {
class App;
}

namespace litefs {

void AddArchiveCommands(CLI::App& app, int* exit_code);

}  // namespace litefs
