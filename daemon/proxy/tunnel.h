// Tunnel: bytes both ways between two peers that have left HTTP, until one side has closed.
// Belongs to the proxy's thread.

#pragma once

#include <array>
#include <functional>
#include <memory>

#include "daemon/proxy/peer.h"

namespace litefs::proxy {

class Tunnel {
 public:
  // Both must outlive the tunnel.
  Tunnel(Peer* client, Peer* server) : ways_{Way{client, server}, Way{server, client}} {}
  Tunnel(const Tunnel&) = delete;
  Tunnel& operator=(const Tunnel&) = delete;

  // Closes both in the end, and calls done once.  owner keeps this alive until then.
  void Start(const std::shared_ptr<void>& owner, std::function<void()> done);

 private:
  struct Way {
    Peer* from = nullptr;
    Peer* to = nullptr;
    std::array<char, kPieceBytes> piece{};
  };
  void Read(const std::shared_ptr<void>& owner, Way* way);
  void End(const Way& way);

  std::array<Way, 2> ways_;
  size_t ended_ = 0;
  std::function<void()> done_;
};

}  // namespace litefs::proxy
