// A segment: one memfd, sized once, sealed, and mapped once per process. Or a
// file, where it is to outlive its processes: nobody can seal that, so whoever
// maps it holds a shared lock on it.
//
// Every segment starts with this header. Whoever maps it compares magic,
// layout, instance and geometry with what it was built to read, and refuses
// otherwise. Geometry is copied to private memory then and never read again:
// a process that scribbles over a segment cannot make others leave it.
//
//   0 ───────────────┬─────────────────────────────────────────┐
//     SegmentHeader  │ who, how big, which layout        128 B │
//   128 ─────────────┼─────────────────────────────────────────┤
//     the kind's own │ root, locks, cache …                    │
//   size ────────────┴─────────────────────────────────────────┘
#pragma once

#include <cstddef>
#include <cstdint>
#include <initializer_list>

#include "status.hpp"

namespace uwshm {

enum class SegmentKind : uint32_t { kRoot = 1, kLocks = 2, kCache = 3, kAccounting = 4, kUserLocks = 5, kMetrics = 6 };

struct InstanceId {
  uint64_t high, low;
  bool operator==(const InstanceId& other) const { return high == other.high && low == other.low; }
};

struct SegmentHeader {
  uint64_t magic;
  uint64_t layout;      // computed from the structs' sizes: see LayoutNumber
  InstanceId instance;  // drawn at start; equal in all segments of one master
  uint64_t size;        // bytes
  SegmentKind kind;
  uint32_t ordinal;      // the n-th of its kind
  uint64_t geometry[9];  // meaning depends on the kind
  uint64_t in_file;      // 1: of a file, which has no seals
};
static_assert(sizeof(SegmentHeader) == 128);

// Layouts are numbered by what the compiler made of the structs, so that
// forgetting to raise a version cannot go unnoticed; `version` is for changes
// of meaning that leave every size as it was.
constexpr uint64_t LayoutNumber(uint32_t version, std::initializer_list<size_t> sizes) {
  uint64_t number = 0xcbf29ce484222325ull ^ version;
  for (size_t size : sizes) number = (number ^ size) * 0x100000001b3ull;
  return number;
}

constexpr uint64_t kSegmentMagic = 0x0a01006d68737775;  // "uwshm\0\1\n"

// Among processes that have a file mapped: kShareFile by each, kOwnFile by one alone. It goes with the
// last descriptor. False: others have it, or there are no locks there (errno).
enum FileLock : int { kShareFile, kOwnFile };
bool LockFile(int fd, FileLock lock);
// By others; takes nothing.
bool IsLocked(int fd);

struct SegmentSpec {
  const char* name;  // shown in /proc/PID/maps
  SegmentKind kind;
  uint32_t ordinal;
  uint64_t layout;
  InstanceId instance;
  uint64_t size;
  uint64_t geometry[9];
};

class Segment {
 public:
  // Makes, sizes, seals and maps. kNoMemory: errno tells why.
  Status Create(const SegmentSpec& spec);

  // Maps a file of `size` bytes. The header is the caller's business.
  Status MapFile(int fd, uint64_t size) { return Map(fd, size, kShared); }
  // Likewise, for somebody who only looks: what is changed there stays there.
  Status MapPicture(int fd, uint64_t size) { return Map(fd, size, kPrivate); }

  // Maps the descriptor `fd` after checking that it is the segment that `spec`
  // describes; size and geometry are the segment's own and come back in `spec`.
  // kForeign, kLayout (the layout found is in `spec->layout`), kNoMemory.
  // The caller checks the geometry before it believes it.
  Status Attach(int fd, SegmentSpec* spec);

  // Gives the pages back to the kernel but keeps the addresses taken: a dying
  // thread makes the kernel write to the place of its pending lock (glibc bug
  // 14485), so nothing else may ever be mapped there.
  void Abandon();

  uint8_t* base() const { return base_; }
  uint64_t size() const { return size_; }
  // Bytes of memory behind it: pages that nobody touched yet have none.
  uint64_t Resident() const;
  int fd() const { return fd_; }

  template <class T>
  T* At(uint64_t offset) const {
    return reinterpret_cast<T*>(base_ + offset);
  }

 private:
  enum Mapping { kShared, kPrivate };
  Status Map(int fd, uint64_t size, Mapping mapping = kShared);

  uint8_t* base_ = nullptr;
  uint64_t size_ = 0;
  int fd_ = -1;
};

}  // namespace uwshm
