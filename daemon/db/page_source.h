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
};

}  // namespace litefs
