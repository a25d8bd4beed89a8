// ThreadSanitizer does not see how libzmq, which is not built with it, hands messages from thread
// to thread: calls of memcpy, free, write and so on from inside it are not looked at, nor its
// writing to a stream of endpoints that another thread has given it.  Our own threads hand over
// through common/mutex.h and atomics, which it does see.
//
// ConnectionGuard looks at descriptors that are libzmq's, by three functions, and makes sure each
// time that the number stands for the connection; that others open and close files is no race.

#if defined(__SANITIZE_THREAD__)
extern "C" const char* __tsan_default_suppressions() {
  return "called_from_lib:libzmq.so\n"
         "race:std::basic_streambuf*xsputn\n"
         "race:SocketInode\n"
         "race:BytesRead\n"
         "race:ResetPeer\n";
}
#endif
