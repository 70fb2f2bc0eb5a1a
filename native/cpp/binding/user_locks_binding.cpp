// User locks for JavaScript. Taking and letting go are hot, so they are plain C
// Node-API and carry their environment; the numbers of locks are checked here, the rest
// in TypeScript.
#include <unistd.h>

#include "lock_waiter.hpp"

namespace uwshm {
namespace {

napi_value Fail(Environment& home, uint32_t lock, Status status) {
  const UserLocks& locks = *home.user_locks;
  const std::string name = locks.NameOf(lock);
  switch (status) {
    case Status::kHeld: return home.Throw("LOCK_HELD", {name});
    case Status::kNotOwner: return home.Throw("LOCK_NOT_OWNER", {name, std::to_string(locks.HolderOf(lock))});
    case Status::kDeadlock: return home.Throw("DEADLOCK", {name});
    case Status::kFull: return home.Throw("LOCK_WAITERS", {name, std::to_string(locks.geometry().records())});
    default: return home.Throw("LOCK_BUSY", {name});
  }
}

bool IsMainThread() { return gettid() == getpid(); }

struct Call {
  napi_env env;
  Environment* home;
  napi_value arguments[4];
  uint32_t lock = 0;

  Call(napi_env env, napi_callback_info info, size_t most = 1) : env(env) {
    void* data;
    napi_get_cb_info(env, info, &most, most == 0 ? nullptr : arguments, nullptr, &data);
    home = static_cast<Environment*>(data);
  }

  // Has this thread its place among the users of locks? False: an error is pending.
  bool Enter() {
    if (__builtin_expect(home->user_locks != nullptr, 1)) return true;
    if (!home->entered && !home->Enter()) return false;
    home->user_locks = &ProcessInstance()->user_locks();
    if (IsMainThread()) home->user_locks->ActAsMain(home->caller);
    return true;
  }

  // The first argument is the number of a lock, which TypeScript has checked.
  bool Lock() {
    if (!Enter()) return false;
    if (napi_get_value_uint32(env, arguments[0], &lock) == napi_ok && lock < locks().used()) return true;
    napi_throw_range_error(env, nullptr, "no such lock");
    return false;
  }

  double Number(size_t argument) const {
    double number = 0;
    napi_get_value_double(env, arguments[argument], &number);
    return number;
  }
  bool Truth(size_t argument) const {
    bool truth = false;
    napi_get_value_bool(env, arguments[argument], &truth);
    return truth;
  }
  // Milliseconds, negative for ever; in microseconds.
  uint64_t Timeout(size_t argument) const {
    const double ms = Number(argument);
    return ms < 0 ? UINT64_MAX : static_cast<uint64_t>(ms * 1000);
  }

  UserLocks& locks() const { return *home->user_locks; }
  LockOwner self() const { return locks().ThreadOwner(home->caller); }

  napi_value Boolean(bool truth) const {
    napi_value value;
    napi_get_boolean(env, truth, &value);
    return value;
  }
  napi_value Double(double number) const {
    napi_value value;
    napi_create_double(env, number, &value);
    return value;
  }

