// WaitRequests: the control request "wait": answers when a database has reached a position.
//
// All methods belong to the main thread.

#pragma once

#include <chrono>
#include <functional>
#include <memory>
#include <nlohmann/json.hpp>
#include <string>

#include "daemon/position_waits.h"
#include "daemon/session/session.h"
#include "daemon/session/session_server.h"
#include "daemon/store/store.h"

namespace litefs {

class WaitRequests {
 public:
  // All must outlive this, and server's tasks must not run after it.  store: the one of now.
  WaitRequests(session::SessionServer* server, PositionWaits* waits,
               std::function<store::Store&()> store)
      : server_(*server), waits_(*waits), store_(std::move(store)) {}

  // {"database", "txid", "checksum" (may be missing), "timeout_ms"}; digits as in "pos".  Answers
  // {"txid", "checksum"}: where the database is now; ETIMEDOUT with the same; EIDRM: the position
  // is of another branch; EINVAL; EAGAIN: too many wait.
  void Handle(const nlohmann::json& request, session::ControlRespond respond);

 private:
  struct Wait;
  bool Look(const std::shared_ptr<Wait>& wait);
  void Start(const std::shared_ptr<Wait>& wait);
  void Answer(const std::shared_ptr<Wait>& wait, int error, nlohmann::json json);

  session::SessionServer& server_;
  PositionWaits& waits_;
  const std::function<store::Store&()> store_;
  size_t waiting_ = 0;
};

}  // namespace litefs
