// RETURN_IF_ERROR and ASSIGN_OR_RETURN over absl::Status, as used by all hosted code.  The shim
// does not use absl; it returns -errno.

#pragma once

#include <utility>

#include "absl/status/status.h"
#include "absl/status/statusor.h"

#define RETURN_IF_ERROR(expr)                                         \
  do {                                                                \
    if (::absl::Status status_macro_ = (expr); !status_macro_.ok()) { \
      return status_macro_;                                           \
    }                                                                 \
  } while (false)

#define LITEFS_CONCAT_INNER(a, b) a##b
#define LITEFS_CONCAT(a, b) LITEFS_CONCAT_INNER(a, b)

// ASSIGN_OR_RETURN(auto x, Function()): declares x, or returns the error.
#define ASSIGN_OR_RETURN(lhs, expr) \
  ASSIGN_OR_RETURN_INNER(LITEFS_CONCAT(status_or_, __LINE__), lhs, expr)
#define ASSIGN_OR_RETURN_INNER(temporary, lhs, expr) \
  auto temporary = (expr);                           \
  if (!temporary.ok()) return temporary.status();    \
  lhs = std::move(temporary).value()
