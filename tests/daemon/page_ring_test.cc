// Both ends of a page ring: the shim's (preload/page_stage.h) and the daemon's.

#include "daemon/db/page_ring.h"

#include <gtest/gtest.h>
#include <sys/mman.h>

#include <algorithm>
#include <cstring>
#include <memory>
#include <random>
#include <string>
#include <string_view>
#include <vector>

#include "common/endian.h"
#include "preload/page_stage.h"

namespace litefs::db {
namespace {

constexpr uint32_t kPageBytes = 4096;
constexpr uint64_t kPagesOfRing =
    (kRingBytes - sizeof(RingTransaction)) / (kPageBytes + sizeof(RingPage));

std::string Page(char fill, uint32_t bytes = kPageBytes) { return std::string(bytes, fill); }

// Page 1 of a database in a rollback mode.
std::string FirstPage(uint32_t counter, uint32_t bytes = kPageBytes) {
  std::string page(bytes, 'h');
  page.replace(0, 16, std::string_view("SQLite format 3\0", 16));
  page[16] = static_cast<char>(bytes >> 8);
  page[17] = static_cast<char>(bytes);
  page[18] = page[19] = 1;
  page.replace(20, 4, std::string_view("\0\x40\x20\x20", 4));
  StoreBig32(page.data() + 24, counter);
  StoreBig32(page.data() + 28, 7);
  StoreBig32(page.data() + 92, counter);
  return page;
}

class PageRingTest : public testing::Test {
 protected:
  void SetUp() override {
    auto ring = PageRing::Create();
    ASSERT_TRUE(ring.ok()) << ring.status();
    ring_ = *std::move(ring);
    map_ = ::mmap(nullptr, kRingFileBytes, PROT_READ | PROT_WRITE, MAP_SHARED,
                  ring_->TakeDescriptor().get(), 0);
    ASSERT_NE(map_, MAP_FAILED);
    stage_.SetRing(static_cast<RingHeader*>(map_));
  }
  ~PageRingTest() override { ::munmap(map_, kRingFileBytes); }

  void Add(ltx::PageNo pgno, const std::string& page) {
    stage_.Add(uint64_t{pgno - 1} * page.size(), page);
  }
  // A transaction of page 1 and others.
  void Publish(uint32_t counter, int others = 0) {
    stage_.Begin(true, counter - 1);
    Add(1, FirstPage(counter));
    for (int i = 0; i < others; ++i) Add(static_cast<ltx::PageNo>(i + 2), Page('a'));
    ASSERT_TRUE(stage_.complete());
    stage_.Publish();
    stage_.Forget();
  }
  // The change counter of the next transaction, which is taken; 0: none.
  uint32_t Take() {
    ring_->Look();
    const auto next = ring_->Peek();
    EXPECT_TRUE(next.ok()) << next.status();
    if (!next.ok() || *next == nullptr) return 0;
    const uint32_t counter = (*next)->header.change_counter;
    EXPECT_EQ((*next)->base, counter - 1);
    EXPECT_TRUE(ring_->Take(&pages_).ok());
    return counter;
  }
  RingHeader& shared() { return *static_cast<RingHeader*>(map_); }

