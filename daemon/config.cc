// How a file is read:
//
//   text ── mark ──► text with tokens ── yaml-cpp ──► nodes ── walk ──► settings ──► Config ──
//   check
//
// config_references: ${NAME}; config_settings: the keys; config_values: their kinds of value;
// config_check: what does not go together.

#include "daemon/config.h"

#include <fmt/format.h>
#include <sys/stat.h>
#include <yaml-cpp/yaml.h>

#include <algorithm>
#include <cstdlib>
#include <filesystem>
#include <map>

#include "common/posix_io.h"
#include "common/status_macros.h"
#include "daemon/archive_settings.h"
#include "daemon/config_check.h"
#include "daemon/config_references.h"
#include "daemon/config_settings.h"
#include "daemon/config_sync.h"
#include "ipc/protocol.h"

namespace litefs {
namespace {

constexpr size_t kMaxConfigBytes = 1 << 20;

// Keys are written write-timeout or write_timeout, as the reader likes.
std::string WithHyphens(std::string key) {
  std::replace(key.begin(), key.end(), '_', '-');
  return key;
}

// Takes one parsed file into a Config.
class Walker {
 public:
  Walker(std::string name, std::vector<Reference> references, const Environment& environment)
      : name_(std::move(name)), references_(std::move(references)), environment_(environment) {}

  absl::StatusOr<Config> Walk(const YAML::Node& root) {
    if (!root.IsDefined() || root.IsNull()) return config_;
    RETURN_IF_ERROR(WalkSection(root, ""));
    FinishSync(&config_);
    if (const auto bad =
            CheckTogether(config_, [this](const char* key) { return lines_.contains(key); })) {
      return Error(LineOf(bad->line_of), bad->key, bad->problem);
    }
    return config_;
  }

 private:
  absl::Status Error(int line, const std::string& key, const std::string& problem) const {
    const std::string subject = key.empty() ? "" : key + ": ";
    return absl::InvalidArgumentError(fmt::format("{}:{}: {}{}", name_, line, subject, problem));
  }
  static int Line(const YAML::Node& node) { return node.Mark().line + 1; }

  absl::Status WalkSection(const YAML::Node& node, const std::string& prefix) {
    const std::string section = prefix.empty() ? "" : prefix.substr(0, prefix.size() - 1);
    if (node.IsNull()) return absl::OkStatus();
    if (!node.IsMap()) return Error(Line(node), section, "key: value pairs are expected here");
    for (const auto& entry : node) {
      const int line = Line(entry.first);
      if (!entry.first.IsScalar()) return Error(line, section, "a key must be a plain word");
      const std::string key = prefix + WithHyphens(entry.first.Scalar());
      if (key.find(kTokenStart) != std::string::npos) {
        return Error(line, section, "${…} stands for values, not for keys");
      }
      const auto [first, is_new] = lines_.emplace(key, line);
      if (!is_new) return Error(line, key, fmt::format("also given in line {}", first->second));
      if (key == "archive") {
        RETURN_IF_ERROR(WalkArchives(entry.second, line));
      } else if (IsSection(key)) {
        RETURN_IF_ERROR(WalkSection(entry.second, key + "."));
      } else if (const Setting* setting = FindSetting(key)) {
        RETURN_IF_ERROR(WalkSetting(*setting, entry.second, line));
      } else {
        return Error(line, prefix + entry.first.Scalar(), "unknown key" + Suggest(key));
      }
    }
    return absl::OkStatus();
  }

  // A list of sections, each a destination.
  absl::Status WalkArchives(const YAML::Node& node, int key_line) {
    if (!node.IsSequence()) return Error(key_line, "archive", "a list of destinations is expected");
    for (const YAML::Node& item : node) {
      if (!item.IsMap()) return Error(Line(item), "archive", "a destination is key: value pairs");
      config_.archives.emplace_back();
      std::erase_if(lines_, [](const auto& entry) { return entry.first.starts_with("archive."); });
      RETURN_IF_ERROR(WalkSection(item, "archive."));
      const Problem problem = FinishArchives(&config_.archives);
      if (!problem.empty()) return Error(Line(item), "archive", problem);
    }
    return absl::OkStatus();
  }

  absl::Status WalkSetting(const Setting& setting, const YAML::Node& node, int key_line) {
    const std::string key(setting.key);
    if (node.IsNull()) return Error(key_line, key, "a value is missing");
    using Shape = Setting::Shape;
    Values values;
    if (node.IsScalar() && setting.shape != Shape::kNames) {
      RETURN_IF_ERROR(AddValue(key, node, &values));
    } else if (node.IsSequence() && setting.shape == Shape::kList) {
      for (const YAML::Node& item : node) RETURN_IF_ERROR(AddValue(key, item, &values));
    } else if (node.IsMap() && setting.shape == Shape::kNames) {
      for (const auto& entry : node) {
        RETURN_IF_ERROR(AddValue(key, entry.first, &values));
        RETURN_IF_ERROR(AddValue(key, entry.second, &values));
      }
    } else {
      constexpr const char* kExpected[] = {"one plain value is expected", "a list is expected",
                                           "NAME: VALUE pairs are expected"};
      return Error(Line(node), key, kExpected[static_cast<int>(setting.shape)]);
    }
    const Problem problem = setting.of_archive != nullptr
                                ? setting.of_archive->set(values, &config_.archives.back())
                                : setting.set(values, &config_);
    return problem.empty() ? absl::OkStatus() : Error(Line(node), key, problem);
  }

