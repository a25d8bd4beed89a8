// PageChecksums: the checksum of every page of one database, 8 bytes a page, in a memory-mapped
// file, so that it survives the daemon's death (not a power loss: whoever opens it compares the
// XOR of its entries with the chain).  Not thread-safe.
//
// The file: a header of 64 bytes (magic, page size, page count, txid, XOR), then 8 bytes a page, in
// host byte order: it is a cache of this machine's and never leaves it.

#pragma once

#include <memory>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "common/unique_fd.h"
#include "ltx/types.h"

namespace litefs::db {

class PageChecksums {
 public:
  // Opens or creates the table at path.  A file that is none is started anew, empty.
  static absl::StatusOr<std::unique_ptr<PageChecksums>> Open(const std::string& path);
  ~PageChecksums();
  PageChecksums(const PageChecksums&) = delete;
  PageChecksums& operator=(const PageChecksums&) = delete;

  uint32_t page_bytes() const { return header_->page_bytes; }
  ltx::PageNo size_pages() const { return header_->size_pages; }
  // The database's checksum and the transaction it was last brought to.
  ltx::Position position() const { return {header_->txid, header_->database}; }

  // The checksum of page pgno; 0 for the lock page and beyond the size.
  ltx::Checksum Get(ltx::PageNo pgno) const {
    return pgno == 0 || pgno > header_->size_pages ? 0 : entries_[pgno - 1];
  }
  // Takes a page's new checksum into the table and the database's checksum.
  // REQUIRES: 1 <= pgno <= size_pages()
  void Set(ltx::PageNo pgno, ltx::Checksum checksum);
  // Grows with empty entries, or takes the pages beyond size_pages out.  A change of page_bytes
  // empties the table first.  Reserves disk space, so that Set cannot fail: kResourceExhausted.
  absl::Status Resize(uint32_t page_bytes, ltx::PageNo size_pages);
  // As Resize for growth, without the change: reserves what a later Resize will need.
  absl::Status Reserve(ltx::PageNo size_pages);
  void SetTxId(ltx::TxId txid) { header_->txid = txid; }

  // Recomputes the database's checksum from the entries.
  void Recompute();

 private:
  struct Header {
    uint64_t magic;
    uint32_t page_bytes;
    uint32_t size_pages;
    uint64_t txid;
    uint64_t database;
    uint64_t reserved[4];
  };
  static_assert(sizeof(Header) == 64);

  PageChecksums(UniqueFd fd, std::string path) : fd_(std::move(fd)), path_(std::move(path)) {}
  absl::Status Map(size_t bytes);

  const UniqueFd fd_;
  const std::string path_;
  size_t mapped_bytes_ = 0;
  Header* header_ = nullptr;
  uint64_t* entries_ = nullptr;
};

}  // namespace litefs::db
