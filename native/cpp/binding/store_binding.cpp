// A cache's file before it is one's own: who has it, what it is, and what it holds.
// TypeScript knows its name, opens it and decides; here are its lock and its bytes.
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cctype>
#include <cerrno>
#include <ctime>

#include "../cache.hpp"
#include "cache_spec.hpp"
#include "convert.hpp"
#include "environment.hpp"

namespace uwshm {

bool ReadSpec(const Napi::Array& row, CacheSpec* spec, uint64_t* refused) {
  auto at = [&](uint32_t column) { return Napi::Value(row[column]); };
  auto number = [&](uint32_t column) { return at(column).As<Napi::Number>().DoubleValue(); };
  auto is = [&](uint32_t column) { return at(column).As<Napi::Boolean>().Value(); };
  *spec = {at(0).As<Napi::String>(), 0, 0, 0, 1, {}};
  for (uint32_t column = 1; column < 5; column++)
    if (!(number(column) >= 1 && number(column) <= 1 << 30)) {
      *refused = static_cast<uint64_t>(number(column));
      return false;
    }
  spec->items = static_cast<uint32_t>(number(1));
  spec->blocksize = static_cast<uint32_t>(number(2));
  spec->keysize = static_cast<uint32_t>(number(3));
  while (spec->hashsize < number(4)) spec->hashsize *= 2;
  bool lossless;
  spec->rules.math_initial = at(5).As<Napi::BigInt>().Int64Value(&lossless);
  const std::string hash = at(6).As<Napi::String>();
  while (spec->rules.hash < kHashKinds && hash != kHashNames[spec->rules.hash]) spec->rules.hash++;
  spec->rules.ways = (is(7) ? uint32_t{kKeepsModified} : 0) | (is(8) ? uint32_t{kNotSwept} : 0);
  const std::string policy = at(9).As<Napi::String>();
  while (spec->policy < kPolicies && policy != kPolicyNames[spec->policy])
    spec->policy = static_cast<Policy>(spec->policy + 1);
  if (is(10)) spec->rules.ways |= kCleared;
  if (is(14)) spec->rules.ways |= kSealed;
  spec->blocks = static_cast<uint32_t>(number(11));
  return true;
}

StoreClock ThisBoot() {
  uint64_t half[2] = {};
  if (FILE* file = fopen("/proc/sys/kernel/random/boot_id", "re")) {
    uint32_t digits = 0;  // 32 of them, and dashes
    for (int byte = fgetc(file); byte != EOF && digits < 32; byte = fgetc(file))
      if (isxdigit(byte)) {
        uint64_t& word = half[digits++ / 16];
        word = word << 4 | static_cast<uint64_t>(byte <= '9' ? byte - '0' : (byte | 0x20) - 'a' + 10);
      }
    fclose(file);
  }
  timespec now;
  clock_gettime(CLOCK_REALTIME, &now);
  const int64_t epoch_ms = now.tv_sec * int64_t{1000} + now.tv_nsec / 1000000;
  return {{half[0], half[1]}, epoch_ms - static_cast<int64_t>(BootMilliseconds())};
}

namespace {

int FdOf(const Napi::CallbackInfo& info) { return info[0].As<Napi::Number>().Int32Value(); }

// Nothing was ever written there: it is new, or its first start did not get far.
bool IsBlank(int fd, uint64_t size) {
  struct stat file = {};
  if (fstat(fd, &file) != 0 || file.st_size == 0) return file.st_size == 0;
  uint8_t head[512];
  if (static_cast<uint64_t>(file.st_size) != size || pread(fd, head, sizeof head, 0) != sizeof head) return false;
  for (uint8_t byte : head)
    if (byte != 0) return false;
  return true;
}

Napi::Value OwnStore(const Napi::CallbackInfo& info) {
  if (LockFile(FdOf(info), kOwnFile)) return Napi::Boolean::New(info.Env(), true);
  if (errno == EAGAIN || errno == EACCES) return Napi::Boolean::New(info.Env(), false);
  return ThrowErrno(info.Env(), errno), info.Env().Undefined();
}

Napi::Value IsStoreOwned(const Napi::CallbackInfo& info) {
  return Napi::Boolean::New(info.Env(), IsLocked(FdOf(info)));
}

Napi::Value StoreOwner(const Napi::CallbackInfo& info) {
  StoreHead head;
  const bool is_known = head.Read(FdOf(info)) == Status::kOk;
  return Napi::Number::New(info.Env(), is_known ? head.store.owner_pid : 0);
}

Napi::Value JudgeStore(const Napi::CallbackInfo& info) {
  CacheSpec spec;
  uint64_t refused;
  // Sizes out of range are told by `create`.
  if (!ReadSpec(info[1].As<Napi::Array>(), &spec, &refused)) return info.Env().Null();
  const uint32_t threads = info[2].As<Napi::Number>().Uint32Value() * Instance::kThreadsPerProcess;
  const CacheGeometry geometry{spec.items, spec.blocksize, spec.keysize, spec.hashsize, threads, 0, spec.policy};
  if (IsBlank(FdOf(info), CachePlaces::Of(geometry).size)) return info.Env().Null();
  StoreHead head;
  const Status status = head.Read(FdOf(info));
  std::string objection =
      status == Status::kOk ? StoreObjection(head, spec.name, geometry, spec.rules) : head.objection;
  Napi::Array verdict = Napi::Array::New(info.Env(), 2);
  verdict[0u] = Napi::Boolean::New(info.Env(), status == Status::kForeign);
  verdict[1u] = Napi::String::New(info.Env(), objection);
  return verdict;
}

Napi::Value ExamineStore(const Napi::CallbackInfo& info) {
  StoreHead head;
  StoreFindings findings;
  std::string fault;
  const Status status = uwshm::ExamineStore(FdOf(info), ThisBoot(), BootMilliseconds(), &head, &findings, &fault);
  if (status == Status::kNoMemory) return ThrowErrno(info.Env(), errno), info.Env().Undefined();
  Napi::Object row = Napi::Object::New(info.Env());
  row["objection"] = head.objection;
  if (status != Status::kOk) return row;
  const CacheGeometry geometry = head.geometry();
  const StoreClock here = ThisBoot(), &there = head.store.clock;
  row["name"] = head.title();
  row["hash"] = kHashNames[head.rules.hash];
  row["policy"] = kPolicyNames[geometry.policy];
  row["isThisBoot"] = Napi::Boolean::New(info.Env(), here.boot[0] == there.boot[0] && here.boot[1] == there.boot[1]);
  row["fault"] = fault;
  const struct {
    const char* name;
    uint64_t number;
  } numbers[] = {{"size", head.segment.size},     {"items", geometry.max_items},   {"blocksize", geometry.blocksize},
                 {"keysize", geometry.keysize},   {"hashsize", geometry.hashsize}, {"threads", geometry.threads},
                 {"owner", head.store.owner_pid}, {"good", findings.good},         {"expired", findings.expired},
                 {"older", findings.older},       {"damaged", findings.damaged},   {"bytes", findings.bytes}};
  for (const auto& one : numbers) row[one.name] = Napi::Number::New(info.Env(), static_cast<double>(one.number));
  Napi::Array first = Napi::Array::New(info.Env());
  for (const auto& damage : findings.first) {
    Napi::Array pair = Napi::Array::New(info.Env(), 2);
    pair[0u] = Napi::Number::New(info.Env(), damage.slot);
    pair[1u] = Napi::Buffer<char>::Copy(info.Env(), damage.key.data(), damage.key.size());
    first[first.Length()] = pair;
  }
  row["first"] = first;
  return row;
}

}  // namespace

void InitStore(napi_env env, napi_value target) {
  Napi::Object exports(env, target);
  auto add = [&](const char* name, Napi::Value (*call)(const Napi::CallbackInfo&)) {
    exports[name] = Napi::Function::New(env, call, name);
  };
  add("ownStore", OwnStore);
  add("isStoreOwned", IsStoreOwned);
  add("storeOwner", StoreOwner);
  add("judgeStore", JudgeStore);
  add("examineStore", ExamineStore);
}

}  // namespace uwshm
