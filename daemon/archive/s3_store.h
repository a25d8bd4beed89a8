// S3Store: an ObjectStore in a bucket of Amazon S3, Ceph, MinIO or what else
// speaks S3.
//
// Every request is signed by libcurl (AWS Signature Version 4) with the SHA-256
// of its body.  Each object carries as metadata the SHA-256 of its content,
// which downloads are compared with, and a random token, by which a conditional
// put that is repeated after a lost reply knows its own work.

#pragma once

#include <map>
#include <memory>
#include <string>

#include "daemon/archive/http_client.h"
#include "daemon/archive/object_store.h"
#include "daemon/archive/retry.h"
#include "daemon/archive/s3_settings.h"

namespace litefs::archive {

class S3Store final : public ObjectStore {
 public:
  static absl::StatusOr<std::unique_ptr<S3Store>> Open(const StoreOptions& options);

  absl::Status List(std::string_view prefix, std::string_view start_after,
                    const Visitor& visit) override;
  absl::StatusOr<std::string> Get(std::string_view name, uint64_t offset, uint64_t length) override;
  absl::StatusOr<uint64_t> GetToFile(std::string_view name, int fd) override;
  absl::Status Put(std::string_view name, std::span<const std::byte> data,
                   const PutOptions& options) override;
  absl::Status PutFile(std::string_view name, int fd, uint64_t size,
                       const PutOptions& options) override;
  absl::Status Delete(std::span<const std::string> names) override;
  using ObjectStore::Delete;
  absl::StatusOr<size_t> SweepUnfinished(std::chrono::seconds older_than) override;
  void Stop() override;
  std::string Describe() const override;

  // For an object that many rewrite (a lease): one request each, which is not repeated, within
  // timeout.
  struct Tagged {
    std::string content;
    std::string etag;  // as the server wrote it
  };
  absl::StatusOr<Tagged> GetTagged(std::string_view name, std::chrono::milliseconds timeout);
  // condition: a header ("If-Match: …"), or empty.  kAlreadyExists: it does not hold, nothing was
  // changed. kUnavailable: the outcome is unknown.  Returns the new ETag.
  absl::StatusOr<std::string> PutTagged(std::string_view name, std::string_view content,
                                        const std::string& condition,
                                        std::chrono::milliseconds timeout);
  // As Stop, but Resume ends it.
  void Interrupt() { http_.Stop(); }
  void Resume() { http_.Resume(); }

 private:
  using Query = std::map<std::string, std::string>;
  // A request before it is given its URL and signature.
  struct Call {
    std::string method;
    std::string key;  // with the prefix; empty: the bucket
    Query query = {};
    std::vector<std::string> headers = {};
    const UploadBody* body = nullptr;
    std::string body_sha256 = {};  // of body
    std::string range = {};
    int response_fd = -1;
    uint64_t max_response_bytes = 8 << 20;
    std::chrono::milliseconds timeout{};  // 0: that of the options
  };
  // What a put stores beside the content.
  struct Metadata {
    std::string sha256;
    std::string token;
  };

  S3Store(S3Settings settings, const StoreOptions& options);

  // Sends a call once; an answer that is not 2xx is an error.
  absl::StatusOr<HttpResponse> Once(const Call& call);
  // The same, repeated while it is kUnavailable.
  absl::StatusOr<HttpResponse> Send(const Call& call);
  absl::Status ErrorOf(const Call& call, const HttpResponse& response) const;

  absl::Status PutBody(const std::string& key, const UploadBody& body, const PutOptions& options);
  absl::Status PutParts(const std::string& key, const UploadBody& body, const PutOptions& options);
  absl::StatusOr<std::vector<std::string>> UploadParts(const std::string& key,
                                                       const std::string& id,
                                                       const UploadBody& body);
  absl::Status CompleteUpload(const std::string& key, const std::string& id,
                              std::span<const std::string> etags, const PutOptions& options);
  absl::StatusOr<std::vector<std::string>> PutHeaders(const Metadata& metadata,
                                                      const PutOptions& options) const;
  // Whether the object at key is the one that was put with token.
  absl::StatusOr<bool> IsOurs(const std::string& key, const std::string& token);
  absl::Status DeleteBatch(std::span<const std::string> keys);

  const S3Settings settings_;
  const StoreOptions options_;
  HttpClient http_;
  Retrier retrier_;
};

}  // namespace litefs::archive
