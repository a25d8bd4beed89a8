#include "daemon/archive_settings.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cctype>

#include "daemon/config.h"
#include "daemon/crypto/age.h"

namespace litefs {
namespace {

using archive::ArchiveConfig;
using std::chrono::milliseconds;
using Problem = std::string;
using Values = std::vector<std::string>;

constexpr size_t kMaxNameBytes = 64;
constexpr milliseconds kMinInterval{10};
constexpr milliseconds kMinWindow{1000};

Problem SetText(const std::string& value, std::string* out) {
  *out = value;
  return "";
}

// Also the name of a directory, so no "." or "..".
Problem SetName(const std::string& value, std::string* out) {
  const bool plain = std::all_of(value.begin(), value.end(), [](unsigned char c) {
    return std::isalnum(c) || c == '.' || c == '_' || c == '-';
  });
  if (!plain || value.empty() || value.size() > kMaxNameBytes || value.starts_with('.')) {
    return fmt::format("\"{}\" is not a name of at most {} letters, digits, '.', '_' and '-'",
                       value, kMaxNameBytes);
  }
  return SetText(value, out);
}

Problem SetDuration(const std::string& value, milliseconds least, milliseconds* out) {
  const auto duration = ParseDuration(value);
  if (!duration) return fmt::format("\"{}\" is not a duration such as 30s, 10m, 24h", value);
  if (*duration < least) return fmt::format("\"{}\" is less than {}ms", value, least.count());
  *out = *duration;
  return "";
}

Problem SetDurations(const Values& values, size_t most, std::vector<milliseconds>* out) {
  if (values.size() > most) return fmt::format("{} levels, at most {} are", values.size(), most);
  out->clear();
  for (const std::string& value : values) {
    const Problem problem = SetDuration(value, kMinWindow, &out->emplace_back());
    if (!problem.empty()) return problem;
  }
  return "";
}

// Each a multiple of the one before: a window never reaches over the edge of a longer one.
Problem SetLevels(const Values& values, ArchiveConfig* archive) {
  std::vector<milliseconds>& windows = archive->levels.windows;
  const Problem problem = SetDurations(values, archive::kMaxDeltaLevel, &windows);
  if (!problem.empty()) return problem;
  for (size_t i = 1; i < windows.size(); ++i) {
    if (windows[i] <= windows[i - 1] || windows[i] % windows[i - 1] != milliseconds(0)) {
      return fmt::format("\"{}\" is not a multiple of \"{}\" before it", values[i], values[i - 1]);
    }
  }
  return "";
}

Problem SetGlobs(const Values& values, ArchiveConfig* archive) {
  if (values.empty()) return "the list is empty: no database would be archived";
  archive->databases = values;
  return "";
}

Problem SetBacklog(const std::string& value, ArchiveConfig* archive) {
  const auto size = ParseSize(value);
  if (!size) return fmt::format("\"{}\" is not a size such as 64KiB, 256MiB, 10GiB", value);
  archive->backlog_bytes = *size;
  return "";
}

Problem SetRecipients(const Values& values, ArchiveConfig* archive) {
  if (values.empty()) {
    return "the list is empty: leave the key out for files that are not encrypted";
  }
  for (const std::string& value : values) {
    if (const auto parsed = crypto::AgeRecipient::Parse(value); !parsed.ok()) {
      return fmt::format("\"{}\": {}", value, std::string(parsed.status().message()));
    }
  }
  archive->recipients = values;
  return "";
}

Problem SetDialect(const std::string& value, ArchiveConfig* archive) {
  if (value != "litefs" && value != "litestream") {
    return fmt::format("\"{}\" is neither litefs nor litestream", value);
  }
  archive->litestream = value == "litestream";
  return "";
}

Problem SetSeed(const std::string& value, ArchiveConfig* archive) {
  if (value != "true" && value != "false") {
    return fmt::format("\"{}\" is neither true nor false", value);
  }
  archive->seed = value == "true";
  return "";
}

constexpr std::array kArchiveSettings = {
    ArchiveSetting{"archive.name",
                   [](const Values& v, ArchiveConfig* a) { return SetName(v[0], &a->name); }},
    ArchiveSetting{"archive.url",
                   [](const Values& v, ArchiveConfig* a) { return SetText(v[0], &a->store.url); }},
    ArchiveSetting{"archive.databases", SetGlobs, true},
    ArchiveSetting{"archive.interval",
                   [](const Values& v, ArchiveConfig* a) {
                     return SetDuration(v[0], kMinInterval, &a->interval);
                   }},
    ArchiveSetting{"archive.levels", SetLevels, true},
    ArchiveSetting{"archive.snapshots",
                   [](const Values& v, ArchiveConfig* a) {
                     return SetDuration(v[0], kMinWindow, &a->levels.snapshot_every);
                   }},
    ArchiveSetting{"archive.retention.levels",
                   [](const Values& v, ArchiveConfig* a) {
                     return SetDurations(v, archive::kMaxDeltaLevel + 1, &a->levels.retention);
                   },
                   true},
    ArchiveSetting{"archive.retention.snapshots",
                   [](const Values& v, ArchiveConfig* a) {
                     return SetDuration(v[0], kMinWindow, &a->levels.snapshot_retention);
                   }},
    ArchiveSetting{"archive.backlog",
                   [](const Values& v, ArchiveConfig* a) { return SetBacklog(v[0], a); }},
    ArchiveSetting{"archive.encrypt.recipients", SetRecipients, true},
    ArchiveSetting{
        "archive.encrypt.identity",
        [](const Values& v, ArchiveConfig* a) { return SetText(v[0], &a->identity_file); }},
    ArchiveSetting{"archive.dialect",
                   [](const Values& v, ArchiveConfig* a) { return SetDialect(v[0], a); }},
    ArchiveSetting{"archive.seed",
                   [](const Values& v, ArchiveConfig* a) { return SetSeed(v[0], a); }},
    ArchiveSetting{
        "archive.s3.access-key-id",
        [](const Values& v, ArchiveConfig* a) { return SetText(v[0], &a->store.access_key_id); }},
    ArchiveSetting{"archive.s3.secret-access-key",
                   [](const Values& v, ArchiveConfig* a) {
                     return SetText(v[0], &a->store.secret_access_key);
                   }},
    ArchiveSetting{
        "archive.s3.session-token",
        [](const Values& v, ArchiveConfig* a) { return SetText(v[0], &a->store.session_token); }},
    ArchiveSetting{
        "archive.s3.endpoint",
        [](const Values& v, ArchiveConfig* a) { return SetText(v[0], &a->store.endpoint); }},
    ArchiveSetting{
        "archive.s3.region",
        [](const Values& v, ArchiveConfig* a) { return SetText(v[0], &a->store.region); }},
    ArchiveSetting{
        "archive.s3.style",
        [](const Values& v, ArchiveConfig* a) { return SetText(v[0], &a->store.style); }},
    ArchiveSetting{
        "archive.s3.profile",
        [](const Values& v, ArchiveConfig* a) { return SetText(v[0], &a->store.profile); }},
    ArchiveSetting{
        "archive.s3.ca-file",
        [](const Values& v, ArchiveConfig* a) { return SetText(v[0], &a->store.ca_file); }},
};

}  // namespace

std::span<const ArchiveSetting> ArchiveSettings() { return kArchiveSettings; }

std::string FinishArchives(std::vector<ArchiveConfig>* archives) {
  ArchiveConfig& last = archives->back();
  if (last.store.url.empty()) return "a destination without url: where is it?";
  if (last.name.empty()) last.name = fmt::format("archive{}", archives->size());
  if (last.litestream && !last.recipients.empty()) {
    return "Litestream cannot read encrypted files (leave out encrypt, or dialect: litestream)";
  }
  if (last.litestream && last.store.url.starts_with("sftp://")) {
    return "Litestream's names tell no times, and SFTP does not either; give it a directory or S3";
  }
  for (size_t i = 0; i + 1 < archives->size(); ++i) {
    if ((*archives)[i].name == last.name) {
      return fmt::format("the name \"{}\" is given twice", last.name);
    }
  }
  return "";
}

}  // namespace litefs
