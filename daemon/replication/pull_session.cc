#include "daemon/replication/pull_session.h"

#include <algorithm>
#include <utility>

#include "common/check.h"

namespace litefs::replication {
namespace {

// No message is larger, so with this much credit left any can be sent.
constexpr uint64_t kLargestCost = CreditCost(kMaxHeaderBytes, kChunkBytes);
static_assert(2 * kLargestCost < kWindowBytes);

}  // namespace

// ---- Page checksums
// ------------------------------------------------------------------------------

SumsRequest HeldSums::NextRequest(uint64_t stream, const std::string& database) {
  asked_ = pages.size() + kMaxSumsAsked;
  return {stream, database, pages.size() + 1, kMaxSumsAsked};
}

// False, and nothing is reserved, if all together would be too much.
bool HeldSums::Reserve(uint64_t pages_to_come) {
  if (*held_ + pages_to_come > kMaxSumsHeld) return false;
  size_pages_ = pages_to_come;
  *held_ += size_pages_;
  return true;
}

HeldSums::Part HeldSums::Take(const Sums& sums) {
  if (size_pages_ == 0) {  // the first part tells how much there is
    if (sums.size_pages == 0 || !Reserve(sums.size_pages)) return Part::kNothing;
    page_bytes = static_cast<uint32_t>(sums.page_bytes);
  }
  if (sums.first_page != pages.size() + 1 || sums.sums.empty() || sums.size_pages != size_pages_ ||
      sums.page_bytes != page_bytes) {
    return Part::kMalformed;
  }
  pages.insert(pages.end(), sums.sums.begin(), sums.sums.end());
  if (pages.size() == size_pages_) return Part::kComplete;
  return pages.size() >= asked_ ? Part::kAsk : Part::kMore;
}

// ---- Credit
// --------------------------------------------------------------------------------------

PullSession::PullSession(std::string routing_id, const Hello& hello, std::chrono::nanoseconds now)
    : key(std::move(routing_id)),
      node_id(hello.node_id),
      push(hello.push),
      queued_bytes(std::make_shared<std::atomic<uint64_t>>(0)),
      seen(now),
      granted_bytes_(std::min(hello.credit_bytes, kMaxWindowBytes)) {}

bool PullSession::HasCredit() const {
  // The second bound holds also against a peer that grants what it does not read.
  return spent_bytes_ + kLargestCost <= granted_bytes_ &&
         queued_bytes->load(std::memory_order_acquire) <= kMaxWindowBytes;
}

void PullSession::Grant(const Credit& credit) {
  const uint64_t most = spent_bytes_ + kMaxWindowBytes;
  granted_bytes_ = std::max(granted_bytes_, std::min(credit.granted_bytes, most));
}

void PullSession::Charge(size_t header_bytes, size_t payload_bytes) {
  spent_bytes_ += CreditCost(header_bytes, payload_bytes);
}

// ---- Streams
// -------------------------------------------------------------------------------------

PullStream* PullSession::Find(uint64_t id) {
  const auto it = streams_.find(id);
  return it == streams_.end() ? nullptr : &it->second;
}

PullStream* PullSession::FindDatabase(const std::string& database) {
  const auto it = by_database_.find(database);
  return it == by_database_.end() ? nullptr : &streams_.at(it->second);
}

PullStream* PullSession::FindIdle() {
  for (auto& [id, stream] : streams_) {
    if (stream.state == PullStream::State::kIdle) return &stream;
  }
  return nullptr;
}

void PullSession::Open(const Pull& pull) {
  const auto [it, is_new] = streams_.try_emplace(pull.stream);
  CHECK(is_new);
  PullStream& stream = it->second;
  stream.id = pull.stream;
  stream.database = pull.database;
  stream.position = pull.from;
  stream.owes_current = true;
  stream.partial = pull;
  CHECK(by_database_.emplace(pull.database, pull.stream).second);
  SetReady(stream);
}

void PullSession::Close(uint64_t id) {
  const auto it = streams_.find(id);
  if (it == streams_.end()) return;
  by_database_.erase(it->second.database);
  std::erase(sending, id);
  std::erase(ready, id);
  streams_.erase(it);
}

void PullSession::SetReady(PullStream& stream) {
  stream.state = PullStream::State::kReady;
  ready.push_back(stream.id);
}

void PullSession::SetSending(PullStream& stream) {
  stream.state = PullStream::State::kSending;
  sending.push_back(stream.id);
}

}  // namespace litefs::replication
