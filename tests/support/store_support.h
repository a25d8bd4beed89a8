// The stores that the tests of tests/archive run on: "file" always; "s3" and "sftp" when
// LITEFS_TEST_S3_URL (with AWS_ACCESS_KEY_ID and so on) and LITEFS_TEST_SFTP_URL name a server.

#pragma once

#include <cstdlib>
#include <memory>
#include <string>
#include <vector>

#include "daemon/archive/object_store.h"

namespace litefs::archive {

std::vector<std::string> StoresUnderTest();

// The options of an empty place in the store of that kind.
StoreOptions FreshPlace(const std::string& kind);

// Opens such a place; fails the test if it cannot.
void OpenFresh(const std::string& kind, std::unique_ptr<ObjectStore>* store);

}  // namespace litefs::archive
