// What happens when the library is loaded, and around fork.

#include <pthread.h>

#include "preload/interceptor.h"
#include "preload/real.h"

namespace {

__attribute__((constructor)) void Load() {
  using litefs::preload::Interceptor;
  litefs::preload::ResolveReal();
  Interceptor::Load();
  pthread_atfork(Interceptor::BeforeFork, Interceptor::AfterForkInParent,
                 Interceptor::AfterForkInChild);
}

}  // namespace
