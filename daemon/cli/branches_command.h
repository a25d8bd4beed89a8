// `litefs branches list|export|discard`: what a replica had and its primary does not.

#pragma once

namespace CLI {
class App;
}

namespace litefs {

void AddBranchesCommands(CLI::App& app, int* exit_code);

}  // namespace litefs
