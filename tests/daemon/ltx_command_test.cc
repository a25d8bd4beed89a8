#include "daemon/cli/ltx_command.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <CLI/CLI.hpp>
#include <nlohmann/json.hpp>

#include "tests/ltx/testing.h"

namespace litefs {
namespace {

using ltx::MakeSnapshot;
using ltx::ReadTestFile;
using ltx::Vectors;
using ltx::WriteTestFile;
using testing::EndsWith;
using testing::HasSubstr;
using testing::StartsWith;

constexpr int kUsage = 2;

class LtxCommandTest : public testing::Test {
 protected:
  // Runs "litefs ltx ARGUMENTS" as main() does; returns the exit code.
  int Run(std::vector<std::string> arguments) {
    int exit_code = 0;
    CLI::App app("litefs", "litefs");
    AddLtxCommands(app, &exit_code);
    arguments.insert(arguments.begin(), "ltx");
    std::reverse(arguments.begin(), arguments.end());
    testing::internal::CaptureStdout();
    testing::internal::CaptureStderr();
    try {
      app.parse(arguments);
    } catch (const CLI::ParseError& error) {
      exit_code = app.exit(error) == 0 ? 0 : kUsage;
    }
    std::fflush(stdout);
    out_ = testing::internal::GetCapturedStdout();
    error_ = testing::internal::GetCapturedStderr();
    return exit_code;
  }
  std::string Write(const std::string& name, const std::string& data) {
    WriteTestFile(dir_.File(name), data);
    return dir_.File(name);
  }
  static std::string Vector(const std::string& name) { return (Vectors() / name).string(); }

