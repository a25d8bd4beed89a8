// `litefs wait`: until a database has reached a position.

#pragma once

namespace CLI {
class App;
}

namespace litefs {

void AddWaitCommand(CLI::App& app, int* exit_code);

}  // namespace litefs
