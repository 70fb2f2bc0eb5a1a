#include "metrics.hpp"

#include <algorithm>
#include <cstring>
#include <unordered_set>

#include "hash.hpp"

namespace uwshm {
namespace {

constexpr auto kRelaxed = std::memory_order_relaxed;

uint32_t NameHash(const std::string& name) {
  return static_cast<uint32_t>(HashOf({1, 2}, reinterpret_cast<const uint8_t*>(name.data()), name.size()));
}

// Its owner may be adding to it.
uint64_t Load(const uint64_t* cell) { return __atomic_load_n(cell, __ATOMIC_RELAXED); }

// What `value` becomes. REQUIRES: no division by 0.
uint64_t Changed(uint64_t value, MetricChange change, int64_t n) {
  const auto now = static_cast<int64_t>(value);
  switch (change) {
    case MetricChange::kAdd: return value + static_cast<uint64_t>(n);
    case MetricChange::kSet: return static_cast<uint64_t>(n);
    case MetricChange::kMul: return value * static_cast<uint64_t>(n);
    // The one quotient that does not fit wraps, as the product would; the processor would stop the process.
    case MetricChange::kDiv: return n == -1 ? 0 - value : static_cast<uint64_t>(now / n);
    case MetricChange::kMax: return static_cast<uint64_t>(std::max(now, n));
    case MetricChange::kMin: return static_cast<uint64_t>(std::min(now, n));
  }
  return value;
}

std::string Text(const char* bytes, size_t most) { return {bytes, strnlen(bytes, most)}; }

bool HasCell(MetricSource source) { return source == MetricSource::kCounted || source == MetricSource::kBucket; }

}  // namespace

Status Metrics::Create(InstanceId instance, const MetricsGeometry& geometry) {
  SegmentSpec spec{"uwshm:metrics",
                   SegmentKind::kMetrics,
                   0,
                   kLayout,
                   instance,
                   geometry.size(),
                   {geometry.slots, geometry.cells, geometry.threads}};
  Status status = segment_.Create(spec);
  if (status != Status::kOk) return status;
  geometry_ = geometry;
  Place();
  return Status::kOk;
}

Status Metrics::Attach(int fd, InstanceId instance, uint32_t threads, uint64_t* layout) {
  SegmentSpec spec{"", SegmentKind::kMetrics, 0, kLayout, instance, 0, {}};
  Status status = segment_.Attach(fd, &spec);
  *layout = spec.layout;
  if (status != Status::kOk) return status;
  for (uint64_t number : spec.geometry)
    if (number > UINT32_MAX) return Status::kForeign;
  auto number = [&](int i) { return static_cast<uint32_t>(spec.geometry[i]); };
  geometry_ = {number(0), number(1), number(2)};
  if (geometry_.threads != threads || geometry_.size() != spec.size) return Status::kForeign;
  Place();
  return Status::kOk;
}

void Metrics::Place() {
  header_ = segment_.At<MetricsHeader>(sizeof(SegmentHeader));
  used_ = reinterpret_cast<std::atomic<uint64_t>*>(header_ + 1);
  slots_ = segment_.At<MetricSlot>(geometry_.slots_at());
  rows_ = segment_.base() + geometry_.rows_at();
}

uint32_t Metrics::Count() const { return std::min(header_->count.load(std::memory_order_acquire), geometry_.slots); }

uint32_t Metrics::Find(const std::string& name, uint32_t hash, uint32_t count) const {
  for (uint32_t i = 0; i < count; i++)
    if (slots_[i].hash.load(kRelaxed) == hash && Text(slots_[i].name, MetricSlot::kName) == name) return i;
  return kNone;
}

Status Metrics::Define(const std::vector<MetricSpec>& specs, uint32_t family, uint32_t most, uint32_t* first) {
  const uint32_t count = Count();
  for (const MetricSpec& spec : specs) {
    *first = Find(spec.name, NameHash(spec.name), count);
    if (*first != kNone) return Status::kExists;
  }
  if (family != kNone) {
    uint32_t kin = 0;
    for (uint32_t i = 0; i < count; i++) kin += slots_[i].family.load(kRelaxed) == family + 1;
    if (kin >= most) return Status::kTooLarge;
  }
  uint32_t cells = count == 0 ? 0 : slots_[count - 1].cells.load(kRelaxed);
  const auto counted = std::count_if(specs.begin(), specs.end(), [](const auto& spec) { return HasCell(spec.source); });
  if (specs.size() > geometry_.slots - count || cells > geometry_.cells ||
      static_cast<uint64_t>(counted) > geometry_.cells - cells)
    return Status::kFull;

  *first = count;
  MetricSlot* slot = slots_ + count;
  for (const MetricSpec& spec : specs) {
    slot->base.store(static_cast<uint64_t>(spec.initial), kRelaxed);
    slot->type.store(static_cast<uint32_t>(spec.type), kRelaxed);
    slot->source.store(static_cast<uint32_t>(spec.source), kRelaxed);
    slot->figure.store(spec.figure, kRelaxed);
    slot->first.store(spec.first, kRelaxed);
    slot->second.store(spec.second, kRelaxed);
    slot->cells.store(cells += HasCell(spec.source), kRelaxed);
    slot->family.store(family == kNone ? 0 : family + 1, kRelaxed);
    slot->hash.store(NameHash(spec.name), kRelaxed);
    slot->initial = static_cast<uint64_t>(spec.initial);
    // Whole, with their zeros: somebody may have died here with a longer name.
    strncpy(slot->name, spec.name.c_str(), MetricSlot::kName);
    strncpy(slot->oid, spec.oid.c_str(), MetricSlot::kOid);
    slot++;
  }
  header_->count.store(count + static_cast<uint32_t>(specs.size()), std::memory_order_release);
  return Status::kOk;
}

MetricSpec Metrics::SpecOf(uint32_t index) const {
  const MetricSlot& slot = slots_[index];
  return {Text(slot.name, MetricSlot::kName),
          Text(slot.oid, MetricSlot::kOid),
          static_cast<MetricType>(slot.type.load(kRelaxed)),
          SourceOf(index),
          slot.figure.load(kRelaxed),
          slot.first.load(kRelaxed),
          slot.second.load(kRelaxed),
          static_cast<int64_t>(slot.initial)};
}

int64_t* Metrics::Row(uint32_t thread) {
  used_[thread / 64].fetch_or(uint64_t{1} << (thread % 64), std::memory_order_release);
  return reinterpret_cast<int64_t*>(rows_ + thread * geometry_.row_stride());
}

uint32_t Metrics::CellOf(uint32_t index) const {
  const uint32_t cells = slots_[index].cells.load(kRelaxed);
  return HasCell(SourceOf(index)) && cells - 1 < geometry_.cells ? cells - 1 : kNone;
}

template <class See>
void Metrics::EachRow(See see) const {
  for (uint32_t word = 0; word < geometry_.used_words(); word++)
    for (uint64_t bits = used_[word].load(std::memory_order_acquire); bits != 0; bits &= bits - 1) {
      const uint32_t thread = word * 64 + static_cast<uint32_t>(__builtin_ctzll(bits));
      if (thread < geometry_.threads) see(RowAt(thread));
    }
}

uint64_t Metrics::SumOfCells(uint32_t index) const {
  uint64_t sum = 0;
  const uint32_t cell = CellOf(index);
  if (cell != kNone) EachRow([&](const uint64_t* row) { sum += Load(row + cell); });
  return sum;
}

int64_t Metrics::Value(uint32_t index, const FigureSource& figures) const {
  const MetricSlot* slot = &slots_[index];
  if (SourceOf(index) == MetricSource::kAlias) {
    const uint32_t target = slot->first.load(kRelaxed);
    if (target >= index || SourceOf(target) == MetricSource::kAlias) return 0;
    index = target;
    slot = &slots_[target];
  }
  uint64_t value = 0;
  switch (SourceOf(index)) {
    case MetricSource::kCounted: value = Counted(index); break;
    case MetricSource::kBucket:
      for (uint32_t i = index - std::min(index, slot->first.load(kRelaxed)); i <= index; i++) value += Counted(i);
      break;
    case MetricSource::kFigure:
      value = Base(index) + static_cast<uint64_t>(figures.Figure(
                                slot->figure.load(kRelaxed), slot->first.load(kRelaxed), slot->second.load(kRelaxed)));
      break;
    default: value = Base(index);
  }
  return static_cast<int64_t>(value);
}

void Metrics::Values(const FigureSource& figures, std::vector<int64_t>* values) const {
  // Row by row, as they lie in memory: a metric's cells are a page or more apart.
  const uint32_t count = Count();
  std::vector<uint64_t> sums(geometry_.cells);
  const uint32_t cells = count == 0 ? 0 : std::min(slots_[count - 1].cells.load(kRelaxed), geometry_.cells);
  std::vector<uint64_t> bases(count);
  for (uint32_t i = 0; i < count; i++) bases[i] = Base(i);
  EachRow([&](const uint64_t* row) {
    for (uint32_t cell = 0; cell < cells; cell++) sums[cell] += Load(row + cell);
  });
  values->resize(count);
  for (uint32_t i = 0; i < count; i++) {
    const uint32_t cell = CellOf(i), target = slots_[i].first.load(kRelaxed);
    const uint64_t own = cell == kNone ? 0 : bases[i] + sums[cell];
    switch (SourceOf(i)) {
      case MetricSource::kCounted: (*values)[i] = static_cast<int64_t>(own); break;
      // The buckets before it are counted into the one before it already.
      case MetricSource::kBucket:
        (*values)[i] =
            static_cast<int64_t>(own + (target == 0 || i == 0 ? 0 : static_cast<uint64_t>((*values)[i - 1])));
        break;
      case MetricSource::kAlias: (*values)[i] = target < i ? (*values)[target] : 0; break;
      default: (*values)[i] = Value(i, figures);
    }
  }
}

Status Metrics::Change(uint32_t index, MetricChange change, int64_t n) {
  if (index >= Count()) return Status::kNotFound;
  if (!HasCell(SourceOf(index))) return Status::kReadOnly;
  if (change == MetricChange::kDiv && n == 0) return Status::kDivision;
  std::atomic<uint64_t>& base = slots_[index].base;
  if (change == MetricChange::kAdd) {
    base.fetch_add(static_cast<uint64_t>(n), std::memory_order_acq_rel);
    return Status::kOk;
  }
  uint64_t before = base.load(std::memory_order_acquire), after;
  do {
    const uint64_t cells = SumOfCells(index);
    after = Changed(before + cells, change, n) - cells;
  } while (!base.compare_exchange_weak(before, after, std::memory_order_acq_rel, std::memory_order_acquire));
  return Status::kOk;
}

Status Metrics::Store(uint32_t index, int64_t base) {
  if (index >= Count()) return Status::kNotFound;
  slots_[index].base.store(static_cast<uint64_t>(base), std::memory_order_release);
  return Status::kOk;
}

std::string Metrics::Check(const FigureSource& figures) const {
  const uint32_t count = header_->count.load(std::memory_order_acquire);
  if (count > geometry_.slots) return "M1: " + std::to_string(count) + " metrics in fewer slots";
  std::unordered_set<std::string> names;
  uint32_t cells = 0;
  for (uint32_t i = 0; i < count; i++) {
    const MetricSpec spec = SpecOf(i);
    const std::string who = "metric " + std::to_string(i) + " (" + spec.name + ")";
    if (spec.name.empty() || !names.insert(spec.name).second) return "M1: " + who + " has no name of its own";
    if (spec.type > MetricType::kAlias || spec.source > MetricSource::kFigure) return "M1: " + who + " is of no kind";
    if (spec.source == MetricSource::kFigure && spec.figure >= figures.FigureCount())
      return "M1: " + who + " shows a figure that nobody has";
    if (spec.source == MetricSource::kBucket && spec.first > i) return "M1: " + who + " follows no buckets";
    if (spec.source == MetricSource::kAlias && (spec.first >= i || SourceOf(spec.first) == MetricSource::kAlias))
      return "M2: " + who + " is an alias of slot " + std::to_string(spec.first);
    cells += HasCell(spec.source);
    if (slots_[i].cells.load(kRelaxed) != cells || cells > geometry_.cells)
      return "M3: " + who + " has cell " + std::to_string(slots_[i].cells.load(kRelaxed));
  }
  return "";
}

}  // namespace uwshm