  ltx::TempDir dir_;
  const std::string good_ = Vector("v3-block/snap-p512-1.ltx");
  const std::string bad_ = Vector("v3-block-bad/order-delta.ltx");
  std::string out_;
  std::string error_;
};

TEST_F(LtxCommandTest, VerifiesFilesAndNamesTheDefect) {
  EXPECT_EQ(Run({"verify", good_}), 0);
  EXPECT_EQ(out_, good_ + ": ok\n");
  EXPECT_EQ(Run({"verify", good_, bad_}), 1);
  EXPECT_THAT(out_, HasSubstr(bad_ + ": page-order: "));
  EXPECT_EQ(Run({"verify", "--json", good_, bad_}), 1);
  const auto json = nlohmann::json::parse(out_);
  EXPECT_EQ(json[0]["ok"], true);
  EXPECT_EQ(json[1]["ok"], false);
}

TEST_F(LtxCommandTest, ListsFiles) {
  EXPECT_EQ(Run({"list", good_}), 0);
  EXPECT_THAT(out_, HasSubstr("0000000000000001  0000000000000001"));
  EXPECT_THAT(out_, EndsWith("v3        " + good_ + "\n"));
  EXPECT_EQ(Run({"list", "--json", good_, Vector("v1-raw/snap-p512-1.ltx")}), 0);
  const auto json = nlohmann::json::parse(out_);
  EXPECT_EQ(json[1]["encoding"], "v1-raw");
  EXPECT_EQ(json[0]["post_apply_checksum"], "e12ceeef6299af4e");
  EXPECT_EQ(Run({"list", bad_}), 1);
  EXPECT_THAT(error_, StartsWith("litefs: " + bad_ + ": page-order: "));
}

TEST_F(LtxCommandTest, DumpsAFile) {
  EXPECT_EQ(Run({"dump", good_}), 0);
  EXPECT_THAT(out_, HasSubstr("commit:      10 pages, snapshot\n"));
  EXPECT_EQ(Run({"dump", "--json", good_}), 0);
  const auto json = nlohmann::json::parse(out_);
  EXPECT_EQ(json["pages"].size(), 10u);
  EXPECT_EQ(json["pages"][0]["offset"], 100);
  EXPECT_EQ(Run({"dump", bad_}), 1);
  EXPECT_EQ(out_, "");
}

TEST_F(LtxCommandTest, AppliesFilesInOrder) {
  const std::string db = dir_.File("a.db");
  EXPECT_EQ(Run({"apply", "--db", db, good_, Vector("v1-lz4/delta-p512-2.ltx")}), 0) << error_;
  EXPECT_TRUE(ReadTestFile(db) == ReadTestFile(Vectors() / "db/p512-s1.db"));
  EXPECT_EQ(Run({"apply", "--db", db, Vector("v3-block/delta-p512-4.ltx")}), 1);
  EXPECT_THAT(error_, HasSubstr("delta-p512-4.ltx: pre-apply: "));
}

TEST_F(LtxCommandTest, RefusesADatabaseWithAWriteAheadLog) {
  const std::string db = Write("a.db", ReadTestFile(Vectors() / "db/p512-s0.db"));
  Write("a.db-wal", "frames");
  EXPECT_EQ(Run({"checksum", db}), 1);
  EXPECT_THAT(error_, HasSubstr("a.db-wal is not empty"));
  EXPECT_EQ(Run({"apply", "--db", db, good_}), 1);
  EXPECT_EQ(Run({"encode-db", "-o", dir_.File("a.ltx"), db}), 1);
}

TEST_F(LtxCommandTest, CompactsIntoANewFile) {
  const std::string out = dir_.File("out.ltx");
  const std::vector<std::string> command = {"compact", "-o", out, good_,
                                            Vector("v3-block/delta-p512-2.ltx")};
  EXPECT_EQ(Run(command), 0) << error_;
  EXPECT_EQ(Run({"verify", out}), 0);
  EXPECT_EQ(Run(command), 1);
  EXPECT_THAT(error_, HasSubstr("--force"));
  EXPECT_EQ(Run({"compact", "--force", "-o", out, good_}), 0);
  EXPECT_EQ(Run({"compact", "--force", "-o", out, good_, bad_}), 1);
  EXPECT_EQ(Run({"verify", out}), 0) << "a failure touched the file";
  EXPECT_FALSE(std::filesystem::exists(out + ".tmp"));
}

TEST_F(LtxCommandTest, PrintsTheChecksumOfADatabase) {
  EXPECT_EQ(Run({"checksum", Vector("db/p512-s0.db")}), 0);
  EXPECT_EQ(out_, "e12ceeef6299af4e\n");
  EXPECT_EQ(Run({"checksum", "--json", Vector("db/p512-s0.db")}), 0);
  EXPECT_EQ(nlohmann::json::parse(out_)["checksum"], "e12ceeef6299af4e");
  EXPECT_EQ(Run({"checksum", Write("empty.db", "")}), 0);
  EXPECT_EQ(out_, "8000000000000000\n");
  EXPECT_EQ(Run({"checksum", good_}), 1);
  EXPECT_EQ(error_, "litefs: " + good_ + ": not an SQLite database file\n");
}

TEST_F(LtxCommandTest, EncodesADatabase) {
  const std::string out = dir_.File("out.ltx");
  EXPECT_EQ(Run({"encode-db", "-o", out, "--txid", "42", Vector("db/p512-s0.db")}), 0) << error_;
  EXPECT_EQ(Run({"dump", "--json", out}), 0);
  const auto json = nlohmann::json::parse(out_);
  EXPECT_EQ(json["max_txid"], "000000000000002a");
  EXPECT_EQ(json["post_apply_checksum"], "e12ceeef6299af4e");
  EXPECT_EQ(Run({"encode-db", "--force", "--no-checksum", "-o", out, Vector("db/p512-s0.db")}), 0);
  EXPECT_EQ(Run({"dump", out}), 0);
  EXPECT_THAT(out_, HasSubstr("no-checksum"));
}

TEST_F(LtxCommandTest, CallsUsageMistakesByName) {
  EXPECT_EQ(Run({}), kUsage);
  EXPECT_EQ(Run({"verify"}), kUsage);
  EXPECT_EQ(Run({"dump", good_, good_}), kUsage);
  EXPECT_EQ(Run({"compact", good_}), kUsage);
  EXPECT_EQ(Run({"encode-db", "-o", "x", "--txid", "0", "y"}), kUsage);
  EXPECT_EQ(Run({"nonsense"}), kUsage);
}

TEST_F(LtxCommandTest, ShowsAnExampleWithItsHelp) {
  for (const char* name : {"list", "dump", "verify", "apply", "compact", "checksum", "encode-db"}) {
    EXPECT_EQ(Run({name, "--help"}), 0);
    EXPECT_THAT(out_, HasSubstr(std::string("Example:\n  litefs ltx ") + name));
  }
}

TEST_F(LtxCommandTest, NamesAFileThatIsNotThere) {
  EXPECT_EQ(Run({"list", "/nonexistent/a.ltx"}), 1);
  EXPECT_EQ(error_, "litefs: open /nonexistent/a.ltx: No such file or directory\n");
}

}  // namespace
}  // namespace litefs
