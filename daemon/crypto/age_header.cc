#include "daemon/crypto/age_header.h"

#include <fmt/format.h>

#include <algorithm>
#include <optional>

#include "absl/strings/str_split.h"
#include "common/status_macros.h"
#include "daemon/crypto/text_encoding.h"

namespace litefs::crypto {
namespace {

constexpr size_t kBodyColumns = 64;
constexpr size_t kMacBytes = 32;
constexpr std::string_view kStanzaStart = "-> ";
constexpr std::string_view kMacStart = "---";

absl::Status Malformed(std::string_view reason) {
  return absl::DataLossError(fmt::format("age header: {}", reason));
}

// Gives out the lines of a text; none that does not end in a line feed.
class Lines {
 public:
  explicit Lines(std::string_view text) : text_(text) {}
  std::optional<std::string_view> Next() {
    const size_t end = text_.find('\n', position_);
    if (end == std::string_view::npos) return std::nullopt;
    const std::string_view line = text_.substr(position_, end - position_);
    position_ = end + 1;
    return line;
  }
  size_t position() const { return position_; }

 private:
  const std::string_view text_;
  size_t position_ = 0;
};

bool IsWord(std::string_view word) {
  return !word.empty() &&
         std::all_of(word.begin(), word.end(), [](unsigned char c) { return c > 32 && c < 127; });
}

absl::StatusOr<AgeStanza> ParseStanza(std::string_view first_line, Lines& lines) {
  std::vector<std::string> words =
      absl::StrSplit(std::string(first_line.substr(kStanzaStart.size())), ' ');
  if (!std::all_of(words.begin(), words.end(), IsWord)) return Malformed("a stanza's words");
  AgeStanza stanza;
  stanza.type = std::move(words.front());
  stanza.arguments.assign(std::make_move_iterator(words.begin() + 1),
                          std::make_move_iterator(words.end()));
  while (true) {
    const auto line = lines.Next();
    if (!line) return Malformed("ends within a stanza");
    const auto part = DecodeBase64(*line);
    if (!part || line->size() > kBodyColumns) return Malformed("a stanza's body");
    stanza.body.insert(stanza.body.end(), part->begin(), part->end());
    if (line->size() < kBodyColumns) return stanza;
  }
}

}  // namespace

absl::StatusOr<AgeHeader> ParseAgeHeader(std::string_view file) {
  if (!file.starts_with(kAgeVersionLine)) return Malformed("not an age v1 file");
  Lines lines(file.substr(0, kMaxAgeHeaderBytes));
  lines.Next();
  AgeHeader header;
  while (true) {
    const size_t start = lines.position();
    const auto line = lines.Next();
    if (!line) {
      return Malformed(file.size() < kMaxAgeHeaderBytes ? "is cut off"
                                                        : "is longer than any that we read");
    }
    if (line->starts_with(kStanzaStart)) {
      ASSIGN_OR_RETURN(AgeStanza stanza, ParseStanza(*line, lines));
      header.stanzas.push_back(std::move(stanza));
      continue;
    }
    if (!line->starts_with("--- ")) return Malformed("a line that is neither stanza nor MAC");
    const auto mac = DecodeBase64(line->substr(kMacStart.size() + 1));
    if (!mac || mac->size() != kMacBytes) return Malformed("its MAC's length");
    if (header.stanzas.empty()) return Malformed("no stanza");
    header.mac = *mac;
    header.authenticated_bytes = start + kMacStart.size();
    header.size_bytes = lines.position();
    return header;
  }
}

std::string FormatAgeHeader(const std::vector<AgeStanza>& stanzas) {
  std::string text(kAgeVersionLine);
  for (const AgeStanza& stanza : stanzas) {
    text += kStanzaStart;
    text += stanza.type;
    for (const std::string& argument : stanza.arguments) text += ' ' + argument;
    text += '\n';
    const std::string body = EncodeBase64(stanza.body);
    for (size_t at = 0; at <= body.size(); at += kBodyColumns) {
      text += body.substr(at, kBodyColumns) + '\n';
    }
  }
  text += kMacStart;
  return text;
}

}  // namespace litefs::crypto
