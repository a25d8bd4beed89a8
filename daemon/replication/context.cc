#include "daemon/replication/context.h"

#include <fmt/format.h>

#include "common/status_macros.h"
#include "daemon/replication/connection_guard.h"

namespace litefs::replication {

Context::Context(Security security) : security_(std::move(security)) {}

Context::~Context() = default;

absl::StatusOr<std::unique_ptr<Context>> Context::Open(Security security) {
  try {
    std::unique_ptr<Context> context(new Context(std::move(security)));
    context->zmq_.set(zmq::ctxopt::ipv6, 1);
    Security& own = context->security_;
    if (own.encrypted()) {
      if (own.peers == nullptr) own.peers = std::make_shared<PeerList>(PeerList::Names(), "");
      RETURN_IF_ERROR(own.peers->Reload());
      ASSIGN_OR_RETURN(context->zap_,
                       ZapHandler::Start(context->zmq_, own.peers.get(), &context->refusals_));
    }
    PeerList* const peers = own.encrypted() ? own.peers.get() : nullptr;
    ASSIGN_OR_RETURN(context->guard_, ConnectionGuard::Start(peers, &context->refusals_));
    return context;
  } catch (const zmq::error_t& error) {
    return absl::UnknownError(fmt::format("create a ZeroMQ context: {}", error.what()));
  }
}

}  // namespace litefs::replication
