#include "daemon/archive/s3_xml.h"

#include <fmt/format.h>

#include <charconv>
#include <ctime>
#include <optional>
#include <pugixml.hpp>
#include <sstream>

#include "common/status_macros.h"

namespace litefs::archive {
namespace {

// Names of blanks alone count.
constexpr unsigned kParse = pugi::parse_default | pugi::parse_ws_pcdata_single;

absl::Status Malformed(std::string_view document, std::string_view what) {
  return absl::DataLossError(fmt::format("S3's {}: {}", document, what));
}

// Parses xml, whose root element must be of that name.
absl::StatusOr<pugi::xml_node> Load(std::string_view xml, const char* root,
                                    pugi::xml_document* document) {
  const pugi::xml_parse_result result =
      document->load_buffer(xml.data(), xml.size(), kParse, pugi::encoding_utf8);
  if (!result) return Malformed(root, result.description());
  const pugi::xml_node node = document->child(root);
  if (!node) return Malformed(root, "is another document");
  return node;
}

std::optional<uint64_t> ParseNumber(std::string_view text) {
  uint64_t value = 0;
  const auto result = std::from_chars(text.data(), text.data() + text.size(), value);
  if (result.ec != std::errc() || result.ptr != text.data() + text.size()) return std::nullopt;
  return value;
}

// "2026-11-25T18:30:00.123Z" in milliseconds; the fraction may be missing.
std::optional<int64_t> ParseTime(const char* text) {
  std::tm tm{};
  const char* rest = strptime(text, "%Y-%m-%dT%H:%M:%S", &tm);
  if (rest == nullptr) return std::nullopt;
  int64_t ms = 0;
  if (*rest == '.') {
    int64_t scale = 100;
    for (++rest; *rest >= '0' && *rest <= '9'; ++rest, scale /= 10) ms += (*rest - '0') * scale;
  }
  if (std::string_view(rest) != "Z") return std::nullopt;
  return int64_t{timegm(&tm)} * 1000 + ms;
}

bool IsTrue(const pugi::xml_node& node) { return node.text().as_string() == std::string("true"); }

std::string Save(const pugi::xml_document& document) {
  std::ostringstream out;
  document.save(out, "", pugi::format_raw, pugi::encoding_utf8);
  return out.str();
}

S3Error ErrorOf(const pugi::xml_node& node) {
  return {.code = node.child_value("Code"), .message = node.child_value("Message")};
}

}  // namespace

S3Error ParseS3Error(std::string_view xml) {
  pugi::xml_document document;
  if (!document.load_buffer(xml.data(), xml.size(), kParse, pugi::encoding_utf8)) {
    return {};
  }
  return ErrorOf(document.child("Error"));
}

absl::StatusOr<S3ListPage> ParseListPage(std::string_view xml) {
  constexpr const char* kRoot = "ListBucketResult";
  pugi::xml_document document;
  ASSIGN_OR_RETURN(const pugi::xml_node root, Load(xml, kRoot, &document));
  S3ListPage page{.objects = {}, .truncated = IsTrue(root.child("IsTruncated"))};
  for (const pugi::xml_node node : root.children("Contents")) {
    const auto size = ParseNumber(node.child_value("Size"));
    const auto time = ParseTime(node.child_value("LastModified"));
    const std::string key = node.child("Key").text().as_string();
    if (!size || !time || key.empty()) return Malformed(kRoot, "an object without key, size, time");
    page.objects.push_back({.key = key, .size = *size, .modified_ms = *time});
  }
  return page;
}

absl::StatusOr<S3UploadsPage> ParseUploadsPage(std::string_view xml) {
  constexpr const char* kRoot = "ListMultipartUploadsResult";
  pugi::xml_document document;
  ASSIGN_OR_RETURN(const pugi::xml_node root, Load(xml, kRoot, &document));
  S3UploadsPage page{.uploads = {},
                     .truncated = IsTrue(root.child("IsTruncated")),
                     .next_key_marker = root.child_value("NextKeyMarker"),
                     .next_id_marker = root.child_value("NextUploadIdMarker")};
  for (const pugi::xml_node node : root.children("Upload")) {
    const auto time = ParseTime(node.child_value("Initiated"));
    const std::string key = node.child_value("Key");
    const std::string id = node.child_value("UploadId");
    if (!time || key.empty() || id.empty()) return Malformed(kRoot, "an incomplete upload");
    page.uploads.push_back({.key = key, .id = id, .started_ms = *time});
  }
  return page;
}

absl::StatusOr<std::string> ParseUploadId(std::string_view xml) {
  constexpr const char* kRoot = "InitiateMultipartUploadResult";
  pugi::xml_document document;
  ASSIGN_OR_RETURN(const pugi::xml_node root, Load(xml, kRoot, &document));
  const std::string id = root.child_value("UploadId");
  if (id.empty()) return Malformed(kRoot, "no UploadId");
  return id;
}

absl::StatusOr<std::vector<S3DeleteFailure>> ParseDeleteResult(std::string_view xml) {
  pugi::xml_document document;
  ASSIGN_OR_RETURN(const pugi::xml_node root, Load(xml, "DeleteResult", &document));
  std::vector<S3DeleteFailure> failures;
  for (const pugi::xml_node node : root.children("Error")) {
    S3DeleteFailure failure{.key = node.child_value("Key"), .error = ErrorOf(node)};
    if (failure.error.code != "NoSuchKey") failures.push_back(std::move(failure));
  }
  return failures;
}

std::string FormatDelete(std::span<const std::string> keys) {
  pugi::xml_document document;
  pugi::xml_node root = document.append_child("Delete");
  root.append_child("Quiet").text().set("true");
  for (const std::string& key : keys) {
    root.append_child("Object").append_child("Key").text().set(key.c_str());
  }
  return Save(document);
}

std::string FormatCompleteUpload(std::span<const std::string> etags) {
  pugi::xml_document document;
  pugi::xml_node root = document.append_child("CompleteMultipartUpload");
  for (size_t i = 0; i < etags.size(); ++i) {
    pugi::xml_node part = root.append_child("Part");
    part.append_child("PartNumber").text().set(static_cast<unsigned>(i + 1));
    part.append_child("ETag").text().set(etags[i].c_str());
  }
  return Save(document);
}

}  // namespace litefs::archive
