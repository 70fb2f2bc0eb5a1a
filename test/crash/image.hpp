// Crash images: what stands in an instance's segments at one moment, and what
// the kernel makes of it when a process dies there.
//
// Images are restored in place. Everything that the processes share is in the
// segments, so a process that is stopped meanwhile does not notice what was
// tried on them before they were put back.
#pragma once

#include <dirent.h>
#include <linux/futex.h>

#include "../native/world.hpp"

namespace uwshm::test {

using Image = std::vector<std::vector<uint8_t>>;

inline std::vector<Segment*> SegmentsOf(Instance& instance) {
  std::vector<Segment*> segments{&instance.processes().segment(), &instance.locks().segment(),
                                 &instance.user_locks().segment(), &instance.metrics().segment()};
  for (auto& cache : instance.caches()) segments.push_back(&cache->segment());
  return segments;
}

inline Image Take(Instance& instance) {
  Image image;
  for (Segment* segment : SegmentsOf(instance)) image.emplace_back(segment->base(), segment->base() + segment->size());
  return image;
}

inline void Restore(Instance& instance, const Image& image) {
  size_t i = 0;
  for (Segment* segment : SegmentsOf(instance)) memcpy(segment->base(), image[i].data(), image[i].size()), i++;
}

inline std::vector<uint32_t> ThreadIdsOf(pid_t pid) {
  std::vector<uint32_t> tids;
  char path[64];
  snprintf(path, sizeof path, "/proc/%d/task", pid);
  DIR* folder = opendir(path);
  Need(folder != nullptr, "no /proc of a child");
  while (dirent* entry = readdir(folder))
    if (entry->d_name[0] != '.') tids.push_back(static_cast<uint32_t>(strtoul(entry->d_name, nullptr, 10)));
  closedir(folder);
  return tids;
}

// What the kernel does for robust mutexes of dying threads: the owner's id
// goes, FUTEX_OWNER_DIED comes, the waiters' bit stays. `boundaries` compares
// this with real deaths, byte for byte. Locks of other engines it leaves alone.
inline void Die(Instance& instance, const std::vector<uint32_t>& tids) {
  auto mark = [&](void* mutex) {
    uint32_t* word = static_cast<uint32_t*>(mutex);
    for (uint32_t tid : tids)
      if ((*word & FUTEX_TID_MASK) == tid) {
        *word = (*word & FUTEX_WAITERS) | FUTEX_OWNER_DIED;
        return;
      }
  };
  ProcessTable& processes = instance.processes();
  for (uint32_t slot = 0; slot < processes.geometry().processes; slot++) mark(&processes.process(slot).life);
  if (&instance.locks().engine() != LockTable::EngineNamed("pthread")) return;
  LockRecord* records = instance.locks().segment().At<LockRecord>(sizeof(SegmentHeader));
  for (uint32_t lock = 0; lock < instance.locks().count(); lock++) mark(records[lock].object);
}

}  // namespace uwshm::test
