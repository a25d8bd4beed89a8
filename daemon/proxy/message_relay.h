// MessageRelay: passes one HTTP message on, the header and then the body piece by piece as it
// comes.  What is on its way is one piece.  Belongs to the proxy's thread.

#pragma once

#include <array>
#include <boost/beast/http/buffer_body.hpp>
#include <boost/beast/http/error.hpp>
#include <boost/beast/http/read.hpp>
#include <boost/beast/http/serializer.hpp>
#include <boost/beast/http/write.hpp>
#include <chrono>
#include <functional>
#include <memory>
#include <utility>

#include "daemon/proxy/peer.h"

namespace litefs::proxy {

template <bool kIsRequest>
class MessageRelay {
 public:
  enum class Failed { kNothing, kSource, kSink };
  using Done = std::function<void(Failed, ErrorCode)>;
  struct Parts {
    Peer* from = nullptr;
    Parser<kIsRequest>* parser = nullptr;  // has read the header, which may have been changed
    Stream* to = nullptr;
    std::chrono::seconds source_time{};  // for each piece to come
    bool header_only = false;
  };
  // All must outlive the relay.
  explicit MessageRelay(const Parts& parts) : parts_(parts), serializer_(parts.parser->get()) {}
  MessageRelay(const MessageRelay&) = delete;
  MessageRelay& operator=(const MessageRelay&) = delete;

  // Calls done once.  owner keeps this alive until then.
  void Start(std::shared_ptr<void> owner, Done done) {
    done_ = std::move(done);
    parts_.to->expires_after(kProgressTime);
    boost::beast::http::async_write_header(
        *parts_.to, serializer_, [this, owner = std::move(owner)](ErrorCode error, size_t) {
          if (error) return End(Failed::kSink, error);
          const bool all = parts_.header_only || parts_.parser->is_done();  // there is no body
          if (all) return End(Failed::kNothing, {});
          Read(owner);
        });
  }

 private:
  void Read(const std::shared_ptr<void>& owner) {
    auto& body = parts_.parser->get().body();
    body = {.data = nullptr, .size = 0, .more = false};
    if (parts_.parser->is_done()) return Write(owner);
    body.data = piece_.data();
    body.size = piece_.size();
    parts_.from->stream.expires_after(parts_.source_time);
    boost::beast::http::async_read_some(
        parts_.from->stream, parts_.from->buffer, *parts_.parser,
        [this, owner](ErrorCode error, size_t) {
          if (error && error != boost::beast::http::error::need_buffer) {
            return End(Failed::kSource, error);
          }
          auto& read = parts_.parser->get().body();
          read = {.data = piece_.data(),
                  .size = piece_.size() - read.size,
                  .more = !parts_.parser->is_done()};
          if (read.size == 0 && read.more) return Read(owner);
          Write(owner);
        });
  }

  void Write(const std::shared_ptr<void>& owner) {
    parts_.to->expires_after(kProgressTime);
    boost::beast::http::async_write(
        *parts_.to, serializer_, [this, owner](ErrorCode error, size_t) {
          if (error && error != boost::beast::http::error::need_buffer) {
            return End(Failed::kSink, error);
          }
          if (serializer_.is_done()) return End(Failed::kNothing, {});
          Read(owner);
        });
  }

  void End(Failed failed, ErrorCode error) { std::exchange(done_, nullptr)(failed, error); }

  const Parts parts_;
  boost::beast::http::serializer<kIsRequest, boost::beast::http::buffer_body> serializer_;
  std::array<char, kPieceBytes> piece_;
  Done done_;
};

}  // namespace litefs::proxy
