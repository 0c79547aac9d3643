#include <algorithm>
#include <string>
#include <vector>

#include "base/bytes.h"
#include "base/crc32c.h"
#include "base/status.h"
#include "harness/test.h"

using namespace millrace;

TEST(Crc32cMatchesThePublishedVectors) {
  // RFC 3720, appendix B.4.
  const std::vector<std::byte> zeros(32, std::byte{0});
  const std::vector<std::byte> ones(32, std::byte{0xff});
  CHECK_EQ(crc32c(zeros), 0x8a9136aau);
  CHECK_EQ(crc32c(ones), 0x62a8ab43u);
  CHECK_EQ(crc32c(bytesOf("123456789")), 0xe3069283u);
}

TEST(Crc32cHardwareEqualsPortableAtEveryLength) {
  std::mt19937_64 random(test::seed());
  std::vector<std::byte> data(7000);  // more than two rounds of the longest parts that are worked on together
  for (auto& value : data) value = static_cast<std::byte>(random());
  for (size_t length = 0; length <= data.size(); length += length < 400 ? 1 : 61) {
    const Bytes part(data.data() + length % 8, length - length % 8);
    CHECK_EQ(crc32c(part), crc32cPortable(part));
    const size_t half = part.size() / 2;
    CHECK_EQ(crc32c(part.subspan(half), crc32c(part.first(half))), crc32c(part));
  }
}

TEST(ByteReaderNeverLeavesItsInput) {
  ByteWriter writer;
  writer.varint(300);
  writer.fixed<uint32_t>(7);
  writer.sizedText("abc");
  ByteReader whole(writer.view());
  CHECK_EQ(whole.varint(), 300u);
  CHECK_EQ(whole.fixed<uint32_t>(), 7u);
  CHECK_EQ(whole.sizedText(), "abc");
  CHECK(whole.ok());
  for (size_t length = 0; length < writer.size(); ++length) {
    ByteReader cut(writer.view().subspan(0, length));
    (void)cut.varint();
    (void)cut.fixed<uint32_t>();
    (void)cut.sizedText();
    CHECK(!cut.ok());
  }
}

TEST(VarintLongerThanSixtyFourBitsIsRefused) {
  const std::vector<std::byte> endless(11, std::byte{0xff});
  ByteReader reader(endless);
  (void)reader.varint();
  CHECK(!reader.ok());
}

TEST(EveryCodeHasANameOfItsOwn) {
  for (int a = 0; a < static_cast<int>(Code::kCount); ++a) {
    CHECK(codeName(static_cast<Code>(a)) != "UNKNOWN");
    for (int b = 0; b < a; ++b) CHECK(codeName(static_cast<Code>(a)) != codeName(static_cast<Code>(b)));
  }
}

TEST(TextCutEndsBetweenLetters) {
  // One to four bytes each.
  const std::string letters[] = {"a", "\xc3\xa9", "\xe8\xaa\x9e", "\xf0\x9f\x98\x80"};
  for (const std::string& letter : letters) {
    std::string text = "xy";
    for (int i = 0; i < 20; ++i) text += letter;
    for (size_t max = 0; max <= text.size() + 2; ++max) {
      const std::string_view cut = textCut(text, max);
      CHECK_EQ(text.compare(0, cut.size(), cut), 0);
      CHECK(cut.size() <= max && cut.size() + letter.size() > std::min(max, text.size()));
      CHECK(cut.size() < 2 || (cut.size() - 2) % letter.size() == 0);
    }
  }
  // No letters at all: nothing is read outside, and the end is at most where it was asked for.
  const std::string broken(10, '\x80');
  CHECK_EQ(textCut(broken, 5).size(), 0u);
  CHECK_EQ(textCut(broken, 10).size(), 10u);
  CHECK_EQ(textCut("", 0).size(), 0u);
}
