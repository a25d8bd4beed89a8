// What happens when the library is loaded, and around fork.

#include <dlfcn.h>

#include "preload/interceptor.h"
#include "preload/real.h"

extern "C" void* __dso_handle;  // this library's own, for glibc

namespace {

using Handler = void();

// Looked up, not linked: what pthread_atfork links against is glibc's own, and musl has it not.
void AroundFork(Handler* before, Handler* in_parent, Handler* in_child) {
  using RegisterAtfork = int(Handler*, Handler*, Handler*, void*);
  using PthreadAtfork = int(Handler*, Handler*, Handler*);
  if (void* found = dlsym(RTLD_DEFAULT, "__register_atfork"); found != nullptr) {
    reinterpret_cast<RegisterAtfork*>(found)(before, in_parent, in_child, &__dso_handle);
  } else if (found = dlsym(RTLD_DEFAULT, "pthread_atfork"); found != nullptr) {
    reinterpret_cast<PthreadAtfork*>(found)(before, in_parent, in_child);
  }
}

__attribute__((constructor)) void Load() {
  using litefs::preload::Interceptor;
  litefs::preload::ResolveReal();
  Interceptor::Load();
  AroundFork(Interceptor::BeforeFork, Interceptor::AfterForkInParent,
             Interceptor::AfterForkInChild);
}

}  // namespace
