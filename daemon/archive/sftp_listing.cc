#include "daemon/archive/sftp_listing.h"

#include <fmt/format.h>

#include <algorithm>
#include <charconv>

#include "common/status_macros.h"

namespace litefs::archive {
namespace {

constexpr size_t kSizeColumn = 4;  // of: mode, links, user, group, size, month, day, time
constexpr size_t kColumns = 8;

// Takes the next word, and the blanks before it, off the line.
std::string_view TakeWord(std::string_view* line) {
  line->remove_prefix(std::min(line->find_first_not_of(' '), line->size()));
  const std::string_view word = line->substr(0, line->find(' '));
  line->remove_prefix(word.size());
  return word;
}

absl::Status ParseLine(std::string_view line, std::vector<DirectoryEntry>* entries) {
  const std::string_view whole = line;
  const auto wrong = [&] {
    return absl::DataLossError(fmt::format("the server's listing is not like that of ls -l: \"{}\"",
                                           whole.substr(0, 200)));
  };
  DirectoryEntry entry;
  char kind = '?';
  for (size_t column = 0; column < kColumns; ++column) {
    const std::string_view word = TakeWord(&line);
    if (word.empty()) return wrong();
    if (column == 0) kind = word.front();
    if (kind != 'd' && kind != '-') return absl::OkStatus();
    if (column != kSizeColumn) continue;
    const auto [end, error] = std::from_chars(word.data(), word.data() + word.size(), entry.size);
    if (error != std::errc() || end != word.data() + word.size()) return wrong();
  }
  if (line.size() < 2) return wrong();
  entry.name = line.substr(1);  // one blank; more are the name's
  if (entry.name == "." || entry.name == "..") return absl::OkStatus();
  if (entry.name.find('/') != std::string::npos) return wrong();
  if (kind == 'd') entry.name += '/';
  entries->push_back(std::move(entry));
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<std::vector<DirectoryEntry>> ParseSftpListing(std::string_view text) {
  std::vector<DirectoryEntry> entries;
  while (!text.empty()) {
    const size_t end = std::min(text.find('\n'), text.size());
    RETURN_IF_ERROR(ParseLine(text.substr(0, end), &entries));
    text.remove_prefix(std::min(end + 1, text.size()));
  }
  return entries;
}

}  // namespace litefs::archive
