#include "tests/support/chain_support.h"

#include <fcntl.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cstring>
#include <fstream>
#include <iterator>
#include <numeric>
#include <random>

#include "common/posix_io.h"
#include "common/sqlite_format.h"
#include "ltx/page_checksum.h"

namespace litefs::test {

ReplayedChain::ReplayedChain(const std::string& ltx_directory, std::string base)
    : content_(std::move(base)) {
  auto names = ListDirectory(ltx_directory);
  EXPECT_TRUE(names.ok()) << names.status();
  if (!names.ok()) return;
  std::erase_if(*names, [](const std::string& name) { return !ltx::ParseFileName(name); });
  std::sort(names->begin(), names->end());
  for (const std::string& name : *names) Apply(ltx_directory + "/" + name);
}

void ReplayedChain::Apply(const std::string& path) {
  const std::string bytes = ReadBytes(path);
  ltx::SpanSource source(bytes);
  std::map<ltx::PageNo, std::string> pages;
  const auto info = ltx::DecodeFile(source, [&](ltx::PageNo pgno, std::span<const std::byte> page) {
    pages[pgno].assign(reinterpret_cast<const char*>(page.data()), page.size());
    return absl::OkStatus();
  });
  ASSERT_TRUE(info.ok()) << path << ": " << info.status();
  const ltx::Header& header = info->header;
  if (!files_.empty()) {
    EXPECT_EQ(header.min_txid, tip_.txid + 1) << path;
    EXPECT_EQ(header.pre_apply, tip_.checksum) << path;
    if (files_.rbegin()->second.header.page_bytes != header.page_bytes) content_.clear();
  }
  content_.resize(size_t{header.commit} * header.page_bytes);
  for (const auto& [pgno, page] : pages) {
    std::memcpy(&content_[size_t{pgno - 1} * header.page_bytes], page.data(), page.size());
  }
  EXPECT_EQ(ContentChecksum(content_, header.page_bytes), info->trailer.post_apply) << path;
  tip_ = {header.max_txid, info->trailer.post_apply};
  contents_[header.max_txid] = content_;
  files_[header.max_txid] = *info;
}

const std::string& ReplayedChain::At(ltx::TxId txid) const {
  const auto it = contents_.find(txid);
  EXPECT_TRUE(it != contents_.end()) << "no file ends with transaction " << txid;
  return it == contents_.end() ? empty_ : it->second;
}

std::string StringDatabase::Open() {
  chain_.reset();
  std::string report;
  auto chain = db::Chain::Open({.directory = control_, .node_id = 7, .clock = &clock}, &report);
  EXPECT_TRUE(chain.ok()) << chain.status();
  if (chain.ok()) chain_ = *std::move(chain);
  return report;
}

void StringDatabase::Write(ltx::PageNo pgno, uint32_t seed) {
  if (pgno > size_pages()) Resize(pgno);
  std::minstd_rand random(seed * 2 + 1);
  for (size_t i = 0; i < page_bytes_; ++i) {
    content_[size_t{pgno - 1} * page_bytes_ + i] = static_cast<char>(random() >> 8);
  }
}

void StringDatabase::Restart(uint32_t page_bytes) {
  content_.clear();
  page_bytes_ = page_bytes;
}

db::Chain::ReadPage StringDatabase::reader() const {
  return [this](ltx::PageNo pgno, std::span<std::byte> page) -> absl::Status {
    if (pgno == 0 || pgno > size_pages()) return absl::OutOfRangeError("no such page");
    std::memcpy(page.data(), &content_[size_t{pgno - 1} * page_bytes_], page_bytes_);
    return absl::OkStatus();
  };
}

bool StringDatabase::Commit(std::vector<ltx::PageNo> candidates, uint64_t transactions) {
  if (candidates.empty()) {
    candidates.resize(size_pages());
    std::iota(candidates.begin(), candidates.end(), 1);
  }
  db::Chain::NewState new_state = state();
  new_state.transactions = transactions;
  const auto prepared = chain_->Prepare(candidates, new_state, reader());
  EXPECT_TRUE(prepared.ok()) << prepared.status();
  if (!prepared.ok() || !*prepared) return false;
  const absl::Status published = chain_->Publish();
  EXPECT_TRUE(published.ok()) << published;
  return published.ok();
}

ltx::Checksum ContentChecksum(const std::string& content, uint32_t page_bytes) {
  ltx::Checksum sum = ltx::kEmptyDatabaseChecksum;
  for (size_t at = 0; at < content.size(); at += page_bytes) {
    const auto pgno = static_cast<ltx::PageNo>(at / page_bytes + 1);
    if (pgno == sqlite::LockPage(page_bytes)) continue;
    const auto page = std::as_bytes(std::span(content)).subspan(at, page_bytes);
    sum = ltx::TogglePage(sum, ltx::PageChecksum(pgno, page));
  }
  return sum;
}

std::string Difference(const std::string& got, const std::string& want) {
  if (got == want) return "";
  const size_t common = std::min(got.size(), want.size());
  const auto at =
      std::mismatch(got.begin(), got.begin() + static_cast<ptrdiff_t>(common), want.begin());
  return "byte " + std::to_string(at.first - got.begin()) + " of " + std::to_string(got.size()) +
         " differs from the expected " + std::to_string(want.size()) + " bytes" +
         (got.starts_with("error") ? ": " + got : "");
}

std::vector<std::string> NamesIn(const std::string& directory) {
  auto names = ListDirectory(directory);
  if (!names.ok()) return {};
  std::sort(names->begin(), names->end());
  return *std::move(names);
}

std::string ReadBytes(const std::string& path) {
  std::ifstream in(path, std::ios::binary);
  EXPECT_TRUE(in.good()) << path;
  return {std::istreambuf_iterator<char>(in), {}};
}

void WriteBytes(const std::string& path, const std::string& bytes) {
  std::ofstream out(path, std::ios::binary | std::ios::trunc);
  out << bytes;
  EXPECT_TRUE(out.good()) << path;
}

void FlipByte(const std::string& path, uint64_t offset) {
  const auto fd = OpenFile(path, O_RDWR);
  ASSERT_TRUE(fd.ok()) << fd.status();
  std::byte byte{};
  ASSERT_TRUE(ReadExactAt(fd->get(), {&byte, 1}, offset, path).ok());
  byte ^= std::byte{0x10};
  ASSERT_TRUE(WriteAt(fd->get(), {&byte, 1}, offset, path).ok());
}

}  // namespace litefs::test
