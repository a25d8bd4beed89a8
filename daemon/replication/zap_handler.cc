#include "daemon/replication/zap_handler.h"

#include <fmt/format.h>

#include <array>
#include <string>
#include <utility>

#include "common/log.h"
#include "daemon/replication/curve_keys.h"

namespace litefs::replication {
namespace {

constexpr std::string_view kVersion = "1.0";
constexpr size_t kMaxRequestFrames = 16;

// The frames of a request, by number.
enum : size_t {
  kVersionFrame,
  kIdFrame,
  kDomainFrame,
  kAddressFrame,
  kIdentityFrame,
  kMechanismFrame,
  kKeyFrame,
  kCurveFrames
};

}  // namespace

absl::StatusOr<std::unique_ptr<ZapHandler>> ZapHandler::Start(zmq::context_t& context,
                                                              PeerList* peers, Refusals* refusals) {
  try {
    zmq::socket_t socket(context, zmq::socket_type::rep);
    socket.set(zmq::sockopt::linger, 0);
    socket.bind("inproc://zeromq.zap.01");
    std::unique_ptr<ZapHandler> handler(new ZapHandler(std::move(socket), peers, refusals));
    handler->thread_ = std::thread([raw = handler.get()] { raw->Run(); });
    return handler;
  } catch (const zmq::error_t& error) {
    return absl::UnknownError(fmt::format("start the authentication of peers: {}", error.what()));
  }
}

ZapHandler::~ZapHandler() {
  if (!thread_.joinable()) return;
  {
    MutexLock lock(mu_);
    stopping_ = true;
  }
  wakeup_.Signal();
  thread_.join();
}

void ZapHandler::Run() {
  for (;;) {
    std::array<zmq::pollitem_t, 2> items = {
        {{nullptr, wakeup_.fd(), ZMQ_POLLIN, 0}, {socket_.handle(), 0, ZMQ_POLLIN, 0}}};
    try {
      zmq::poll(items.data(), items.size(), std::chrono::milliseconds(-1));
      {
        MutexLock lock(mu_);
        if (stopping_) break;
      }
      if (items[1].revents != 0) Answer();
    } catch (const zmq::error_t& error) {
      if (error.num() == EINTR) continue;
      // Without answers nobody is let in any more.
      LogError("replication", fmt::format("authentication of peers stops: {}", error.what()));
      break;
    }
  }
  socket_.close();
}

void ZapHandler::Answer() {
  std::vector<zmq::message_t> request;
  bool more = true;
  while (more) {
    zmq::message_t frame;
    if (!socket_.recv(frame, zmq::recv_flags::dontwait)) return;
    more = frame.more();
    if (request.size() < kMaxRequestFrames) request.push_back(std::move(frame));
  }
  const std::string name = NameOf(request);
  const std::string id = request.size() > kIdFrame ? request[kIdFrame].to_string() : "";
  const std::array<std::string, 6> reply = {std::string(kVersion),
                                            id,
                                            name.empty() ? "400" : "200",
                                            name.empty() ? "not on the list of peers" : "OK",
                                            name,
                                            ""};
  for (size_t i = 0; i < reply.size(); ++i) {
    socket_.send(zmq::buffer(reply[i]),
                 i + 1 < reply.size() ? zmq::send_flags::sndmore : zmq::send_flags::none);
  }
}

std::string ZapHandler::NameOf(const std::vector<zmq::message_t>& request) {
  const std::string address =
      request.size() > kAddressFrame ? request[kAddressFrame].to_string() : "";
  constexpr std::string_view kMapped = "::ffff:";  // IPv4, by a socket of both
  const std::string from = address.empty()                ? "unix-socket"
                           : address.starts_with(kMapped) ? address.substr(kMapped.size())
                                                          : address;
  if (request.size() != kCurveFrames || request[kVersionFrame].to_string_view() != kVersion ||
      request[kMechanismFrame].to_string_view() != "CURVE" ||
      request[kKeyFrame].size() != kCurveKeyBytes) {
    refusals_->Add(fmt::format(
        "address={} why=\"it did not prove a key by CURVE: give it security.key-file\"", from));
    return "";
  }
  const auto* const key = static_cast<const std::byte*>(request[kKeyFrame].data());
  const std::string text = CurveKeyText(std::span(key, kCurveKeyBytes));
  // A list that cannot be read lets nobody in, and says so.
  if (const absl::Status status = peers_->Reload(); !status.ok()) {
    LogError("replication", std::string(status.message()));
  }
  if (const std::optional<std::string> name = peers_->Find(text)) return *name;
  refusals_->Add(
      fmt::format("address={} key=\"{}\" why=\"this key is not on the list: add it to "
                  "security.peers or security.peers-file\"",
                  from, text));
  return "";
}

}  // namespace litefs::replication
