// What stands in for the real functions until the constructor has found them: the same calls made
// to the kernel directly.  Shim-safe.

#pragma once

#include <sys/types.h>
#include <sys/uio.h>

#include <cstddef>

namespace litefs::preload::raw {

#define HOOK(ret, name, params, args) ret name params;
#include "preload/hooks.def"
#undef HOOK

}  // namespace litefs::preload::raw
