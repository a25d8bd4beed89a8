#include "daemon/sqlite/wal_index_map.h"

#include <fmt/format.h>
#include <sys/mman.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstring>

#include "common/check.h"
#include "common/posix_io.h"
#include "common/status_macros.h"

namespace litefs::sqlite {
namespace {

constexpr uint32_t kSlotMask = kWalIndexSlots - 1;

uint32_t FirstSlot(uint32_t pgno) { return (pgno * kWalIndexHashFactor) & kSlotMask; }
uint32_t NextSlot(uint32_t slot) { return (slot + 1) & kSlotMask; }

template <typename T>
T AtomicLoad(const T* p) {
  return __atomic_load_n(p, __ATOMIC_ACQUIRE);
}
template <typename T>
void AtomicStore(T* p, T v) {
  __atomic_store_n(p, v, __ATOMIC_RELEASE);
}

// Stores the words that differ.
template <typename T>
void Update(T* to, const T* from, size_t count) {
  for (size_t i = 0; i < count; ++i) {
    if (AtomicLoad(&to[i]) != from[i]) AtomicStore(&to[i], from[i]);
  }
}

}  // namespace

absl::StatusOr<std::unique_ptr<WalIndexMap>> WalIndexMap::Map(int shm_fd, const std::string& name) {
  std::unique_ptr<WalIndexMap> map(new WalIndexMap(shm_fd, name));
  RETURN_IF_ERROR(map->ReserveBlocks(1));
  return map;
}

WalIndexMap::~WalIndexMap() {
  for (std::byte* const block : blocks_) ::munmap(block, kWalIndexBlockBytes);
}

absl::StatusOr<WalIndexHeader> WalIndexMap::header() const {
  std::array<std::byte, 2 * kWalIndexHeaderBytes> copies;
  for (size_t i = 0; i < copies.size(); i += sizeof(uint32_t)) {
    const uint32_t word = Load(i);
    std::memcpy(&copies[i], &word, sizeof(word));
  }
  return DecodeWalIndexHeader(copies);
}

void WalIndexMap::Publish(const WalIndexHeader& header) {
  std::array<std::byte, kWalIndexHeaderBytes> copy;
  EncodeWalIndexHeader(header, copy);
  const auto store = [&](size_t offset) {
    for (size_t i = 0; i < copy.size(); i += sizeof(uint32_t)) {
      uint32_t word;
      std::memcpy(&word, &copy[i], sizeof(word));
      Store(offset + i, word);
    }
  };
  // Every store is a release: the second copy is there before the first, and the table's entries
  // before both, which is the order that SQLite's readers rely on.
  store(kWalIndexHeaderBytes);
  store(0);
}

absl::Status WalIndexMap::Reserve(uint32_t max_frame) {
  return ReserveBlocks(max_frame == 0 ? 1 : WalIndexBlockOfFrame(max_frame) + 1);
}

absl::Status WalIndexMap::ReserveBlocks(size_t count) {
  if (blocks_.size() >= count) return absl::OkStatus();
  const uint64_t wanted = count * kWalIndexBlockBytes;
  ASSIGN_OR_RETURN(uint64_t size, FileSize(shm_fd_, name_));
  // Zeros are written, not just made a hole: a full disk is an error here, not a SIGBUS later.
  static constexpr std::array<std::byte, kWalIndexBlockBytes> kZeros{};
  while (size < wanted) {
    const size_t n = kWalIndexBlockBytes - size % kWalIndexBlockBytes;
    RETURN_IF_ERROR(WriteAt(shm_fd_, std::span(kZeros).first(n), size, name_));
    size += n;
  }
  while (blocks_.size() < count) {
    void* const p = ::mmap(nullptr, kWalIndexBlockBytes, PROT_READ | PROT_WRITE, MAP_SHARED,
                           shm_fd_, static_cast<off_t>(blocks_.size() * kWalIndexBlockBytes));
    if (p == MAP_FAILED) return ErrnoStatus("map " + name_, errno);
    blocks_.push_back(static_cast<std::byte*>(p));
  }
  return absl::OkStatus();
}

WalIndexMap::Block WalIndexMap::BlockAt(uint32_t index) const {
  CHECK(index < blocks_.size());
  std::byte* const start = blocks_[index];
  Block block;
  block.pages = reinterpret_cast<uint32_t*>(start + (index == 0 ? kWalIndexPrefixBytes : 0));
  block.slots = reinterpret_cast<uint16_t*>(start + kWalIndexHashOffset);
  block.capacity = index == 0 ? kWalIndexFirstBlockFrames : kWalIndexBlockFrames;
  block.zero = WalIndexBlockZero(index);
  return block;
}

// walCleanupHash: removes the entries of frames beyond committed_frame from its block.
void WalIndexMap::CleanUp(uint32_t committed_frame) {
  if (committed_frame == 0) return;
  const Block block = BlockAt(WalIndexBlockOfFrame(committed_frame));
  const uint32_t limit = committed_frame - block.zero;
  for (uint32_t slot = 0; slot < kWalIndexSlots; ++slot) {
    if (block.slots[slot] > limit) AtomicStore(&block.slots[slot], uint16_t{0});
  }
  for (uint32_t i = limit; i < block.capacity; ++i) AtomicStore(&block.pages[i], 0u);
}

absl::Status WalIndexMap::Append(uint32_t frame, uint32_t pgno, uint32_t committed_frame) {
  const Block block = BlockAt(WalIndexBlockOfFrame(frame));
  const uint32_t place = frame - block.zero;
  if (place == 1) {
    // The block's first frame: whatever is in it is from an earlier run of the log.
    std::memset(block.pages, 0, block.capacity * sizeof(*block.pages));
    std::memset(block.slots, 0, kWalIndexSlots * sizeof(*block.slots));
  }
  if (block.pages[place - 1] != 0) {
    CleanUp(committed_frame);
    CHECK(block.pages[place - 1] == 0);
  }
  uint32_t slot = FirstSlot(pgno);
  for (uint32_t collisions = place; block.slots[slot] != 0; slot = NextSlot(slot)) {
    if (collisions-- == 0) {
      return absl::DataLossError(fmt::format("{}: hash table of frame {} is full", name_, frame));
    }
  }
  AtomicStore(&block.pages[place - 1], pgno);
  AtomicStore(&block.slots[slot], static_cast<uint16_t>(place));
  return absl::OkStatus();
}

absl::Status WalIndexMap::Rebuild(std::span<const uint32_t> pages) {
  RETURN_IF_ERROR(Reserve(static_cast<uint32_t>(pages.size())));
  std::vector<uint32_t> page_numbers;
  std::vector<uint16_t> slots;
  for (uint32_t index = 0; index < blocks_.size(); ++index) {
    const Block block = BlockAt(index);
    page_numbers.assign(block.capacity, 0);
    slots.assign(kWalIndexSlots, 0);
    for (uint32_t i = 0; i < block.capacity && block.zero + i < pages.size(); ++i) {
      page_numbers[i] = pages[block.zero + i];
      uint32_t slot = FirstSlot(page_numbers[i]);
      while (slots[slot] != 0) slot = NextSlot(slot);
      slots[slot] = static_cast<uint16_t>(i + 1);
    }
    Update(block.pages, page_numbers.data(), page_numbers.size());
    Update(block.slots, slots.data(), slots.size());
  }
  return absl::OkStatus();
}

uint32_t WalIndexMap::FindFrame(uint32_t pgno, uint32_t max_frame) {
  if (max_frame == 0 || !Reserve(max_frame).ok()) return 0;
  for (uint32_t index = WalIndexBlockOfFrame(max_frame) + 1; index-- > 0;) {
    const Block block = BlockAt(index);
    uint32_t found = 0;
    uint32_t slot = FirstSlot(pgno);
    for (uint32_t i = 0; i < kWalIndexSlots; ++i, slot = NextSlot(slot)) {
      const uint32_t place = AtomicLoad(&block.slots[slot]);
      if (place == 0) break;
      const uint32_t frame = block.zero + place;
      if (place <= block.capacity && frame <= max_frame && block.pages[place - 1] == pgno) {
        found = frame;
      }
    }
    if (found != 0) return found;
  }
  return 0;
}

absl::StatusOr<uint32_t> WalIndexMap::PageOfFrame(uint32_t frame) {
  RETURN_IF_ERROR(Reserve(frame));
  const Block block = BlockAt(WalIndexBlockOfFrame(frame));
  return AtomicLoad(&block.pages[frame - block.zero - 1]);
}

uint32_t WalIndexMap::Load(size_t offset) const {
  return AtomicLoad(reinterpret_cast<const uint32_t*>(blocks_[0] + offset));
}

void WalIndexMap::Store(size_t offset, uint32_t value) {
  AtomicStore(reinterpret_cast<uint32_t*>(blocks_[0] + offset), value);
}

}  // namespace litefs::sqlite
