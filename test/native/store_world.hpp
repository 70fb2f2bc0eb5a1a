// A cache that lives in a file, ended and started again as masters do it, in one
// process and with a clock that the test sets.
#pragma once

#include <fcntl.h>
#include <sys/mman.h>

#include <map>

#include "world.hpp"

namespace uwshm::test {

constexpr StoreClock kThisBoot{{1, 2}, 1'600'000'000'000}, kNextBoot{{3, 4}, 1'600'000'060'000};

// What a reader can see: key to value.
using Items = std::map<std::string, std::string>;

inline CacheSpec StoredSpec(Policy policy = kRefuse, uint32_t items = 50) {
  CacheSpec spec = Spec("stored", items, 200, 100, 16);
  spec.policy = policy;
  return spec;
}

class StoreWorld {
 public:
  explicit StoreWorld(const CacheSpec& spec = StoredSpec()) : spec_(spec) {
    char path[] = "/tmp/uwshm-store-XXXXXX";
    file = mkostemp(path, O_CLOEXEC);
    Need(file >= 0, "no file for a store");
    unlink(path);
    Need(Start(kThisBoot, true) == Status::kOk, "no store could be made");
  }
  ~StoreWorld() {
    if (instance) End();
    close(file);
  }
  StoreWorld(const StoreWorld&) = delete;
  StoreWorld& operator=(const StoreWorld&) = delete;

  Status Start(const StoreClock& clock = kThisBoot, bool wiped = false) {
    CacheSpec spec = spec_;
    spec.store = {dup(file), clock, 4711, wiped};
    instance = std::make_unique<Instance>();
    Trouble trouble;
    Status status =
        instance->Create(kInstance, {4, 8, 4, 0, LockTable::Engines()[0], {spec}, {}, {}}, Me(TestMs), &trouble);
    if (status == Status::kOk) status = instance->EnterThread(&me);
    else instance->Leave(), instance.reset();
    return status;
  }

  // As a kill of all: nothing is said to the file.
  void End() {
    instance->Leave();
    instance.reset();
  }

  Status Restart(const StoreClock& clock = kThisBoot) {
    End();
    return Start(clock);
  }

  Cache& cache() { return *instance->caches()[0]; }
  uint8_t* base() { return cache().segment().base(); }
  CachePlaces places() { return CachePlaces::Of(cache().geometry()); }
  Item& item(Slot slot) { return cache().segment().At<Item>(places().items)[slot]; }
  Slot SlotOf(const std::string& name) {
    for (Slot slot = 1; slot <= cache().geometry().slots(); slot++)
      if (item(slot).checksum != 0 && item(slot).key_size == name.size() && KeyIn(slot, name)) return slot;
    return 0;
  }

  Status Set(const std::string& name, const std::string& value, uint64_t expires_at = 0, How how = How::kReplace) {
    return cache().Store(me, KeyFor(cache(), name), how, value.data(), value.size(), 0, expires_at);
  }
  // "" when absent.
  std::string Get(const std::string& name) {
    std::string value;
    cache().Read(me, KeyFor(cache(), name), Cache::kCounted, [&](const uint8_t* bytes, const Found& found) {
      value.assign(reinterpret_cast<const char*>(bytes), found.size);
    });
    return value;
  }
  Items All() {
    Items items;
    std::vector<std::string> names;
    Need(cache().Keys(me, &names) == Status::kOk, "keys failed");
    for (const std::string& name : names) items[name] = Get(name);
    return items;
  }

  std::unique_ptr<Instance> instance;
  Caller me{};
  int file = -1;

 private:
  bool KeyIn(Slot slot, const std::string& name) {
    const uint64_t size = name.size();
    const uint8_t* key = size <= kInlineKey   ? item(slot).key
                         : size <= kMiddleKey ? base() + places().keys + uint64_t{slot} * kMiddleKey
                                              : base() + places().long_keys + slot * places().long_key_stride;
    return memcmp(key, name.data(), size) == 0;
  }

  CacheSpec spec_;
};

}  // namespace uwshm::test
