// Bytes that are zeroed when they are dropped.  Copies are explicit, so that there are few.

#pragma once

#include <openssl/crypto.h>

#include <array>
#include <cstdint>
#include <string>
#include <string_view>
#include <utility>

namespace litefs::crypto {

template <size_t kBytes>
class SecretBytes {
 public:
  SecretBytes() = default;
  ~SecretBytes() { OPENSSL_cleanse(bytes_.data(), kBytes); }
  SecretBytes(SecretBytes&& other) noexcept : bytes_(other.bytes_) { other.Clear(); }
  SecretBytes& operator=(SecretBytes&& other) noexcept {
    if (this != &other) {
      bytes_ = other.bytes_;
      other.Clear();
    }
    return *this;
  }
  SecretBytes(const SecretBytes& other) = delete;
  SecretBytes& operator=(const SecretBytes& other) = delete;

  SecretBytes Copy() const {
    SecretBytes copy;
    copy.bytes_ = bytes_;
    return copy;
  }
  uint8_t* data() { return bytes_.data(); }
  const uint8_t* data() const { return bytes_.data(); }
  static constexpr size_t size() { return kBytes; }

 private:
  void Clear() { OPENSSL_cleanse(bytes_.data(), kBytes); }

  std::array<uint8_t, kBytes> bytes_{};
};

using SecretKey = SecretBytes<32>;

class SecretString {
 public:
  SecretString() = default;
  explicit SecretString(std::string text) : text_(text) {
    OPENSSL_cleanse(text.data(), text.size());
  }
  ~SecretString() { Clear(); }
  SecretString(SecretString&& other) noexcept : text_(other.text_) { other.Clear(); }
  SecretString& operator=(SecretString&& other) noexcept {
    if (this != &other) {
      Clear();
      text_ = other.text_;
      other.Clear();
    }
    return *this;
  }
  SecretString(const SecretString& other) = delete;
  SecretString& operator=(const SecretString& other) = delete;

  SecretString Copy() const { return SecretString(text_); }
  std::string_view view() const { return text_; }
  bool empty() const { return text_.empty(); }

 private:
  void Clear() {
    OPENSSL_cleanse(text_.data(), text_.size());
    text_.clear();
  }

  std::string text_;
};

}  // namespace litefs::crypto
