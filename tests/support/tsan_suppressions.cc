// ThreadSanitizer does not see how libzmq, which is not built with it, hands messages from thread
// to thread: calls of memcpy, free, write and so on from inside it are not looked at.  Our own
// threads hand over through common/mutex.h and atomics, which it does see.

#if defined(__SANITIZE_THREAD__)
extern "C" const char* __tsan_default_suppressions() { return "called_from_lib:libzmq.so\n"; }
#endif
