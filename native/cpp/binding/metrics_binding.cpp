// Metrics for JavaScript. What is hot is not here: counting writes to the row
// that `metricRow` lends.
#include "convert.hpp"
#include "environment.hpp"

namespace uwshm {
namespace {

// The instance, or nullptr with an error pending.
Instance* Attached(napi_env env) {
  if (ProcessInstance() == nullptr) Environment::Of(env)->Throw("NOT_ATTACHED");
  return ProcessInstance();
}

// The metric that the first argument numbers; kNone with an error pending.
uint32_t MetricOf(Instance& instance, Arguments& arguments) {
  const int32_t index = arguments.Int(0);
  if (arguments.ok && index >= 0 && static_cast<uint32_t>(index) < instance.metrics().Count())
    return static_cast<uint32_t>(index);
  arguments.Wrong();
  return Metrics::kNone;
}

// A bigint of 64 bits. False with an error pending.
bool Whole(napi_env env, Arguments& arguments, size_t index, int64_t* number) {
  bool lossless = false;
  if (napi_get_value_bigint_int64(env, arguments.Raw(index), number, &lossless) == napi_ok && lossless) return true;
  arguments.Wrong();
  return false;
}

napi_value Element(napi_env env, napi_value array, uint32_t index) {
  napi_value value = nullptr;
  napi_get_element(env, array, index, &value);
  return value;
}

uint32_t Uint(napi_env env, napi_value value) {
  uint32_t number = 0;
  napi_get_value_uint32(env, value, &number);
  return number;
}

std::string TextOf(napi_env env, napi_value value) {
  char text[MetricSlot::kName + 1];
  size_t size = 0;
  napi_get_value_string_utf8(env, value, text, sizeof text, &size);
  return {text, size};
}

// [name, oid, type, source, figure, first, second, initial]
MetricSpec SpecFrom(napi_env env, napi_value row) {
  MetricSpec spec;
  bool lossless = false;
  spec.name = TextOf(env, Element(env, row, 0));
  spec.oid = TextOf(env, Element(env, row, 1));
  spec.type = static_cast<MetricType>(Uint(env, Element(env, row, 2)));
  spec.source = static_cast<MetricSource>(Uint(env, Element(env, row, 3)));
  spec.figure = Instance::FigureNamed(TextOf(env, Element(env, row, 4)));
  spec.first = Uint(env, Element(env, row, 5));
  spec.second = Uint(env, Element(env, row, 6));
  napi_get_value_bigint_int64(env, Element(env, row, 7), &spec.initial, &lossless);
  return spec;
}

napi_value MetricCapacity(napi_env env, napi_callback_info) {
  Instance* instance = Attached(env);
  return instance ? Number(env, instance->metrics().geometry().slots) : nullptr;
}

napi_value MetricCount(napi_env env, napi_callback_info) {
  Instance* instance = Attached(env);
  return instance ? Number(env, instance->metrics().Count()) : nullptr;
}

// defineMetrics(rows, family, most) → the first one's number; -1: the family
// has `most`; -2: no room; -3-n: metric n has one of the names.
napi_value DefineMetrics(napi_env env, napi_callback_info info) {
  Instance* instance = Attached(env);
  if (instance == nullptr) return nullptr;
  Arguments arguments(env, info);
  uint32_t count = 0, first = 0;
  if (napi_get_array_length(env, arguments.Raw(0), &count) != napi_ok) return arguments.Wrong();
  const int32_t family = arguments.Int(1), most = arguments.Int(2);
  if (!arguments.ok) return arguments.Wrong();
  std::vector<MetricSpec> specs;
  for (uint32_t i = 0; i < count; i++) specs.push_back(SpecFrom(env, Element(env, arguments.Raw(0), i)));
  for (const MetricSpec& spec : specs)
    if (spec.source == MetricSource::kFigure && spec.figure >= instance->FigureCount()) return arguments.Wrong();
  switch (instance->DefineMetrics(specs, family < 0 ? Metrics::kNone : static_cast<uint32_t>(family),
                                  static_cast<uint32_t>(most), &first)) {
    case Status::kOk: return Number(env, first);
    case Status::kTooLarge: return Number(env, -1);
    case Status::kFull: return Number(env, -2);
    case Status::kExists: return Number(env, -3 - int64_t{first});
    default:
      return Environment::Of(env)->Throw("BUSY",
                                         {"(process table)", std::to_string(Instance::kPatienceMs),
                                          std::to_string(instance->locks().HolderOf(ProcessTable::kTableLock))});
  }
}

// metricSpecs(from) → [name, oid, type, source, first, cell, initial] of each metric from there on; cell -1: not
// counted.
napi_value MetricSpecs(napi_env env, napi_callback_info info) {
  Instance* instance = Attached(env);
  if (instance == nullptr) return nullptr;
  Arguments arguments(env, info);
  const int32_t from = arguments.Int(0);
  if (!arguments.ok || from < 0) return arguments.Wrong();
  const Metrics& metrics = instance->metrics();
  napi_value list = nullptr;
  napi_create_array(env, &list);
  for (uint32_t i = static_cast<uint32_t>(from); i < metrics.Count(); i++) {
    const MetricSpec spec = metrics.SpecOf(i);
    const uint32_t cell = metrics.CellOf(i);
    napi_value initial = nullptr;
    napi_create_bigint_int64(env, spec.initial, &initial);
    const napi_value columns[] = {String(env, spec.name.data(), spec.name.size()),
                                  String(env, spec.oid.data(), spec.oid.size()),
                                  Number(env, static_cast<int64_t>(spec.type)),
                                  Number(env, static_cast<int64_t>(spec.source)),
                                  Number(env, spec.first),
                                  Number(env, cell == Metrics::kNone ? -1 : int64_t{cell}),
                                  initial};
    napi_value row = nullptr;
    napi_create_array(env, &row);
    for (uint32_t column = 0; column < sizeof columns / sizeof *columns; column++)
      napi_set_element(env, row, column, columns[column]);
    napi_set_element(env, list, i - static_cast<uint32_t>(from), row);
  }
  return list;
}

// metricRow() → the calling thread's cells. Shared memory: mapped as long as the process lives.
napi_value MetricRow(napi_env env, napi_callback_info) {
  Environment* home = Environment::Of(env);
  if (!home->Enter()) return nullptr;
  Metrics& metrics = ProcessInstance()->metrics();
  napi_value row = nullptr;
  const size_t size = size_t{metrics.geometry().cells} * sizeof(int64_t);
  void* cells = metrics.Row(home->caller.thread);
  // Where V8 keeps its memory in a cage of its own, no cells can be lent: every count is a call then.
  if (napi_create_external_arraybuffer(env, cells, size, nullptr, nullptr, &row) != napi_ok)
    napi_create_arraybuffer(env, 0, &cells, &row);
  return row;
}

// metricValue(index) → number, rounded beyond 2^53.
napi_value MetricValue(napi_env env, napi_callback_info info) {
  Instance* instance = Attached(env);
  if (instance == nullptr) return nullptr;
  Arguments arguments(env, info);
  const uint32_t index = MetricOf(*instance, arguments);
  return index == Metrics::kNone ? nullptr : Number(env, instance->metrics().Value(index, *instance));
}

// metricBigValue(index) → bigint.
napi_value MetricBigValue(napi_env env, napi_callback_info info) {
  Instance* instance = Attached(env);
  if (instance == nullptr) return nullptr;
  Arguments arguments(env, info);
  const uint32_t index = MetricOf(*instance, arguments);
  napi_value value = nullptr;
  if (index != Metrics::kNone) napi_create_bigint_int64(env, instance->metrics().Value(index, *instance), &value);
  return value;
}

// metricValues() → a BigInt64Array: of all, in order.
napi_value MetricValues(napi_env env, napi_callback_info) {
  Instance* instance = Attached(env);
  if (instance == nullptr) return nullptr;
  std::vector<int64_t> values;
  instance->metrics().Values(*instance, &values);
  void* bytes = nullptr;
  napi_value buffer = nullptr, array = nullptr;
  napi_create_arraybuffer(env, values.size() * sizeof(int64_t), &bytes, &buffer);
  if (!values.empty()) memcpy(bytes, values.data(), values.size() * sizeof(int64_t));
  napi_create_typedarray(env, napi_bigint64_array, values.size(), buffer, 0, &array);
  return array;
}

// changeMetric(index, change, n) → true; false: it is not counted.
napi_value ChangeMetric(napi_env env, napi_callback_info info) {
  Instance* instance = Attached(env);
  if (instance == nullptr) return nullptr;
  Arguments arguments(env, info);
  const uint32_t index = MetricOf(*instance, arguments);
  if (index == Metrics::kNone) return nullptr;
  const int32_t change = arguments.Int(1);
  int64_t n = 0;
  if (!arguments.ok || change < 0 || change > static_cast<int32_t>(MetricChange::kMin)) return arguments.Wrong();
  if (!Whole(env, arguments, 2, &n)) return nullptr;
  napi_value done = nullptr;
  const Status status = instance->metrics().Change(index, static_cast<MetricChange>(change), n);
  napi_get_boolean(env, status == Status::kOk, &done);
  return done;
}

// storeMetric(index, value): its collector's call.
napi_value StoreMetric(napi_env env, napi_callback_info info) {
  Instance* instance = Attached(env);
  if (instance == nullptr) return nullptr;
  Arguments arguments(env, info);
  const uint32_t index = MetricOf(*instance, arguments);
  int64_t value = 0;
  if (index != Metrics::kNone && Whole(env, arguments, 1, &value)) instance->metrics().Store(index, value);
  return nullptr;
}

// checkMetrics() → null, or the first invariant that does not hold.
napi_value CheckMetrics(napi_env env, napi_callback_info) {
  Instance* instance = Attached(env);
  if (instance == nullptr) return nullptr;
  const std::string fault = instance->metrics().Check(*instance);
  napi_value nothing = nullptr;
  if (!fault.empty()) return String(env, fault.data(), fault.size());
  napi_get_null(env, &nothing);
  return nothing;
}

}  // namespace

void InitMetrics(napi_env env, napi_value exports) {
  const FunctionRow functions[] = {
      {"metricCapacity", MetricCapacity}, {"metricCount", MetricCount},   {"defineMetrics", DefineMetrics},
      {"metricSpecs", MetricSpecs},       {"metricRow", MetricRow},       {"metricValue", MetricValue},
      {"metricBigValue", MetricBigValue}, {"metricValues", MetricValues}, {"changeMetric", ChangeMetric},
      {"storeMetric", StoreMetric},       {"checkMetrics", CheckMetrics},
  };
  AddFunctions(env, exports, functions, sizeof functions / sizeof *functions);
}

}  // namespace uwshm
