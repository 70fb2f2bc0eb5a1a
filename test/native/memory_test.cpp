// The n-th request for memory fails, for every n of a script: create, attach, all calls, close. What grows with a
// cache or a value is asked for by malloc and mmap, and their no is an answer. A few bytes come from `new`, and
// without those the process ends, as V8 does; it may, anywhere.
#include <dirent.h>
#include <gtest/gtest.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cerrno>
#include <string>

#include "store_world.hpp"

namespace {
// Of this thread, until one has failed.
thread_local int till_failure = -1;

bool FailsNow() { return till_failure >= 0 && till_failure-- == 0; }
}  // namespace

// The Makefile has the linker send the engine's requests here.
extern "C" {
void* __real_malloc(size_t size);
void* __real_calloc(size_t count, size_t size);
void* __real_mmap(void* at, size_t size, int access, int flags, int fd, off_t offset);
void* __wrap_malloc(size_t size) { return FailsNow() ? (errno = ENOMEM, nullptr) : __real_malloc(size); }
void* __wrap_calloc(size_t count, size_t size) {
  return FailsNow() ? (errno = ENOMEM, nullptr) : __real_calloc(count, size);
}
void* __wrap_mmap(void* at, size_t size, int access, int flags, int fd, off_t offset) {
  // Of addresses that are had already, nothing is asked for.
  if ((flags & MAP_FIXED) == 0 && FailsNow()) return errno = ENOMEM, MAP_FAILED;
  return __real_mmap(at, size, access, flags, fd, offset);
}
}

namespace uwshm::test {
namespace {

uint32_t OpenFiles() {
  uint32_t count = 0;
  DIR* folder = opendir("/proc/self/fd");
  while (readdir(folder) != nullptr) count++;
  closedir(folder);
  return count;
}

// What was said of each step, and how many requests there were.
struct Script {
  std::string refused;
  int requests = 0;

  template <class Step>
  Status Try(const char* name, Step step) {
    const Status status = step();
    if (status == Status::kNoMemory) return refused += std::string(name) + " ", status;
    EXPECT_TRUE(status < Status::kBusy || !refused.empty()) << name << ": " << static_cast<int>(status);
    return status;
  }

  void Run(int failing) {
    std::vector<CacheSpec> specs(3, Spec("plain", 50, 32, 200, 4));
    specs[1].name = "stored";
    specs[2].name = "bitmap", specs[2].blocks = 200, specs[2].policy = kLru, specs[2].rules.ways = kSealed;
    // As it was left by somebody: a start has much to look at.
    const int file = memfd_create("store", MFD_CLOEXEC);
    specs[1].store = {dup(file), kThisBoot, 1, true};
    till_failure = failing;
    for (bool again : {false, true}) {
      if (again) specs[1].store = {dup(file), kThisBoot, 1, false};
      Instance first, second;
      Trouble trouble;
      Caller me{};
      const InstanceSpec spec{4, 8, 4, 0, LockTable::Engines()[0], specs, {}, {}};
      const Status status = Try("create", [&] { return first.Create(kInstance, spec, Me(TestMs), &trouble); });
      if (status == Status::kOk) {
        const std::vector<int> fds = first.Descriptors();
        if (Try("enter", [&] { return first.EnterThread(&me); }) == Status::kOk)
          for (auto& cache : first.caches()) Calls(*cache, me);
        std::vector<int> copies;
        for (int fd : fds) copies.push_back(dup(fd));
        const Status attached = Try("attach", [&] { return second.Attach(kInstance, copies, Me(TestMs), &trouble); });
        Leave(second, copies);
        EXPECT_TRUE(attached == Status::kOk || attached == Status::kNoMemory);
      }
      Leave(first, {specs[1].store.fd});
      if (status != Status::kOk) break;
    }
    requests = failing < 0 ? 0 : failing - till_failure;
    till_failure = -1;
    close(file);
  }

  // As the binding gives up.
  static void Leave(Instance& instance, const std::vector<int>& opened) {
    const std::vector<int> taken = instance.Descriptors();
    instance.Leave();
    for (int fd : opened)
      if (std::find(taken.begin(), taken.end(), fd) == taken.end()) close(fd);
  }

  void Calls(Cache& cache, const Caller& me) {
    const std::string name(150, 'k');
    std::vector<std::string> names;
    std::string value;
    uint8_t room[4096];
    Found found{};
    uint64_t number = 0;
    const Key key = KeyFor(cache, name);
    for (int i = 0; i < 60; i++) {
      const std::string each = std::to_string(i) + name;
      Try("set", [&] { return cache.Store(me, KeyFor(cache, each), How::kAdd, room, 32, 0, 0); });
    }
    Try("update",
        [&] { return cache.Store(me, key, How::kReplace, room, cache.geometry().blocks != 0 ? 2000 : 32, 0, 0); });
    Try("get", [&] {
      return cache.Read(me, key, Cache::kCounted,
                        [&](const uint8_t* bytes, const Found& now) { CopyOut(room, bytes, now.size); });
    });
    Try("inc", [&] { return cache.Add(me, KeyFor(cache, "counter"), 1, 0, &number); });
    Try("pop", [&] { return cache.Pop(me, key, room, sizeof room, &found); });
    Try("keys", [&] { return cache.Keys(me, &names); });
    Try("prefix", [&] { return cache.RemovePrefix(me, "1", &number); });
    cache.Sweep(me);
    EXPECT_EQ("", cache.Check());
    cache.segment().At<std::atomic<uint32_t>>(CachePlaces::Of(cache.geometry()).buckets)[1] = UINT32_MAX;
    const bool is_clear = Try("clear", [&] { return cache.Clear(me, &number); }) == Status::kOk;
    if (!is_clear) {
      ASSERT_EQ(Status::kOk, cache.Clear(me, &number));
    }
    EXPECT_EQ("", cache.Check());
    Try("set", [&] { return cache.Store(me, key, How::kAdd, room, 32, 0, 0); });
  }
};

TEST(Memory, TheNthRequestThatFailsIsAnAnswer) {
  test_clock_ms = 1000;
  Script().Run(-1);
  const uint32_t files = OpenFiles();
  std::string refused;
  int failing = 0;
  for (bool is_over = false; !is_over; failing++) {
    Script script;
    script.Run(failing);
    is_over = script.requests <= failing;
    refused += script.refused;
    ASSERT_EQ(files, OpenFiles()) << "request " << failing;
    ASSERT_FALSE(testing::Test::HasFailure()) << "request " << failing;
  }
  EXPECT_GT(failing, 20);
  for (const char* step : {"create", "attach", "keys", "clear"})
    EXPECT_NE(std::string::npos, refused.find(step)) << step << " asks for nothing";
}

}  // namespace
}  // namespace uwshm::test
