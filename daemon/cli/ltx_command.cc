#include "daemon/cli/ltx_command.h"

#include <fcntl.h>
#include <fmt/chrono.h>
#include <fmt/format.h>
#include <sys/stat.h>
#include <unistd.h>

#include <CLI/CLI.hpp>
#include <cstdio>
#include <functional>
#include <memory>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "common/clock.h"
#include "common/hex.h"
#include "common/json_text.h"
#include "common/posix_io.h"
#include "common/status_macros.h"
#include "ltx/apply_file.h"
#include "ltx/compactor.h"
#include "ltx/decoder.h"
#include "ltx/page_checksum.h"

namespace litefs {
namespace {

using nlohmann::ordered_json;

constexpr int kExitError = 1;
constexpr int64_t kMaxTimestampMs = 253402300799999;  // the year 9999

struct Options {
  std::vector<std::string> files;
  std::string database;
  std::string out;
  ltx::TxId txid = 1;
  bool no_checksum = false;
  bool force = false;
  bool json = false;
};

void Print(const std::string& line) { std::puts(line.c_str()); }

// "litefs: FILE: what", once a file.
int Fail(const std::string& file, const absl::Status& status) {
  std::string message(status.message());
  if (!file.empty() && message.find(file) == std::string::npos) message = file + ": " + message;
  std::fputs(fmt::format("litefs: {}\n", message).c_str(), stderr);
  return kExitError;
}

// An LTX file that is open for reading.
struct LtxFile {
  UniqueFd fd;
  std::unique_ptr<ltx::FdSource> source;
};

absl::StatusOr<LtxFile> Open(const std::string& path) {
  LtxFile file;
  ASSIGN_OR_RETURN(file.fd, OpenFile(path, O_RDONLY));
  ASSIGN_OR_RETURN(ltx::FdSource source, ltx::FdSource::Open(file.fd.get(), path));
  file.source = std::make_unique<ltx::FdSource>(std::move(source));
  return file;
}

absl::StatusOr<ltx::FileInfo> Verify(const std::string& path) {
  ASSIGN_OR_RETURN(const LtxFile file, Open(path));
  return ltx::VerifyFile(*file.source);
}

// A file may hold any 64 bits there.
std::string Timestamp(int64_t ms) {
  if (ms < 0 || ms > kMaxTimestampMs) return std::to_string(ms);
  return fmt::format("{:%Y-%m-%dT%H:%M:%S}.{:03}Z", fmt::gmtime(ms / 1000), ms % 1000);
}

ordered_json ToJson(const std::string& path, const ltx::FileInfo& info) {
  const ltx::Header& h = info.header;
  return {{"file", path},
          {"encoding", ltx::EncodingName(info.encoding)},
          {"flags", h.flags},
          {"page_size", h.page_bytes},
          {"commit", h.commit},
          {"min_txid", Hex16(h.min_txid)},
          {"max_txid", Hex16(h.max_txid)},
          {"timestamp", h.timestamp_ms},
          {"pre_apply_checksum", Hex16(h.pre_apply)},
          {"post_apply_checksum", Hex16(info.trailer.post_apply)},
          {"file_checksum", Hex16(info.trailer.file_checksum)},
          {"wal_offset", h.wal_offset},
          {"wal_size", h.wal_size},
          {"wal_salt1", h.wal_salt1},
          {"wal_salt2", h.wal_salt2},
          {"node_id", Hex16(h.node_id)},
          {"page_count", info.page_count}};
}

// ---- list ---------------------------------------------------------------------------------------

int List(const Options& options) {
  int exit_code = 0;
  ordered_json all = ordered_json::array();
  constexpr const char* kRow =
      "{:<16}  {:<16}  {:>9}  {:>10}  {:>7}  {:<16}  {:<16}  {:<24}  {:<8}  {}";
  if (!options.json) {
    Print(fmt::format(kRow, "min_txid", "max_txid", "page_size", "commit", "pages", "pre_apply",
                      "post_apply", "timestamp", "encoding", "file"));
  }
  for (const std::string& path : options.files) {
    const auto info = Verify(path);
    if (!info.ok()) {
      exit_code = Fail(path, info.status());
      continue;
    }
    const ltx::Header& h = info->header;
    if (options.json) {
      all.push_back(ToJson(path, *info));
    } else {
      Print(fmt::format(kRow, Hex16(h.min_txid), Hex16(h.max_txid), h.page_bytes, h.commit,
                        info->page_count, Hex16(h.pre_apply), Hex16(info->trailer.post_apply),
                        Timestamp(h.timestamp_ms), ltx::EncodingName(info->encoding), path));
    }
  }
  if (options.json) Print(JsonText(all, 2));
  return exit_code;
}

// ---- dump ---------------------------------------------------------------------------------------

struct DumpedPage {
  ltx::PageNo pgno = 0;
  ltx::Checksum checksum = 0;
};

void PrintDump(const std::string& path, const ltx::FileInfo& info,
               const std::vector<DumpedPage>& pages, const ltx::PageIndex& index) {
  const ltx::Header& h = info.header;
  Print(fmt::format("file:        {} ({})", path, ltx::EncodingName(info.encoding)));
  Print(fmt::format("flags:       {:#010x}{}{}", h.flags, h.has_checksums() ? "" : " no-checksum",
                    (h.flags & ltx::kFlagCompressLz4) != 0 ? " lz4" : ""));
  Print(fmt::format("page size:   {}", h.page_bytes));
  Print(fmt::format("commit:      {} pages{}", h.commit, h.is_snapshot() ? ", snapshot" : ""));
  Print(fmt::format("txid:        {}-{}", Hex16(h.min_txid), Hex16(h.max_txid)));
  Print(fmt::format("timestamp:   {}", Timestamp(h.timestamp_ms)));
  Print(fmt::format("pre-apply:   {}", Hex16(h.pre_apply)));
  Print(fmt::format("post-apply:  {}", Hex16(info.trailer.post_apply)));
  Print(fmt::format("checksum:    {}", Hex16(info.trailer.file_checksum)));
  Print(fmt::format("wal:         offset {}, size {}, salt {:08x} {:08x}", h.wal_offset, h.wal_size,
                    h.wal_salt1, h.wal_salt2));
  Print(fmt::format("node id:     {}", Hex16(h.node_id)));
  Print(fmt::format("pages:       {}", pages.size()));
  for (size_t i = 0; i < pages.size(); ++i) {
    const std::string where =
        index.empty() ? ""
                      : fmt::format("  offset {:>10}  size {:>6}", index[i].offset, index[i].size);
    Print(fmt::format("  {:>10}  {}{}", pages[i].pgno, Hex16(pages[i].checksum), where));
  }
}

void PrintDumpJson(const std::string& path, const ltx::FileInfo& info,
                   const std::vector<DumpedPage>& pages, const ltx::PageIndex& index) {
  ordered_json file = ToJson(path, info);
  ordered_json list = ordered_json::array();
  for (size_t i = 0; i < pages.size(); ++i) {
    ordered_json page = {{"pgno", pages[i].pgno}, {"checksum", Hex16(pages[i].checksum)}};
    if (!index.empty()) {
      page["offset"] = index[i].offset;
      page["size"] = index[i].size;
    }
    list.push_back(std::move(page));
  }
  file["pages"] = std::move(list);
  Print(JsonText(file, 2));
}

// Prints nothing unless the whole file is good.
absl::Status Dump(const std::string& path, bool json) {
  ASSIGN_OR_RETURN(const LtxFile file, Open(path));
  ASSIGN_OR_RETURN(const auto decoder, ltx::Decoder::Open(file.source.get()));
  ltx::FileInfo info{.header = decoder->header(), .trailer = {}, .encoding = decoder->encoding()};
  const ltx::PageChecksummer checksummer(info.header.page_bytes);
  std::vector<std::byte> page(info.header.page_bytes);
  std::vector<DumpedPage> pages;
  for (ltx::PageNo pgno = 0;;) {
    ASSIGN_OR_RETURN(const bool more, decoder->Next(&pgno, page));
    if (!more) break;
    pages.push_back({pgno, checksummer.FromCrc(pgno, decoder->page_crc())});
  }
  info.trailer = decoder->trailer();
  info.page_count = pages.size();
  (json ? PrintDumpJson : PrintDump)(path, info, pages, decoder->index());
  return absl::OkStatus();
}

int RunDump(const Options& options) {
  const std::string& path = options.files.front();
  const absl::Status status = Dump(path, options.json);
  return status.ok() ? 0 : Fail(path, status);
}

// ---- verify -------------------------------------------------------------------------------------

int RunVerify(const Options& options) {
  int exit_code = 0;
  ordered_json all = ordered_json::array();
  for (const std::string& path : options.files) {
    const auto info = Verify(path);
    if (!info.ok()) exit_code = kExitError;
    const std::string error(info.status().message());
    if (options.json) {
      ordered_json entry = {{"file", path}, {"ok", info.ok()}};
      if (!info.ok()) entry["error"] = error;
      all.push_back(std::move(entry));
    } else {
      Print(fmt::format("{}: {}", path, info.ok() ? "ok" : error));
    }
  }
  if (options.json) Print(JsonText(all, 2));
  return exit_code;
}

// ---- apply --------------------------------------------------------------------------------------

// What would make SQLite see another content than that of the database file itself.
absl::Status CheckQuiet(const std::string& database) {
  for (const char* suffix : {"-journal", "-wal"}) {
    struct stat st;
    if (::stat((database + suffix).c_str(), &st) == 0 && st.st_size != 0) {
      return absl::FailedPreconditionError(fmt::format(
          "{0}: {0}{1} is not empty: close the database, or let SQLite recover it first", database,
          suffix));
    }
  }
  return absl::OkStatus();
}

int Apply(const Options& options) {
  if (const absl::Status status = CheckQuiet(options.database); !status.ok()) {
    return Fail(options.database, status);
  }
  for (const std::string& path : options.files) {
    const auto info = [&]() -> absl::StatusOr<ltx::FileInfo> {
      ASSIGN_OR_RETURN(const LtxFile file, Open(path));
      return ltx::ApplyFile(*file.source, options.database);
    }();
    if (!info.ok()) return Fail(path, info.status());
    Print(fmt::format("{}: applied {}-{}, {} pages, now {}", options.database,
                      Hex16(info->header.min_txid), Hex16(info->header.max_txid), info->page_count,
                      Hex16(info->trailer.post_apply)));
  }
  return 0;
}

// ---- compact, encode-db -------------------------------------------------------------------------

absl::Status CheckTarget(const Options& options) {
  struct stat st;
  if (options.force || ::lstat(options.out.c_str(), &st) != 0) return absl::OkStatus();
  return absl::AlreadyExistsError(fmt::format("{} exists (--force replaces it)", options.out));
}

// Writes OUT whole or not at all, by way of OUT.tmp.
absl::StatusOr<ltx::FileInfo> WriteOut(
    const Options& options,
    const std::function<absl::StatusOr<ltx::FileInfo>(ltx::ByteSink*)>& write) {
  RETURN_IF_ERROR(CheckTarget(options));
  const std::string temporary = options.out + ".tmp";
  auto info = [&]() -> absl::StatusOr<ltx::FileInfo> {
    ASSIGN_OR_RETURN(const UniqueFd fd, OpenFile(temporary, O_WRONLY | O_CREAT | O_TRUNC));
    ltx::FdSink sink(fd.get(), temporary);
    ASSIGN_OR_RETURN(const ltx::FileInfo written, write(&sink));
    RETURN_IF_ERROR(sink.Flush());
    RETURN_IF_ERROR(SyncData(fd.get(), temporary));
    RETURN_IF_ERROR(Rename(temporary, options.out));
    return written;
  }();
  if (!info.ok()) {
    ::unlink(temporary.c_str());
    return info.status();
  }
  const size_t slash = options.out.rfind('/');
  RETURN_IF_ERROR(
      SyncDirectory(slash == std::string::npos ? "." : options.out.substr(0, slash + 1)));
  return info;
}

int Report(const Options& options, const absl::StatusOr<ltx::FileInfo>& info) {
  if (!info.ok()) return Fail(options.out, info.status());
  Print(fmt::format("{}: {}-{}, {} pages, {}", options.out, Hex16(info->header.min_txid),
                    Hex16(info->header.max_txid), info->page_count,
                    Hex16(info->trailer.post_apply)));
  return 0;
}

int Compact(const Options& options) {
  std::vector<LtxFile> files;
  std::vector<ltx::ByteSource*> inputs;
  for (const std::string& path : options.files) {
    auto file = Open(path);
    if (!file.ok()) return Fail(path, file.status());
    inputs.push_back(file->source.get());
    files.push_back(*std::move(file));
  }
  return Report(options, WriteOut(options, [&inputs](ltx::ByteSink* sink) {
                  return ltx::Compact(inputs, sink);
                }));
}

int EncodeDb(const Options& options) {
  if (const absl::Status status = CheckQuiet(options.database); !status.ok()) {
    return Fail(options.database, status);
  }
  const int64_t now_ms = SystemClock().WallMs();
  return Report(options, WriteOut(options, [&options, now_ms](ltx::ByteSink* sink) {
                  return ltx::EncodeDatabase(options.database, sink, options.txid, now_ms,
                                             !options.no_checksum);
                }));
}

// ---- checksum -----------------------------------------------------------------------------------

absl::StatusOr<ltx::Checksum> DatabaseChecksum(const std::string& path) {
  struct stat st;
  if (::stat(path.c_str(), &st) == 0 && st.st_size == 0) return ltx::kEmptyDatabaseChecksum;
  ASSIGN_OR_RETURN(const uint32_t page_bytes, ltx::ReadPageBytes(path));
  return ltx::FileChecksum(path, page_bytes);
}

int RunChecksum(const Options& options) {
  absl::Status status = CheckQuiet(options.database);
  if (!status.ok()) return Fail(options.database, status);
  const auto checksum = DatabaseChecksum(options.database);
  if (!checksum.ok()) return Fail(options.database, checksum.status());
  if (options.json) {
    Print(
        JsonText(ordered_json{{"database", options.database}, {"checksum", Hex16(*checksum)}}, 2));
  } else {
    Print(Hex16(*checksum));
  }
  return 0;
}

// ---- The commands
// ---------------------------------------------------------------------------------

class LtxCommands {
 public:
  LtxCommands(CLI::App& app, int* exit_code) : exit_code_(exit_code) {
    group_ = app.add_subcommand("ltx", "Work on LTX files, without a daemon");
    group_->require_subcommand(1);
    group_->footer("Example:\n  litefs ltx list data/dbs/app.db/ltx/*.ltx");
  }

