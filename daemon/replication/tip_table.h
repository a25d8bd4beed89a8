// TipTable: the primary's databases and their tips, each stamped with the server's sequence number
// (the count of tip changes) at which it was learnt.  The primary keeps one and so does every
// replica; equal digests mean equal tables, which is how a replica knows that it missed nothing.
// Not thread-safe.

#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <string_view>
#include <vector>

#include "daemon/replication/chain.h"
#include "ltx/types.h"

namespace litefs::replication {

class TipTable {
 public:
  struct Tip {
    ltx::Position position;
    uint64_t sequence = 0;
    uint64_t committed_ms = 0;
    uint64_t end_bytes = 0;
  };

  // Sets a database's tip unless a later one is known.  Returns whether the position changed.
  bool Learn(const ChainTip& tip, uint64_t sequence);
  // Forgets a database.
  void Forget(const std::string& database);
  void Clear();

  // nullptr if the database is not known; valid until it is forgotten.
  const Tip* Find(const std::string& database) const;
  // Up to max_count databases whose names sort after `after`; *last: no further ones.
  std::vector<ChainTip> Page(const std::string& after, size_t max_count, bool* last) const;
  const std::map<std::string, Tip>& tips() const { return tips_; }

  // XOR of StateDigest over all databases.
  uint64_t digest() const { return digest_; }
  // The highest sequence learnt.
  uint64_t sequence() const { return sequence_; }
  void AdvanceSequence(uint64_t sequence);

 private:
  std::map<std::string, Tip> tips_;  // ordered, so that a listing can be resumed
  uint64_t digest_ = 0;
  uint64_t sequence_ = 0;
};

}  // namespace litefs::replication
