// The age format against the stock `age` program, in both directions, and against every kind of
// damage.

#include "daemon/crypto/age.h"

#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/wait.h>

#include <cstdlib>

#include "common/posix_io.h"
#include "daemon/crypto/age_header.h"
#include "tests/support/replica_support.h"

namespace litefs::crypto {
namespace {

using testing::HasSubstr;

constexpr size_t kSizes[] = {0, 1, 65535, 65536, 65537, 131072, 200000, 5000000};
constexpr int kCheapScrypt = 4;

std::string SomeBytes(size_t size) {
  std::string data(size, '\0');
  uint64_t state = size + 1;
  for (char& c : data) {
    state = state * 6364136223846793005 + 1442695040888963407;
    c = static_cast<char>(state >> 56);
  }
  return data;
}

AgeIdentity NewIdentity() { return *AgeIdentity::Generate(); }

AgeLock LockFor(const AgeIdentity& identity) {
  AgeLock lock;
  lock.recipients.push_back(identity.recipient());
  return lock;
}

AgeLock PassphraseLock(const std::string& passphrase) {
  AgeLock lock;
  lock.passphrase = SecretString(passphrase);
  lock.scrypt_log_n = kCheapScrypt;
  return lock;
}

AgeKeys KeysOf(const AgeIdentity& identity) {
  AgeKeys keys;
  keys.identities.push_back(*AgeIdentity::Parse(identity.ToString().view()));
  return keys;
}

AgeKeys KeysOf(const std::string& passphrase) {
  AgeKeys keys;
  keys.passphrase = SecretString(passphrase);
  return keys;
}

std::string Encrypt(std::string_view plain, const AgeLock& lock, size_t step = 1 << 20) {
  std::string out;
  ltx::StringSink sink(&out);
  auto writer = AgeWriter::Begin(&sink, lock);
  EXPECT_TRUE(writer.ok()) << writer.status();
  for (size_t at = 0; at < plain.size(); at += step) {
    const std::string_view part = plain.substr(at, step);
    EXPECT_TRUE((*writer)->Append(std::as_bytes(std::span(part))).ok());
  }
  EXPECT_TRUE((*writer)->Finish().ok());
  return out;
}

absl::StatusOr<std::string> Decrypt(std::string_view file, const AgeKeys& keys) {
  ltx::SpanSource source(file);
  auto reader = AgeReader::Open(&source, keys);
  if (!reader.ok()) return reader.status();
  std::string plain((*reader)->size(), '\0');
  const absl::Status status = (*reader)->ReadAt(std::as_writable_bytes(std::span(plain)), 0);
  if (!status.ok()) return status;
  return plain;
}

absl::StatusCode DecryptCode(std::string_view file, const AgeKeys& keys) {
  return Decrypt(file, keys).status().code();
}

// ---- The format by itself -----------------------------------------------------------------------

TEST(Age, DecryptsWhatItEncrypted) {
  const AgeIdentity identity = NewIdentity();
  for (const size_t size : kSizes) {
    const std::string plain = SomeBytes(size);
    const auto back = Decrypt(Encrypt(plain, LockFor(identity), 65521), KeysOf(identity));
    ASSERT_TRUE(back.ok()) << back.status();
    EXPECT_TRUE(*back == plain) << size;
  }
}

TEST(Age, OpensWithAnyOfSeveralRecipients) {
  std::vector<AgeIdentity> identities;
  AgeLock lock;
  for (int i = 0; i < 5; ++i) {
    identities.push_back(NewIdentity());
    lock.recipients.push_back(identities.back().recipient());
  }
  const std::string file = Encrypt("secret", lock);
  for (const AgeIdentity& identity : identities) {
    EXPECT_EQ(Decrypt(file, KeysOf(identity)).value_or(""), "secret");
  }
  EXPECT_EQ(DecryptCode(file, KeysOf(NewIdentity())), absl::StatusCode::kPermissionDenied);
}

TEST(Age, RefusesTheWrongKey) {
  const std::string file = Encrypt("secret", LockFor(NewIdentity()));
  EXPECT_EQ(DecryptCode(file, KeysOf(NewIdentity())), absl::StatusCode::kPermissionDenied);
  EXPECT_EQ(DecryptCode(file, KeysOf("word")), absl::StatusCode::kPermissionDenied);
  EXPECT_EQ(DecryptCode(file, {}), absl::StatusCode::kPermissionDenied);
  const std::string locked = Encrypt("secret", PassphraseLock("word"));
  EXPECT_EQ(Decrypt(locked, KeysOf("word")).value_or(""), "secret");
  EXPECT_EQ(DecryptCode(locked, KeysOf("wrong")), absl::StatusCode::kPermissionDenied);
  EXPECT_EQ(DecryptCode(locked, KeysOf(NewIdentity())), absl::StatusCode::kPermissionDenied);
}

TEST(Age, RefusesLocksThatAreNone) {
  std::string out;
  ltx::StringSink sink(&out);
  EXPECT_TRUE(absl::IsInvalidArgument(AgeWriter::Begin(&sink, {}).status()));
  AgeLock both = PassphraseLock("word");
  both.recipients.push_back(NewIdentity().recipient());
  EXPECT_TRUE(absl::IsInvalidArgument(AgeWriter::Begin(&sink, both).status()));
  EXPECT_EQ(out, "");
}

TEST(Age, RefusesEveryTruncation) {
  const AgeIdentity identity = NewIdentity();
  for (const size_t size : {size_t{0}, size_t{1}, size_t{65536}, size_t{70000}, size_t{131072}}) {
    const std::string file = Encrypt(SomeBytes(size), LockFor(identity));
    for (size_t cut = 0; cut < file.size(); cut += cut < 300 || file.size() - cut < 40 ? 1 : 4999) {
      const auto plain = Decrypt(std::string_view(file).substr(0, cut), KeysOf(identity));
      ASSERT_TRUE(absl::IsDataLoss(plain.status())) << size << " cut at " << cut;
    }
    // At the end of each chunk, where all that is left authenticates.
    const std::string_view chunks = std::string_view(file).substr(0, file.size() / 65552 * 65552);
    EXPECT_TRUE(chunks.size() == file.size() ||
                absl::IsDataLoss(Decrypt(chunks, KeysOf(identity)).status()));
    EXPECT_TRUE(absl::IsDataLoss(Decrypt(file + "x", KeysOf(identity)).status()));
  }
}

TEST(Age, RefusesTruncationWhenItOpens) {
  const AgeIdentity identity = NewIdentity();
  const std::string file = Encrypt(SomeBytes(200'000), LockFor(identity));
  const size_t payload = file.size() - (200'000 + 4 * 16);
  for (size_t chunk = 0; chunk < 4; ++chunk) {
    ltx::SpanSource source(std::string_view(file).substr(0, payload + chunk * 65552));
    EXPECT_TRUE(absl::IsDataLoss(AgeReader::Open(&source, KeysOf(identity)).status())) << chunk;
  }
}

TEST(Age, RefusesEveryFlippedByte) {
  const AgeIdentity identity = NewIdentity();
  const std::string file = Encrypt(SomeBytes(140'000), LockFor(identity));
  for (size_t at = 0; at < file.size(); at += at < 300 || file.size() - at < 40 ? 1 : 4999) {
    for (const char mask : {'\x01'}) {
      std::string wrong = file;
      wrong[at] ^= mask;
      const auto plain = Decrypt(wrong, KeysOf(identity));
      ASSERT_FALSE(plain.ok()) << "byte " << at;
    }
  }
}

TEST(Age, RefusesChunksInAnotherOrder) {
  const AgeIdentity identity = NewIdentity();
  std::string file = Encrypt(SomeBytes(200'000), LockFor(identity));
  const size_t payload = file.size() - (200'000 + 4 * 16);
  std::swap_ranges(file.begin() + static_cast<ptrdiff_t>(payload),
                   file.begin() + static_cast<ptrdiff_t>(payload + 65552),
                   file.begin() + static_cast<ptrdiff_t>(payload + 65552));
  EXPECT_TRUE(absl::IsDataLoss(Decrypt(file, KeysOf(identity)).status()));
}

TEST(Age, ReadsAnyRangeAndOnlyItsChunks) {
  const AgeIdentity identity = NewIdentity();
  const std::string plain = SomeBytes(300'000);
  std::string file = Encrypt(plain, LockFor(identity));
  file[200 + 16 + 30 + 65552] ^= 1;  // in the second chunk
  ltx::SpanSource source(file);
  const auto reader = AgeReader::Open(&source, KeysOf(identity));
  ASSERT_TRUE(reader.ok()) << reader.status();
  EXPECT_EQ((*reader)->size(), plain.size());
  std::string out(70'000, '\0');
  ASSERT_TRUE((*reader)->ReadAt(std::as_writable_bytes(std::span(out)), 190'000).ok());
  EXPECT_EQ(out, plain.substr(190'000, 70'000));
  EXPECT_TRUE(absl::IsDataLoss((*reader)->ReadAt(std::as_writable_bytes(std::span(out)), 100'000)));
  EXPECT_TRUE(
      absl::IsOutOfRange((*reader)->ReadAt(std::as_writable_bytes(std::span(out)), 299'000)));
  EXPECT_TRUE(absl::IsDataLoss((*reader)->Verify()));
}

TEST(Age, LimitsTheWorkOfAPassphrase) {
  std::string file = Encrypt("x", PassphraseLock("word"));
  AgeKeys keys = KeysOf("word");
  keys.max_scrypt_log_n = kCheapScrypt - 1;
  EXPECT_THAT(Decrypt(file, keys).status().message(), HasSubstr("above the limit"));
  for (const char* work : {"04", "+4", "4 ", "-1", "99999999999999999999", "0"}) {
    std::string wrong = file;
    wrong.replace(wrong.find(" 4\n") + 1, 1, work);
    EXPECT_TRUE(absl::IsDataLoss(Decrypt(wrong, KeysOf("word")).status())) << work;
  }
}

TEST(Age, RefusesAPassphraseBesideRecipients) {
  AgeLock lock = PassphraseLock("word");
  std::string file = Encrypt("x", lock);
  auto header = ParseAgeHeader(file);
  ASSERT_TRUE(header.ok());
  std::vector<AgeStanza> stanzas = header->stanzas;
  stanzas.push_back({.type = "other", .arguments = {}, .body = {}});
  file = FormatAgeHeader(stanzas) + file.substr(header->authenticated_bytes);
  EXPECT_THAT(Decrypt(file, KeysOf("word")).status().message(), HasSubstr("beside"));
}

// ---- Keys ---------------------------------------------------------------------------------------

TEST(AgeKeys, RoundTripThroughText) {
  const AgeIdentity identity = NewIdentity();
  const SecretString text = FormatIdentityFile(identity);
  const auto parsed = ParseIdentityFile(text.view(), "key.txt");
  ASSERT_TRUE(parsed.ok()) << parsed.status();
  ASSERT_EQ(parsed->size(), 1U);
  EXPECT_EQ((*parsed)[0].recipient().ToString(), identity.recipient().ToString());
  EXPECT_EQ((*parsed)[0].ToString().view(), identity.ToString().view());
  EXPECT_EQ(AgeRecipient::Parse(identity.recipient().ToString())->key(),
            identity.recipient().key());
}

TEST(AgeKeys, NameTheLineAndNeverTheKey) {
  const std::string key(NewIdentity().ToString().view());
  const auto wrong = ParseIdentityFile("# comment\n\n" + key + "Q\n", "key.txt");
  EXPECT_THAT(wrong.status().message(), HasSubstr("key.txt:3: "));
  EXPECT_THAT(wrong.status().ToString(), testing::Not(HasSubstr(key)));
  EXPECT_THAT(AgeRecipient::Parse(key).status().ToString(), testing::Not(HasSubstr(key)));
  EXPECT_TRUE(absl::IsInvalidArgument(ParseIdentityFile("# nothing\n", "key.txt").status()));
}

// ---- The stock program --------------------------------------------------------------------------

class AgeProgram : public testing::Test {
 protected:
  void SetUp() override {
    if (Run("age --version").status != 0) GTEST_SKIP() << "the program age is not installed";
  }

  struct Result {
    int status = -1;
    std::string out;
  };
  // Runs a shell command in the directory.
  Result Run(const std::string& command) {
    const std::string line = "cd " + directory_.path() + " && { " + command + "; } 2>&1";
    FILE* const pipe = popen(line.c_str(), "r");
    Result result;
    char buffer[4096];
    size_t count = 0;
    while ((count = fread(buffer, 1, sizeof(buffer), pipe)) > 0) result.out.append(buffer, count);
    result.status = pclose(pipe);
    return result;
  }
  void Write(const std::string& name, std::string_view data) {
    ASSERT_TRUE(WriteWholeFile(directory_.path() + "/" + name, data).ok());
  }
  std::string Read(const std::string& name) {
    return ReadWholeFile(directory_.path() + "/" + name, 1 << 24).value_or("unreadable");
  }
  // A command under a terminal that answers each prompt with the passphrase.
  std::string AtTerminal(const std::string& command, const std::string& passphrase) {
    Write("terminal.py", R"(
import os, pty, sys
pid, terminal = pty.fork()
if pid == 0:
    os.execvp('sh', ['sh', '-c', sys.argv[1]])
text = b''
while True:
    try:
        part = os.read(terminal, 4096)
    except OSError:
        break
    if not part:
        break
    text += part
    if part.rstrip().endswith(b':'):
        os.write(terminal, sys.argv[2].encode() + b'\n')
status = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
sys.stdout.buffer.write(text)
sys.exit(status)
)");
    return "python3 terminal.py '" + command + "' '" + passphrase + "'";
  }

  test::TemporaryDirectory directory_;
};

TEST_F(AgeProgram, DecryptsOurs) {
  const AgeIdentity identity = NewIdentity();
  Write("key", FormatIdentityFile(identity).view());
  for (const size_t size : kSizes) {
    const std::string plain = SomeBytes(size);
    AgeLock lock = LockFor(NewIdentity());
    lock.recipients.push_back(identity.recipient());
    Write("file.age", Encrypt(plain, lock, 50'000));
    const Result result = Run("age -d -i key file.age > plain");
    ASSERT_EQ(result.status, 0) << size << ": " << result.out;
    EXPECT_TRUE(Read("plain") == plain) << size;
  }
}

TEST_F(AgeProgram, EncryptsForUs) {
  ASSERT_EQ(Run("age-keygen -o key").status, 0);
  const auto identities = ParseIdentityFile(Read("key"), "key");
  ASSERT_TRUE(identities.ok()) << identities.status();
  const AgeKeys keys = KeysOf((*identities)[0]);
  for (const size_t size : kSizes) {
    const std::string plain = SomeBytes(size);
    Write("plain", plain);
    const Result result = Run("age -r " + (*identities)[0].recipient().ToString() + " -r " +
                              NewIdentity().recipient().ToString() + " -o file.age plain");
    ASSERT_EQ(result.status, 0) << result.out;
    const auto back = Decrypt(Read("file.age"), keys);
    ASSERT_TRUE(back.ok()) << size << ": " << back.status();
    EXPECT_TRUE(*back == plain) << size;
  }
}

TEST_F(AgeProgram, SharesPassphrases) {
  const std::string plain = SomeBytes(100'000);
  AgeLock lock = PassphraseLock("correct horse");
  lock.scrypt_log_n = 12;
  Write("ours.age", Encrypt(plain, lock));
  const Result opened = Run(AtTerminal("age -d -o plain ours.age", "correct horse"));
  ASSERT_EQ(opened.status, 0) << opened.out;
  EXPECT_TRUE(Read("plain") == plain);
  const Result locked = Run(AtTerminal("age -p -o theirs.age plain", "battery staple"));
  ASSERT_EQ(locked.status, 0) << locked.out;
  EXPECT_TRUE(Decrypt(Read("theirs.age"), KeysOf("battery staple")).value_or("") == plain);
}

TEST_F(AgeProgram, AgreesOnKeys) {
  const AgeIdentity identity = NewIdentity();
  Write("key", FormatIdentityFile(identity).view());
  EXPECT_EQ(Run("age-keygen -y key").out, identity.recipient().ToString() + "\n");
}

}  // namespace
}  // namespace litefs::crypto
