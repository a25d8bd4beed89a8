// litefs keygen [--out FILE | --show FILE] [--json]

#pragma once

namespace CLI {
class App;
}

namespace litefs {

void AddKeygenCommand(CLI::App& app, int* exit_code);

}  // namespace litefs
