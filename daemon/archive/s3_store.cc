// libcurl signs what it is given without bringing it into the canonical form first.  So everything
// passes through Once(): path and query percent-encoded in upper-case hexadecimal, the parameters
// sorted (std::map) and each with its '=', and exactly one x-amz-content-sha256.
//
// A put whose reply was lost may have been stored.  Repeating it is harmless, except that with
// If-None-Match the repetition is refused: then IsOurs() looks at the token of the object there.

#include "daemon/archive/s3_store.h"

#include <fmt/format.h>
#include <openssl/evp.h>
#include <openssl/rand.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <ctime>

#include "common/hex.h"
#include "common/posix_io.h"
#include "common/status_macros.h"
#include "daemon/archive/s3_xml.h"
#include "daemon/crypto/text_encoding.h"

namespace litefs::archive {
namespace {

constexpr size_t kListPageObjects = 1000;
constexpr size_t kDeleteBatchObjects = 1000;
constexpr uint64_t kMaxParts = 10'000;
constexpr uint64_t kMinPartBytes = 5 << 20;
constexpr uint64_t kMaxPutBytes = uint64_t{5} << 30;
constexpr std::string_view kShaHeader = "x-amz-meta-litefs-sha256";
constexpr std::string_view kTokenHeader = "x-amz-meta-litefs-put";

// Feeds the body to the digest and returns the result.
absl::StatusOr<std::vector<uint8_t>> DigestOf(const UploadBody& body, const EVP_MD* digest) {
  const std::unique_ptr<EVP_MD_CTX, decltype(&EVP_MD_CTX_free)> context(EVP_MD_CTX_new(),
                                                                        &EVP_MD_CTX_free);
  if (!context || EVP_DigestInit_ex(context.get(), digest, nullptr) != 1) {
    return absl::InternalError("no digest");
  }
  if (body.data != nullptr) {
    EVP_DigestUpdate(context.get(), body.data, body.size);
  } else {
    std::vector<std::byte> buffer(std::min<uint64_t>(body.size, 256 << 10));
    for (uint64_t done = 0; done < body.size;) {
      const auto part =
          std::span(buffer).first(std::min<uint64_t>(buffer.size(), body.size - done));
      RETURN_IF_ERROR(ReadExactAt(body.fd, part, body.offset + done, "the file to upload"));
      EVP_DigestUpdate(context.get(), part.data(), part.size());
      done += part.size();
    }
  }
  std::vector<uint8_t> out(static_cast<size_t>(EVP_MD_get_size(digest)));
  if (EVP_DigestFinal_ex(context.get(), out.data(), nullptr) != 1) {
    return absl::InternalError("no digest");
  }
  return out;
}

absl::StatusOr<std::string> Sha256Of(const UploadBody& body) {
  ASSIGN_OR_RETURN(const std::vector<uint8_t> digest, DigestOf(body, EVP_sha256()));
  std::string hex;
  for (const uint8_t byte : digest) hex += fmt::format("{:02x}", byte);
  return hex;
}

UploadBody BodyOf(std::string_view text) {
  return {.data = reinterpret_cast<const std::byte*>(text.data()), .size = text.size()};
}

UploadBody BodyOf(std::span<const std::byte> data) {
  static constexpr std::byte kNothing{};
  return {.data = data.empty() ? &kNothing : data.data(), .size = data.size()};
}

absl::StatusOr<std::string> RandomToken() {
  std::array<uint64_t, 2> random;
  if (RAND_bytes(reinterpret_cast<uint8_t*>(random.data()), sizeof(random)) != 1) {
    return absl::InternalError("no random bytes");
  }
  return Hex16(random[0]) + Hex16(random[1]);
}

// What a refusal means, as a status code.
absl::StatusCode CodeOf(int status, const std::string& code) {
  if (code == "RequestTimeout" || code == "SlowDown" || code == "BadDigest" ||
      code == "XAmzContentSHA256Mismatch" || code == "ConditionalRequestConflict" ||
      code == "OperationAborted") {
    return absl::StatusCode::kUnavailable;
  }
  switch (status) {
    case 401:
    case 403:
      return absl::StatusCode::kPermissionDenied;
    case 404:
      return absl::StatusCode::kNotFound;
    case 408:
    case 429:
      return absl::StatusCode::kUnavailable;
    case 412:
      return absl::StatusCode::kAlreadyExists;
    case 416:
      return absl::StatusCode::kOutOfRange;
    case 501:
      return absl::StatusCode::kUnimplemented;
    default:
      if (status >= 500) return absl::StatusCode::kUnavailable;
      return status >= 300 && status < 400 ? absl::StatusCode::kFailedPrecondition
                                           : absl::StatusCode::kUnknown;
  }
}

// What to do about it, for those who do not know S3's codes.
std::string AdviceOn(const HttpResponse& response, const std::string& code) {
  if (code == "RequestTimeTooSkewed") {
    return fmt::format("; the server's clock says {}, set this machine's", response.Header("date"));
  }
  if (code == "SignatureDoesNotMatch") return "; the secret key does not belong to the key id";
  if (code == "InvalidAccessKeyId") return "; the server does not know the access key id";
  const std::string& region = response.Header("x-amz-bucket-region");
  if (!region.empty() && (response.status / 100 == 3 || code == "AuthorizationHeaderMalformed")) {
    return fmt::format("; the bucket is in the region {}", region);
  }
  return "";
}

HttpClient::Options HttpOptions(const S3Settings& settings, const StoreOptions& options) {
  return {.signing_scope = fmt::format("aws:amz:{}:s3", settings.region),
          .user = settings.access_key_id,
          .password = settings.secret_access_key,
          .ca_file = settings.ca_file,
          .timeout = options.request_timeout};
}

}  // namespace

absl::StatusOr<std::unique_ptr<S3Store>> S3Store::Open(const StoreOptions& options) {
  ASSIGN_OR_RETURN(S3Settings settings, ResolveS3Settings(options));
  return std::unique_ptr<S3Store>(new S3Store(std::move(settings), options));
}

S3Store::S3Store(S3Settings settings, const StoreOptions& options)
    : settings_(std::move(settings)),
      options_(options),
      http_(HttpOptions(settings_, options_)),
      retrier_(options_.max_retries) {}

void S3Store::Stop() {
  http_.Stop();
  retrier_.Stop();
}

std::string S3Store::Describe() const {
  return fmt::format("s3://{}/{} at {}", settings_.bucket, settings_.prefix, settings_.base_url);
}

// ---- Requests -----------------------------------------------------------------------------------

absl::StatusOr<HttpResponse> S3Store::Once(const Call& call) {
  static const std::string empty_sha256 =
      "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";
  std::string url = settings_.base_url + "/" + PercentEncode(call.key, true);
  char separator = '?';
  for (const auto& [key, value] : call.query) {
    url += separator + PercentEncode(key, false) + "=" + PercentEncode(value, false);
    separator = '&';
  }
  std::vector<std::string> headers = call.headers;
  headers.push_back("x-amz-content-sha256: " +
                    (call.body == nullptr ? empty_sha256 : call.body_sha256));
  if (!settings_.session_token.empty()) {
    headers.push_back("x-amz-security-token: " + settings_.session_token);
  }
  auto response = http_.Perform({.method = call.method,
                                 .url = url,
                                 .headers = std::move(headers),
                                 .body = call.body,
                                 .range = call.range,
                                 .response_fd = call.response_fd,
                                 .max_response_bytes = call.max_response_bytes,
                                 .timeout = call.timeout});
  if (!response.ok()) {
    return absl::Status(response.status().code(),
                        fmt::format("{}: {} {}: {}", Describe(), call.method, call.key,
                                    std::string(response.status().message())));
  }
  if (response->status / 100 != 2) return ErrorOf(call, *response);
  return response;
}

absl::StatusOr<HttpResponse> S3Store::Send(const Call& call) {
  HttpResponse response;
  RETURN_IF_ERROR(retrier_.Run([&]() -> absl::Status {
    ASSIGN_OR_RETURN(response, Once(call));
    return absl::OkStatus();
  }));
  return response;
}

absl::Status S3Store::ErrorOf(const Call& call, const HttpResponse& response) const {
  const S3Error error = ParseS3Error(response.body);
  return absl::Status(
      CodeOf(response.status, error.code),
      fmt::format("{}: {} {}: HTTP status {} {} {}{}", Describe(), call.method, call.key,
                  response.status, error.code, error.message, AdviceOn(response, error.code)));
}

// ---- Reading ------------------------------------------------------------------------------------

absl::Status S3Store::List(std::string_view prefix, std::string_view start_after,
                           const Visitor& visit) {
  std::string after = start_after.empty() ? "" : settings_.prefix + std::string(start_after);
  while (true) {
    Call call{.method = "GET",
              .key = "",
              .query = {{"list-type", "2"},
                        {"max-keys", std::to_string(kListPageObjects)},
                        {"prefix", settings_.prefix + std::string(prefix)}}};
    if (!after.empty()) call.query["start-after"] = after;
    ASSIGN_OR_RETURN(const HttpResponse response, Send(call));
    ASSIGN_OR_RETURN(const S3ListPage page, ParseListPage(response.body));
    for (const S3ListPage::Object& object : page.objects) {
      if (object.key <= after || !object.key.starts_with(call.query["prefix"])) {
        return absl::DataLossError(
            fmt::format("{}: the listing is out of order at \"{}\"", Describe(), object.key));
      }
      after = object.key;
      const std::string name = object.key.substr(settings_.prefix.size());
      // Others may keep things in the bucket that no name of ours can be.
      if (!CheckObjectName(name).ok()) continue;
      if (!visit({.name = name, .size = object.size, .modified_ms = object.modified_ms})) {
        return absl::OkStatus();
      }
    }
    if (!page.truncated) return absl::OkStatus();
    if (page.objects.empty()) {
      return absl::DataLossError(fmt::format("{}: the listing does not advance", Describe()));
    }
  }
}

absl::StatusOr<std::string> S3Store::Get(std::string_view name, uint64_t offset, uint64_t length) {
  RETURN_IF_ERROR(CheckObjectName(name));
  if (length == 0) {  // a range cannot say so
    ASSIGN_OR_RETURN(const HttpResponse head,
                     Send({.method = "HEAD", .key = settings_.prefix + std::string(name)}));
    return std::string();
  }
  const uint64_t last = offset + std::min(length, UINT64_MAX - offset) - 1;
  auto response = Send({.method = "GET",
                        .key = settings_.prefix + std::string(name),
                        .range = fmt::format("{}-{}", offset, std::min<uint64_t>(last, INT64_MAX)),
                        .max_response_bytes = std::max<uint64_t>(length, 64 << 10)});
  if (absl::IsOutOfRange(response.status())) return std::string();  // 416: from its end on
  if (!response.ok()) return response.status();
  if (response->status != 206 && offset > 0) {
    return absl::UnimplementedError(fmt::format("{}: knows no ranges", Describe()));
  }
  if (response->body.size() > length) response->body.resize(length);
  return std::move(response->body);
}

absl::StatusOr<uint64_t> S3Store::GetToFile(std::string_view name, int fd) {
  RETURN_IF_ERROR(CheckObjectName(name));
  const Call call{.method = "GET", .key = settings_.prefix + std::string(name), .response_fd = fd};
  uint64_t size = 0;
  bool altered = false;
  const absl::Status status = retrier_.Run([&]() -> absl::Status {
    altered = false;
    if (::ftruncate(fd, 0) != 0) return ErrnoStatus("the file to download to", errno);
    ASSIGN_OR_RETURN(const HttpResponse response, Once(call));
    const std::string& sha256 = response.Header(std::string(kShaHeader));
    size = response.body_bytes;
    altered = !sha256.empty() && sha256 != response.body_sha256;
    if (!altered) return absl::OkStatus();
    return absl::UnavailableError(
        fmt::format("{}: {} is not what was stored: SHA-256 {} instead of {}", Describe(), name,
                    response.body_sha256, sha256));
  });
  if (altered && absl::IsUnavailable(status)) return absl::DataLossError(status.message());
  RETURN_IF_ERROR(status);
  return size;
}

// ---- Writing ------------------------------------------------------------------------------------

absl::Status S3Store::Put(std::string_view name, std::span<const std::byte> data,
                          const PutOptions& options) {
  RETURN_IF_ERROR(CheckObjectName(name));
  return PutBody(settings_.prefix + std::string(name), BodyOf(data), options);
}

absl::Status S3Store::PutFile(std::string_view name, int fd, uint64_t size,
                              const PutOptions& options) {
  RETURN_IF_ERROR(CheckObjectName(name));
  const UploadBody body{.fd = fd, .size = size};
  const std::string key = settings_.prefix + std::string(name);
  return size > std::min(options_.multipart_above_bytes, kMaxPutBytes)
             ? PutParts(key, body, options)
             : PutBody(key, body, options);
}

absl::StatusOr<std::vector<std::string>> S3Store::PutHeaders(const Metadata& metadata,
                                                             const PutOptions& options) const {
  std::vector<std::string> headers = {fmt::format("{}: {}", kShaHeader, metadata.sha256),
                                      fmt::format("{}: {}", kTokenHeader, metadata.token)};
  if (options.if_none_match) headers.emplace_back("If-None-Match: *");
  return headers;
}

absl::StatusOr<bool> S3Store::IsOurs(const std::string& key, const std::string& token) {
  ASSIGN_OR_RETURN(const HttpResponse head, Send({.method = "HEAD", .key = key}));
  return head.Header(std::string(kTokenHeader)) == token;
}

absl::Status S3Store::PutBody(const std::string& key, const UploadBody& body,
                              const PutOptions& options) {
  Metadata metadata;
  ASSIGN_OR_RETURN(metadata.sha256, Sha256Of(body));
  ASSIGN_OR_RETURN(metadata.token, RandomToken());
  Call call{.method = "PUT", .key = key, .body = &body, .body_sha256 = metadata.sha256};
  ASSIGN_OR_RETURN(call.headers, PutHeaders(metadata, options));
  bool repeated = false;
  absl::Status status = retrier_.Run([&]() -> absl::Status {
    const absl::Status sent = Once(call).status();
    repeated |= absl::IsUnavailable(sent);
    return sent;
  });
  if (repeated && absl::IsAlreadyExists(status)) {
    ASSIGN_OR_RETURN(const bool ours, IsOurs(key, metadata.token));
    if (ours) return absl::OkStatus();
  }
  return status;
}

absl::Status S3Store::PutParts(const std::string& key, const UploadBody& body,
                               const PutOptions& options) {
  if (options.if_none_match) {
    // Saves the upload, and stands in for the condition where a server knows
    // none for parts.
    const absl::Status there = Send({.method = "HEAD", .key = key}).status();
    if (there.ok()) return absl::AlreadyExistsError(fmt::format("{}: {}", Describe(), key));
    if (!absl::IsNotFound(there)) return there;
  }
  Metadata metadata;
  ASSIGN_OR_RETURN(metadata.sha256, Sha256Of(body));
  ASSIGN_OR_RETURN(metadata.token, RandomToken());
  Call start{.method = "POST", .key = key, .query = {{"uploads", ""}}};
  const UploadBody nothing = BodyOf(std::string_view(""));
  ASSIGN_OR_RETURN(start.headers, PutHeaders(metadata, {}));
  start.body = &nothing;
  ASSIGN_OR_RETURN(start.body_sha256, Sha256Of(nothing));
  ASSIGN_OR_RETURN(const HttpResponse started, Send(start));
  ASSIGN_OR_RETURN(const std::string id, ParseUploadId(started.body));

  const auto etags = UploadParts(key, id, body);
  absl::Status status = etags.status();
  if (status.ok()) {
    status = CompleteUpload(key, id, *etags, options);
    if (status.ok()) return status;
    // A lost reply to the completion looks like an upload that is unknown, or
    // an object in the way.
    const auto ours = IsOurs(key, metadata.token);
    if (ours.ok() && *ours) return absl::OkStatus();
  }
  (void)Once({.method = "DELETE", .key = key, .query = {{"uploadId", id}}});
  return status;  // what the abort did not remove, SweepUnfinished does
}

absl::StatusOr<std::vector<std::string>> S3Store::UploadParts(const std::string& key,
                                                              const std::string& id,
                                                              const UploadBody& body) {
  const uint64_t part_bytes =
      std::max({kMinPartBytes, options_.part_bytes, (body.size + kMaxParts - 1) / kMaxParts});
  std::vector<std::string> etags;
  for (uint64_t offset = 0; offset < body.size; offset += part_bytes) {
    UploadBody part = body;
    part.offset += offset;
    part.size = std::min(part_bytes, body.size - offset);
    Call call{.method = "PUT",
              .key = key,
              .query = {{"partNumber", std::to_string(etags.size() + 1)}, {"uploadId", id}},
              .body = &part};
    ASSIGN_OR_RETURN(call.body_sha256, Sha256Of(part));
    ASSIGN_OR_RETURN(const HttpResponse response, Send(call));
    etags.push_back(response.Header("etag"));
    if (etags.back().empty()) {
      return absl::DataLossError(fmt::format("{}: {}: a part has no ETag", Describe(), key));
    }
  }
  return etags;
}

absl::Status S3Store::CompleteUpload(const std::string& key, const std::string& id,
                                     std::span<const std::string> etags,
                                     const PutOptions& options) {
  const std::string document = FormatCompleteUpload(etags);
  const UploadBody body = BodyOf(std::string_view(document));
  Call call{.method = "POST", .key = key, .query = {{"uploadId", id}}, .body = &body};
  ASSIGN_OR_RETURN(call.body_sha256, Sha256Of(body));
  if (options.if_none_match) call.headers.emplace_back("If-None-Match: *");
  return retrier_.Run([&]() -> absl::Status {
    ASSIGN_OR_RETURN(HttpResponse response, Once(call));
    // S3 may begin to answer with 200 and find an error later.
    const S3Error error = ParseS3Error(response.body);
    if (error.code.empty()) return absl::OkStatus();
    response.status = error.code == "PreconditionFailed" ? 412 : 500;
    return ErrorOf(call, response);
  });
}

absl::StatusOr<S3Store::Tagged> S3Store::GetTagged(std::string_view name,
                                                   std::chrono::milliseconds timeout) {
  RETURN_IF_ERROR(CheckObjectName(name));
  ASSIGN_OR_RETURN(
      HttpResponse response,
      Once({.method = "GET", .key = settings_.prefix + std::string(name), .timeout = timeout}));
  Tagged tagged{.content = std::move(response.body), .etag = response.Header("etag")};
  if (tagged.etag.empty()) {
    return absl::DataLossError(fmt::format("{}: {}: there is no ETag", Describe(), name));
  }
  return tagged;
}

absl::StatusOr<std::string> S3Store::PutTagged(std::string_view name, std::string_view content,
                                               const std::string& condition,
                                               std::chrono::milliseconds timeout) {
  RETURN_IF_ERROR(CheckObjectName(name));
  const UploadBody body = BodyOf(content);
  Call call{.method = "PUT",
            .key = settings_.prefix + std::string(name),
            .body = &body,
            .timeout = timeout};
  ASSIGN_OR_RETURN(call.body_sha256, Sha256Of(body));
  if (!condition.empty()) call.headers.push_back(condition);
  ASSIGN_OR_RETURN(const HttpResponse response, Once(call));
  if (response.Header("etag").empty()) {
    return absl::DataLossError(fmt::format("{}: {}: a put has no ETag", Describe(), name));
  }
  return response.Header("etag");
}

absl::Status S3Store::Delete(std::span<const std::string> names) {
  std::vector<std::string> keys;
  for (const std::string& name : names) {
    RETURN_IF_ERROR(CheckObjectName(name));
    keys.push_back(settings_.prefix + name);
  }
  if (keys.size() == 1) {
    const absl::Status status = Send({.method = "DELETE", .key = keys[0]}).status();
    return absl::IsNotFound(status) ? absl::OkStatus() : status;
  }
  for (size_t at = 0; at < keys.size(); at += kDeleteBatchObjects) {
    RETURN_IF_ERROR(
        DeleteBatch(std::span(keys).subspan(at, std::min(kDeleteBatchObjects, keys.size() - at))));
  }
  return absl::OkStatus();
}

absl::Status S3Store::DeleteBatch(std::span<const std::string> keys) {
  const std::string document = FormatDelete(keys);
  const UploadBody body = BodyOf(std::string_view(document));
  Call call{.method = "POST", .key = "", .query = {{"delete", ""}}, .body = &body};
  ASSIGN_OR_RETURN(call.body_sha256, Sha256Of(body));
  ASSIGN_OR_RETURN(const std::vector<uint8_t> md5, DigestOf(body, EVP_md5()));
  call.headers = {"Content-MD5: " + crypto::EncodeBase64(md5) + "=="};
  return retrier_.Run([&]() -> absl::Status {
    ASSIGN_OR_RETURN(const HttpResponse response, Once(call));
    ASSIGN_OR_RETURN(const std::vector<S3DeleteFailure> failures, ParseDeleteResult(response.body));
    if (failures.empty()) return absl::OkStatus();
    const S3DeleteFailure& first = failures.front();
    const bool refused = first.error.code == "AccessDenied";
    return absl::Status(
        refused ? absl::StatusCode::kPermissionDenied : absl::StatusCode::kUnavailable,
        fmt::format("{}: {} of {} not deleted, the first is {}: {} {}", Describe(), failures.size(),
                    keys.size(), first.key, first.error.code, first.error.message));
  });
}

absl::StatusOr<size_t> S3Store::SweepUnfinished(std::chrono::seconds older_than) {
  const int64_t before_ms = (int64_t{time(nullptr)} - older_than.count()) * 1000;
  size_t removed = 0;
  Query query = {{"max-uploads", std::to_string(kListPageObjects)},
                 {"prefix", settings_.prefix},
                 {"uploads", ""}};
  while (true) {
    ASSIGN_OR_RETURN(const HttpResponse response,
                     Send({.method = "GET", .key = "", .query = query}));
    ASSIGN_OR_RETURN(const S3UploadsPage page, ParseUploadsPage(response.body));
    for (const S3UploadsPage::Upload& upload : page.uploads) {
      if (upload.started_ms > before_ms || !upload.key.starts_with(settings_.prefix)) continue;
      const absl::Status status =
          Send({.method = "DELETE", .key = upload.key, .query = {{"uploadId", upload.id}}})
              .status();
      if (!status.ok() && !absl::IsNotFound(status)) return status;
      ++removed;
    }
    const bool advances = page.next_key_marker > query["key-marker"] ||
                          page.next_id_marker > query["upload-id-marker"];
    if (!page.truncated || !advances) return removed;
    query["key-marker"] = page.next_key_marker;
    query["upload-id-marker"] = page.next_id_marker;
  }
}

}  // namespace litefs::archive
