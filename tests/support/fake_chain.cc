#include "tests/support/fake_chain.h"

#include <fmt/format.h>
#include <sys/mman.h>
#include <xxhash.h>

#include <cstring>
#include <thread>

#include "common/check.h"
#include "common/endian.h"
#include "common/posix_io.h"
#include "common/status_macros.h"

namespace litefs::replication {
namespace {

// min, max, pre, post (each be64), body, be64 XXH3 of all that.
constexpr size_t kHeader = 32;
constexpr size_t kTrailer = 8;
constexpr uint64_t kSumOfPage = 0x9e3779b97f4a7c15;

UniqueFd MemoryFile() {
  UniqueFd fd(::memfd_create("fake", MFD_CLOEXEC));
  CHECK(fd.valid());
  return fd;
}

std::shared_ptr<const ChainFile> MakeFile(ltx::TxId min, ltx::TxId max, ltx::Checksum pre,
                                          ltx::Checksum post, std::span<const std::byte> body) {
  std::vector<std::byte> data(kHeader + body.size() + kTrailer);
  StoreBig64(&data[0], min);
  StoreBig64(&data[8], max);
  StoreBig64(&data[16], pre);
  StoreBig64(&data[24], post);
  if (!body.empty()) std::memcpy(&data[kHeader], body.data(), body.size());
  StoreBig64(&data[data.size() - kTrailer], XXH3_64bits(data.data(), data.size() - kTrailer));
  auto file = std::make_shared<ChainFile>();
  file->fd = MemoryFile();
  CHECK(WriteAt(file->fd.get(), data, 0, "a fake file").ok());
  file->size_bytes = data.size();
  file->min_txid = min;
  file->max_txid = max;
  file->pre_apply = pre;
  file->post_apply = post;
  return file;
}

ChainFile Duplicate(const ChainFile& file) {
  ChainFile copy;
  copy.fd = UniqueFd(::dup(file.fd.get()));
  CHECK(copy.fd.valid());
  copy.size_bytes = file.size_bytes;
  copy.min_txid = file.min_txid;
  copy.max_txid = file.max_txid;
  copy.pre_apply = file.pre_apply;
  copy.post_apply = file.post_apply;
  copy.committed_ms = file.committed_ms;
  copy.end_bytes = file.end_bytes;
  return copy;
}

std::shared_ptr<ChainFile> Dated(const std::shared_ptr<const ChainFile>& file,
                                 uint64_t committed_ms, uint64_t end_bytes) {
  auto dated = std::make_shared<ChainFile>(Duplicate(*file));
  dated->committed_ms = committed_ms;
  dated->end_bytes = end_bytes;
  return dated;
}

}  // namespace

bool Eventually(const std::function<bool()>& condition, std::chrono::seconds limit) {
  const auto deadline = std::chrono::steady_clock::now() + limit;
  while (!condition()) {
    if (std::chrono::steady_clock::now() > deadline) return false;
    std::this_thread::sleep_for(std::chrono::milliseconds(1));
  }
  return true;
}

// ---- FakeSource
// ----------------------------------------------------------------------------------

std::vector<std::byte> FakeSource::RandomBytes(size_t n) {
  std::vector<std::byte> bytes(n);
  for (size_t i = 0; i < n; i += 8) {
    const uint64_t word = random_();
    std::memcpy(&bytes[i], &word, std::min<size_t>(8, n - i));
  }
  return bytes;
}

ltx::Position FakeSource::Commit(const std::string& database, size_t body_bytes) {
  MutexLock lock(mu_);
  Chain& chain = chains_[database];
  const std::vector<std::byte> body = RandomBytes(body_bytes);
  const ltx::Position before = chain.tip;
  chain.tip.txid++;
  chain.tip.checksum =
      XXH3_64bits_withSeed(body.data(), body.size(), before.checksum) | ltx::kChecksumFlag;
  const auto file = MakeFile(chain.tip.txid, chain.tip.txid, before.txid == 0 ? 0 : before.checksum,
                             chain.tip.checksum, body);
  chain.committed_ms = static_cast<uint64_t>(clock_->WallMs());
  chain.end_bytes += file->size_bytes;
  chain.files[chain.tip.txid] = Dated(file, chain.committed_ms, chain.end_bytes);
  return chain.tip;
}

void FakeSource::Adopt(const std::string& database, std::span<const std::byte> data) {
  MutexLock lock(mu_);
  Chain& chain = chains_[database];
  const ltx::TxId min = LoadBig64(&data[0]);
  const ltx::Checksum pre = LoadBig64(&data[16]);
  if (min == 1 || min != chain.tip.txid + 1 || pre != chain.tip.checksum) chain.files.clear();
  chain.tip = {LoadBig64(&data[8]), LoadBig64(&data[24])};
  chain.committed_ms = static_cast<uint64_t>(clock_->WallMs());
  chain.end_bytes += data.size();
  chain.files[min] = Dated(MakeFile(min, chain.tip.txid, pre, chain.tip.checksum,
                                    data.subspan(kHeader, data.size() - kHeader - kTrailer)),
                           chain.committed_ms, chain.end_bytes);
}

void FakeSource::Prune(const std::string& database) {
  MutexLock lock(mu_);
  chains_[database].files.clear();
}

ltx::Position FakeSource::Diverge(const std::string& database) {
  MutexLock lock(mu_);
  Chain& chain = chains_[database];
  chain.files.clear();
  chain.tip.checksum = random_() | ltx::kChecksumFlag;
  return chain.tip;
}

void FakeSource::Drop(const std::string& database) {
  MutexLock lock(mu_);
  chains_.erase(database);
}

int FakeSource::snapshots_made() {
  MutexLock lock(mu_);
  return snapshots_made_;
}

std::vector<ChainTip> FakeSource::States() {
  MutexLock lock(mu_);
  std::vector<ChainTip> tips;
  for (const auto& [name, chain] : chains_) {
    tips.push_back({name, chain.tip, chain.committed_ms, chain.end_bytes});
  }
  return tips;
}

absl::StatusOr<ChainFile> FakeSource::FileAfter(const std::string& database,
                                                const ltx::Position& from) {
  MutexLock lock(mu_);
  const auto it = chains_.find(database);
  if (it == chains_.end()) return absl::NotFoundError("no database");
  const Chain& chain = it->second;
  if (from == chain.tip) return absl::NotFoundError("at the tip");
  const auto file = chain.files.find(from.txid + 1);
  const bool fits =
      file != chain.files.end() && file->second->pre_apply == (from.txid == 0 ? 0 : from.checksum);
  if (!fits) return absl::OutOfRangeError("not in the chain");
  return Duplicate(*file->second);
}

absl::StatusOr<std::shared_ptr<const ChainFile>> FakeSource::MakeSnapshot(
    const std::string& database) {
  const auto it = chains_.find(database);
  if (it == chains_.end()) return absl::NotFoundError("no database");
  ++snapshots_made_;
  const ltx::Position tip = it->second.tip;
  return MakeFile(1, tip.txid, 0, tip.checksum, RandomBytes(snapshot_bytes_));
}

absl::Status FakeSource::Snapshot(const std::string& database, SnapshotReader* reader) {
  MutexLock lock(mu_);
  ASSIGN_OR_RETURN(std::shared_ptr<const ChainFile> file, MakeSnapshot(database));
  reader->Begin(Duplicate(*file));
  if (hold_at_ != 0) {
    reader->Grow(hold_at_);
    held_ = true;
    changed_.NotifyAll();
    while (hold_at_ != 0) changed_.Wait(mu_);
    held_ = false;
    if (std::exchange(anew_, false)) {
      ASSIGN_OR_RETURN(file, MakeSnapshot(database));
      reader->Begin(Duplicate(*file));
    }
  }
  reader->Grow(file->size_bytes);
  return absl::OkStatus();
}

void FakeSource::HoldSnapshotsAt(uint64_t bytes) {
  MutexLock lock(mu_);
  hold_at_ = bytes;
}

bool FakeSource::WaitForHeldSnapshot() {
  const auto deadline = std::chrono::steady_clock::now() + std::chrono::seconds(30);
  MutexLock lock(mu_);
  while (!held_) {
    if (!changed_.WaitUntil(mu_, deadline)) return held_;
  }
  return true;
}

void FakeSource::LetSnapshotsGo(bool anew) {
  MutexLock lock(mu_);
  hold_at_ = 0;
  anew_ = anew;
  changed_.NotifyAll();
}

int FakeSource::deltas_made() {
  MutexLock lock(mu_);
  return deltas_made_;
}

absl::StatusOr<ChainFile> FakeSource::Delta(const std::string& database, const PageSums& base) {
  MutexLock lock(mu_);
  const auto it = chains_.find(database);
  if (it == chains_.end()) return absl::NotFoundError("no database");
  if (it->second.tip.txid == 1) return absl::FailedPreconditionError("only a snapshot will do");
  for (size_t i = 1; i < base.pages.size(); ++i) CHECK(base.pages[i] == i * kSumOfPage);
  ++deltas_made_;
  const ltx::Position tip = it->second.tip;
  return Duplicate(*MakeFile(tip.txid, tip.txid, base.pages[0], tip.checksum, RandomBytes(10)));
}

// ---- FakeSink
// ------------------------------------------------------------------------------------

ltx::Position FakeSink::PositionOf(const std::string& database) {
  MutexLock lock(mu_);
  const auto it = states_.find(database);
  return it == states_.end() ? ltx::Position{} : it->second;
}

bool FakeSink::Has(const std::string& database) {
  MutexLock lock(mu_);
  return states_.contains(database);
}

bool FakeSink::WaitFor(const std::string& database, const ltx::Position& position) {
  const auto deadline = std::chrono::steady_clock::now() + std::chrono::seconds(30);
  MutexLock lock(mu_);
  while (states_[database] != position) {
    if (!changed_.WaitUntil(mu_, deadline)) return states_[database] == position;
  }
  return true;
}

bool FakeSink::WaitFor(FakeSource& source) {
  return Eventually([&] {
    std::vector<DatabaseState> wanted;
    for (const ChainTip& tip : source.States()) wanted.push_back({tip.name, tip.position});
    return States() == wanted;
  });
}

void FakeSink::CloseGate() {
  MutexLock lock(mu_);
  gate_closed_ = true;
}

void FakeSink::OpenGate() {
  MutexLock lock(mu_);
  gate_closed_ = false;
  changed_.NotifyAll();
}

bool FakeSink::WaitForReceiver() {
  const auto deadline = std::chrono::steady_clock::now() + std::chrono::seconds(30);
  MutexLock lock(mu_);
  while (!waiting_) {
    if (!changed_.WaitUntil(mu_, deadline)) return waiting_;
  }
  return true;
}

void FakeSink::FailNext(int count, absl::Status status) {
  MutexLock lock(mu_);
  failures_ = count;
  failure_ = std::move(status);
}

int FakeSink::received() {
  MutexLock lock(mu_);
  return received_;
}

int FakeSink::snapshots_received() {
  MutexLock lock(mu_);
  return snapshots_received_;
}

uint64_t FakeSink::spools() {
  MutexLock lock(mu_);
  return spools_;
}

std::vector<DatabaseState> FakeSink::States() {
  MutexLock lock(mu_);
  std::vector<DatabaseState> states;
  for (const auto& [name, position] : states_) {
    if (position.txid != 0) states.push_back({name, position});
  }
  return states;
}

absl::StatusOr<ltx::Position> FakeSink::Receive(const std::string& database, int file_fd,
                                                uint64_t size_bytes) {
  CHECK(::lseek(file_fd, 0, SEEK_CUR) == 0);
  std::vector<std::byte> data(size_bytes);
  RETURN_IF_ERROR(ReadExactAt(file_fd, data, 0, "a spool file"));
  return ReceiveBytes(database, data);
}

absl::StatusOr<ltx::Position> FakeSink::ReceiveBytes(const std::string& database,
                                                     std::span<const std::byte> data) {
  if (data.size() < kHeader + kTrailer || LoadBig64(&data[data.size() - kTrailer]) !=
                                              XXH3_64bits(data.data(), data.size() - kTrailer)) {
    return absl::DataLossError("a broken file");
  }
  const ltx::TxId min = LoadBig64(&data[0]);
  const ltx::Position after{LoadBig64(&data[8]), LoadBig64(&data[24])};
  {
    MutexLock lock(mu_);
    while (gate_closed_) {
      waiting_ = true;
      changed_.NotifyAll();
      changed_.Wait(mu_);
    }
    waiting_ = false;
    if (failures_ > 0) {
      --failures_;
      return failure_;
    }
    ltx::Position& position = states_[database];
    const bool follows = min == position.txid + 1 && LoadBig64(&data[16]) == position.checksum;
    const bool leads_on = min == after.txid && LoadBig64(&data[16]) == position.checksum;
    if (min != 1 && !follows && !leads_on) return absl::FailedPreconditionError("does not follow");
    position = after;
    ++received_;
    snapshots_received_ += min == 1 && after.txid != 1 ? 1 : 0;
    changed_.NotifyAll();
  }
  if (on_receive) on_receive(database, after);
  return after;
}

absl::StatusOr<PageSums> FakeSink::Sums(const std::string& database, uint64_t max_pages) {
  MutexLock lock(mu_);
  PageSums sums{.page_bytes = 4096, .pages = {}};
  if (sums_pages_ == 0 || sums_pages_ > max_pages) return sums;
  sums.pages.resize(sums_pages_);
  for (size_t i = 0; i < sums.pages.size(); ++i) sums.pages[i] = i * kSumOfPage;
  sums.pages[0] = states_[database].checksum;
  return sums;
}

absl::Status FakeSink::Sync(const std::string& database) {
  MutexLock lock(mu_);
  synced_[database] = states_[database];
  return absl::OkStatus();
}

std::optional<ltx::Position> FakeSink::synced(const std::string& database) {
  MutexLock lock(mu_);
  const auto it = synced_.find(database);
  return it == synced_.end() ? std::nullopt : std::optional(it->second);
}

absl::Status FakeSink::Drop(const std::string& database) {
  MutexLock lock(mu_);
  states_.erase(database);
  changed_.NotifyAll();
  return absl::OkStatus();
}

absl::StatusOr<UniqueFd> FakeSink::SpoolFile() {
  MutexLock lock(mu_);
  ++spools_;
  return MemoryFile();
}

}  // namespace litefs::replication
