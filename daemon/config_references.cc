#include "daemon/config_references.h"

#include <fmt/format.h>

#include <algorithm>
#include <cctype>
#include <charconv>

namespace litefs {
namespace {

bool IsVariableName(std::string_view name) {
  if (name.empty() || std::isdigit(static_cast<unsigned char>(name[0]))) return false;
  return std::all_of(name.begin(), name.end(),
                     [](unsigned char c) { return std::isalnum(c) || c == '_'; });
}

void ExpandOne(const Reference& reference, const Environment& environment, Expansion* out) {
  if (reference.literal) {
    out->text += "${" + reference.name + "}";
  } else if (!IsVariableName(reference.name)) {
    out->problem = fmt::format("\"${{{}}}\" names no environment variable", reference.name);
  } else if (const auto value = environment(reference.name); value && !value->empty()) {
    out->text += *value;
  } else if (reference.fallback) {
    out->text += *reference.fallback;
  } else if (value) {
    return;  // set, to nothing
  } else {
    out->problem = fmt::format(
        "${{{0}}} is not set in the environment (${{{0}:-…}} gives a default)", reference.name);
  }
}

}  // namespace

std::string MarkReferences(const std::string& text, std::vector<Reference>* references) {
  std::string out;
  size_t done = 0;
  while (true) {
    const size_t start = text.find("${", done);
    const size_t end = start == std::string::npos ? start : text.find_first_of("}\n", start);
    if (end == std::string::npos) break;
    if (text[end] == '\n') {  // not a reference; the YAML parser will judge it
      out.append(text, done, end - done);
      done = end;
      continue;
    }
    const std::string inside = text.substr(start + 2, end - start - 2);
    const size_t separator = inside.find(":-");
    Reference reference{.name = inside.substr(0, separator), .fallback = {}};
    if (separator != std::string::npos) reference.fallback = inside.substr(separator + 2);
    reference.literal = start > done && text[start - 1] == '$';
    out.append(text, done, start - done - (reference.literal ? 1 : 0));
    if (reference.literal) reference.name = inside;
    out.append(fmt::format("{}{}{}", kTokenStart, references->size(), kTokenEnd));
    references->push_back(std::move(reference));
    done = end + 1;
  }
  return out.append(text, done);
}

Expansion Expand(const std::string& scalar, const std::vector<Reference>& references,
                 const Environment& environment) {
  Expansion out;
  size_t done = 0;
  while (true) {
    const size_t start = scalar.find(kTokenStart, done);
    const size_t end = start == std::string::npos ? start : scalar.find(kTokenEnd, start);
    if (end == std::string::npos) break;
    const char* const digits = scalar.data() + start + kTokenStart.size();
    size_t index = references.size();
    std::from_chars(digits, scalar.data() + end, index);
    out.text.append(scalar, done, start - done);
    done = end + kTokenEnd.size();
    if (index < references.size()) ExpandOne(references[index], environment, &out);
    if (!out.problem.empty()) return out;
  }
  out.text.append(scalar, done);
  return out;
}

}  // namespace litefs
