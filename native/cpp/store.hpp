// The file that a cache lives in, when it is to outlive its processes: `store`.
//
// The file is the cache's segment itself, so that what was stored is there when
// everybody has been killed: the kernel keeps the pages. Its header tells which
// cache it was, by whom it was laid out and from which boot expiries count, under a
// checksum; it is written in one go, within one sector.
//
// A start believes the header if its checksum is right and it describes the very
// cache that is wanted, and after that believes only items (cache_store.cpp).
// Whoever opens the file has locked it first: nobody else has it mapped.
#pragma once

#include <cstring>
#include <string>
#include <vector>

#include "cache_layout.hpp"

namespace uwshm {

// What a file begins with, as far as the checksum covers it.
struct StoreHead {
  SegmentHeader segment;
  char name[128];
  uint64_t seed[2];
  CacheRules rules;
  StoreHeader store;

  // kForeign: no store, or a damaged header, or a file of another length. kLayout.
  Status Read(int fd);
  // REQUIRES: a file that is mapped nowhere else. False: errno.
  bool Write(int fd);
  // Of a head that could be read.
  CacheGeometry geometry() const;
  std::string title() const { return std::string(name, strnlen(name, sizeof name)); }

  // Why the last Read gave no kOk, in words.
  std::string objection;
};

// Where a new cache is to live.
struct StoreSpec {
  int fd = -1;  // -1: in memory only. Locked; the cache takes it over.
  StoreClock clock{};
  uint32_t pid = 0;
  bool wiped = false;  // whatever the file holds is not wanted
};

// What a start has found in a file, or would find.
struct StoreFindings {
  uint64_t good = 0, damaged = 0, expired = 0;
  uint64_t older = 0;  // versions of an item that were replaced when everything ended
  uint64_t bytes = 0;  // of the values of good items
  struct Damage {
    Slot slot;
    std::string key;  // as far as it can be made out
  };
  static constexpr size_t kTold = 10;
  std::vector<Damage> first;  // so many of them are told
};

// Is that the file of such a cache? Empty, or what speaks against it.
std::string StoreObjection(const StoreHead& head, const std::string& name, const CacheGeometry& geometry,
                           const CacheRules& rules);

// What a start with that file would find; it is not changed. kForeign, kLayout (see head->objection), kNoMemory.
Status ExamineStore(int fd, const StoreClock& clock, uint64_t now, StoreHead* head, StoreFindings* findings,
                    std::string* fault);

}  // namespace uwshm
