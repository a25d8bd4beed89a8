// What nearly every test includes of libraries: common/precompiled.h says how it is read.
#ifndef LITEFS_TESTS_SUPPORT_PRECOMPILED_H_
#define LITEFS_TESTS_SUPPORT_PRECOMPILED_H_

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>
#include <random>

#include "common/precompiled.h"

#endif  // LITEFS_TESTS_SUPPORT_PRECOMPILED_H_
