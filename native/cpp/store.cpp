#include "store.hpp"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cstddef>

#include "cache.hpp"
#include "text.hpp"

namespace uwshm {
namespace {

static_assert(sizeof(SegmentHeader) + offsetof(CacheHeader, expiry_hint) == sizeof(StoreHead) - sizeof(std::string));
static_assert(offsetof(StoreHead, objection) <= 512, "a disk writes a sector whole");

constexpr size_t kHead = offsetof(StoreHead, objection);
constexpr size_t kSummed = kHead - sizeof(uint64_t);
// Not secret: it tells damage, no forgery.
constexpr HashSeed kSeed{0x73746f72656f6668, 0x6561647375777368};

uint64_t SumOf(const StoreHead& head) { return HashOf(kSeed, reinterpret_cast<const uint8_t*>(&head), kSummed); }

}  // namespace

Status StoreHead::Read(int fd) {
  struct stat file = {};
  objection = "it is no store";
  if (fstat(fd, &file) != 0 || pread(fd, this, kHead, 0) != static_cast<ssize_t>(kHead)) return Status::kForeign;
  if (segment.magic != kSegmentMagic || segment.kind != SegmentKind::kCache) return Status::kForeign;
  if (segment.layout != kCacheLayout) {
    objection = Text("it has layout %llu, this build reads %llu", static_cast<unsigned long long>(segment.layout),
                     static_cast<unsigned long long>(kCacheLayout));
    return Status::kLayout;
  }
  objection = "its header is damaged";
  if (store.checksum != SumOf(*this) || segment.in_file != 1 || rules.hash >= kHashKinds || store.clock.began_at == 0 ||
      Cache::Validate(geometry()) != Status::kOk || CachePlaces::Of(geometry()).size != segment.size)
    return Status::kForeign;
  if (static_cast<uint64_t>(file.st_size) != segment.size) {
    objection = Text("it has %llu of its %llu bytes", static_cast<unsigned long long>(file.st_size),
                     static_cast<unsigned long long>(segment.size));
    return Status::kForeign;
  }
  objection.clear();
  return Status::kOk;
}

bool StoreHead::Write(int fd) {
  store.checksum = SumOf(*this);
  return pwrite(fd, this, kHead, 0) == static_cast<ssize_t>(kHead);
}

CacheGeometry StoreHead::geometry() const {
  auto word = [&](int i) { return segment.geometry[i] > UINT32_MAX ? 0 : static_cast<uint32_t>(segment.geometry[i]); };
  return {word(0), word(1), word(2), word(3), word(4), word(5), word(6)};
}

std::string StoreObjection(const StoreHead& head, const std::string& name, const CacheGeometry& wanted,
                           const CacheRules& rules) {
  const CacheGeometry has = head.geometry();
  if (head.title() != name) return Text("it is of cache \"%s\"", head.title().c_str());
  const struct {
    const char* name;
    uint32_t has, wanted;
  } rows[] = {{"items", has.max_items, wanted.max_items},
              {"blocksize", has.blocksize, wanted.blocksize},
              {"keysize", has.keysize, wanted.keysize},
              {"hashsize", has.hashsize, wanted.hashsize},
              {"thread slots", has.threads, wanted.threads}};
  for (const auto& row : rows)
    if (row.has != row.wanted) return Text("it has %s %u, not %u", row.name, row.has, row.wanted);
  if (has.policy != wanted.policy)
    return Text("it has policy %s, not %s", kPolicyNames[has.policy], kPolicyNames[wanted.policy]);
  if (head.rules.hash != rules.hash)
    return Text("it has hash %s, not %s", kHashNames[head.rules.hash], kHashNames[rules.hash]);
  return "";
}

Status ExamineStore(int fd, const StoreClock& clock, uint64_t now, StoreHead* head, StoreFindings* findings,
                    std::string* fault) {
  Status status = head->Read(fd);
  if (status != Status::kOk) return status;
  Cache cache;
  const int own = dup(fd);
  status = own < 0 ? Status::kNoMemory : cache.Examine(own, *head, clock, now, findings);
  if (status == Status::kOk) *fault = cache.Check();
  cache.segment().Abandon();
  return status;
}

}  // namespace uwshm
