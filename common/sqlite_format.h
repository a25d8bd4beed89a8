// SQLite's own numbers: file header offsets, lock bytes, journal and WAL layout, file names.
// Source: sqlite.org/fileformat2.html and the opening comments of os_unix.c, pager.c and wal.c
// (3.40.1).  Shim-safe.

#pragma once

#include <cstddef>
#include <cstdint>
#include <string_view>

namespace litefs::sqlite {

// ---- The database file (fileformat2.html, section 1.3) ---------------------------------------
inline constexpr std::string_view kMagic{"SQLite format 3\0", 16};
inline constexpr size_t kHeaderBytes = 100;
inline constexpr size_t kPageSizeOffset = 16;      // be16; 1 means 65536
inline constexpr size_t kWriteVersionOffset = 18;  // 1 rollback journal, 2 WAL
inline constexpr size_t kReadVersionOffset = 19;
inline constexpr size_t kChangeCounterOffset = 24;    // be32
inline constexpr size_t kSizePagesOffset = 28;        // be32; valid if version-valid-for == counter
inline constexpr size_t kVersionValidForOffset = 92;  // be32
inline constexpr uint32_t kMinPageBytes = 512;
inline constexpr uint32_t kMaxPageBytes = 65536;

// ---- Locks on the database file (os_unix.c) --------------------------------------------------
inline constexpr uint64_t kPendingByte = 0x40000000;
inline constexpr uint64_t kReservedByte = kPendingByte + 1;
inline constexpr uint64_t kSharedFirst = kPendingByte + 2;
inline constexpr uint64_t kSharedBytes = 510;

// The page that holds the lock bytes: never written, never checksummed.
inline constexpr uint32_t LockPage(uint32_t page_bytes) {
  return static_cast<uint32_t>(kPendingByte / page_bytes) + 1;
}

// ---- Locks on the -shm file (wal.c, os_unix.c: UNIX_SHM_BASE) ----------------------------------
inline constexpr uint64_t kShmLockBase = 120;
inline constexpr uint64_t kShmWriteLock = kShmLockBase + 0;
inline constexpr uint64_t kShmCheckpointLock = kShmLockBase + 1;
inline constexpr uint64_t kShmRecoverLock = kShmLockBase + 2;
inline constexpr uint64_t kShmReadLock0 = kShmLockBase + 3;  // READ_LOCK(i) is kShmReadLock0 + i
inline constexpr int kShmReadLockCount = 5;
inline constexpr uint64_t kShmDeadManLock = kShmLockBase + 8;  // byte 128

// ---- The write-ahead log (fileformat2.html, section 4) -----------------------------------------
inline constexpr size_t kWalHeaderBytes = 32;
inline constexpr size_t kWalFrameHeaderBytes = 24;
inline constexpr uint32_t kWalMagicLittle = 0x377f0682;  // checksums over little-endian words
inline constexpr uint32_t kWalMagicBig = 0x377f0683;
inline constexpr uint32_t kWalVersion = 3007000;

// ---- The rollback journal (fileformat2.html, section 3) ----------------------------------------
inline constexpr size_t kJournalHeaderBytes = 28;
inline constexpr unsigned char kJournalMagic[8] = {0xd9, 0xd5, 0x05, 0xf9, 0x20, 0xa1, 0x63, 0xd7};

// ---- File names --------------------------------------------------------------------------------
inline constexpr std::string_view kJournalSuffix = "-journal";
inline constexpr std::string_view kWalSuffix = "-wal";
inline constexpr std::string_view kShmSuffix = "-shm";

}  // namespace litefs::sqlite
