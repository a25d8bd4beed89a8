// What the tests of chains share: a clock that stands still, a chain's files applied by the book,
// and files damaged on purpose.

#pragma once

#include <map>
#include <string>

#include "common/clock.h"
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

// The checksum of a database with this content.
ltx::Checksum ContentChecksum(const std::string& content, uint32_t page_bytes);

// "" if both are the same, else where they differ: binary content must not be printed.
std::string Difference(const std::string& got, const std::string& want);

std::string ReadBytes(const std::string& path);
void WriteBytes(const std::string& path, const std::string& bytes);
void FlipByte(const std::string& path, uint64_t offset);

}  // namespace litefs::test