  void AddReaders() {
    CLI::App* command = Add("list", "Verify files and print a line for each", List,
                            "litefs ltx list data/dbs/app.db/ltx/*.ltx");
    AddFiles(command);
    AddJson(command);
    command = Add("dump", "Print header, pages and trailer of a file", RunDump,
                  "litefs ltx dump 0000000000000001-000000000000002a.ltx");
    AddFiles(command, 1);
    AddJson(command);
    command = Add("verify", "Verify files; exit status 1 if one is defective", RunVerify,
                  "litefs ltx verify *.ltx");
    AddFiles(command);
    AddJson(command);
    command = Add("checksum", "Print the checksum of a database file", RunChecksum,
                  "litefs ltx checksum app.db");
    AddDatabase(command);
    AddJson(command);
  }

  void AddWriters() {
    CLI::App* command = Add("apply", "Apply files, in order, to a database that nobody has open",
                            Apply, "litefs ltx apply --db restored.db *.ltx");
    command->add_option("--db", options_->database, "The database file; snapshots create it")
        ->required();
    AddFiles(command);
    command = Add("compact", "Make one file of several adjacent ones", Compact,
                  "litefs ltx compact -o 0000000000000001-0000000000000009.ltx *.ltx");
    AddOut(command);
    AddFiles(command);
    command = Add("encode-db", "Write a database that nobody has open as a snapshot", EncodeDb,
                  "litefs ltx encode-db -o 0000000000000001-0000000000000001.ltx app.db");
    AddOut(command);
    AddDatabase(command);
    command->add_flag("--no-checksum", options_->no_checksum, "Without database checksums");
    command->add_option("--txid", options_->txid, "The last transaction in it (default 1)")
        ->check(CLI::PositiveNumber);
  }

