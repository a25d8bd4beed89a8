// SpareFiles: files that have left a chain and are used again for its next ones.  To delete a file
// and make another costs more than all else on a transaction's way on an ext4 without a journal of
// its own: it steps over every inode that was deleted in the last seconds.
//
// A file is used again only if nobody has it, by another name or a descriptor: whoever reads one
// that was pruned meanwhile goes on reading what it was.  Not thread-safe.

#pragma once

#include <cstddef>
#include <cstdint>
#include <string>

namespace litefs::db {

class SpareFiles {
 public:
  explicit SpareFiles(std::string directory) : directory_(std::move(directory)) {}

  // Removes what an earlier process has left.  An error leaves a file that does no harm.
  void RemoveLeftovers();
  // Removes the file at path, which it keeps, emptied, as a spare if it can.  False, with errno, if
  // it is still there.
  bool Remove(const std::string& path);
  // Makes a spare the file at path, if there is no file yet.  False if it could not.
  bool Take(const std::string& path);

  // At most so many are kept; those beyond go.
  void SetLimit(size_t limit);
  size_t count() const { return end_ - begin_; }

 private:
  std::string PathOf(uint64_t number) const;

  const std::string directory_;
  size_t limit_ = 0;
  uint64_t begin_ = 0, end_ = 0;  // their numbers
};

}  // namespace litefs::db
