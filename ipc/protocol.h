// The whole contract between the shim in an application's process and the daemon: where they meet,
// the messages (docs/IPC.md draws them), the shared status page, and every limit.  Bump
// kProtocolVersion with any change.  Shim-safe.
//
// One session is one process and one database: the shim connects when the process first takes a
// write lock (or writes a WAL) on that database, and disconnects when the last descriptor on it is
// closed.  So a message never says which database it means.

#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <string_view>

namespace litefs::ipc {

inline constexpr uint32_t kProtocolVersion = 6;

// A directory that a daemon manages holds this directory; the socket lies in it.
inline constexpr char kControlDirectory[] = ".litefs";
inline constexpr char kSocketName[] = "socket";  // AF_UNIX, SOCK_SEQPACKET
inline constexpr char kStatusName[] = "status";  // the file behind StatusPage and BellPage

// A larger message is a protocol error.  (The default socket buffer takes 212,960 bytes.)
inline constexpr size_t kMaxMessageBytes = 64 << 10;
// A kControlReply with this JSON carries the file that the JSON, too long for a message, is in.
inline constexpr std::string_view kJsonInDescriptor = R"({"in_descriptor":true})";
// Fields of one message: type and a few numbers; ranges travel as one byte string.
inline constexpr size_t kMaxMessageFields = 16;
// Welcome's errno for a file that is no database by the daemon's configuration: the shim leaves it
// alone until it is closed.  ENOENT.
inline constexpr uint32_t kErrorForeign = 2;
// The app has asked for no lock on the database (nolock, unix-none, unix-dotfile): nothing shows
// when it is in a transaction.
inline constexpr uint64_t kHelloLockless = 1;
// Welcome's flags: a commit waits for replicas (kSync) once it is done; and does so for as long as
// it takes, even if the daemon is away.
inline constexpr uint64_t kWelcomeSync = 1;
inline constexpr uint64_t kWelcomeSyncWait = 2;
inline constexpr size_t kMaxDatabaseNameBytes = 247;  // its -journal fits NAME_MAX

// The first field of every message.  Never change the number of a released type.
enum class MessageType : uint32_t {
  // Shim to daemon.  [R] is answered; all others are one-way.
  kHello = 1,    // [R] the session's first message
  kDirty = 2,    // ranges written; sent when the shim's own list of them is full
  kPrepare = 3,  // the app is syncing the database: read these ranges now
  kCommit = 4,   // [R] the app is at its commit point: answer when the transaction is prepared
  kDone = 5,     // the commit point's call has returned
  kBell = 6,     // a WAL commit, or one told by the ring; only sent while the daemon sleeps
  kDrain = 7,    // [R] WAL frames are about to vanish: answer when all committed ones are captured
  kSync = 8,     // [R] a commit is done: answer when enough replicas have stored it
  kRing = 12,    // [R] a page ring (common/page_ring.h) is wanted, on a primary
  // On a replica, where writes are forwarded:
  kLock = 9,      // [R] the app is about to take SQLite's write lock: answer when it can be had
  kUnlock = 10,   // it has let go of it, or has not got it
  kForward = 11,  // [R] as kCommit, in WAL mode: the frame before its header is written
  // Command line to daemon.
  kControl = 20,  // [R] a request in JSON
  // Daemon to the others.
  kWelcome = 101,
  kReply = 102,
  kControlReply = 103,
};

// kHello: version, pid, database file name, st_dev, st_ino, program name, flags (kHelloLockless)
// kWelcome: version, errno, role, bell slot, message, flags; carries the status file's descriptor
//           (SCM_RIGHTS) when errno is 0.
// kDirty: ranges
// kPrepare: flags, ranges
// kCommit: request id, flags, ranges
// kDone: errno of the call (0: the transaction is committed)
// kBell: -
// kDrain: request id, reason
// kSync: request id, how long the commit has waited so far (milliseconds)
// kRing: request id; its reply carries the descriptor of the ring's file
// kLock: request id
// kUnlock: -
// kForward: request id, flags, offset of the frame in the WAL, its page, the database's size in
//           pages
// kReply: request id, errno.  Of kSync: EAGAIN, not yet: ask again; EBUSY, it is not in the chain
//         yet; EIO, it never will be known
// kControl: request id, JSON        kControlReply: request id, errno, JSON (may carry a descriptor)
//
// "ranges" is one byte string of DirtyRange structs, host byte order.
struct DirtyRange {
  uint64_t offset = 0;  // bytes into the database file
  uint64_t length = 0;  // bytes
};
static_assert(sizeof(DirtyRange) == 16);

// Flags of kPrepare, kCommit and kForward.
inline constexpr uint64_t kFlagSynced = 1;   // the app syncs the database
inline constexpr uint64_t kFlagUnknown = 2;  // ranges were lost (daemon restart): compare all pages
inline constexpr uint64_t kFlagRecheck = 4;  // no commit is claimed (lock release, MEMORY, OFF)
// The shim knows that EAGAIN is no answer to a commit on a replica: it asks again.
inline constexpr uint64_t kFlagAsksAgain = 8;

enum class DrainReason : uint32_t { kRestart = 1, kTruncate = 2, kUnlink = 3 };

enum class Role : uint32_t { kPrimary = 1, kReplica = 2 };

// What an app on a replica gets that opens a database for writing: nothing yet, and "database is
// locked" at its first write; or a database that is read-only; or its transactions are forwarded to
// the primary (docs/FORWARDING.md).
enum class OnReplicaWrite : uint32_t { kBusy = 0, kReadOnly = 1, kForward = 2 };

// What a writer does when the daemon has been away for the write time-out.
enum class WhenAway : uint32_t { kRefuse = 0, kContinue = 1 };

// The first page of the status file: written by the daemon, mapped read-only by the shim.  It says
// what the last daemon wanted also while none runs.
struct StatusPage {
  uint32_t magic;    // kStatusMagic
  uint32_t version;  // kProtocolVersion
  std::atomic<uint32_t> role;
  std::atomic<uint32_t> write_timeout_ms;  // how long a write waits for an absent daemon
  std::atomic<uint64_t> epoch;
  // CLOCK_BOOTTIME, nanoseconds: past it no write lock is granted and no commit passes.
  std::atomic<uint64_t> lease_deadline_ns;
  std::atomic<uint64_t> generation;        // grows with each start of the daemon
  std::atomic<uint32_t> when_away;         // WhenAway
  std::atomic<uint32_t> on_replica_write;  // OnReplicaWrite
  // A robust mutex that the daemon's serving thread holds: its first word is its futex, in which
  // the kernel sets FUTEX_OWNER_DIED when that thread ends in whatever way (futex(2),
  // set_robust_list(2)).  So a shim sees without a system call that the daemon is there.
  struct alignas(8) Life {
    std::atomic<uint32_t> futex;
    uint32_t rest[15];
  } life;
  std::atomic<uint32_t> ended_sessions;  // grows when the daemon has closed one
};

// Whether the daemon that the page is of serves now.
inline bool IsServing(const StatusPage& page) {
  constexpr uint32_t kOwnerDied = 0x40000000;  // FUTEX_OWNER_DIED
  const uint32_t word = page.life.futex.load(std::memory_order_acquire);
  return word != 0 && (word & kOwnerDied) == 0;
}
inline constexpr uint32_t kStatusMagic = 0x4c465331;
inline constexpr size_t kStatusPageBytes = 4096;
inline constexpr uint64_t kNoDeadline = ~uint64_t{0};

// The rest of the status file: written by both sides.  Nothing here is trusted: a wrong value
// costs a late or a needless wake-up, no more.
//
// The shim, after a WAL commit:   ++bells[slot]; if (sleeping) send kBell.
// The daemon, before it sleeps:   sleeping = 1; look at every bell once more.
// All four are sequentially consistent, so one of the two always sees the other.
inline constexpr uint32_t kBellCount = 8192;
struct BellPage {
  std::atomic<uint32_t> sleeping;
  uint32_t reserved[15];
  std::atomic<uint32_t> bells[kBellCount];  // by bell slot, modulo
  // By bell slot: an app waits for a write lock that the daemon holds for a replica.  Set by the
  // shim, cleared by the daemon.
  std::atomic<uint32_t> wanted[kBellCount];
};
inline constexpr size_t kStatusFileBytes = kStatusPageBytes + ((sizeof(BellPage) + 4095) & ~4095UL);
static_assert(sizeof(StatusPage) <= kStatusPageBytes);
static_assert(std::atomic<uint64_t>::is_always_lock_free);

}  // namespace litefs::ipc
