// ${NAME} in a configuration's text.  It is replaced by a token before the YAML parser sees it, and
// the token by the variable's value in the scalar that came out.  So a reference works everywhere,
// also inside {…} and […], line numbers stay right, comments are never expanded, and no value can
// change the structure.  No state; any thread.

#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "daemon/config.h"

namespace litefs {

// A token is kTokenStart, the reference's index in decimal, kTokenEnd: U+E000 and U+E001, of the
// private use area, which no YAML rule knows.
constexpr std::string_view kTokenStart = "\xee\x80\x80";
constexpr std::string_view kTokenEnd = "\xee\x80\x81";

struct Reference {
  std::string name;
  std::optional<std::string> fallback;  // ${NAME:-fallback}
  bool literal = false;                 // written $${NAME}: stands for ${NAME}
};

// Replaces every ${…} of text by a token.  A `$` before anything but `{` means itself.
std::string MarkReferences(const std::string& text, std::vector<Reference>* references);

// What the user wrote (values: no), or what it stands for (values: yes).
struct Expansion {
  std::string text;
  std::string problem;  // empty: none
};

// Replaces the tokens of a scalar.
Expansion Expand(const std::string& scalar, const std::vector<Reference>& references,
                 const Environment& environment);

}  // namespace litefs
