#include "daemon/session/replica_events.h"

#include <cerrno>
#include <utility>

#include "ipc/codec.h"
#include "ipc/protocol.h"

namespace litefs::session {
namespace {

void AddRanges(const ReplicaEvent& event, ipc::RangesView ranges, uint64_t flags) {
  if ((flags & ipc::kFlagUnknown) != 0) event.writes->AddEverything(event.session, event.entry);
  for (size_t i = 0; i < ranges.size(); ++i) {
    event.writes->AddDirty(event.session, event.entry, ranges[i].offset, ranges[i].length);
  }
}

bool HandleRanges(const ReplicaEvent& event, std::string_view message, bool prepare) {
  ipc::Dirty dirty;
  ipc::Prepare prepared;
  if (prepare ? !ipc::Decode(message, &prepared) : !ipc::Decode(message, &dirty)) return false;
  AddRanges(event, prepare ? prepared.ranges : dirty.ranges, prepare ? prepared.flags : 0);
  return true;
}

ReplicaWrites::CommitOptions OptionsOf(uint64_t flags) {
  return {.sync = (flags & ipc::kFlagSynced) != 0,
          .asks_again = (flags & ipc::kFlagAsksAgain) != 0};
}

bool HandleCommit(const ReplicaEvent& event, std::string_view message) {
  ipc::Commit commit;
  if (!ipc::Decode(message, &commit)) return false;
  AddRanges(event, commit.ranges, commit.flags);
  event.writes->Commit(event.session, event.entry, OptionsOf(commit.flags),
                       event.answer_to(commit.id));
  return true;
}

bool HandleForward(const ReplicaEvent& event, std::string_view message) {
  ipc::Forward forward;
  if (!ipc::Decode(message, &forward)) return false;
  event.writes->CommitWal(
      event.session, event.entry,
      {.offset = forward.offset, .pgno = forward.pgno, .size_pages = forward.size_pages},
      OptionsOf(forward.flags), event.answer_to(forward.id));
  return true;
}

// Another process may have the log open, but the write lock is the app's.
bool HandleDrain(const ReplicaEvent& event, std::string_view message) {
  ipc::Drain drain;
  if (!ipc::Decode(message, &drain)) return false;
  const bool resets = drain.reason == ipc::DrainReason::kRestart;
  const bool may = resets && event.writes->MayReset(event.session, event.entry);
  event.answer_to(drain.id)(may ? 0 : EAGAIN);
  return true;
}

}  // namespace

bool HandleReplicaEvent(const ReplicaEvent& event, uint32_t type, std::string_view message) {
  if (event.writes == nullptr) return false;
  ReplicaWrites& writes = *event.writes;
  switch (static_cast<ipc::MessageType>(type)) {
    case ipc::MessageType::kLock: {
      ipc::Lock lock;
      if (!ipc::Decode(message, &lock)) return false;
      writes.Lock(event.session, event.entry, event.answer_to(lock.id));
      return true;
    }
    case ipc::MessageType::kUnlock:
      writes.Unlock(event.session, event.entry);
      return true;
    case ipc::MessageType::kDirty:
      return HandleRanges(event, message, /*prepare=*/false);
    case ipc::MessageType::kPrepare:
      return HandleRanges(event, message, /*prepare=*/true);
    case ipc::MessageType::kCommit:
      return HandleCommit(event, message);
    case ipc::MessageType::kForward:
      return HandleForward(event, message);
    case ipc::MessageType::kDone: {
      ipc::Done done;
      if (!ipc::Decode(message, &done)) return false;
      writes.Done(event.session, event.entry, static_cast<int>(done.error));
      return true;
    }
    case ipc::MessageType::kDrain:
      return HandleDrain(event, message);
    case ipc::MessageType::kBell:
      return true;  // nothing is captured here
    default:
      return false;
  }
}

}  // namespace litefs::session