  std::unique_ptr<PageRing> ring_;
  void* map_ = nullptr;
  preload::PageStage stage_{};
  PageCollection pages_;
};

TEST_F(PageRingTest, HandsOverWhatIsPublished) {
  stage_.Begin(true, 40);
  Add(3, Page('x'));
  Add(1, FirstPage(41));
  Add(3, Page('y'));
  EXPECT_EQ(Take(), 0u) << "nothing is published";
  ASSERT_TRUE(stage_.complete());
  stage_.Publish();
  ASSERT_EQ(Take(), 41u);
  EXPECT_EQ(Take(), 0u);
  pages_.Sort();
  std::vector<ltx::PageNo> numbers;
  pages_.Pages(9, &numbers);
  EXPECT_EQ(numbers, (std::vector<ltx::PageNo>{1, 3}));
  EXPECT_EQ(pages_.Find(3)[0], std::byte{'y'}) << "the newest";
  EXPECT_TRUE(pages_.Find(2).empty());
  pages_.Pages(2, &numbers);
  EXPECT_EQ(numbers, (std::vector<ltx::PageNo>{1}));
}

TEST_F(PageRingTest, GoesRoundAndRoundWhileItIsNeverEmpty) {
  Publish(1, 5);
  for (uint32_t counter = 2; counter < 1000; ++counter) {
    Publish(counter, static_cast<int>(counter % 23));
    pages_.Clear();
    ASSERT_EQ(Take(), counter - 1);
    pages_.Sort();
    ASSERT_EQ(LoadBig32(reinterpret_cast<const char*>(pages_.Find(1).data()) + 24), counter - 1);
    ring_->Release();
  }
}

TEST_F(PageRingTest, AnEmptyOneIsUsedFromItsBeginning) {
  for (uint32_t counter = 1; counter < 1000; ++counter) {
    Publish(counter, 2);
    ASSERT_EQ(Take(), counter);
    ring_->Release();
    ASSERT_LT(shared().head.load() % kRingBytes, 4 * (kPageBytes + 16u));
  }
}

TEST_F(PageRingTest, SeveralFollowAtItsBeginning) {
  uint32_t counter = 0;
  for (int round = 0; round < 500; ++round) {
    const uint32_t first = counter + 1;
    for (int i = 0; i <= round % 7; ++i) Publish(++counter, i);
    for (uint32_t wanted = first; wanted <= counter; ++wanted) ASSERT_EQ(Take(), wanted);
    EXPECT_EQ(Take(), 0u);
    ring_->Release();
    pages_.Clear();
  }
}

TEST_F(PageRingTest, TakesAsMuchAsFitsInAnyPlace) {
  Publish(1, 9);
  ASSERT_EQ(Take(), 1u);
  ring_->Release();  // empty, and not at its beginning
  Publish(2, kPagesOfRing - 1);
  ASSERT_EQ(Take(), 2u);
  stage_.Begin(true, 0);
  Add(1, FirstPage(3));
  EXPECT_FALSE(stage_.complete()) << "no room is released";
  ring_->Release();
  Publish(3);
  EXPECT_EQ(Take(), 3u);
}

TEST_F(PageRingTest, WhatIsNotReleasedCanBeTakenAgain) {
  Publish(1, 1);
  Publish(2, 1);
  ASSERT_EQ(Take(), 1u);
  ASSERT_EQ(Take(), 2u);
  ring_->Rewind();
  EXPECT_TRUE(ring_->HasMore());
  ASSERT_EQ(Take(), 1u);
  ring_->Release();
  EXPECT_TRUE(ring_->HasMore());
  ring_->SkipAll();
  EXPECT_FALSE(ring_->HasMore());
  EXPECT_EQ(Take(), 0u);
  Publish(3);
  EXPECT_EQ(Take(), 3u);
}

TEST_F(PageRingTest, TellsWhetherTheAppIsInATransaction) {
  EXPECT_FALSE(ring_->noted());
  stage_.Begin(false, 0);
  EXPECT_TRUE(ring_->noted());
  stage_.Forget();
  EXPECT_FALSE(ring_->noted());
  ring_->SetHeld(true);
  EXPECT_EQ(shared().held.load(), 1u);
}

TEST_F(PageRingTest, KnowsWhatItHasNotAllOf) {
  const auto complete = [&](auto add) {
    stage_.Begin(true, 0);
    add();
    return stage_.complete();
  };
  EXPECT_TRUE(complete([&] { Add(1, FirstPage(1)); }));
  EXPECT_FALSE(complete([&] { Add(2, Page('a')); })) << "without page 1";
  EXPECT_FALSE(complete([&] {
    Add(1, FirstPage(1));
    stage_.Add(kPageBytes, Page('a', 512));
  })) << "another page size";
  EXPECT_FALSE(complete([&] {
    Add(1, FirstPage(1));
    stage_.Add(kPageBytes + 1, Page('a'));
  })) << "no page's place";
  EXPECT_FALSE(complete([&] { stage_.Add(0, FirstPage(1).substr(0, 100)); })) << "no page";
  EXPECT_FALSE(complete([&] {
    Add(1, FirstPage(1));
    stage_.Spoil();
  }));
  EXPECT_FALSE(complete([&] {
    std::string wal = FirstPage(1);
    wal[18] = wal[19] = 2;
    Add(1, wal);
  })) << "a transaction that ends in WAL mode";
  stage_.Begin(false, 0);
  Add(1, FirstPage(1));
  EXPECT_FALSE(stage_.complete()) << "not wanted";
}

TEST_F(PageRingTest, WithoutARingNothingIsHeld) {
  stage_.SetRing(nullptr);
  stage_.Begin(true, 0);
  Add(1, FirstPage(1));
  EXPECT_FALSE(stage_.complete());
  stage_.Forget();
}

// A process that writes anything into its ring: errors, and never more than it has put there.
TEST_F(PageRingTest, AHostileAppIsAnError) {
  std::mt19937 random(7);
  int errors = 0;
  auto* const bytes = static_cast<char*>(map_);
  for (int round = 0; round < 20'000; ++round) {
    Publish(static_cast<uint32_t>(round + 1), 3);
    const uint64_t head = shared().head.load();
    switch (random() % 5) {
      case 0:
        shared().head.store(head + random());
        break;
      case 1:
        shared().head.store(random() % (head + 1));
        break;
      case 2:
        shared().start.store(random());
        break;
      case 3:
        shared().tail.store(random());
        break;
      default:
        for (int i = 0; i < 8; ++i) {
          bytes[kRingPageBytes + random() % (4 * kPageBytes)] = static_cast<char>(random());
        }
    }
    pages_.Clear();
    for (int i = 0; i < 100; ++i) {
      ring_->Look();
      const auto header = ring_->Peek();
      if (header.ok() && *header == nullptr) break;
      const bool taken = header.ok() && ring_->Take(&pages_).ok();
      errors += taken ? 0 : 1;
      if (!taken) break;
    }
    ASSERT_LE(pages_.size_bytes(), kRingBytes);
    shared().head.store(head);
    shared().start.store(0);
    ring_->SkipAll();
    stage_.SetRing(static_cast<RingHeader*>(map_));
  }
  EXPECT_GT(errors, 1000);
}

}  // namespace
}  // namespace litefs::db
