#include <cstring>

#include "daemon/cli/commands.h"
#include "daemon/sqlite/settle.h"

int main(int argc, char** argv) {
  if ((argc == 3 || argc == 4) && std::strcmp(argv[1], litefs::sqlite::kSettleCommand) == 0) {
    return litefs::sqlite::SettleMain(argv[2], argv[3]);
  }
  return litefs::RunCommandLine(argc, argv);
}
