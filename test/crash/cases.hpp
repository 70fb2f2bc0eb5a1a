// The calls that `boundaries` steps through, and the caches that they start from.
#pragma once

#include <iterator>
#include <map>

#include "../native/world.hpp"

namespace uwshm::test {

using Names = std::vector<std::string>;

// Four stripes, six items: an image of it is eight pages. Time stands at 1,000;
// what expires at 500 is gone.
constexpr uint64_t kNow = 1000, kPast = 500, kLater = 9000;
inline CacheSpec SmallCache(Policy policy, bool bitmap, bool sealed = false) {
  CacheSpec spec = Spec("small", 6, bitmap ? 12 : 48, 100, 4);
  spec.policy = policy;
  spec.blocks = bitmap ? 8 : 0;
  spec.rules.ways = sealed ? uint32_t{kSealed} : 0;
  return spec;
}

// What a reader can see: name to value, flags and expiry in one text.
using Contents = std::map<std::string, std::string>;

inline Contents ContentsOf(Cache& cache, const Caller& caller) {
  Contents contents;
  Names names;
  if (cache.Keys(caller, &names) != Status::kOk) contents["?"] = "keys failed";
  for (const std::string& name : names) {
    std::string text;
    Status status =
        cache.Read(caller, KeyFor(cache, name), Cache::kUncounted, [&](const uint8_t* bytes, const Found& found) {
          text.assign(reinterpret_cast<const char*>(bytes), found.size);
          text += "|" + std::to_string(found.flags) + "|" + std::to_string(found.expires_at);
        });
    contents[name] = status == Status::kOk ? text : "read failed";
  }
  return contents;
}

inline Status Put(Cache& cache, const Caller& caller, const std::string& name, const std::string& value,
                  uint64_t expires_at = 0) {
  return cache.Store(caller, KeyFor(cache, name), How::kReplace, value.data(), value.size(), 0, expires_at);
}

// Leaves a cache as the call will find it and returns the key of the call.
// `same` are keys of one bucket, the last two a middle one and a long one; `other` are not in it.
struct Start {
  const char* name;
  std::string (*build)(Cache& cache, const Caller& me, const Names& same, const Names& other);
  bool torn = false;  // and then somebody has died in a call that stores `kTorn`, and nobody has looked yet
};
constexpr const char* kTorn = "left half done";

inline const Start kStarts[] = {
    {"empty", [](Cache&, const Caller&, const Names& same, const Names&) { return same[0]; }},
    {"chain of 3, absent",
     [](Cache& cache, const Caller& me, const Names& same, const Names&) {
       Put(cache, me, same[0], "first"), Put(cache, me, same[1], "expired", kPast),
           Put(cache, me, same[2], "third", kLater);
       return same[3];
     }},
    {"chain of 3, the first",
     [](Cache& cache, const Caller& me, const Names& same, const Names&) {
       Put(cache, me, same[0], "a number"), Put(cache, me, same[1], "expired", kPast), Put(cache, me, same[2], "third");
       return same[0];
     }},
    {"chain of 3, the last",
     [](Cache& cache, const Caller& me, const Names& same, const Names&) {
       Put(cache, me, same[0], "first"), Put(cache, me, same[1], "expired", kPast), Put(cache, me, same[2], "a number");
       return same[2];
     }},
    {"present but expired",
     [](Cache& cache, const Caller& me, const Names& same, const Names&) {
       Put(cache, me, same[0], "first"), Put(cache, me, same[1], "a number", kPast), Put(cache, me, same[2], "third");
       return same[1];
     }},
    {"one free slot, worn",
     [](Cache& cache, const Caller& me, const Names& same, const Names& other) {
       for (int round = 0; round < 3; round++)
         for (size_t i = 0; i < 5; i++) Put(cache, me, other[i], "round " + std::to_string(round));
       Put(cache, me, same[0], "gone"), cache.Remove(me, KeyFor(cache, same[0]));
       return same[1];
     }},
    {"no free slot",
     [](Cache& cache, const Caller& me, const Names& same, const Names& other) {
       for (size_t i = 0; i < 6; i++) Put(cache, me, other[i], "taken");
       return same[0];
     }},
    {"full, two expired",
     [](Cache& cache, const Caller& me, const Names& same, const Names& other) {
       for (size_t i = 0; i < 6; i++) Put(cache, me, other[i], "taken", i % 3 == 1 ? kPast : 0);
       return same[0];
     }},
    {"long key, present",
     [](Cache& cache, const Caller& me, const Names& same, const Names& other) {
       Put(cache, me, other[0], "beside"), Put(cache, me, same.back(), "a number"), Put(cache, me, same[0], "behind");
       return same.back();
     }},
    {"middle key, present",
     [](Cache& cache, const Caller& me, const Names& same, const Names& other) {
       const std::string& middle = same[same.size() - 2];
       Put(cache, me, other[0], "beside"), Put(cache, me, middle, "a number"), Put(cache, me, same[0], "behind");
       return middle;
     }},
    {"long key, absent",
     [](Cache& cache, const Caller& me, const Names& same, const Names&) {
       Put(cache, me, same[0], "before");
       return same.back();
     }},
    {"a counter",
     [](Cache& cache, const Caller& me, const Names& same, const Names&) {
       uint64_t number = 0;
       Put(cache, me, same[0], "before"), cache.Add(me, KeyFor(cache, same[1]), 9, kLater, &number);
       return same[1];
     }},
    {"torn by a crash",
     [](Cache& cache, const Caller& me, const Names& same, const Names&) {
       Put(cache, me, same[0], "a number"), Put(cache, me, same[1], "second");
       return same[0];
     },
     true},
};

// With a policy there is always room, so what differs begins where none is left.
inline const Start kFullStarts[] = {
    {"one free slot",
     [](Cache& cache, const Caller& me, const Names& same, const Names& other) {
       for (size_t i = 0; i < 5; i++) Put(cache, me, other[i], "taken");
       return same[0];
     }},
    {"full, never evicted",
     [](Cache& cache, const Caller& me, const Names& same, const Names& other) {
       for (size_t i = 0; i < 6; i++) Put(cache, me, other[i], "taken");
       return same[0];
     }},
    {"full, worn, some read",
     [](Cache& cache, const Caller& me, const Names& same, const Names& other) {
       for (int round = 0; round < 3; round++)
         for (size_t i = 0; i < 9; i++) Put(cache, me, other[i], "round " + std::to_string(round));
       for (size_t i : {size_t{3}, size_t{6}})
         cache.Read(me, KeyFor(cache, other[i]), Cache::kCounted, [](const uint8_t*, const Found&) {});
       return same[0];
     }},
    {"full, the key is next",
     [](Cache& cache, const Caller& me, const Names& same, const Names& other) {
       Put(cache, me, same[0], "a number");
       for (size_t i = 0; i < 5; i++) Put(cache, me, other[i], "taken");
       return same[0];
     }},
    {"full, long keys, expired",
     [](Cache& cache, const Caller& me, const Names& same, const Names& other) {
       Put(cache, me, same.back(), "long"), Put(cache, me, same[same.size() - 2], "middle", kPast);
       for (size_t i = 0; i < 4; i++) Put(cache, me, other[i], "taken");
       return same[1];
     }},
    {"evicting, empty", [](Cache&, const Caller&, const Names& same, const Names&) { return same[0]; }},
    {"full, a counter",
     [](Cache& cache, const Caller& me, const Names& same, const Names& other) {
       uint64_t number = 0;
       for (size_t i = 0; i < 5; i++) Put(cache, me, other[i], "taken");
       cache.Add(me, KeyFor(cache, same[1]), 9, kLater, &number);
       return same[1];
     }},
    {"full, expired in chain",
     [](Cache& cache, const Caller& me, const Names& same, const Names& other) {
       Put(cache, me, same[0], "first"), Put(cache, me, same[1], "expired", kPast), Put(cache, me, same[2], "third");
       for (size_t i = 0; i < 3; i++) Put(cache, me, other[i], "taken");
       return same[3];
     }},
    {"full, it has expired",
     [](Cache& cache, const Caller& me, const Names& same, const Names& other) {
       for (size_t i = 0; i < 4; i++) Put(cache, me, other[i], "taken");
       Put(cache, me, same[0], "first"), Put(cache, me, same[1], "a number", kPast);
       return same[1];
     }},
    {"full, long, present",
     [](Cache& cache, const Caller& me, const Names& same, const Names& other) {
       Put(cache, me, same.back(), "a number");
       for (size_t i = 0; i < 5; i++) Put(cache, me, other[i], "taken");
       return same.back();
     }},
    {"full, last of its chain",
     [](Cache& cache, const Caller& me, const Names& same, const Names& other) {
       for (size_t i = 0; i < 3; i++) Put(cache, me, other[i], "taken");
       Put(cache, me, same[0], "first"), Put(cache, me, same[1], "second"), Put(cache, me, same[2], "a number");
       return same[2];
     }},
    {"full, torn by a crash",
     [](Cache& cache, const Caller& me, const Names& same, const Names& other) {
       Put(cache, me, same[0], "a number");
       for (size_t i = 0; i < 5; i++) Put(cache, me, other[i], "taken");
       return same[0];
     },
     true},
};

// Bitmap mode: eight blocks of 12 bytes. What is set takes three, an update two, the rest one.
inline const Start kBitmapStarts[] = {
    {"blocks, room beside it",
     [](Cache& cache, const Caller& me, const Names& same, const Names& other) {
       Put(cache, me, other[0], "two blocks of it"), Put(cache, me, same[0], "a number", kLater);
       return same[0];
     }},
    {"blocks, idle ones only",
     [](Cache& cache, const Caller& me, const Names& same, const Names& other) {
       Put(cache, me, same.back(), "a number"), Put(cache, me, other[1], "one"), Put(cache, me, other[2], "");
       for (int round = 0; round < 2; round++) Put(cache, me, other[0], "three blocks, and they are reused");
       return same.back();
     }},
    {"blocks, scattered",
     [](Cache& cache, const Caller& me, const Names& same, const Names& other) {
       Put(cache, me, same[1], "a number", kLater);
       for (size_t i = 0; i < 5; i++) Put(cache, me, other[i], "taken");
       cache.Remove(me, KeyFor(cache, other[0])), cache.Remove(me, KeyFor(cache, other[2]));
       uint64_t number = 0;
       cache.Add(me, KeyFor(cache, other[0]), 7, kLater, &number);
       return same[0];
     }},
    {"blocks, none free",
     [](Cache& cache, const Caller& me, const Names& same, const Names& other) {
       for (size_t i = 0; i < 4; i++) Put(cache, me, other[i], "two blocks of it", i == 2 ? kPast : 0);
       return same[0];
     }},
    {"blocks, nowhere to move",
     [](Cache& cache, const Caller& me, const Names& same, const Names& other) {
       for (size_t i = 0; i < 5; i++) Put(cache, me, other[i], i % 2 == 0 ? "two blocks of it" : "one");
       cache.Remove(me, KeyFor(cache, other[1])), cache.Remove(me, KeyFor(cache, other[3]));
       return same[0];
     }},
    {"blocks, empty", [](Cache&, const Caller&, const Names& same, const Names&) { return same[0]; }},
    {"blocks, a counter",
     [](Cache& cache, const Caller& me, const Names& same, const Names& other) {
       uint64_t number = 0;
       Put(cache, me, other[0], "three blocks, and they are reused"), Put(cache, me, other[1], "two blocks of it");
       cache.Add(me, KeyFor(cache, same[1]), 9, kLater, &number);
       return same[1];
     }},
    {"blocks, it has expired",
     [](Cache& cache, const Caller& me, const Names& same, const Names& other) {
       Put(cache, me, same[0], "two blocks of it"), Put(cache, me, same[1], "a number", kPast);
       Put(cache, me, other[0], "two blocks of it");
       return same[1];
     }},
    {"blocks, no free slot",
     [](Cache& cache, const Caller& me, const Names& same, const Names& other) {
       for (size_t i = 0; i < 6; i++) Put(cache, me, other[i], i == 0 ? "one" : "");
       return same[0];
     }},
    {"blocks, all in one value",
     [](Cache& cache, const Caller& me, const Names& same, const Names&) {
       Put(cache, me, same[0], std::string(96, 'x'));
       return same[0];
     }},
    {"blocks, middle key",
     [](Cache& cache, const Caller& me, const Names& same, const Names& other) {
       const std::string& middle = same[same.size() - 2];
       Put(cache, me, other[0], "two blocks of it", kPast), Put(cache, me, middle, "a number"),
           Put(cache, me, same[0], "");
       return middle;
     }},
    {"blocks, torn by a crash",
     // Room for all that follows: what the dead one has in hand evicts nobody.
     [](Cache& cache, const Caller& me, const Names& same, const Names&) {
       Put(cache, me, same[0], "a number");
       return same[0];
     },
     true},
};
static_assert(std::size(kStarts) >= 12 && std::size(kFullStarts) >= 12 && std::size(kBitmapStarts) >= 12);

struct Operation {
  const char* name;
  bool piecemeal;  // item by item: a death leaves some of them
  Status (*run)(Cache& cache, const Caller& caller, const std::string& target);
};

// The second one takes the run that the first one has left.
inline const Operation kUpdateTwice = {
    "update 2", false, [](Cache& cache, const Caller& caller, const std::string& target) {
      Status status = Status::kOk;
      for (int turn = 0; turn < 2 && status == Status::kOk; turn++)
        status = cache.Store(caller, KeyFor(cache, target), How::kReplace, "again and again", 15, kAscii, kLater);
      return status;
    }};

inline const Operation kOperations[] = {
    {"set", false,
     [](Cache& cache, const Caller& caller, const std::string& target) {
       return cache.Store(caller, KeyFor(cache, target), How::kAdd, "the new value, 32 bytes long ...", 32, 0, kLater);
     }},
    {"update", false,
     [](Cache& cache, const Caller& caller, const std::string& target) {
       return cache.Store(caller, KeyFor(cache, target), How::kReplace, "another new value", 17, kAscii, kLater - 1);
     }},
    {"del", false,
     [](Cache& cache, const Caller& caller, const std::string& target) {
       return cache.Remove(caller, KeyFor(cache, target));
     }},
    {"inc", false,
     [](Cache& cache, const Caller& caller, const std::string& target) {
       uint64_t result = 0;
       return cache.Add(caller, KeyFor(cache, target), 1, 0, &result);
     }},
    {"get", false,
     [](Cache& cache, const Caller& caller, const std::string& target) {
       return cache.Read(caller, KeyFor(cache, target), Cache::kCounted, [](const uint8_t*, const Found&) {});
     }},
    {"mul", false,
     [](Cache& cache, const Caller& caller, const std::string& target) {
       uint64_t result = 0;
       return cache.Calculate(caller, KeyFor(cache, target), Math::kMultiply, 3, kLater, &result);
     }},
    {"div", false,
     [](Cache& cache, const Caller& caller, const std::string& target) {
       uint64_t result = 0;
       return cache.Calculate(caller, KeyFor(cache, target), Math::kDivide, 3, kLater, &result);
     }},
    {"cas", false,
     [](Cache& cache, const Caller& caller, const std::string& target) {
       const Expected expected{"a number", 8};
       return cache.Store(caller, KeyFor(cache, target), How::kSwap, "swapped", 7, kAscii, kLater, &expected);
     }},
    {"touch", false,
     [](Cache& cache, const Caller& caller, const std::string& target) {
       return cache.Touch(caller, KeyFor(cache, target), kLater - 2);
     }},
    {"pop", false,
     [](Cache& cache, const Caller& caller, const std::string& target) {
       uint8_t value[48];
       Found found{};
       return cache.Pop(caller, KeyFor(cache, target), value, sizeof value, &found);
     }},
    {"prefix", true,
     [](Cache& cache, const Caller& caller, const std::string& target) {
       uint64_t removed = 0;
       return cache.RemovePrefix(caller, target.substr(0, 5), &removed);
     }},
    {"sweep", false,
     [](Cache& cache, const Caller& caller, const std::string&) {
       cache.Sweep(caller);
       return Status::kOk;
     }},
    {"clear", true,
     [](Cache& cache, const Caller& caller, const std::string&) {
       uint64_t removed = 0;
       return cache.Clear(caller, &removed);
     }},
};

}  // namespace uwshm::test
