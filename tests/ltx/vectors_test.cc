// Every file of tests/vectors/ltx against its verdict in the manifest.

#include <fmt/format.h>

#include <cstdio>
#include <nlohmann/json.hpp>

#include "common/hex.h"
#include "ltx/apply_file.h"
#include "ltx/compactor.h"
#include "tests/ltx/testing.h"

namespace litefs::ltx {
namespace {

using nlohmann::json;

const json& Manifest() {
  static const json kManifest = json::parse(ReadTestFile(Vectors() / "manifest.json"));
  return kManifest;
}

uint64_t Hex(const json& value) { return ParseHex16(value.get<std::string>()).value(); }

Header ExpectedHeader(const json& h) {
  const auto salt = [&h](const char* name) {
    return static_cast<uint32_t>(std::stoul(h.value(name, "0"), nullptr, 16));
  };
  return {.flags = h["flags"],
          .page_bytes = h["page_size"],
          .commit = h["commit"],
          .min_txid = Hex(h["min_txid"]),
          .max_txid = Hex(h["max_txid"]),
          .timestamp_ms = h["timestamp"],
          .pre_apply = Hex(h["pre_apply_checksum"]),
          .wal_offset = h.value("wal_offset", 0),
          .wal_size = h.value("wal_size", 0),
          .wal_salt1 = salt("wal_salt1"),
          .wal_salt2 = salt("wal_salt2"),
          .node_id = h.contains("node_id") ? Hex(h["node_id"]) : 0};
}

// The file's bytes; one of them is shipped compressed.
std::string Content(const json& entry) {
  const std::string path = (Vectors() / entry["file"].get<std::string>()).string();
  if (!path.ends_with(".gz")) return ReadTestFile(path);
  std::string data;
  std::FILE* const pipe = ::popen(fmt::format("gzip -dc '{}'", path).c_str(), "r");
  std::vector<char> buffer(1 << 16);
  while (const size_t n = std::fread(buffer.data(), 1, buffer.size(), pipe)) {
    data.append(buffer.data(), n);
  }
  EXPECT_EQ(::pclose(pipe), 0);
  return data;
}

// The path of a database state; those not shipped are made from their snapshots.
std::string DatabaseState(const TempDir& dir, const std::string& name) {
  const auto shipped = Vectors() / "db" / (name + ".db");
  const std::string copy = dir.File(name + ".db");
  if (std::filesystem::exists(shipped)) {
    WriteTestFile(copy, ReadTestFile(shipped));
    return copy;
  }
  if (name == "empty") {
    WriteTestFile(copy, "");
    return copy;
  }
  const int state = name.back() - '0';
  const std::string stem = name.substr(0, name.size() - 3);
  for (int i = 0; i <= state; ++i) {
    const std::string file = fmt::format("{}-{}-{}.ltx", i == 0 ? "snap" : "delta", stem, i + 1);
    const std::string data = ReadTestFile(Vectors() / "v3-block" / file);
    SpanSource source(data);
    const auto applied = ApplyFile(source, copy);
    EXPECT_TRUE(applied.ok()) << file << Text(applied);
  }
  return copy;
}

std::string Verdict(const json& entry) {
  const std::string strict = entry["strict"];
  return strict.substr(0, strict.find(' '));
}

bool IsAccepted(const json& entry) { return Verdict(entry).starts_with("accept"); }

// The codes after prefix in a verdict "reject:a|b" or "accept-file;reject-apply:a".
std::vector<std::string> Codes(const std::string& verdict, const std::string& prefix) {
  std::vector<std::string> codes;
  const size_t at = verdict.find(prefix);
  if (at == std::string::npos) return codes;
  std::stringstream rest(verdict.substr(at + prefix.size()));
  for (std::string code; std::getline(rest, code, '|');) codes.push_back(code);
  return codes;
}

bool HasCode(const std::string& message, const std::vector<std::string>& codes) {
  return std::ranges::any_of(
      codes, [&](const std::string& code) { return message.starts_with(code + ": "); });
}

void CheckApply(const json& entry, const std::string& file) {
  const json pre_db = entry["pre_db"];
  const TempDir dir;
  const std::string path =
      pre_db.is_null() ? dir.File("new.db") : DatabaseState(dir, pre_db["name"]);
  const bool existed = std::filesystem::exists(path);
  const std::string before = existed ? ReadTestFile(path) : "";
  SpanSource source(file);
  const auto applied = ApplyFile(source, path);
  const auto refused = Codes(Verdict(entry), "reject-apply:");
  if (!refused.empty()) {
    ASSERT_FALSE(applied.ok());
    EXPECT_TRUE(HasCode(std::string(applied.status().message()), refused)) << Text(applied);
    EXPECT_TRUE(before == ReadTestFile(path)) << "database changed by a refused file";
    return;
  }
  ASSERT_TRUE(applied.ok()) << Text(applied);
  if (!entry.contains("result_db") || entry["result_db"].is_null()) return;
  const json& result = entry["result_db"];
  EXPECT_EQ(std::filesystem::file_size(path), result["size"].get<uint64_t>());
  const auto checksum = FileChecksum(path, applied->header.page_bytes);
  ASSERT_TRUE(checksum.ok());
  EXPECT_EQ(*checksum, Hex(result["checksum"]));
  for (const json& state : Manifest()["databases"]) {
    if (state["sha256"] != result["sha256"] || !state["shipped"].get<bool>()) continue;
    const auto shipped = Vectors() / "db" / (state["name"].get<std::string>() + ".db");
    EXPECT_TRUE(ReadTestFile(path) == ReadTestFile(shipped)) << shipped;
  }
}

// Writes the same pages again, and expects the same bytes if the payloads are.
void CheckReencode(const std::string& file, const DecodedFile& decoded,
                   Encoder::Compression compression, int* same) {
  Header header = decoded.info.header;
  header.flags &= kFlagNoChecksum;
  const auto again =
      EncodeFile(header, decoded.pages, decoded.info.trailer.post_apply, compression);
  ASSERT_TRUE(again.ok()) << Text(again);
  const auto decoded_again = Decode(*again);
  ASSERT_TRUE(decoded_again.ok()) << Text(decoded_again);
  EXPECT_EQ(decoded_again->info.header, header);
  EXPECT_EQ(decoded_again->info.trailer.post_apply, decoded.info.trailer.post_apply);
  EXPECT_EQ(decoded_again->pages, decoded.pages);
  const size_t pages_end = file.size() < 24 ? 0 : file.size() - 24;
  if (decoded.info.encoding == Encoding::kV3 && again->size() == file.size() &&
      again->compare(100, pages_end - 100, file, 100, pages_end - 100) == 0 &&
      file.substr(80, 20) == std::string(20, '\0')) {
    EXPECT_TRUE(*again == file);
    ++*same;
  }
}

TEST(LtxVectors, AcceptsEveryValidFileAndAppliesIt) {
  int accepted = 0;
  for (const json& entry : Manifest()["files"]) {
    if (!IsAccepted(entry)) continue;
    const std::string name = entry["file"];
    if (name.ends_with(".gz")) continue;
    SCOPED_TRACE(name);
    const std::string file = Content(entry);
    const auto decoded = Decode(file);
    ASSERT_TRUE(decoded.ok()) << Text(decoded);
    EXPECT_EQ(decoded->info.header, ExpectedHeader(entry["header"]));
    if (entry.contains("trailer")) {
      EXPECT_EQ(decoded->info.trailer.post_apply, Hex(entry["trailer"]["post_apply_checksum"]));
      EXPECT_EQ(decoded->info.trailer.file_checksum, Hex(entry["trailer"]["file_checksum"]));
    }
    const std::string format = entry["format"];
    const std::string encoding = EncodingName(decoded->info.encoding);
    EXPECT_EQ(encoding, format.starts_with("v3") ? "v3" : format);
    if (entry.contains("pages")) {
      ASSERT_EQ(decoded->pages.size(), entry["pages"].size());
      for (const json& page : entry["pages"]) {
        const PageNo pgno = page[0];
        EXPECT_EQ(PageChecksum(pgno, decoded->pages.at(pgno)), Hex(page[1])) << pgno;
      }
    }
    if (entry.contains("pre_db")) CheckApply(entry, file);
    ++accepted;
  }
  EXPECT_GT(accepted, 150);
}

TEST(LtxVectors, WritesEveryValidFileAgain) {
  int same = 0;
  for (const json& entry : Manifest()["files"]) {
    if (!IsAccepted(entry) || entry["file"].get<std::string>().ends_with(".gz")) continue;
    SCOPED_TRACE(entry["file"].get<std::string>());
    const std::string file = Content(entry);
    const auto decoded = Decode(file);
    ASSERT_TRUE(decoded.ok()) << Text(decoded);
    CheckReencode(file, *decoded, Encoder::Compression::kLz4, &same);
    CheckReencode(file, *decoded, Encoder::Compression::kLiteralsOnly, &same);
  }
  EXPECT_GT(same, 0);
}

TEST(LtxVectors, RefusesEveryInvalidFileWithItsDefectAndAnOffset) {
  int refused = 0;
  for (const json& entry : Manifest()["files"]) {
    if (IsAccepted(entry)) continue;
    SCOPED_TRACE(entry["file"].get<std::string>());
    const auto decoded = Decode(Content(entry));
    ASSERT_FALSE(decoded.ok());
    EXPECT_EQ(decoded.status().code(), absl::StatusCode::kDataLoss);
    const std::string message(decoded.status().message());
    EXPECT_TRUE(HasCode(message, Codes(Verdict(entry), "reject:")))
        << message << ", expected " << Verdict(entry);
    EXPECT_THAT(message, testing::HasSubstr(" at offset "));
    ++refused;
  }
  EXPECT_GT(refused, 200);
}

TEST(LtxVectors, LeavesTheLockPageOut) {
  for (const json& entry : Manifest()["files"]) {
    if (!entry["file"].get<std::string>().ends_with("lockpage-snap-65536.ltx.gz")) continue;
    const std::string file = Content(entry);
    ASSERT_EQ(file.size(), entry["ltx_size"].get<size_t>());
    SpanSource source(file);
    const auto info = VerifyFile(source);
    ASSERT_TRUE(info.ok()) << Text(info);
    EXPECT_EQ(info->page_count, entry["page_count"].get<uint64_t>());
    EXPECT_EQ(info->header.commit, info->page_count + 1);
    return;
  }
  FAIL() << "vector not found";
}

TEST(LtxVectors, FindsEveryPageThroughTheIndex) {
  for (const json& entry : Manifest()["files"]) {
    const std::string format = entry["format"];
    if (!format.starts_with("v3") || Verdict(entry) != "accept" || !entry.contains("pages")) {
      continue;
    }
    SCOPED_TRACE(entry["file"].get<std::string>());
    const std::string file = Content(entry);
    SpanSource source(file);
    const auto index = ReadPageIndex(source);
    ASSERT_TRUE(index.ok()) << Text(index);
    ASSERT_EQ(index->size(), entry["pages"].size());
    Page page(entry["header"]["page_size"].get<size_t>());
    for (const json& expected : entry["pages"]) {
      const PageNo pgno = expected[0];
      const absl::Status status = ReadPage(source, *index, pgno, page);
      ASSERT_TRUE(status.ok()) << Text(status);
      EXPECT_EQ(PageChecksum(pgno, page), Hex(expected[1]));
    }
  }
}

TEST(LtxVectors, CompactsAsTheReferenceDoes) {
  int compacted = 0;
  for (const json& entry : Manifest()["files"]) {
    if (!entry.contains("inputs") || Verdict(entry) != "accept") continue;
    SCOPED_TRACE(entry["file"].get<std::string>());
    const auto expected = Decode(Content(entry));
    ASSERT_TRUE(expected.ok());
    std::vector<std::string> files;
    for (const json& input : entry["inputs"]) {
      files.push_back(ReadTestFile(Vectors() / input.get<std::string>()));
    }
    std::vector<SpanSource> sources(files.begin(), files.end());
    std::vector<ByteSource*> inputs;
    for (SpanSource& source : sources) inputs.push_back(&source);
    std::string out;
    StringSink sink(&out);
    const auto info = Compact(inputs, &sink);
    ASSERT_TRUE(info.ok()) << Text(info);
    const auto result = Decode(out);
    ASSERT_TRUE(result.ok()) << Text(result);
    EXPECT_EQ(result->info.trailer.post_apply, expected->info.trailer.post_apply);
    EXPECT_EQ(result->pages, expected->pages);
    ++compacted;
  }
  EXPECT_GT(compacted, 10);
}

}  // namespace
}  // namespace litefs::ltx
