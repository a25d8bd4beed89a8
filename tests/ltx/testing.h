// What the tests of ltx/ share: pages and files made up from a seed, a database in memory, and the
// way to the vectors.

#pragma once

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <map>
#include <random>
#include <span>
#include <string>
#include <vector>

#include "common/posix_io.h"
#include "common/sqlite_format.h"
#include "common/status_macros.h"
#include "ltx/decoder.h"
#include "ltx/encoder.h"
#include "ltx/page_checksum.h"

namespace litefs::ltx {

using Page = std::vector<std::byte>;
using Pages = std::map<PageNo, Page>;

constexpr size_t kMaxTestFileBytes = 64 << 20;

inline std::string Text(const absl::Status& status) { return std::string(status.ToString()); }
template <typename T>
std::string Text(const absl::StatusOr<T>& result) {
  return Text(result.status());
}

// The repository, above the test program or the working directory.
inline std::filesystem::path RepositoryRoot() {
  for (std::filesystem::path start :
       {std::filesystem::read_symlink("/proc/self/exe"), std::filesystem::current_path()}) {
    for (; start.has_relative_path(); start = start.parent_path()) {
      if (std::filesystem::exists(start / "tests/vectors/ltx/manifest.json")) return start;
    }
  }
  ADD_FAILURE() << "tests/vectors/ltx not found";
  return ".";
}
inline std::filesystem::path Vectors() { return RepositoryRoot() / "tests/vectors/ltx"; }

inline std::string ReadTestFile(const std::filesystem::path& path) {
  const auto data = ReadWholeFile(path.string(), kMaxTestFileBytes);
  EXPECT_TRUE(data.ok()) << Text(data);
  return data.ok() ? *data : std::string();
}
inline void WriteTestFile(const std::filesystem::path& path, std::string_view data) {
  std::ofstream(path, std::ios::binary) << data;
}

// A directory of its own for each test, removed with the object.
class TempDir {
 public:
  TempDir() {
    std::string name = (std::filesystem::temp_directory_path() / "ltx-test-XXXXXX").string();
    path_ = ::mkdtemp(name.data()) == nullptr ? "." : name;
  }
  ~TempDir() {
    std::error_code ignored;
    std::filesystem::remove_all(path_, ignored);
  }
  TempDir(const TempDir&) = delete;
  TempDir& operator=(const TempDir&) = delete;
  std::string File(const std::string& name) const { return (path_ / name).string(); }

 private:
  std::filesystem::path path_;
};

// A page that compresses to about half: words from a small vocabulary between random bytes.
inline Page MakePage(uint32_t page_bytes, uint64_t seed) {
  std::mt19937_64 random(seed);
  Page page(page_bytes);
  for (size_t i = 0; i < page.size();) {
    if (random() % 2 == 0) {
      page[i++] = static_cast<std::byte>(random());
    } else {
      for (const char c : std::string("transaction ")) {
        if (i < page.size()) page[i++] = static_cast<std::byte>(c);
      }
    }
  }
  return page;
}

// A database in memory, to apply files to by the book and to make files from.
struct MemoryDatabase {
  std::vector<Page> pages;

  Checksum checksum(uint32_t page_bytes) const {
    Checksum sum = kEmptyDatabaseChecksum;
    for (size_t i = 0; i < pages.size(); ++i) {
      const auto pgno = static_cast<PageNo>(i + 1);
      if (pgno != sqlite::LockPage(page_bytes)) sum = TogglePage(sum, PageChecksum(pgno, pages[i]));
    }
    return sum;
  }
  void Apply(const Header& header, const Pages& changed) {
    if (header.is_snapshot()) pages.clear();
    pages.resize(header.commit, Page(header.page_bytes));
    for (const auto& [pgno, page] : changed) pages.at(pgno - 1) = page;
  }
  friend bool operator==(const MemoryDatabase&, const MemoryDatabase&) = default;
};

inline absl::StatusOr<std::string> EncodeFile(
    const Header& header, const Pages& pages, Checksum post_apply,
    Encoder::Compression compression = Encoder::Compression::kLz4) {
  std::string file;
  StringSink sink(&file);
  Encoder encoder;
  RETURN_IF_ERROR(encoder.Begin(&sink, header, compression));
  for (const auto& [pgno, page] : pages) RETURN_IF_ERROR(encoder.AddPage(pgno, page));
  RETURN_IF_ERROR(encoder.Finish(post_apply).status());
  EXPECT_EQ(encoder.bytes_written(), file.size());
  return file;
}

// A snapshot of page_count pages.
inline std::string MakeSnapshot(uint32_t page_bytes, PageNo page_count, bool checksums = true,
                                Encoder::Compression compression = Encoder::Compression::kLz4) {
  const Header header = {.flags = checksums ? 0 : kFlagNoChecksum,
                         .page_bytes = page_bytes,
                         .commit = page_count,
                         .min_txid = 1,
                         .max_txid = 1,
                         .timestamp_ms = 1700000000000};
  Pages pages;
  MemoryDatabase database;
  for (PageNo pgno = 1; pgno <= page_count; ++pgno) pages[pgno] = MakePage(page_bytes, pgno);
  database.Apply(header, pages);
  const auto file =
      EncodeFile(header, pages, checksums ? database.checksum(page_bytes) : 0, compression);
  EXPECT_TRUE(file.ok()) << Text(file);
  return file.value_or("");
}

struct DecodedFile {
  FileInfo info;
  Pages pages;
};

inline absl::StatusOr<DecodedFile> Decode(std::string_view file) {
  SpanSource source(file);
  DecodedFile decoded;
  ASSIGN_OR_RETURN(decoded.info,
                   DecodeFile(source, [&](PageNo pgno, std::span<const std::byte> page) {
                     decoded.pages[pgno] = Page(page.begin(), page.end());
                     return absl::OkStatus();
                   }));
  return decoded;
}

}  // namespace litefs::ltx
