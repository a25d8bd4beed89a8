// PageSource: the pages of one change of a database, wherever they are stored.

#pragma once

#include <cstddef>
#include <span>

#include "absl/status/status.h"
#include "ltx/types.h"

namespace litefs {

// The pages ascend by number.  Used by one thread at a time.
class PageSource {
 public:
  virtual ~PageSource() = default;
  virtual size_t count() const = 0;
  // REQUIRES: i < count().
  virtual ltx::PageNo pgno(size_t i) const = 0;
  // Reads page i; page.size() is the database's page size.  May be called twice for a page.
  virtual absl::Status Read(size_t i, std::span<std::byte> page) = 0;
  // Whether the pages belong where they are to go; reads those that nobody has read yet.  Must be
  // called before the first of them is where a reader could see it.  Once it is OK, it stays so.
  virtual absl::Status Check() { return absl::OkStatus(); }
};

}  // namespace litefs