 private:
  CLI::App* Add(const char* name, const char* what, int (*run)(const Options&),
                const char* example) {
    CLI::App* const command = group_->add_subcommand(name, what);
    command->footer(std::string("Example:\n  ") + example);
    command->callback(
        [run, options = options_, exit_code = exit_code_] { *exit_code = run(*options); });
    return command;
  }
  void AddFiles(CLI::App* command, int max_count = 1 << 20) {
    command->add_option("FILE", options_->files, "LTX files")->required()->expected(1, max_count);
  }
  void AddDatabase(CLI::App* command) {
    command->add_option("DB", options_->database, "The database file")->required();
  }
  void AddOut(CLI::App* command) {
    command->add_option("-o,--out", options_->out, "The file to write")->required();
    command->add_flag("--force", options_->force, "Replace OUT if it exists");
  }
  void AddJson(CLI::App* command) { command->add_flag("--json", options_->json, "Print JSON"); }

  CLI::App* group_ = nullptr;
  int* const exit_code_;
  const std::shared_ptr<Options> options_ = std::make_shared<Options>();
};

}  // namespace

void AddLtxCommands(CLI::App& app, int* exit_code) {
  LtxCommands commands(app, exit_code);
  commands.AddReaders();
  commands.AddWriters();
}

}  // namespace litefs
