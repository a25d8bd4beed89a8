// The shim's end of a session, one level above the system calls: connect, send, receive with a
// deadline.  Raw system calls only: no errno, no cancellation point, no wrapper of somebody else's.
// Errors are -errno.  Shim-safe; no state.

#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string_view>

namespace litefs::ipc {

// CLOCK_MONOTONIC and CLOCK_BOOTTIME in nanoseconds.
int64_t MonotonicNow();
uint64_t BootTimeNow();

// Waits for the given time, or until a signal has been handled.
void Pause(int64_t nanoseconds);

// Connects to DIRECTORY/.litefs/socket, without blocking.  Returns a descriptor (CLOEXEC) or
// -errno.
int ConnectTo(std::string_view directory);
// Opens DIRECTORY/.litefs/status for reading and writing.  Returns a descriptor (CLOEXEC) or
// -errno.
int OpenStatus(std::string_view directory);

// The same for the path of a socket.
int ConnectToSocket(std::string_view path);

// Sends one message; waits for room until the deadline (MonotonicNow's clock).  0 or -errno
// (-ETIMEDOUT).
int SendMessage(int fd, std::span<const char> message, int64_t deadline);

// Receives one message; -ECONNRESET if the peer is gone, -EMSGSIZE if it does not fit,
// -ETIMEDOUT.  A descriptor that came with it goes to *passed_fd (else -1), which may be null.
int ReceiveMessage(int fd, std::span<char> buffer, int64_t deadline, int* passed_fd);

// True while the peer is connected and nothing unasked-for has arrived.
bool IsIdle(int fd);

}  // namespace litefs::ipc
