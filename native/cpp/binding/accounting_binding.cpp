// What workers write about their requests, and what the master reads of it. What every
// request writes is not here: src/metrics/row.ts does that, in memory lent to it.
#include <ctime>

#include "convert.hpp"
#include "environment.hpp"

namespace uwshm {
namespace {

uint64_t Microseconds(clockid_t clock) {
  timespec now;
  clock_gettime(clock, &now);
  return static_cast<uint64_t>(now.tv_sec) * 1000000 + static_cast<uint64_t>(now.tv_nsec) / 1000;
}

// The rows, where this process is a worker; nullptr elsewhere, where nothing is counted.
Accounting* Rows() {
  Instance* instance = ProcessInstance();
  return instance != nullptr && ProcessWorker() != 0 ? &instance->accounting() : nullptr;
}

// lendRows() → memory of this worker's row, of its cores, and of their heads, for JavaScript to write to; shared, and
// mapped as long as the process lives. null: this Node lends none (V8 keeps its memory in a cage of its own).
napi_value LendRows(napi_env env, napi_callback_info) {
  static_assert(offsetof(WorkerRow, in_flight) == 68 && offsetof(WorkerRow, overflows) == 80 &&
                    offsetof(WorkerRow, tx) == 96 && offsetof(WorkerRow, running_time) == 104 &&
                    offsetof(WorkerRow, avg_rt) == 112 && offsetof(CoreRow, in_request) == 0 &&
                    offsetof(CoreRow, sequence) == 4 && offsetof(CoreRow, started_at) == 8 &&
                    offsetof(CoreRow, requests) == 16 && offsetof(CoreRow, read_errors) == 24 &&
                    offsetof(CoreRow, write_errors) == 32 && offsetof(CoreRow, head_size) == 40,
                "src/metrics/row.ts says where they are");
  napi_value lent = nullptr;
  napi_get_null(env, &lent);
  Accounting* rows = Rows();
  if (rows == nullptr) return lent;
  const uint32_t id = ProcessWorker();
  const struct {
    void* at;
    size_t size;
  } parts[] = {{&rows->worker(id), sizeof(WorkerRow)},
               {&rows->core(id, 0), rows->cores() * sizeof(CoreRow)},
               {rows->head(id, 0), size_t{rows->cores()} * CoreRow::kHead}};
  napi_value memory[3], list = nullptr;
  napi_create_array_with_length(env, 3, &list);
  for (uint32_t i = 0; i < 3; i++) {
    if (napi_create_external_arraybuffer(env, parts[i].at, parts[i].size, nullptr, nullptr, &memory[i]) != napi_ok)
      return lent;
    napi_set_element(env, list, i, memory[i]);
  }
  return list;
}

napi_value BootMicroseconds(napi_env env, napi_callback_info) {
  return Number(env, static_cast<int64_t>(Microseconds(CLOCK_BOOTTIME)));
}

// requestHead(core, head)
napi_value RequestHead(napi_env env, napi_callback_info info) {
  Arguments arguments(env, info);
  const uint32_t core = static_cast<uint32_t>(arguments.Int(0));
  Accounting* rows = Rows();
  if (rows == nullptr || core >= rows->cores()) return nullptr;
  // A header's characters are its bytes: Node's parser makes latin1 of them.
  char head[CoreRow::kHead + 1];  // Node ends what it copies with a NUL
  size_t size = 0;
  napi_get_value_string_latin1(env, arguments.Raw(1), head, sizeof head, &size);
  rows->Describe(ProcessWorker(), core, reinterpret_cast<const uint8_t*>(head), static_cast<uint32_t>(size));
  return nullptr;
}

// exceptionRaised(core)
napi_value ExceptionRaised(napi_env env, napi_callback_info info) {
  Arguments arguments(env, info);
  const uint32_t core = static_cast<uint32_t>(arguments.Int(0));
  if (Accounting* rows = Rows()) rows->Exception(ProcessWorker(), core < rows->cores() ? core : Accounting::kNoCore);
  return nullptr;
}

// beat(p50, p99, max): microseconds.
napi_value Beat(napi_env env, napi_callback_info info) {
  Arguments arguments(env, info);
  if (Accounting* rows = Rows())
    rows->Beat(ProcessWorker(), Whole(arguments.Real(0)), Whole(arguments.Real(1)), Whole(arguments.Real(2)),
               BootMilliseconds());
  return nullptr;
}

// workerAccepting(seconds)
napi_value WorkerAccepting(napi_env env, napi_callback_info info) {
  Arguments arguments(env, info);
  if (Accounting* rows = Rows()) rows->Accepting(ProcessWorker(), Whole(arguments.Real(0)));
  return nullptr;
}

// Everybody's rows, or nullptr with an error pending.
Accounting* All(napi_env env) {
  if (ProcessInstance() != nullptr) return &ProcessInstance()->accounting();
  Environment::Of(env)->Throw("NOT_ATTACHED");
  return nullptr;
}

// The worker id in the first argument; 0 with an error pending.
uint32_t WorkerOf(const Accounting& rows, Arguments& arguments) {
  const int32_t id = arguments.Int(0);
  if (arguments.ok && id >= 1 && static_cast<uint32_t>(id) <= rows.workers()) return static_cast<uint32_t>(id);
  arguments.Wrong();
  return 0;
}

// workerSpawned(id, pid, epochSeconds)
napi_value WorkerSpawned(napi_env env, napi_callback_info info) {
  Accounting* rows = All(env);
  if (rows == nullptr) return nullptr;
  Arguments arguments(env, info);
  const uint32_t pid = static_cast<uint32_t>(arguments.Int(1));
  if (const uint32_t id = WorkerOf(*rows, arguments)) rows->Spawned(id, pid, Whole(arguments.Real(2)));
  return nullptr;
}

// workerGone(id)
napi_value WorkerGone(napi_env env, napi_callback_info info) {
  Accounting* rows = All(env);
  if (rows == nullptr) return nullptr;
  Arguments arguments(env, info);
  if (const uint32_t id = WorkerOf(*rows, arguments)) rows->Gone(id);
  return nullptr;
}

// workers() → one object per worker id.
napi_value Workers(napi_env env, napi_callback_info) {
  Accounting* rows = All(env);
  if (rows == nullptr) return nullptr;
  napi_value list = nullptr;
  napi_create_array_with_length(env, rows->workers(), &list);
  const uint64_t now = BootMilliseconds();
  for (uint32_t id = 1; id <= rows->workers(); id++) {
    const WorkerRow& row = rows->worker(id);
    const uint64_t requests = rows->Requests(id), before = row.requests_at_spawn, beat = row.beat_at;
    const uint64_t age = now > beat ? now - beat : 0;
    const struct {
      const char* name;
      uint64_t number;
    } columns[] = {
        {"id", id},
        {"pid", row.pid},
        {"accepting", row.accepting},
        {"requests", requests},
        {"deltaRequests", requests > before ? requests - before : 0},
        {"exceptions", rows->Exceptions(id)},
        {"inFlight", row.in_flight},
        {"overflows", Whole(row.overflows)},
        {"tx", Whole(row.tx)},
        {"runningTime", Whole(row.running_time)},
        {"avgRt", Whole(row.avg_rt)},
        {"respawnCount", row.respawn_count},
        {"lastSpawn", row.last_spawn},
        {"startupTime", row.startup_time},
        {"delayP50", row.delay_p50},
        {"delayP99", row.delay_p99},
        {"delayMax", row.delay_max},
        {"beatAge", beat == 0 ? ~uint64_t{0} : age},
    };
    napi_value object = nullptr;
    napi_create_object(env, &object);
    for (const auto& column : columns)
      napi_set_named_property(env, object, column.name, Number(env, static_cast<int64_t>(column.number)));
    napi_set_element(env, list, id - 1, object);
  }
  return list;
}

// requestsServed(id); with those in flight, requestsBegun(id).
template <bool kInFlightToo>
napi_value RequestsOf(napi_env env, napi_callback_info info) {
  Accounting* rows = All(env);
  if (rows == nullptr) return nullptr;
  Arguments arguments(env, info);
  const uint32_t id = WorkerOf(*rows, arguments);
  if (id == 0) return nullptr;
  return Number(env, static_cast<int64_t>(rows->Requests(id) + (kInFlightToo ? rows->worker(id).in_flight.load() : 0)));
}

// cores(id) → six numbers for each of its cores, flat.
napi_value Cores(napi_env env, napi_callback_info info) {
  Accounting* rows = All(env);
  if (rows == nullptr) return nullptr;
  Arguments arguments(env, info);
  const uint32_t id = WorkerOf(*rows, arguments);
  if (id == 0) return nullptr;

  constexpr uint32_t kColumns = 6;
  const uint64_t now = Microseconds(CLOCK_BOOTTIME), today = Microseconds(CLOCK_REALTIME);
  void* bytes = nullptr;
  napi_value buffer = nullptr, array = nullptr;
  napi_create_arraybuffer(env, sizeof(double) * kColumns * rows->cores(), &bytes, &buffer);
  auto* numbers = static_cast<double*>(bytes);
  for (uint32_t i = 0; i < rows->cores(); i++) {
    const CoreRow& row = rows->core(id, i);
    const bool busy = row.in_request != 0;
    const uint64_t started = Whole(row.started_at), age = busy && now > started ? now - started : 0;
    const uint64_t columns[kColumns] = {
        Whole(row.requests),     busy,      busy ? (today - age) / 1000000 : 0, Whole(row.read_errors),
        Whole(row.write_errors), age / 1000};
    for (uint64_t number : columns) *numbers++ = static_cast<double>(number);
  }
  napi_create_typedarray(env, napi_float64_array, size_t{kColumns} * rows->cores(), buffer, 0, &array);
  return array;
}

// coreHead(id, core) → text, or null.
napi_value CoreHead(napi_env env, napi_callback_info info) {
  Accounting* rows = All(env);
  if (rows == nullptr) return nullptr;
  Arguments arguments(env, info);
  const int32_t core = arguments.Int(1);
  const uint32_t id = WorkerOf(*rows, arguments);
  if (id == 0 || core < 0 || static_cast<uint32_t>(core) >= rows->cores()) return nullptr;
  std::string head;
  napi_value nothing = nullptr;
  // Bytes that are no UTF-8 become U+FFFD here.
  if (rows->Head(id, static_cast<uint32_t>(core), &head)) return String(env, head.data(), head.size());
  napi_get_null(env, &nothing);
  return nothing;
}

// pause(on)
napi_value Pause(napi_env env, napi_callback_info info) {
  Accounting* rows = All(env);
  Arguments arguments(env, info);
  bool on = false;
  if (rows == nullptr) return nullptr;
  if (napi_get_value_bool(env, arguments.Raw(0), &on) != napi_ok) return arguments.Wrong();
  rows->group().paused = on;
  return nullptr;
}

napi_value Paused(napi_env env, napi_callback_info) {
  napi_value on = nullptr;
  if (Accounting* rows = All(env)) napi_get_boolean(env, rows->group().paused != 0, &on);
  return on;
}

napi_value WorkerCount(napi_env env, napi_callback_info) {
  Accounting* rows = All(env);
  return rows ? Number(env, rows->workers()) : nullptr;
}

napi_value CoreCount(napi_env env, napi_callback_info) {
  Accounting* rows = All(env);
  return rows ? Number(env, rows->cores()) : nullptr;
}

napi_value MasterPid(napi_env env, napi_callback_info) {
  Accounting* rows = All(env);
  return rows ? Number(env, rows->group().master) : nullptr;
}

napi_value StartedOn(napi_env env, napi_callback_info) {
  Accounting* rows = All(env);
  return rows ? Number(env, static_cast<int64_t>(rows->group().started_on.load())) : nullptr;
}

napi_value WorkerId(napi_env env, napi_callback_info) { return Number(env, ProcessWorker()); }

}  // namespace

void InitAccounting(napi_env env, napi_value exports) {
  const FunctionRow functions[] = {
      {"lendRows", LendRows},
      {"bootMicroseconds", BootMicroseconds},
      {"requestHead", RequestHead},
      {"exceptionRaised", ExceptionRaised},
      {"beat", Beat},
      {"workerAccepting", WorkerAccepting},
      {"workerSpawned", WorkerSpawned},
      {"workerGone", WorkerGone},
      {"workers", Workers},
      {"requestsServed", RequestsOf<false>},
      {"requestsBegun", RequestsOf<true>},
      {"cores", Cores},
      {"coreHead", CoreHead},
      {"workerCount", WorkerCount},
      {"coreCount", CoreCount},
      {"pause", Pause},
      {"paused", Paused},
      {"masterPid", MasterPid},
      {"startedOn", StartedOn},
      {"workerId", WorkerId},
  };
  AddFunctions(env, exports, functions, sizeof functions / sizeof *functions);
}

}  // namespace uwshm
