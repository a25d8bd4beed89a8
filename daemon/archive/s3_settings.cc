#include "daemon/archive/s3_settings.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cctype>
#include <cstdlib>

#include "common/posix_io.h"
#include "common/status_macros.h"
#include "daemon/archive/url_query.h"

namespace litefs::archive {
namespace {

constexpr size_t kMaxIniBytes = 1 << 20;

std::string_view Trim(std::string_view text) {
  const size_t start = std::min(text.find_first_not_of(" \t\r"), text.size());
  text.remove_prefix(start);
  return text.substr(0, text.find_last_not_of(" \t\r") + 1);
}

// A variable, or "" also for one that is set to nothing.
std::string ValueOf(const Variables& variables, const char* name) {
  return variables(name).value_or("");
}

std::string ReadAwsFile(const Variables& variables, const char* variable, const char* name) {
  std::string path = ValueOf(variables, variable);
  if (path.empty()) path = ValueOf(variables, "HOME") + "/.aws/" + name;
  return ReadWholeFile(path, kMaxIniBytes).value_or("");
}

void SetIfEmpty(std::string* value, const std::string& other) {
  if (value->empty()) *value = other;
}

absl::Status ApplyQuery(std::string_view query, StoreOptions* options) {
  const std::array settings = {
      UrlSetting{"endpoint", &options->endpoint}, UrlSetting{"region", &options->region},
      UrlSetting{"style", &options->style}, UrlSetting{"profile", &options->profile},
      UrlSetting{"ca-file", &options->ca_file}};
  return ApplyUrlQuery(options->url, query, settings);
}

void ApplyVariables(const Variables& variables, StoreOptions* options) {
  if (options->access_key_id.empty()) {
    options->access_key_id = ValueOf(variables, "AWS_ACCESS_KEY_ID");
    options->secret_access_key = ValueOf(variables, "AWS_SECRET_ACCESS_KEY");
    options->session_token = ValueOf(variables, "AWS_SESSION_TOKEN");
  }
  SetIfEmpty(&options->region, ValueOf(variables, "AWS_REGION"));
  SetIfEmpty(&options->region, ValueOf(variables, "AWS_DEFAULT_REGION"));
  SetIfEmpty(&options->endpoint, ValueOf(variables, "AWS_ENDPOINT_URL_S3"));
  SetIfEmpty(&options->endpoint, ValueOf(variables, "AWS_ENDPOINT_URL"));
  SetIfEmpty(&options->profile, ValueOf(variables, "AWS_PROFILE"));
  SetIfEmpty(&options->profile, "default");
}

void ApplyFiles(const Variables& variables, StoreOptions* options) {
  const std::string& profile = options->profile;
  const std::string config = ReadAwsFile(variables, "AWS_CONFIG_FILE", "config");
  const std::string section = profile == "default" ? profile : "profile " + profile;
  if (options->access_key_id.empty()) {
    const std::string text = ReadAwsFile(variables, "AWS_SHARED_CREDENTIALS_FILE", "credentials");
    for (const auto& [file, name] : {std::pair(&text, &profile), std::pair(&config, &section)}) {
      if (!options->access_key_id.empty()) break;
      options->access_key_id = FindIniValue(*file, *name, "aws_access_key_id");
      options->secret_access_key = FindIniValue(*file, *name, "aws_secret_access_key");
      options->session_token = FindIniValue(*file, *name, "aws_session_token");
    }
  }
  SetIfEmpty(&options->region, FindIniValue(config, section, "region"));
  SetIfEmpty(&options->endpoint, FindIniValue(config, section, "endpoint_url"));
  SetIfEmpty(&options->region, "us-east-1");
}

bool IsBucketName(std::string_view name) {
  return name.size() >= 3 && name.size() <= 63 &&
         std::all_of(name.begin(), name.end(), [](unsigned char c) {
           return std::islower(c) || std::isdigit(c) || c == '-' || c == '.';
         });
}

// scheme://host[:port] and nothing else.
bool IsEndpoint(std::string_view text) {
  const std::string_view scheme = text.starts_with("http://")    ? "http://"
                                  : text.starts_with("https://") ? "https://"
                                                                 : "";
  const std::string_view host = text.substr(scheme.size());
  return !scheme.empty() && !host.empty() && host.find_first_of("/?#@ ") == std::string_view::npos;
}

absl::Status SetBaseUrl(StoreOptions options, S3Settings* settings) {
  std::string& endpoint = options.endpoint;
  if (options.style.empty()) options.style = endpoint.empty() ? "virtual" : "path";
  SetIfEmpty(&endpoint, fmt::format("https://s3.{}.amazonaws.com", options.region));
  while (endpoint.ends_with('/')) endpoint.pop_back();
  if (!IsEndpoint(endpoint)) {
    return absl::InvalidArgumentError(
        fmt::format("{}: endpoint \"{}\" is not http(s)://HOST[:PORT]", options.url, endpoint));
  }
  if (options.style == "path") {
    settings->base_url = endpoint + "/" + settings->bucket;
  } else if (options.style == "virtual") {
    const size_t host = endpoint.find("://") + 3;
    settings->base_url = endpoint.substr(0, host) + settings->bucket + "." + endpoint.substr(host);
  } else {
    return absl::InvalidArgumentError(
        fmt::format("{}: style \"{}\" is neither path nor virtual", options.url, options.style));
  }
  return absl::OkStatus();
}

}  // namespace

std::optional<std::string> ProcessVariables(const std::string& name) {
  const char* const value = std::getenv(name.c_str());
  return value == nullptr ? std::nullopt : std::optional<std::string>(value);
}

std::string FindIniValue(std::string_view text, std::string_view section, std::string_view key) {
  bool inside = false;
  for (size_t start = 0; start < text.size();) {
    const size_t end = std::min(text.find('\n', start), text.size());
    const std::string_view line = Trim(text.substr(start, end - start));
    start = end + 1;
    if (line.starts_with('[') && line.ends_with(']')) {
      inside = Trim(line.substr(1, line.size() - 2)) == section;
    }
    const size_t equals = line.find('=');
    if (!inside || line.starts_with('#') || line.starts_with(';')) continue;
    if (equals == std::string_view::npos || Trim(line.substr(0, equals)) != key) continue;
    return std::string(Trim(line.substr(equals + 1)));
  }
  return "";
}

absl::StatusOr<S3Settings> ResolveS3Settings(const StoreOptions& given,
                                             const Variables& variables) {
  StoreOptions options = given;
  std::string_view rest = given.url;
  rest.remove_prefix(std::min(rest.size(), std::string_view("s3://").size()));
  const size_t question = std::min(rest.find('?'), rest.size());
  RETURN_IF_ERROR(ApplyQuery(rest.substr(std::min(question + 1, rest.size())), &options));
  rest = rest.substr(0, question);
  ApplyVariables(variables, &options);
  ApplyFiles(variables, &options);

  S3Settings settings;
  const size_t slash = std::min(rest.find('/'), rest.size());
  settings.bucket = rest.substr(0, slash);
  settings.prefix = rest.substr(std::min(slash + 1, rest.size()));
  while (settings.prefix.ends_with('/')) settings.prefix.pop_back();
  if (!IsBucketName(settings.bucket)) {
    return absl::InvalidArgumentError(fmt::format(
        "{}: \"{}\" is not a bucket (3 to 63 of a-z, 0-9, '-', '.')", given.url, settings.bucket));
  }
  if (!settings.prefix.empty()) {
    RETURN_IF_ERROR(CheckObjectName(settings.prefix));
    settings.prefix += '/';
  }
  RETURN_IF_ERROR(SetBaseUrl(options, &settings));
  if (options.access_key_id.empty() || options.secret_access_key.empty()) {
    return absl::FailedPreconditionError(
        fmt::format("{}: no access key: set it in the configuration, in AWS_ACCESS_KEY_ID and "
                    "AWS_SECRET_ACCESS_KEY, or in ~/.aws/credentials (profile {})",
                    given.url, options.profile));
  }
  settings.region = options.region;
  settings.access_key_id = options.access_key_id;
  settings.secret_access_key = options.secret_access_key;
  settings.session_token = options.session_token;
  settings.ca_file = options.ca_file;
  return settings;
}

}  // namespace litefs::archive
