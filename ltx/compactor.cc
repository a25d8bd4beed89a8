// A merge of sorted streams, one decoder for each input.  Of the inputs that have a page the last
// one wins.  What makes it more than a merge is that a database may shrink and grow again:
//
//   a page of input i is alive   <=>  no later input has a smaller commit than its number
//   a page must be written       <=>  an input had a smaller commit than its number, and the last
//                                     one has not; as zeros, if no input brings it alive
//
// The second rule concerns pages that grew back without a new version (SQLite need not write a page
// that is allocated and freed in one transaction): a file system gives zeros there, and the version
// that the database had before the first input must not show through.

#include "ltx/compactor.h"

#include <fmt/format.h>

#include <algorithm>
#include <functional>
#include <memory>
#include <queue>
#include <utility>
#include <vector>

#include "common/sqlite_format.h"
#include "common/status_macros.h"
#include "ltx/encoder.h"

namespace litefs::ltx {
namespace {

// A database that grows by more than this without being written is not SQLite's work.
constexpr uint64_t kMaxFilledPages = 1 << 20;

struct Input {
  std::unique_ptr<Decoder> decoder;
  std::vector<std::byte> page;
  PageNo alive_up_to = 0;  // the smallest commit of this and all later inputs
};

absl::Status InInput(size_t index, const absl::Status& status) {
  return absl::Status(status.code(),
                      fmt::format("input {}: {}", index + 1, std::string(status.message())));
}

absl::Status Mismatch(size_t index, const std::string& what) {
  return absl::InvalidArgumentError(fmt::format("input {}: {}", index + 1, what));
}

// Overlap is allowed, as pages are whole and the later file is right.
absl::Status CheckHeaders(const std::vector<Input>& inputs) {
  for (size_t i = 1; i < inputs.size(); ++i) {
    const Header& previous = inputs[i - 1].decoder->header();
    const Header& header = inputs[i].decoder->header();
    if (header.page_bytes != previous.page_bytes) {
      return Mismatch(i,
                      fmt::format("page size {} after {}", header.page_bytes, previous.page_bytes));
    }
    if (header.has_checksums() != previous.has_checksums()) {
      return Mismatch(i, "files with and without checksums");
    }
    if (header.min_txid - 1 > previous.max_txid || header.max_txid <= previous.max_txid) {
      return Mismatch(
          i, fmt::format("transactions {:016x}-{:016x} do not follow {:016x}-{:016x}",
                         header.min_txid, header.max_txid, previous.min_txid, previous.max_txid));
    }
  }
  return absl::OkStatus();
}

class Merge {
 public:
  explicit Merge(std::vector<Input> inputs) : inputs_(std::move(inputs)) {}

  absl::StatusOr<FileInfo> Run(ByteSink* sink) {
    ASSIGN_OR_RETURN(FileInfo info, Begin(sink));
    for (size_t i = 0; i < inputs_.size(); ++i) RETURN_IF_ERROR(Advance(i));
    while (!next_.empty()) RETURN_IF_ERROR(AddNextPage());
    RETURN_IF_ERROR(FillUpTo(info.header.commit));
    RETURN_IF_ERROR(CheckChain());
    ASSIGN_OR_RETURN(info.trailer, encoder_.Finish(inputs_.back().decoder->trailer().post_apply));
    info.page_count = page_count_;
    return info;
  }

 private:
  absl::StatusOr<FileInfo> Begin(ByteSink* sink) {
    const Header& first = inputs_.front().decoder->header();
    const Header& last = inputs_.back().decoder->header();
    PageNo alive_up_to = last.commit;
    for (size_t i = inputs_.size(); i-- > 0;) {
      alive_up_to = std::min(alive_up_to, inputs_[i].decoder->header().commit);
      inputs_[i].alive_up_to = alive_up_to;
      inputs_[i].page.resize(first.page_bytes);
    }
    zero_page_.resize(first.page_bytes);
    lock_page_ = sqlite::LockPage(first.page_bytes);
    filled_up_to_ = alive_up_to;
    FileInfo info;
    info.header = {.flags = first.flags & kFlagNoChecksum,
                   .page_bytes = first.page_bytes,
                   .commit = last.commit,
                   .min_txid = first.min_txid,
                   .max_txid = last.max_txid,
                   .timestamp_ms = last.timestamp_ms,
                   .pre_apply = first.pre_apply};
    RETURN_IF_ERROR(encoder_.Begin(sink, info.header));
    return info;
  }

