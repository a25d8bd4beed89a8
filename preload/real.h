// The libc functions that lie beneath our hooks.  Filled by the constructor (load.cc) with the next
// library's symbols; until then each entry is a raw system call (raw_calls.h), so a hook never has
// to ask, and never calls dlsym.
//
// Shim code calls real.pwrite64(...), never ::pwrite64(...): that would enter our own hook.

#pragma once

#include <sys/types.h>
#include <sys/uio.h>

#include <cstddef>

namespace litefs::preload {

struct RealTable {
#define HOOK(ret, name, params, args) ret(*name) params;
#include "preload/hooks.def"
#undef HOOK
};

extern RealTable real;

// Looks every function up with dlsym(RTLD_NEXT); one that libc lacks stays a system call.
void ResolveReal();

}  // namespace litefs::preload