  napi_value Fail(Status status) const { return uwshm::Fail(*home, lock, status); }
  napi_value Outcome(Status status) const {
    if (status == Status::kOk || status == Status::kBusy) return Boolean(status == Status::kOk);
    return Fail(status);
  }
};

// lockRelease(lock)
napi_value Release(napi_env env, napi_callback_info info) {
  Call call(env, info);
  if (!call.Lock()) return nullptr;
  const Status status = call.locks().Unlock(call.lock, call.self().word, call.home->caller);
  return status == Status::kOk ? nullptr : call.Fail(status);
}

// lockWait(lock, timeoutMs, again) → taken?
napi_value Wait(napi_env env, napi_callback_info info) {
  Call call(env, info, 3);
  if (!call.Lock()) return nullptr;
  return call.Outcome(
      call.locks().Lock(call.lock, call.self(), Share::kNo, call.Timeout(1), call.home->caller, call.Truth(2)));
}

// lockTry(lock, again) → taken? False also when this thread has it.
napi_value Try(napi_env env, napi_callback_info info) {
  Call call(env, info, 2);
  if (!call.Lock()) return nullptr;
  return call.Boolean(call.locks().TryLock(call.lock, call.self(), call.Truth(1)) == Status::kOk);
}

// lockShare(lock, timeoutMs) → taken?
napi_value TakeShared(napi_env env, napi_callback_info info) {
  Call call(env, info, 2);
  if (!call.Lock()) return nullptr;
  return call.Outcome(call.locks().Lock(call.lock, call.self(), Share::kYes, call.Timeout(1), call.home->caller));
}

// lockUnshare(lock): what this thread took.
napi_value ReleaseShared(napi_env env, napi_callback_info info) {
  Call call(env, info);
  if (!call.Lock()) return nullptr;
  const Status status = call.locks().Unshare(call.lock, call.self().word, call.home->caller);
  return status == Status::kOk ? nullptr : call.Fail(status);
}

// lockHeld(lock) → does anybody have it?
napi_value Held(napi_env env, napi_callback_info info) {
  Call call(env, info);
  if (!call.Lock()) return nullptr;
  return call.Boolean(call.locks().IsLocked(call.lock, call.home->caller));
}

// lockInherited(lock, token) → did its previous owner die? token 0: this thread's own.
napi_value Inherited(napi_env env, napi_callback_info info) {
  Call call(env, info, 2);
  if (!call.Lock()) return nullptr;
  const auto token = static_cast<uint32_t>(call.Number(1));
  const uint64_t owner = token == 0 ? call.self().word : call.locks().OwnerWith(token);
  return call.Boolean(call.locks().Inherited(call.lock, owner));
}

// Tells JavaScript the outcome of one wait: callback(token, outcome).
void CallBack(napi_env env, napi_value callback, void* home_, void* data) {
  if (env == nullptr) return;
  auto* home = static_cast<Environment*>(home_);
  const auto told = reinterpret_cast<uint64_t>(data);
  if (--home->lock_waits == 0) napi_unref_threadsafe_function(env, home->lock_calls);
  napi_value arguments[2], undefined;
  napi_create_double(env, static_cast<double>(told >> 2), &arguments[0]);
  napi_create_uint32(env, told & 3, &arguments[1]);
  napi_get_undefined(env, &undefined);
  napi_call_function(env, undefined, callback, 2, arguments, nullptr);
}

// onLock(callback): once per environment, before the first lockBegin.
napi_value OnLock(napi_env env, napi_callback_info info) {
  Call call(env, info);
  napi_value name;
  napi_create_string_utf8(env, "uwshm: user locks", NAPI_AUTO_LENGTH, &name);
  napi_create_threadsafe_function(env, call.arguments[0], nullptr, name, 0, 1, nullptr, nullptr, call.home, CallBack,
                                  &call.home->lock_calls);
  napi_unref_threadsafe_function(env, call.home->lock_calls);
  // Run before the thread-safe function goes, which registered its own earlier.
  napi_add_env_cleanup_hook(env, [](void* home) { ForgetWaits(static_cast<Environment*>(home)); }, call.home);
  return nullptr;
}

// lockBegin(lock, shared, timeoutMs, parent) → a token: held if positive, waited for if
// negative; 0: somebody has it, and there is no time to wait.
napi_value Begin(napi_env env, napi_callback_info info) {
  Call call(env, info, 4);
  if (!call.Lock()) return nullptr;
  UserLocks& locks = call.locks();
  const Caller& caller = call.home->caller;
  const Share share = call.Truth(1) ? Share::kYes : Share::kNo;
  const uint64_t timeout_us = call.Timeout(2), now = MonotonicMicroseconds();
  const LockOwner owner = locks.NewOwner(caller, static_cast<uint32_t>(call.Number(3)));
  const double token = lock_word::TokenOf(owner.word);
  Status status = share == Share::kYes ? locks.TryShare(call.lock, owner, caller) : locks.TryLock(call.lock, owner);
  if (status == Status::kBusy && timeout_us > 0) {
    LockWait wait{call.home, 0, owner, call.lock, share, timeout_us > UINT64_MAX - now ? UINT64_MAX : now + timeout_us};
    status = locks.Enqueue(call.lock, owner, share, true, caller, &wait.record);
    if (status == Status::kBusy && wait.record == 0) return call.Fail(Status::kBusy);  // a guard's owner stands still
    if (status == Status::kBusy) status = locks.Look(wait.record, caller, false);
    if (status == Status::kBusy) {
      if (call.home->lock_waits++ == 0) napi_ref_threadsafe_function(env, call.home->lock_calls);
      WatchOver(wait);
      return call.Double(-token);
    }
  }
  if (status == Status::kOk) return call.Double(token);
  return status == Status::kBusy ? call.Double(0) : call.Fail(status);
}

// lockCancel(token) → true: it waits no more. False: its outcome is about to be told.
napi_value Cancel(napi_env env, napi_callback_info info) {
  Call call(env, info);
  const bool gone = GiveUpWait(static_cast<uint32_t>(call.Number(0)));
  if (gone && --call.home->lock_waits == 0) napi_unref_threadsafe_function(env, call.home->lock_calls);
  return call.Boolean(gone);
}

// lockEnd(lock, token, shared) → was it held?
napi_value End(napi_env env, napi_callback_info info) {
  Call call(env, info, 3);
  if (!call.Lock()) return nullptr;
  const uint64_t owner = call.locks().OwnerWith(static_cast<uint32_t>(call.Number(1)));
  const Status status = call.Truth(2) ? call.locks().Unshare(call.lock, owner, call.home->caller)
                                      : call.locks().Unlock(call.lock, owner, call.home->caller);
  return status == Status::kOk || status == Status::kNotOwner ? call.Boolean(status == Status::kOk) : call.Fail(status);
}

// leaseTake(cache, key) → a token: the lease is ours if positive, else its end is told (onLock), once.
napi_value TakeLease(napi_env env, napi_callback_info info) {
  Call call(env, info, 2);
  if (!call.Enter()) return nullptr;
  void* bytes = nullptr;
  size_t size = 0;
  if (napi_get_typedarray_info(env, call.arguments[1], nullptr, &size, &bytes, nullptr, nullptr) != napi_ok) {
    napi_throw_type_error(env, nullptr, "the key of a lease is a Uint8Array");
    return nullptr;
  }
  UserLocks& locks = call.locks();
  const InstanceId id = ProcessInstance()->id();
  const auto cache = static_cast<uint64_t>(call.Number(0));
  const auto* key = static_cast<const uint8_t*>(bytes);
  const LeaseSubject subject{HashOf({id.high ^ cache, id.low}, key, size),
                             HashOf({id.low ^ cache, ~id.high}, key, size)};
  const LockOwner owner = locks.NewOwner(call.home->caller, 0);
  const uint32_t token = lock_word::TokenOf(owner.word);
  LeaseWait wait;
  const Status status = locks.TakeLease(subject, owner, call.home->caller, &wait);
  if (status == Status::kOk) return call.Double(token);
  if (status == Status::kFull) return call.home->Throw("LEASES_FULL", {std::to_string(locks.geometry().leases())});
  if (status != Status::kBusy || wait.turn == 0) return call.home->Throw("LOCK_BUSY", {"of computations"});
  if (call.home->lock_waits++ == 0) napi_ref_threadsafe_function(env, call.home->lock_calls);
  WatchOver(token, {call.home, wait});
  return call.Double(-static_cast<double>(token));
}

// leaseEnd(token)
napi_value EndLease(napi_env env, napi_callback_info info) {
  Call call(env, info);
  if (!call.Enter()) return nullptr;
  call.locks().EndLease(call.locks().OwnerWith(static_cast<uint32_t>(call.Number(0))));
  return nullptr;
}

// lockNamed(name, kind) → its number.
napi_value Named(napi_env env, napi_callback_info info) {
  Call call(env, info, 2);
  if (!call.Enter()) return nullptr;
  char name[512];
  size_t size = 0;
  napi_get_value_string_utf8(env, call.arguments[0], name, sizeof name, &size);
  switch (call.locks().Named({name, size}, static_cast<uint32_t>(call.Number(1)), call.home->caller, &call.lock)) {
    case Status::kOk: return call.Double(call.lock);
    case Status::kExists: return call.home->Throw("LOCK_KIND", {name});
    case Status::kFull: return call.home->Throw("LOCKS_FULL", {name, std::to_string(call.locks().geometry().most)});
    case Status::kBusy: return call.home->Throw("LOCK_BUSY", {name});
    default: return call.home->Throw("LOCK_NAME", {name});
  }
}

// lockLent() → [memory, where the locks begin, where the tick is, the low half of this thread's
// word, its thread slot], for the main thread; empty for others, and where V8 lets no memory in.
napi_value Lent(napi_env env, napi_callback_info info) {
  Call call(env, info);
  if (!call.Enter()) return nullptr;
  napi_value row, memory;
  napi_create_array(env, &row);
  const UserLocks::Lent lent = call.locks().Lend();
  if (!IsMainThread() ||
      napi_create_external_arraybuffer(env, lent.bytes, lent.size, nullptr, nullptr, &memory) != napi_ok)
    return row;
  napi_set_element(env, row, 0, memory);
  uint32_t column = 1;
  for (size_t number : {lent.locks_at, lent.tick_at, size_t{call.self().word & UINT32_MAX}, size_t{call.self().thread}})
    napi_set_element(env, row, column++, call.Double(static_cast<double>(number)));
  return row;
}

// lockCount() → how many have numbers.
napi_value Count(napi_env env, napi_callback_info info) {
  Call call(env, info);
  if (!call.Enter()) return nullptr;
  return call.Double(call.locks().geometry().numbered);
}

// One row of figures.
napi_value Row(const Call& call, const std::string& name,
               const std::vector<std::pair<const char*, uint64_t>>& figures) {
  napi_value row, text;
  napi_create_object(call.env, &row);
  napi_create_string_utf8(call.env, name.data(), name.size(), &text);
  napi_set_named_property(call.env, row, "name", text);
  for (const auto& [key, number] : figures)
    napi_set_named_property(call.env, row, key, call.Double(static_cast<double>(number)));
  return row;
}

// lockFigures() → one row for each user lock.
napi_value Figures(napi_env env, napi_callback_info info) {
  Call call(env, info);
  if (!call.Enter()) return nullptr;
  napi_value rows;
  napi_create_array(env, &rows);
  uint32_t count = 0;
  for (const LockFigures& lock : call.locks().Figures())
    napi_set_element(env, rows, count++,
                     Row(call, lock.name,
                         {{"kind", lock.kind},
                          {"pid", lock.pid},
                          {"acquisitions", lock.acquisitions},
                          {"contended", lock.contended},
                          {"waitUs", lock.waited_us},
                          {"longestHoldUs", lock.longest_hold_us},
                          {"recoveries", lock.recoveries},
                          {"waiters", lock.waiters}}));
  return rows;
}

// structureLocks() → one row for each structure that has locks of the engine.
napi_value StructureLocks(napi_env env, napi_callback_info info) {
  Call call(env, info);
  if (!call.Enter()) return nullptr;
  napi_value rows;
  napi_create_array(env, &rows);
  uint32_t count = 0;
  for (const auto& [name, pid, counts] : ProcessInstance()->StructureFigures())
    napi_set_element(env, rows, count++,
                     Row(call, name,
                         {{"pid", pid},
                          {"acquisitions", counts.acquisitions},
                          {"contended", counts.contended},
                          {"waitUs", counts.waited_ms * 1000},
                          {"recoveries", counts.recoveries}}));
  return rows;
}

}  // namespace

void InitUserLocks(napi_env env, napi_value exports, Environment* environment) {
  auto add = [&](const char* name, napi_callback call) {
    napi_value function;
    napi_create_function(env, name, NAPI_AUTO_LENGTH, call, environment, &function);
    napi_set_named_property(env, exports, name, function);
  };
  add("lockCount", Count);
  add("lockLent", Lent);
  add("lockRelease", Release);
  add("lockWait", Wait);
  add("lockTry", Try);
  add("lockShare", TakeShared);
  add("lockUnshare", ReleaseShared);
  add("lockHeld", Held);
  add("lockInherited", Inherited);
  add("onLock", OnLock);
  add("lockBegin", Begin);
  add("lockCancel", Cancel);
  add("lockEnd", End);
  add("leaseTake", TakeLease);
  add("leaseEnd", EndLease);
  add("lockNamed", Named);
  add("lockFigures", Figures);
  add("structureLocks", StructureLocks);
}

}  // namespace uwshm
