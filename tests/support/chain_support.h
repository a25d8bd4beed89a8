// What the tests of chains share: a clock that stands still, a chain's files applied by the book,
// and files damaged on purpose.

#pragma once

#include <map>
#include <memory>
#include <string>
#include <vector>

#include "common/clock.h"
#include "daemon/db/chain.h"
#include "ltx/decoder.h"

namespace litefs::test {

// Wall time is what the test says.
class FakeClock final : public Clock {
 public:
  int64_t WallMs() const override { return wall_ms; }
  std::chrono::nanoseconds Boot() const override { return std::chrono::milliseconds(wall_ms); }
  int64_t wall_ms = 1'700'000'000'000;
};

// The files of a chain, applied one after the other to bytes in memory, with none of the daemon's
// code but the LTX decoder.  A file that does not follow, or whose content has another checksum
// than it says, is a test failure.
class ReplayedChain {
 public:
  // base: the content before the first file, if that is no snapshot.
  explicit ReplayedChain(const std::string& ltx_directory, std::string base = "");

  // The content after transaction txid; a test failure if no file ends there.
  const std::string& At(ltx::TxId txid) const;
  const std::string& AtTip() const {
    return contents_.empty() ? empty_ : contents_.rbegin()->second;
  }
  ltx::Position tip() const { return tip_; }
  // Of each file, by its last transaction.
  const std::map<ltx::TxId, ltx::FileInfo>& files() const { return files_; }

 private:
  void Apply(const std::string& path);

  const std::string empty_;
  std::string content_;
  ltx::Position tip_;
  std::map<ltx::TxId, std::string> contents_;
  std::map<ltx::TxId, ltx::FileInfo> files_;
};

// A database that is a string, and its chain: for tests that need no SQLite.
class StringDatabase {
 public:
  explicit StringDatabase(std::string control_directory, uint32_t page_bytes = 512)
      : page_bytes_(page_bytes), control_(std::move(control_directory)) {}

  // Opens the chain, again if it is open.  Returns the report.
  std::string Open();
  void Close() { chain_.reset(); }
  // Fills page pgno from a seed, and grows the database if need be.
  void Write(ltx::PageNo pgno, uint32_t seed);
  void Resize(ltx::PageNo pages) { content_.resize(size_t{pages} * page_bytes_); }
  // Makes it a database of another page size, with nothing in it.
  void Restart(uint32_t page_bytes);
  // Prepares and publishes what the candidates have become; a test failure if that goes wrong.
  // False if there was nothing to publish.  Without candidates: all pages.
  bool Commit(std::vector<ltx::PageNo> candidates = {}, uint64_t transactions = 1);

  db::Chain& chain() { return *chain_; }
  db::Chain::ReadPage reader() const;
  db::Chain::NewState state() const {
    return {.page_bytes = page_bytes_, .size_pages = size_pages()};
  }
  uint32_t page_bytes() const { return page_bytes_; }
  ltx::PageNo size_pages() const { return static_cast<ltx::PageNo>(content_.size() / page_bytes_); }
  const std::string& content() const { return content_; }
  std::string ltx_directory() const { return control_ + "/ltx"; }
  std::string table_path() const { return control_ + "/checksums"; }

  FakeClock clock;

 private:
  uint32_t page_bytes_;
  const std::string control_;
  std::string content_;
  std::unique_ptr<db::Chain> chain_;
};

// The checksum of a database with this content.
ltx::Checksum ContentChecksum(const std::string& content, uint32_t page_bytes);

// "" if both are the same, else where they differ: binary content must not be printed.
std::string Difference(const std::string& got, const std::string& want);

// All names in a directory, sorted; none if it does not exist.
std::vector<std::string> NamesIn(const std::string& directory);
std::string ReadBytes(const std::string& path);
void WriteBytes(const std::string& path, const std::string& bytes);
void FlipByte(const std::string& path, uint64_t offset);

}  // namespace litefs::test
