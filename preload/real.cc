#include "preload/real.h"

#include <dlfcn.h>

#include "preload/raw_calls.h"

namespace litefs::preload {

constinit RealTable real = {
#define HOOK(ret, name, params, args) .name = raw::name,
#include "preload/hooks.def"
#undef HOOK
};

namespace {

template <typename F>
void Resolve(F*& slot, const char* name) {
  if (void* found = dlsym(RTLD_NEXT, name); found != nullptr) slot = reinterpret_cast<F*>(found);
}

}  // namespace

void ResolveReal() {
#define HOOK(ret, name, params, args) Resolve(real.name, #name);
#include "preload/hooks.def"
#undef HOOK
}

}  // namespace litefs::preload
