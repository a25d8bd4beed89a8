#include "preload/fd_table.h"

namespace litefs::preload {

constinit FdTable fd_table;

}  // namespace litefs::preload
