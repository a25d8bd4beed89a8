// Encoding and decoding of a snapshot of an SQLite database with rows of prose, numbers and JSON,
// and an index; bytes are those of the database.

#include <benchmark/benchmark.h>
#include <fmt/format.h>
#include <sqlite3.h>

#include <random>
#include <string>
#include <vector>

#include "common/check.h"
#include "ltx/decoder.h"
#include "ltx/encoder.h"
#include "ltx/page_checksum.h"

namespace litefs::ltx {
namespace {

constexpr size_t kDatabaseBytes = 32 << 20;

class NullSink final : public ByteSink {
 public:
  absl::Status Append(std::span<const std::byte> data) override {
    benchmark::DoNotOptimize(data.data());
    return absl::OkStatus();
  }
};

std::string Prose(std::mt19937& random) {
  static constexpr const char* kWords[] = {
      "the",    "replica", "and",   "of",       "a",      "transaction", "which", "database",
      "page",   "is",      "later", "checksum", "in",     "primary",     "to",    "was",
      "people", "write",   "it",    "between",  "window", "that",        "for",   "yesterday",
      "with",   "storage", "be",    "nobody",   "on",     "green",       "as",    "interesting"};
  std::string text;
  for (size_t n = 8 + random() % 24; n > 0; --n) text += fmt::format("{} ", kWords[random() % 32]);
  return text;
}

std::string MakeDatabase(int page_bytes) {
  sqlite3* db = nullptr;
  CHECK(sqlite3_open(":memory:", &db) == SQLITE_OK);
  const auto run = [db](const std::string& sql) {
    CHECK(sqlite3_exec(db, sql.c_str(), nullptr, nullptr, nullptr) == SQLITE_OK);
  };
  run(fmt::format("PRAGMA page_size={}", page_bytes));
  run("CREATE TABLE post(id INTEGER PRIMARY KEY, author, created, score REAL, body, meta);"
      "CREATE INDEX post_author ON post(author, created); BEGIN");
  std::mt19937 random(1);
  for (size_t i = 0; i < kDatabaseBytes / 400; ++i) {
    run(
        fmt::format("INSERT INTO post VALUES({}, 'user{}', {}, {}, '{}', "
                    "'{{\"ip\":\"10.{}.{}.{}\",\"token\":\"{:08x}{:08x}{:08x}{:08x}\"}}')",
                    i, random() % 5000, 1700000000 + random() % 10000000,
                    static_cast<double>(random()) / 1e9, Prose(random), random() % 256,
                    random() % 256, random() % 256, random(), random(), random(), random()));
  }
  run("COMMIT");
  sqlite3_int64 size = 0;
  unsigned char* const bytes = sqlite3_serialize(db, "main", &size, 0);
  std::string database(reinterpret_cast<const char*>(bytes), static_cast<size_t>(size));
  sqlite3_free(bytes);
  sqlite3_close(db);
  return database;
}

const std::string& Database(int page_bytes) {
  static const std::string kSmall = MakeDatabase(4096);
  static const std::string kLarge = MakeDatabase(65536);
  return page_bytes == 4096 ? kSmall : kLarge;
}

Checksum ChecksumOf(const std::string& database, uint32_t page_bytes) {
  Checksum sum = kEmptyDatabaseChecksum;
  const auto bytes = std::as_bytes(std::span(database));
  for (PageNo i = 0; i < database.size() / page_bytes; ++i) {
    const auto page = bytes.subspan(size_t{i} * page_bytes, page_bytes);
    sum = TogglePage(sum, PageChecksum(i + 1, page));
  }
  return sum;
}

void EncodeTo(Encoder& encoder, ByteSink& sink, const std::string& database, uint32_t page_bytes,
              Encoder::Compression compression, Checksum post_apply) {
  const Header header = {.page_bytes = page_bytes,
                         .commit = static_cast<PageNo>(database.size() / page_bytes),
                         .min_txid = 1,
                         .max_txid = 1};
  CHECK(encoder.Begin(&sink, header, compression).ok());
  const auto bytes = std::as_bytes(std::span(database));
  for (PageNo i = 0; i < header.commit; ++i) {
    CHECK(encoder.AddPage(i + 1, bytes.subspan(size_t{i} * page_bytes, page_bytes)).ok());
  }
  CHECK(encoder.Finish(post_apply).ok());
}

void Encode(benchmark::State& state, Encoder::Compression compression) {
  const auto page_bytes = static_cast<uint32_t>(state.range(0));
  const std::string& database = Database(state.range(0));
  const Checksum sum = ChecksumOf(database, page_bytes);
  Encoder encoder;
  NullSink sink;
  for (auto _ : state) EncodeTo(encoder, sink, database, page_bytes, compression, sum);
  state.SetBytesProcessed(state.iterations() * static_cast<int64_t>(database.size()));
  state.counters["size_percent"] =
      100.0 * static_cast<double>(encoder.bytes_written()) / static_cast<double>(database.size());
}
BENCHMARK_CAPTURE(Encode, lz4, Encoder::Compression::kLz4)->Arg(4096)->Arg(65536);
BENCHMARK_CAPTURE(Encode, literals, Encoder::Compression::kLiteralsOnly)->Arg(4096)->Arg(65536);

// With all checks: file checksum, every page's checksum, index.
void Verify(benchmark::State& state, Encoder::Compression compression) {
  const auto page_bytes = static_cast<uint32_t>(state.range(0));
  const std::string& database = Database(state.range(0));
  std::string file;
  StringSink sink(&file);
  Encoder encoder;
  EncodeTo(encoder, sink, database, page_bytes, compression, ChecksumOf(database, page_bytes));
  for (auto _ : state) {
    SpanSource source(file);
    CHECK(VerifyFile(source).ok());
  }
  state.SetBytesProcessed(state.iterations() * static_cast<int64_t>(database.size()));
}
BENCHMARK_CAPTURE(Verify, lz4, Encoder::Compression::kLz4)->Arg(4096)->Arg(65536);
BENCHMARK_CAPTURE(Verify, literals, Encoder::Compression::kLiteralsOnly)->Arg(4096)->Arg(65536);

}  // namespace
}  // namespace litefs::ltx
