#include "daemon/wait_requests.h"

#include <fmt/format.h>

#include <algorithm>
#include <cerrno>
#include <optional>
#include <utility>

#include "common/hex.h"
#include "common/json_text.h"
#include "ltx/types.h"

namespace litefs {
namespace {

using std::chrono::milliseconds;

constexpr size_t kMaxWaits = 1024;
constexpr milliseconds kMaxTimeout = std::chrono::hours(24);

std::string Field(const nlohmann::json& request, const char* key) {
  const auto found = request.find(key);
  return found != request.end() && found->is_string() ? found->get<std::string>() : "";
}

// Whether the database has been at this position, which lies behind it or is its own.  What
// retention has removed is taken for its own.
bool IsPast(const db::Database& database, const ltx::Position& position) {
  if (database.log().FileAfter(position).ok()) return true;
  const std::vector<ltx::Position> known = database.log().Positions();
  if (known.empty()) return true;
  if (position.txid < known.front().txid) return true;
  return std::find(known.begin(), known.end(), position) != known.end();
}

}  // namespace

struct WaitRequests::Wait {
  std::string database;
  ltx::Position position;
  bool with_checksum = false;
  session::ControlRespond respond;  // null: answered
  uint64_t id = 0;                  // of PositionWaits
  session::TaskQueue::Timer timeout;
};

void WaitRequests::Answer(const std::shared_ptr<Wait>& wait, int error, nlohmann::json json) {
  --waiting_;
  server_.Cancel(wait->timeout);
  const session::ControlRespond respond = std::exchange(wait->respond, nullptr);
  respond({.error = error, .json = JsonText(json)});
}

void WaitRequests::Handle(const nlohmann::json& request, session::ControlRespond respond) {
  const auto refuse = [&](int error, const std::string& text) {
    respond({.error = error, .json = JsonText(nlohmann::json{{"error", text}})});
  };
  auto wait = std::make_shared<Wait>();
  const std::string checksum = Field(request, "checksum");
  wait->database = Field(request, "database");
  wait->with_checksum = !checksum.empty();
  const auto position =
      ltx::ParsePosition(Field(request, "txid") + "/" +
                         (checksum.empty() ? Hex16(ltx::kEmptyDatabaseChecksum) : checksum));
  const auto timeout = request.find("timeout_ms");
  if (!position || wait->database.empty() || timeout == request.end() ||
      !timeout->is_number_unsigned()) {
    return refuse(EINVAL, "a wait needs a database, a position and a timeout");
  }
  if (waiting_ >= kMaxWaits) return refuse(EAGAIN, fmt::format("{} wait already", kMaxWaits));
  ++waiting_;
  wait->position = *position;
  wait->respond = std::move(respond);
  Start(wait);
  if (wait->respond == nullptr) return;
  const milliseconds limit(std::min<uint64_t>(timeout->get<uint64_t>(), kMaxTimeout.count()));
  wait->timeout = server_.After(limit, [this, wait] {
    waits_.Remove(wait->id);
    store::Store::Entry* const entry = store_().Find(wait->database);
    const ltx::Position at = entry == nullptr ? ltx::Position() : entry->database->position();
    Answer(wait, ETIMEDOUT,
           {{"error", fmt::format("{} is at {}, not yet at {}", wait->database,
                                  ltx::FormatPosition(at), Hex16(wait->position.txid))},
            {"txid", Hex16(at.txid)},
            {"checksum", Hex16(at.checksum)}});
  });
}

// Waits before it looks, so that nothing falls between the two.
void WaitRequests::Start(const std::shared_ptr<Wait>& wait) {
  wait->id = waits_.Add(wait->database, wait->position.txid, [this, wait] {
    server_.Post([this, wait] {
      if (wait->respond != nullptr) Start(wait);
    });
  });
  if (Look(wait)) waits_.Remove(wait->id);
}

// True if it is answered.
bool WaitRequests::Look(const std::shared_ptr<Wait>& wait) {
  store::Store::Entry* const entry = store_().Find(wait->database);
  if (entry == nullptr) return false;
  if (entry->primary != nullptr) (void)entry->primary->CaptureWal();
  const ltx::Position at = entry->database->position();
  if (at.txid < wait->position.txid) return false;
  const nlohmann::json json = {{"txid", Hex16(at.txid)}, {"checksum", Hex16(at.checksum)}};
  const bool other = at.txid == wait->position.txid ? at.checksum != wait->position.checksum
                                                    : !IsPast(*entry->database, wait->position);
  if (wait->with_checksum && other) {
    nlohmann::json refusal = json;
    refusal["error"] = fmt::format("{} is at {}: {} is of another branch", wait->database,
                                   ltx::FormatPosition(at), ltx::FormatPosition(wait->position));
    Answer(wait, EIDRM, std::move(refusal));
  } else {
    Answer(wait, 0, json);
  }
  return true;
}

}  // namespace litefs
