#include "daemon/cli/keygen_command.h"

#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <cstdio>
#include <memory>

#include "common/json_text.h"
#include "daemon/cli/command_support.h"
#include "daemon/replication/curve_keys.h"

namespace litefs {
namespace {

struct Options {
  std::string out = "litefs.key";
  std::string show;
  bool json = false;
};

absl::StatusOr<replication::CurveKeys> MakeFile(const std::string& path) {
  absl::StatusOr<replication::CurveKeys> keys = replication::MakeCurveKeys();
  if (!keys.ok()) return keys;
  if (const absl::Status status = replication::WriteCurveKeys(path, *keys); !status.ok()) {
    return status;
  }
  return keys;
}

int MakeOrShow(const Options& options) {
  const bool shows = !options.show.empty();
  const std::string& file = shows ? options.show : options.out;
  const auto keys = shows ? replication::ReadCurveKeys(file) : MakeFile(file);
  if (!keys.ok()) return Fail(keys.status());
  if (options.json) {
    const nlohmann::ordered_json line = {{"file", file}, {"public_key", keys->public_key}};
    std::puts(JsonText(line).c_str());
  } else {
    std::puts(keys->public_key.c_str());
  }
  return 0;
}

}  // namespace

void AddKeygenCommand(CLI::App& app, int* exit_code) {
  const auto options = std::make_shared<Options>();
  CLI::App* command = app.add_subcommand(
      "keygen", "Make this node's key pair, and print the public key for its peers");
  CLI::Option* out = command
                         ->add_option("--out", options->out,
                                      "The file to make, for security.key-file; it must not exist")
                         ->capture_default_str();
  command->add_option("--show", options->show, "Print the public key of this file instead")
      ->excludes(out);
  command->add_flag("--json", options->json, "Print JSON");
  command->footer(
      "Example:\n  litefs keygen --out /etc/litefs/node.key\n"
      "  rq:rM>}U?@Lns47E1%kR.o@n%FcmmsL/@{H8]yf7\n\n"
      "In a configuration, put the key between single quotes.");
  command->callback([options, exit_code] { *exit_code = MakeOrShow(*options); });
}

}  // namespace litefs
