// Whatever arrives on the socket: every decoder, and that an accepted message encodes to one that
// is accepted again.

#include <cstdint>
#include <cstdlib>

#include "ipc/codec.h"

namespace {

template <typename Message>
void Try(std::string_view data) {
  static char buffer[litefs::ipc::kMaxMessageBytes + 64];
  Message message;
  if (!litefs::ipc::Decode(data, &message)) return;
  const size_t size = litefs::ipc::Encode(message, buffer);
  Message again;
  if (size == 0 || !litefs::ipc::Decode({buffer, size}, &again)) std::abort();
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* bytes, size_t size) {
  namespace ipc = litefs::ipc;
  const std::string_view data(reinterpret_cast<const char*>(bytes), size);
  ipc::TypeOf(data);
  Try<ipc::Hello>(data);
  Try<ipc::Welcome>(data);
  Try<ipc::Dirty>(data);
  Try<ipc::Prepare>(data);
  Try<ipc::Commit>(data);
  Try<ipc::Done>(data);
  Try<ipc::Bell>(data);
  Try<ipc::Drain>(data);
  Try<ipc::Ring>(data);
  Try<ipc::Reply>(data);
  Try<ipc::Control>(data);
  Try<ipc::ControlReply>(data);
  return 0;
}
