#include "daemon/lease/lease.h"

#include <algorithm>

namespace litefs::lease {

milliseconds SafeTime(milliseconds ttl) { return ttl - std::max(ttl / 5, milliseconds(100)); }

}  // namespace litefs::lease
