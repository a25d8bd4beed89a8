#include "daemon/crypto/text_encoding.h"

#include <gtest/gtest.h>

namespace litefs::crypto {
namespace {

std::vector<uint8_t> Bytes(std::string_view text) { return {text.begin(), text.end()}; }

TEST(Base64, EncodesWithoutPadding) {  // RFC 4648, section 10
  EXPECT_EQ(EncodeBase64(Bytes("")), "");
  EXPECT_EQ(EncodeBase64(Bytes("f")), "Zg");
  EXPECT_EQ(EncodeBase64(Bytes("fo")), "Zm8");
  EXPECT_EQ(EncodeBase64(Bytes("foo")), "Zm9v");
  EXPECT_EQ(EncodeBase64(Bytes("foobar")), "Zm9vYmFy");
}

TEST(Base64, DecodesWhatItEncodes) {
  std::vector<uint8_t> data;
  for (int i = 0; i < 300; ++i) {
    EXPECT_EQ(DecodeBase64(EncodeBase64(data)), data);
    data.push_back(static_cast<uint8_t>(i * 37));
  }
}

TEST(Base64, RefusesWhatIsNotCanonical) {
  for (const char* text :
       {"Zg==", "Zh", "Zm9", "Z", " Zm8", "Zm8 ", "Zm8\n", "Zm-v", "Zm9v=", "===="}) {
    EXPECT_EQ(DecodeBase64(text), std::nullopt) << text;
  }
  EXPECT_EQ(DecodeBase64(std::string_view("Zm9\0", 4)), std::nullopt);
}

// BIP 173, "Test vectors".
TEST(Bech32, KnowsTheVectorsOfBip173) {
  EXPECT_EQ(DecodeBech32("a", "A12UEL5L"), std::vector<uint8_t>());
  EXPECT_EQ(EncodeBech32("a", {}), "a12uel5l");
  for (const char* text :
       {"A1G7SGD8", "a12uel5L", "10a06t8", "1qzzfhee", "a12uel5m", "a1b2uel5l", "a", "a1", "",
        "a\x7f"
        "12uel5l"}) {
    EXPECT_EQ(DecodeBech32("a", text), std::nullopt) << text;
  }
}

TEST(Bech32, DecodesWhatItEncodes) {
  std::vector<uint8_t> data;
  for (int i = 0; i < 70; ++i) {
    const std::string text = EncodeBech32("age", data);
    EXPECT_EQ(DecodeBech32("age", text), data);
    EXPECT_EQ(DecodeBech32("ag", text), std::nullopt);
    for (size_t at = 0; at < text.size(); ++at) {
      std::string wrong = text;
      wrong[at] = wrong[at] == 'q' ? 'p' : 'q';
      EXPECT_EQ(DecodeBech32("age", wrong), std::nullopt) << wrong;
    }
    data.push_back(static_cast<uint8_t>(i * 41));
  }
}

}  // namespace
}  // namespace litefs::crypto
