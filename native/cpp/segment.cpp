#include "segment.hpp"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>

namespace uwshm {
namespace {

constexpr int kSeals = F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL;

}  // namespace

Status Segment::Create(const SegmentSpec& spec) {
  int fd = memfd_create(spec.name, MFD_CLOEXEC | MFD_ALLOW_SEALING);
  if (fd < 0) return Status::kNoMemory;
  // A shrink by anybody would be a SIGBUS for everybody.
  if (ftruncate(fd, static_cast<off_t>(spec.size)) != 0 || fcntl(fd, F_ADD_SEALS, kSeals) != 0 ||
      Map(fd, spec.size) != Status::kOk) {
    int why = errno;
    close(fd);
    errno = why;
    return Status::kNoMemory;
  }
  SegmentHeader* header = At<SegmentHeader>(0);
  header->layout = spec.layout;
  header->instance = spec.instance;
  header->size = spec.size;
  header->kind = spec.kind;
  header->ordinal = spec.ordinal;
  memcpy(header->geometry, spec.geometry, sizeof header->geometry);
  header->magic = kSegmentMagic;
  return Status::kOk;
}

Status Segment::Attach(int fd, SegmentSpec* spec) {
  struct stat file;
  if (fstat(fd, &file) != 0) return Status::kForeign;
  const uint64_t size = static_cast<uint64_t>(file.st_size);
  if (size < sizeof(SegmentHeader)) return Status::kForeign;

  SegmentHeader header;
  if (pread(fd, &header, sizeof header, 0) != static_cast<ssize_t>(sizeof header)) return Status::kForeign;
  if (header.magic != kSegmentMagic || header.kind != spec->kind || header.ordinal != spec->ordinal ||
      header.size != size || !(header.instance == spec->instance))
    return Status::kForeign;
  const int seals = fcntl(fd, F_GET_SEALS);
  const bool is_safe = header.in_file != 0 ? LockFile(fd, kShareFile) : seals >= 0 && (seals & kSeals) == kSeals;
  if (!is_safe) return Status::kForeign;
  const uint64_t expected = spec->layout;
  spec->layout = header.layout;
  if (header.layout != expected) return Status::kLayout;
  spec->size = size;
  memcpy(spec->geometry, header.geometry, sizeof spec->geometry);
  return Map(fd, size);
}

bool LockFile(int fd, FileLock lock) {
  // Of the open file, not of the process: so children that inherit the descriptor hold it too.
  struct flock whole = {};
  whole.l_type = lock == kOwnFile ? F_WRLCK : F_RDLCK;
  return fcntl(fd, F_OFD_SETLK, &whole) == 0;
}

bool IsLocked(int fd) {
  struct flock whole = {};
  whole.l_type = F_WRLCK;
  return fcntl(fd, F_OFD_GETLK, &whole) == 0 && whole.l_type != F_UNLCK;
}

Status Segment::Map(int fd, uint64_t size, Mapping mapping) {
  void* base = mmap(nullptr, size, PROT_READ | PROT_WRITE, mapping == kShared ? MAP_SHARED : MAP_PRIVATE, fd, 0);
  if (base == MAP_FAILED) return Status::kNoMemory;
  // A core of one worker need not hold everybody's cache, and writing it would
  // keep the dead worker's locks taken for seconds.
  madvise(base, size, MADV_DONTDUMP);
  base_ = static_cast<uint8_t*>(base);
  size_ = size;
  fd_ = fd;
  return Status::kOk;
}

uint64_t Segment::Resident() const {
  struct stat file = {};
  return fstat(fd_, &file) == 0 ? static_cast<uint64_t>(file.st_blocks) * 512 : 0;
}

void Segment::Abandon() {
  if (base_ == nullptr) return;
  (void)mmap(base_, size_, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED | MAP_NORESERVE, -1, 0);
  close(fd_);
  base_ = nullptr;
  fd_ = -1;
}

}  // namespace uwshm
