// uWSGI's hashes, as it computed them: the vectors were taken from dumps of live caches.
#include "hash.hpp"

#include <gtest/gtest.h>

#include <set>
#include <string>

namespace uwshm::test {
namespace {

TEST(HashTest, Djb33xAndMurmur2AreThoseOfUwsgi) {
  const struct {
    std::string key;
    uint32_t djb33x, murmur2;
  } vectors[] = {
      {"a", 0x0002b5c4, 0x92685f5e},
      {"ab", 0x00596e26, 0x1aa14063},
      {"abc", 0x0b873285, 0x13577c9b},
      {"abcd", 0x7c6d8341, 0x26873021},
      {"abcde", 0x0a1deb04, 0x0944ef56},
      {"\xff", 0xfffd4a5a, 0x992c0759},
      {"\xff\xfe\xfd", 0xf4794919, 0xe3203b2b},
      {"\x80\x81\x82\x83\x84\x85\x86", 0xab6d4a42, 0xbb9f715c},
      {"user1", 0, 0x45c2720a},
      {"user2", 0, 0x45c2720a},
  };
  for (const auto& vector : vectors) {
    const auto* bytes = reinterpret_cast<const uint8_t*>(vector.key.data());
    if (vector.djb33x != 0) {
      EXPECT_EQ(Djb33x(bytes, vector.key.size()), vector.djb33x) << vector.key;
    }
    EXPECT_EQ(Murmur2(bytes, vector.key.size()), vector.murmur2) << vector.key;
  }
}

TEST(HashTest, TheKeyedHashIsAnotherUnderAnotherSeedAndSpreadsWhatDiffersAtItsEnd) {
  std::set<uint64_t> seen;
  for (uint64_t seed = 1; seed <= 3; seed++)
    for (int i = 0; i < 1000; i++) {
      const std::string key = "user" + std::to_string(i);
      seen.insert(HashOf({seed, ~seed}, reinterpret_cast<const uint8_t*>(key.data()), key.size()));
    }
  EXPECT_EQ(seen.size(), 3000u);
}

}  // namespace
}  // namespace uwshm::test
