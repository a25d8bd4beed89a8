#include "daemon/replication/message.h"

#include <fmt/format.h>
#include <xxhash.h>

#include <algorithm>
#include <optional>

#include "common/check.h"
#include "common/endian.h"
#include "common/msgpack.h"
#include "common/status_macros.h"

namespace litefs::replication {
namespace {

constexpr size_t kEnvelopeFields = 5;
constexpr size_t kMaxFields = kEnvelopeFields + 8 + 5 * kMaxListedDatabases;
constexpr size_t kRefusedType = 3;
// https://www.sqlite.org/limits.html, 13 and 14.
constexpr uint64_t kMaxDatabasePages = 4294967294;
constexpr uint64_t kMaxPageBytes = 65536;
static_assert(std::is_same_v<std::variant_alternative_t<kRefusedType - 1, Body>, Refused>);

// ---- Layout
// -------------------------------------------------------------------------------------- Every
// body's fields are listed once, by Fields(visitor, body), for counting, writing and reading.

template <class V>
void Fields(V& v, auto& b) requires requires {
  b.credit_bytes;
}
{ v.Text(b.node_id, kMaxNodeIdBytes), v.Uint(b.credit_bytes), v.Flag(b.push); }
template <class V>
void Fields(V& v, auto& b) requires requires {
  b.publishes;
}
{
  v.Text(b.node_id, kMaxNodeIdBytes), v.Flag(b.publishes), v.Text(b.path, kMaxPathBytes),
      v.Flag(b.durable), v.Text(b.proxy, kMaxProxyBytes);
}
template <class V>
void Fields(V& v, auto& b) requires requires {
  b.code;
}
{ v.Code(b.code), v.Uint(b.stream), v.Text(b.text, kMaxRefusalTextBytes); }
template <class V>
void Fields(V& v, auto& b) requires requires {
  b.after;
}
{ v.Uint(b.request), v.Text(b.after, kMaxDatabaseNameBytes); }
template <class V>
void Fields(V& v, auto& b) requires requires {
  b.last;
}
{
  v.Uint(b.request), v.Uint(b.sequence), v.Flag(b.last), v.Flag(b.complete);
  v.List(b.databases);
}
template <class V>
void FileFields(V& v, auto& f) {
  v.Uint(f.min_txid), v.Uint(f.max_txid), v.Uint(f.pre_apply), v.Uint(f.post_apply);
  v.Uint(f.size_bytes);
}
template <class V>
void Fields(V& v, auto& b) requires requires {
  b.partial;
}
{
  v.Uint(b.stream), v.Name(b.database), v.Position(b.from), FileFields(v, b.partial);
  v.Uint(b.partial_offset);
}
template <class V>
void Fields(V& v, auto& b) requires requires {
  b.snapshot;
}
{
  v.Uint(b.stream), v.Name(b.database), v.Flag(b.snapshot), FileFields(v, b.file);
  v.Uint(b.offset), v.Uint(b.digest), v.Uint(b.committed_ms), v.Uint(b.end_bytes);
}
template <class V>
void Fields(V& v, auto& b) requires requires {
  b.stream;
  b.position;
}
{ v.Uint(b.stream), v.Name(b.database), v.Position(b.position); }
template <class V>
void Fields(V& v, auto& b) requires requires {
  b.granted_bytes;
}
{ v.Uint(b.granted_bytes); }
template <class V>
void Fields(V& v, auto& b) requires(
    requires { b.position; } && !requires { b.stream; }) {
  v.Name(b.database), v.Position(b.position);
}
template <class V>
void Fields(V& v, auto& b) requires(
    requires { b.sent_us; } && !requires { b.answered_us; }) {
  v.Uint(b.sent_us);
}
template <class V>
void Fields(V& v, auto& b) requires requires {
  b.answered_us;
}
{ v.Uint(b.sent_us), v.Uint(b.received_us), v.Uint(b.answered_us); }
template <class V>
void Fields(V& v, Call& b) {
  v.Text(b.node_id, kMaxNodeIdBytes);
}
template <class V>
void Fields(V& v, const Call& b) {
  v.Text(b.node_id, kMaxNodeIdBytes);
}
template <class V>
void Fields(V& v, auto& b) requires(
    requires { b.push; } && !requires { b.credit_bytes; }) {
  v.Flag(b.push);
}
template <class V>
void Fields(V& v, auto& b) requires requires {
  b.has_payload;
}
{
  v.Uint(b.sequence), v.Name(b.database), FileFields(v, b.file), v.Flag(b.has_payload);
  v.Uint(b.digest), v.Uint(b.committed_ms), v.Uint(b.end_bytes);
}
template <class V>
void Fields(V& v, auto& b) requires requires {
  b.changed;
}
{
  v.Uint(b.sequence), v.Uint(b.database_count), v.Uint(b.state_digest), v.Uint(b.as_of_ms);
  v.Flag(b.complete), v.List(b.changed);
}
template <class V>
void Fields(V& v, auto& b) requires requires {
  b.pages;
}
{ v.Uint(b.stream), v.Name(b.database), v.Uint(b.first_page), v.Uint(b.pages); }
template <class V>
void Fields(V& v, auto& b) requires requires {
  b.sums;
}
{
  v.Uint(b.stream), v.Uint(b.page_bytes), v.Uint(b.size_pages), v.Uint(b.first_page);
  v.Words(b.sums, kSumsInMessage);
}

template <class V>
void Fields(V& v, Halt& b) {
  v.Uint(b.request), v.Name(b.database), v.Uint(b.wait_ms);
}
template <class V>
void Fields(V& v, const Halt& b) {
  v.Uint(b.request), v.Name(b.database), v.Uint(b.wait_ms);
}
template <class V>
void Fields(V& v, Halted& b) {
  v.Uint(b.request), v.Uint(b.lock), v.Position(b.from), v.Uint(b.ttl_ms);
  v.Text(b.text, kMaxRefusalTextBytes);
}
template <class V>
void Fields(V& v, const Halted& b) {
  v.Uint(b.request), v.Uint(b.lock), v.Position(b.from), v.Uint(b.ttl_ms);
  v.Text(b.text, kMaxRefusalTextBytes);
}
template <class V>
void Fields(V& v, KeepHalt& b) {
  v.Uint(b.kept);
}
template <class V>
void Fields(V& v, const KeepHalt& b) {
  v.Uint(b.kept);
}
template <class V>
void Fields(V& v, EndHalt& b) {
  v.Uint(b.lock), v.Uint(b.request);
}
template <class V>
void Fields(V& v, const EndHalt& b) {
  v.Uint(b.lock), v.Uint(b.request);
}
template <class V>
void Fields(V& v, RecallHalt& b) {
  v.Uint(b.lock), v.Flag(b.over), v.Text(b.why, kMaxRefusalTextBytes);
}
template <class V>
void Fields(V& v, const RecallHalt& b) {
  v.Uint(b.lock), v.Flag(b.over), v.Text(b.why, kMaxRefusalTextBytes);
}
template <class V>
void Fields(V& v, Forward& b) {
  v.Uint(b.request), v.Uint(b.lock), v.Name(b.database), FileFields(v, b.file);
  v.Flag(b.sync), v.Uint(b.offset), v.Uint(b.digest);
}
template <class V>
void Fields(V& v, const Forward& b) {
  v.Uint(b.request), v.Uint(b.lock), v.Name(b.database), FileFields(v, b.file);
  v.Flag(b.sync), v.Uint(b.offset), v.Uint(b.digest);
}
template <class V>
void Fields(V& v, Forwarded& b) {
  v.Uint(b.request), v.Code(b.outcome), v.Uint(b.received_bytes);
  v.Text(b.text, kMaxRefusalTextBytes), v.Uint(b.durable_within_ms);
}
template <class V>
void Fields(V& v, const Forwarded& b) {
  v.Uint(b.request), v.Code(b.outcome), v.Uint(b.received_bytes);
  v.Text(b.text, kMaxRefusalTextBytes), v.Uint(b.durable_within_ms);
}
template <class V>
void Fields(V& v, AskOutcome& b) {
  v.Uint(b.request), v.Name(b.database), v.Position(b.end);
}
template <class V>
void Fields(V& v, const AskOutcome& b) {
  v.Uint(b.request), v.Name(b.database), v.Position(b.end);
}

// A relative path that stays where it is put.
bool IsDatabaseName(std::string_view name) {
  if (name.empty() || name.find('\0') != std::string_view::npos) return false;
  while (true) {
    const size_t slash = name.find('/');
    const std::string_view part = name.substr(0, slash);
    if (part.empty() || part == "." || part == "..") return false;
    if (slash == std::string_view::npos) return true;
    name.remove_prefix(slash + 1);
  }
}

struct FieldCounter {
  uint32_t count = 0;
  void Uint(uint64_t) { ++count; }
  void Flag(bool) { ++count; }
  void Code(auto) { ++count; }
  void Text(const std::string&, size_t) { ++count; }
  void Name(const std::string&) { ++count; }
  void Words(const std::vector<uint64_t>&, size_t) { ++count; }
  void Position(const ltx::Position&) { count += 2; }
  void List(const std::vector<ChainTip>& list) { count += 1 + 5 * list.size(); }
};

struct FieldWriter {
  MessageWriter& out;
  void Uint(uint64_t v) { out.Uint(v); }
  void Flag(bool v) { out.Uint(v ? 1 : 0); }
  void Code(auto v) { out.Uint(static_cast<uint64_t>(v)); }
  void Text(const std::string& v, size_t) { out.Text(v); }
  void Name(const std::string& v) { out.Text(v); }
  void Words(const std::vector<uint64_t>& v, size_t) {
    std::string text(v.size() * sizeof(uint64_t), '\0');
    for (size_t i = 0; i < v.size(); ++i) StoreBig64(text.data() + i * sizeof(uint64_t), v[i]);
    out.Text(text);
  }
  void Position(const ltx::Position& v) { Uint(v.txid), Uint(v.checksum); }
  void List(const std::vector<ChainTip>& list) {
    Uint(list.size());
    for (const ChainTip& tip : list) {
      Name(tip.name), Position(tip.position), Uint(tip.committed_ms), Uint(tip.end_bytes);
    }
  }
};

// Reads and checks; error holds the first defect's description.
struct FieldReader {
  MessageReader& in;
  const char* error = nullptr;