  absl::Status AddValue(const std::string& key, const YAML::Node& node, Values* values) {
    if (!node.IsScalar()) return Error(Line(node), key, "one plain value is expected");
    Expansion expansion = Expand(node.Scalar(), references_, environment_);
    if (!expansion.problem.empty()) return Error(Line(node), key, expansion.problem);
    values->push_back(std::move(expansion.text));
    return absl::OkStatus();
  }

  int LineOf(const std::string& key) const {
    const auto found = lines_.find(key);
    return found == lines_.end() ? 1 : found->second;
  }

  const std::string name_;
  const std::vector<Reference> references_;
  const Environment& environment_;
  Config config_;
  std::map<std::string, int> lines_;  // of the keys seen
};

// The file to read, or "": source.path, $LITEFS_CONFIG, DIR/.litefs/config.yml.
struct ConfigFile {
  std::string path;
  bool in_directory = false;  // it is DIR/.litefs/config.yml
};

ConfigFile FindConfigFile(const ConfigSource& source, const Environment& environment) {
  if (!source.path.empty()) return {.path = source.path};
  if (const auto path = environment("LITEFS_CONFIG"); path && !path->empty()) {
    return {.path = *path};
  }
  const std::string dir = source.dir.empty() ? "." : source.dir;
  std::string path = fmt::format("{}/{}/config.yml", dir, ipc::kControlDirectory);
  struct stat st;
  if (::stat(path.c_str(), &st) != 0 && errno == ENOENT) return {};
  return {.path = std::move(path), .in_directory = true};
}

std::string AbsolutePath(const std::filesystem::path& base, const std::string& path) {
  std::error_code ignored;  // fails only without a current directory; then stay relative
  std::filesystem::path absolute = std::filesystem::absolute(base / path, ignored);
  absolute = (ignored ? base / path : absolute).lexically_normal();
  // Without a trailing slash.
  return absolute.has_filename() ? absolute.string() : absolute.parent_path().string();
}

}  // namespace

std::optional<std::string> ProcessEnvironment(const std::string& name) {
  const char* const value = std::getenv(name.c_str());
  return value == nullptr ? std::nullopt : std::make_optional<std::string>(value);
}

absl::StatusOr<Config> ParseConfig(const std::string& text, const std::string& name,
                                   const Environment& environment) {
  std::vector<Reference> references;
  const std::string marked = MarkReferences(text, &references);
  try {
    const std::vector<YAML::Node> documents = YAML::LoadAll(marked);
    if (documents.size() > 1) {
      return absl::InvalidArgumentError(
          fmt::format("{}:{}: a second YAML document begins; one is expected", name,
                      documents[1].Mark().line + 1));
    }
    Walker walker(name, std::move(references), environment);
    return walker.Walk(documents.empty() ? YAML::Node() : documents[0]);
  } catch (const YAML::Exception& error) {
    const int line = error.mark.is_null() ? 1 : error.mark.line + 1;
    return absl::InvalidArgumentError(
        fmt::format("{}:{}: this is not YAML: {}", name, line, error.msg));
  }
}

absl::StatusOr<Config> LoadConfig(const ConfigSource& source, const Environment& environment) {
  const ConfigFile file = FindConfigFile(source, environment);
  Config config;
  if (!file.path.empty()) {
    ASSIGN_OR_RETURN(const std::string text, ReadWholeFile(file.path, kMaxConfigBytes));
    ASSIGN_OR_RETURN(config, ParseConfig(text, file.path, environment));
    std::vector<std::string*> paths = {&config.security.key_file, &config.security.peers_file};
    for (archive::ArchiveConfig& archive : config.archives) {
      paths.insert(paths.end(), {&archive.identity_file, &archive.store.ca_file});
      const bool is_path = archive.store.url.find("://") == std::string::npos;
      if (is_path) paths.push_back(&archive.store.url);
    }
    for (std::string* path : paths) {
      if (!path->empty()) {
        *path = AbsolutePath(std::filesystem::path(file.path).parent_path(), *path);
      }
    }
  }
  if (file.in_directory && !config.dir.empty()) {
    return absl::InvalidArgumentError(fmt::format(
        "{}:1: dir: this file is about the directory it lies in; remove the key", file.path));
  }
  if (!source.dir.empty() || config.dir.empty()) {
    config.dir = AbsolutePath("", source.dir.empty() ? "." : source.dir);
  } else {
    config.dir = AbsolutePath(std::filesystem::path(file.path).parent_path(), config.dir);
  }
  return config;
}

}  // namespace litefs
