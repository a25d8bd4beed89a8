#include "daemon/proxy/peer.h"

#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/socket.h>

namespace litefs::proxy {

void Peer::Tune() {
  const int socket = stream.socket().native_handle();
  const auto set = [socket](int level, int option, int value) {
    (void)::setsockopt(socket, level, option, &value, sizeof(value));
  };
  set(IPPROTO_TCP, TCP_NODELAY, 1);
  set(SOL_SOCKET, SO_KEEPALIVE, 1);
  set(IPPROTO_TCP, TCP_KEEPIDLE, 60);
  set(IPPROTO_TCP, TCP_KEEPINTVL, 15);
  set(IPPROTO_TCP, TCP_KEEPCNT, 4);
}

void Peer::Close() {
  ErrorCode ignored;
  stream.socket().shutdown(Socket::shutdown_both, ignored);
  stream.close();
}

}  // namespace litefs::proxy