  void Fail(const char* what) {
    if (error == nullptr) error = what;
  }
  void Uint(uint64_t& v) { v = in.Uint(); }
  void Flag(bool& v) {
    const uint64_t n = in.Uint();
    if (n > 1) Fail("a flag is neither 0 nor 1");
    v = n == 1;
  }
  void Code(auto& v) { v = static_cast<std::remove_reference_t<decltype(v)>>(in.Uint()); }
  void Text(std::string& v, size_t max_bytes) {
    const std::string_view text = in.Text();
    if (text.size() > max_bytes) return Fail("a string is too long");
    v = text;
  }
  void Name(std::string& v) {
    Text(v, kMaxDatabaseNameBytes);
    if (!IsDatabaseName(v)) Fail("not a database name");
  }
  void Words(std::vector<uint64_t>& v, size_t max_words) {
    const std::string_view text = in.Text();
    if (text.size() % sizeof(uint64_t) != 0) return Fail("not whole words");
    if (text.size() / sizeof(uint64_t) > max_words) return Fail("too many words");
    for (size_t at = 0; at < text.size(); at += sizeof(uint64_t)) {
      v.push_back(LoadBig64(text.data() + at));
    }
  }
  void Position(ltx::Position& v) { Uint(v.txid), Uint(v.checksum); }
  void List(std::vector<ChainTip>& list) {
    const uint64_t count = in.Uint();
    if (count > kMaxListedDatabases) return Fail("a list is too long");
    for (uint64_t i = 0; i < count && in.ok() && error == nullptr; ++i) {
      ChainTip& tip = list.emplace_back();
      Name(tip.name), Position(tip.position), Uint(tip.committed_ms), Uint(tip.end_bytes);
    }
  }
};

// ---- Rules beyond the layout
// -----------------------------------------------------------------------

const char* DefectOf(const FileIdentity& file) {
  if (file.min_txid == 0 || file.min_txid > file.max_txid) return "transaction ids out of order";
  if (file.size_bytes == 0 || file.size_bytes > kMaxFileBytes) return "file size out of range";
  return nullptr;
}
const char* DefectOf(const Chunk& chunk) {
  if (chunk.stream == 0) return "stream id 0";
  if (chunk.offset >= chunk.file.size_bytes) return "offset beyond the file";
  return DefectOf(chunk.file);
}
const char* DefectOf(const Pull& pull) {
  if (pull.stream == 0) return "stream id 0";
  if (pull.partial == FileIdentity{}) return pull.partial_offset == 0 ? nullptr : "stray offset";
  if (pull.partial_offset >= pull.partial.size_bytes) return "offset beyond the file";
  return DefectOf(pull.partial);
}
const char* DefectOf(const Current& current) {
  return current.stream == 0 ? "stream id 0" : nullptr;
}
const char* DefectOf(const Transaction& transaction) {
  if (transaction.has_payload && transaction.file.size_bytes > kMaxInlineBytes) {
    return "payload too large";
  }
  return DefectOf(transaction.file);
}
const char* DefectOf(const SumsRequest& request) {
  if (request.stream == 0) return "stream id 0";
  if (request.first_page == 0 || request.pages == 0 || request.pages > kMaxSumsAsked) {
    return "pages out of range";
  }
  return nullptr;
}
const char* DefectOf(const Sums& sums) {
  if (sums.stream == 0) return "stream id 0";
  if (sums.size_pages > kMaxDatabasePages || sums.page_bytes > kMaxPageBytes) {
    return "no database has that shape";
  }
  if (sums.sums.size() > sums.size_pages || sums.first_page == 0 ||
      sums.first_page - 1 > sums.size_pages - sums.sums.size()) {
    return "pages beyond the size";
  }
  return nullptr;
}
const char* DefectOf(const Halt& halt) { return halt.request == 0 ? "request id 0" : nullptr; }
const char* DefectOf(const Forward& forward) {
  if (forward.request == 0 || forward.lock == 0) return "request or lock id 0";
  if (forward.file.size_bytes > kMaxForwardBytes) return "file size out of range";
  if (forward.offset >= forward.file.size_bytes) return "offset beyond the file";
  return DefectOf(forward.file);
}
const char* DefectOf(const Forwarded& forwarded) {
  const bool known = forwarded.outcome >= Outcome::kMore && forwarded.outcome <= Outcome::kWaits;
  return known ? nullptr : "unknown outcome";
}
const char* DefectOf(const AskOutcome& ask) { return ask.request == 0 ? "request id 0" : nullptr; }
const char* DefectOf(const auto&) { return nullptr; }

// ---- Dispatch
// ------------------------------------------------------------------------------------

template <size_t I = 0>
std::optional<Body> EmptyBody(uint64_t type) {
  if constexpr (I == std::variant_size_v<Body>) {
    return std::nullopt;
  } else {
    if (type == I + 1) return Body(std::in_place_index<I>);
    return EmptyBody<I + 1>(type);
  }
}

// The first element of a msgpack array, if it is an unsigned integer: the wire version, found even
// where the rest is of a layout that we do not know.
std::optional<uint64_t> PeekVersion(std::string_view data) {
  const auto byte = [&](size_t i) { return static_cast<uint8_t>(data[i]); };
  size_t at;
  if (data.size() >= 2 && (byte(0) & 0xf0) == 0x90) {
    at = 1;
  } else if (data.size() >= 4 && byte(0) == 0xdc) {
    at = 3;
  } else {
    return std::nullopt;
  }
  if (byte(at) < 0x80) return byte(at);
  if (byte(at) == 0xcc && data.size() > at + 1) return byte(at + 1);
  if (byte(at) == 0xcd && data.size() > at + 2) return LoadBig16(data.data() + at + 1);
  return std::nullopt;
}

absl::Status Malformed(std::string_view what) {
  return absl::InvalidArgumentError(fmt::format("malformed message: {}", what));
}

}  // namespace

std::string Encode(const Envelope& envelope, const Body& body) {
  FieldCounter counter;
  std::visit([&](const auto& b) { Fields(counter, b); }, body);
  thread_local std::string buffer(kMaxHeaderBytes, '\0');
  MessageWriter out(buffer, kEnvelopeFields + counter.count);
  out.Uint(kWireVersion);
  out.Uint(body.index() + 1);
  out.Text(envelope.cluster_id);
  out.Uint(envelope.epoch);
  out.Uint(envelope.instance);
  FieldWriter writer{out};
  std::visit([&](const auto& b) { Fields(writer, b); }, body);
  CHECK(out.size() != 0);
  return buffer.substr(0, out.size());
}

absl::StatusOr<Message> Decode(std::string_view header, size_t max_bytes) {
  if (header.size() > max_bytes) {
    return Malformed(fmt::format("{} bytes, at most {} allowed", header.size(), max_bytes));
  }
  const std::optional<uint64_t> version = PeekVersion(header);
  if (!version) return Malformed("no wire version");
  MessageField fields[kMaxFields];
  const int count = DecodeMessage(header, fields);
  const bool refusal =
      count > 1 && fields[1].kind == MessageField::Kind::kUint && fields[1].number == kRefusedType;
  if (*version != kWireVersion && !refusal) {
    return absl::UnimplementedError(
        fmt::format("wire version {}, this node speaks {}", *version, kWireVersion));
  }
  if (count < 0) return Malformed("not a flat array of integers and strings");

  MessageReader in(std::span<const MessageField>(fields, static_cast<size_t>(count)));
  in.Uint();
  std::optional<Body> body = EmptyBody(in.Uint());
  if (!body) return Malformed("unknown type");
  Message message{{}, *std::move(body)};
  FieldReader reader{in};
  reader.Text(message.envelope.cluster_id, kMaxClusterIdBytes);
  reader.Uint(message.envelope.epoch);
  reader.Uint(message.envelope.instance);
  std::visit([&](auto& b) { Fields(reader, b); }, message.body);
  if (reader.error != nullptr) return Malformed(reader.error);
  if (!in.AtEnd()) return Malformed("wrong number or kind of fields");
  const char* defect = std::visit([](const auto& b) { return DefectOf(b); }, message.body);
  if (defect != nullptr) return Malformed(defect);
  return message;
}

uint64_t Digest(std::span<const std::byte> data) { return XXH3_64bits(data.data(), data.size()); }

uint64_t StateDigest(std::string_view database, const ltx::Position& position) {
  char tail[16];
  StoreBig64(tail, position.txid);
  StoreBig64(tail + 8, position.checksum);
  const uint64_t name = XXH3_64bits(database.data(), database.size());
  return XXH3_64bits_withSeed(tail, sizeof(tail), name);
}

std::string Topic(std::string_view cluster_id) {
  std::string topic = fmt::format("lfs1{:016x}", XXH3_64bits(cluster_id.data(), cluster_id.size()));
  CHECK(topic.size() == kTopicBytes);
  return topic;
}

}  // namespace litefs::replication