  // Reads the next page of an input and queues it.
  absl::Status Advance(size_t i) {
    PageNo pgno = 0;
    const absl::StatusOr<bool> more = inputs_[i].decoder->Next(&pgno, inputs_[i].page);
    if (!more.ok()) return InInput(i, more.status());
    if (*more) next_.emplace(pgno, i);
    return absl::OkStatus();
  }

  absl::Status AddNextPage() {
    const PageNo pgno = next_.top().first;
    current_.clear();
    for (; !next_.empty() && next_.top().first == pgno; next_.pop()) {
      current_.push_back(next_.top().second);
    }
    const Input& winner = inputs_[current_.back()];
    if (pgno <= winner.alive_up_to) {
      RETURN_IF_ERROR(FillUpTo(pgno - 1));
      RETURN_IF_ERROR(encoder_.AddPageWithCrc(pgno, winner.page, winner.decoder->page_crc()));
      ++page_count_;
      filled_up_to_ = std::max(filled_up_to_, pgno);
    }
    for (const size_t i : current_) RETURN_IF_ERROR(Advance(i));
    return absl::OkStatus();
  }

  // Adds a page of zeros for each one after filled_up_to_, to pgno.
  absl::Status FillUpTo(PageNo pgno) {
    while (filled_up_to_ < pgno) {
      if (++filled_up_to_ == lock_page_) continue;
      if (++filled_count_ > kMaxFilledPages) {
        return absl::InvalidArgumentError(
            fmt::format("more than {} pages grow without being written", kMaxFilledPages));
      }
      RETURN_IF_ERROR(encoder_.AddPage(filled_up_to_, zero_page_));
      ++page_count_;
    }
    return absl::OkStatus();
  }

  // A snapshot follows on anything.
  absl::Status CheckChain() const {
    for (size_t i = 1; i < inputs_.size(); ++i) {
      const Header& header = inputs_[i].decoder->header();
      const Trailer& previous = inputs_[i - 1].decoder->trailer();
      if (!header.is_snapshot() && header.pre_apply != previous.post_apply) {
        return Mismatch(i, fmt::format("pre-apply checksum {:016x} after post-apply {:016x}",
                                       header.pre_apply, previous.post_apply));
      }
    }
    return absl::OkStatus();
  }

  using PageOfInput = std::pair<PageNo, size_t>;

  std::vector<Input> inputs_;
  std::priority_queue<PageOfInput, std::vector<PageOfInput>, std::greater<>> next_;
  std::vector<size_t> current_;  // the inputs that have the page in hand, in their order
  Encoder encoder_;
  std::vector<std::byte> zero_page_;
  PageNo lock_page_ = 0;
  PageNo filled_up_to_ = 0;  // no page up to here is missing, or was lost and is
  uint64_t filled_count_ = 0;
  uint64_t page_count_ = 0;
};

}  // namespace

absl::StatusOr<FileInfo> Compact(std::span<ByteSource* const> inputs, ByteSink* sink) {
  if (inputs.empty()) return absl::InvalidArgumentError("nothing to compact");
  std::vector<Input> opened(inputs.size());
  for (size_t i = 0; i < inputs.size(); ++i) {
    auto decoder = Decoder::Open(inputs[i]);
    if (!decoder.ok()) return InInput(i, decoder.status());
    opened[i].decoder = *std::move(decoder);
  }
  RETURN_IF_ERROR(CheckHeaders(opened));
  return Merge(std::move(opened)).Run(sink);
}

}  // namespace litefs::ltx
