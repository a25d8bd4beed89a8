#include "daemon/proxy/tunnel.h"

#include <boost/asio/buffer.hpp>
#include <boost/asio/write.hpp>
#include <utility>

namespace litefs::proxy {

namespace asio = boost::asio;

void Tunnel::Start(const std::shared_ptr<void>& owner, std::function<void()> done) {
  done_ = std::move(done);
  for (Way& way : ways_) {
    way.from->stream.expires_never();
    // What came with the last of HTTP.
    asio::async_write(way.to->stream, way.from->buffer.data(),
                      [this, owner, way = &way](ErrorCode error, size_t) {
                        way->from->buffer.clear();
                        if (error) return End(*way);
                        Read(owner, way);
                      });
  }
}

void Tunnel::Read(const std::shared_ptr<void>& owner, Way* way) {
  way->from->stream.async_read_some(
      asio::buffer(way->piece), [this, owner, way](ErrorCode error, size_t n) {
        if (error) return End(*way);
        asio::async_write(way->to->stream, asio::buffer(way->piece.data(), n),
                          [this, owner, way](ErrorCode write_error, size_t) {
                            if (write_error) return End(*way);
                            Read(owner, way);
                          });
      });
}

void Tunnel::End(const Way& way) {
  way.from->Close();
  way.to->Close();
  if (++ended_ == ways_.size()) std::exchange(done_, nullptr)();
}

}  // namespace litefs::proxy
