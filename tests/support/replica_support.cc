#include "tests/support/replica_support.h"

#include <cstdlib>
#include <cstring>
#include <filesystem>

#include "common/check.h"
#include "common/endian.h"
#include "common/sqlite_format.h"
#include "daemon/sqlite/db_header.h"

namespace litefs::test {

Change::Change(const Image& from, const Image& to) : to_(to) {
  const bool same_size = from.page_bytes == to.page_bytes;
  for (ltx::PageNo pgno = 1; pgno <= to.size_pages(); ++pgno) {
    const size_t at = size_t{pgno - 1} * to.page_bytes;
    if (pgno == sqlite::LockPage(to.page_bytes)) continue;
    if (!same_size || pgno > from.size_pages() ||
        std::memcmp(&from.bytes[at], &to.bytes[at], to.page_bytes) != 0) {
      pages_.push_back(pgno);
    }
  }
}

absl::Status Change::Read(size_t i, std::span<std::byte> page) {
  if (page.size() != to_.page_bytes) return absl::InvalidArgumentError("another page size");
  std::memcpy(page.data(), &to_.bytes[size_t{pages_[i] - 1} * to_.page_bytes], page.size());
  return absl::OkStatus();
}

SourceDatabase::SourceDatabase(const std::string& path) {
  CHECK(sqlite3_open(path.c_str(), &db_) == SQLITE_OK);
}

SourceDatabase::~SourceDatabase() { sqlite3_close(db_); }

void SourceDatabase::Run(const std::string& sql) {
  char* error = nullptr;
  if (sqlite3_exec(db_, sql.c_str(), nullptr, nullptr, &error) == SQLITE_OK) return;
  std::fprintf(stderr, "%s: %s\n", sql.c_str(), error);
  CHECK(false);
}

Image SourceDatabase::Take() {
  sqlite3_int64 size = 0;
  unsigned char* const data = sqlite3_serialize(db_, "main", &size, 0);
  CHECK(data != nullptr);
  Image image;
  image.bytes.assign(reinterpret_cast<const char*>(data), static_cast<size_t>(size));
  sqlite3_free(data);
  const auto header = sqlite::ParseDbHeader(std::as_bytes(std::span(image.bytes)));
  CHECK(header.ok());
  image.page_bytes = header->page_bytes;
  return image;
}

TemporaryDirectory::TemporaryDirectory() {
  const char* const base = std::getenv("TMPDIR");
  path_ = std::string(base != nullptr ? base : "/tmp") + "/litefs-test-XXXXXX";
  CHECK(::mkdtemp(path_.data()) != nullptr);
}

TemporaryDirectory::~TemporaryDirectory() {
  std::error_code ignored;
  std::filesystem::remove_all(path_, ignored);
}

std::string ReadAll(ReplicaFile& file) {
  const ReplicaFile::Shape shape = file.shape();
  std::string bytes(size_t{shape.size_pages} * shape.page_bytes, '\0');
  for (ltx::PageNo pgno = 1; pgno <= shape.size_pages; ++pgno) {
    const absl::Status status =
        file.ReadPage(pgno, std::as_writable_bytes(std::span(bytes))
                                .subspan(size_t{pgno - 1} * shape.page_bytes, shape.page_bytes));
    if (!status.ok()) return "error: " + std::string(status.message());
  }
  return bytes;
}

}  // namespace litefs::test
