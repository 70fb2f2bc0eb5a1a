// Whoever maps a segment believes nothing about it: what is damaged, foreign
// or from another build is refused, each with its own answer.
#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/mman.h>

#include "child.hpp"

namespace uwshm::test {
namespace {

constexpr int kSeals = F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL;

// A copy of a segment, perhaps damaged and perhaps not sealed, as a descriptor.
int CopyOf(Segment& segment, void (*damage)(SegmentHeader*) = nullptr, uint64_t size = 0, int seals = kSeals) {
  const int fd = memfd_create("copy", MFD_CLOEXEC | MFD_ALLOW_SEALING);
  Need(fd >= 0 && ftruncate(fd, static_cast<off_t>(segment.size())) == 0, "no memfd");
  Need(pwrite(fd, segment.base(), segment.size(), 0) == static_cast<ssize_t>(segment.size()), "no copy of a segment");
  SegmentHeader header;
  memcpy(&header, segment.base(), sizeof header);
  if (damage) damage(&header);
  Need(pwrite(fd, &header, sizeof header, 0) == sizeof header, "no header of a copy");
  if (size) Need(ftruncate(fd, static_cast<off_t>(size)) == 0, "no truncated copy");
  if (seals) Need(fcntl(fd, F_ADD_SEALS, seals) == 0, "no seals");
  return fd;
}

class SegmentTest : public ::testing::Test {
 protected:
  void SetUp() override {
    CreateOrEnd(instance_, {Spec("subject", 10, 64, 100, 16)}, 4);
    fds_ = instance_.Descriptors();
  }
  void TearDown() override { instance_.Leave(); }

  enum Which { kRoot, kLocks, kAccounting, kUserLocks, kMetrics, kCache };

  Segment& SegmentAt(Which which) {
    return which == kRoot         ? instance_.processes().segment()
           : which == kLocks      ? instance_.locks().segment()
           : which == kAccounting ? instance_.accounting().segment()
           : which == kUserLocks  ? instance_.user_locks().segment()
           : which == kMetrics    ? instance_.metrics().segment()
                                  : instance_.caches()[0]->segment();
  }

  // What a process that was handed these descriptors is told. It is a process
  // of its own, so that an attach that succeeds does not disturb this one.
  Status Attach(std::vector<int> fds, InstanceId id = kInstance, uint64_t pid_namespace = PidNamespace()) {
    Child child([&] {
      Instance other;
      Self self = Me();
      self.pid_namespace = pid_namespace;
      Trouble trouble;
      return static_cast<int>(other.Attach(id, fds, self, &trouble));
    });
    return static_cast<Status>(child.ExitCode());
  }

  Status AttachWith(Which which, int fd) {
    std::vector<int> fds = fds_;
    fds[which] = fd;
    Status status = Attach(fds);
    close(fd);
    return status;
  }

  Instance instance_;
  std::vector<int> fds_;
};

TEST_F(SegmentTest, AnotherProcessAttachesByDescriptorsAndId) { EXPECT_EQ(Attach(fds_), Status::kOk); }

TEST_F(SegmentTest, AFaithfulCopyIsAccepted) {
  for (Which which : {kRoot, kLocks, kAccounting, kUserLocks, kMetrics, kCache})
    EXPECT_EQ(AttachWith(which, CopyOf(SegmentAt(which))), Status::kOk) << which;
}

TEST_F(SegmentTest, WrongMagicIsForeign) {
  for (Which which : {kRoot, kLocks, kAccounting, kUserLocks, kMetrics, kCache})
    EXPECT_EQ(AttachWith(which, CopyOf(SegmentAt(which), [](SegmentHeader* header) { header->magic ^= 1; })),
              Status::kForeign)
        << which;
}

TEST_F(SegmentTest, AnotherLayoutIsToldApartFromForeign) {
  for (Which which : {kRoot, kLocks, kAccounting, kUserLocks, kMetrics, kCache})
    EXPECT_EQ(AttachWith(which, CopyOf(SegmentAt(which), [](SegmentHeader* header) { header->layout++; })),
              Status::kLayout)
        << which;
}

TEST_F(SegmentTest, TheLayoutThatWasFoundIsReported) {
  const int fd = CopyOf(SegmentAt(kCache), [](SegmentHeader* header) { header->layout = 77; });
  Cache cache;
  uint64_t layout = 0;
  EXPECT_EQ(cache.Attach(fd, kInstance, 0, instance_.processes().geometry().threads, &instance_.locks(), &layout),
            Status::kLayout);
  EXPECT_EQ(layout, 77u);
  close(fd);
}

TEST_F(SegmentTest, TruncatedIsForeignAtEveryLength) {
  for (Which which : {kRoot, kLocks, kAccounting, kUserLocks, kMetrics, kCache})
    for (uint64_t size = 1; size < SegmentAt(which).size(); size += size < 300 ? 37 : 1024)
      EXPECT_EQ(AttachWith(which, CopyOf(SegmentAt(which), nullptr, size)), Status::kForeign)
          << which << " of " << size;
}

TEST_F(SegmentTest, WhatIsNotSealedAgainstShrinkingAndGrowingIsForeign) {
  for (int seals : {0, F_SEAL_SHRINK, F_SEAL_GROW, F_SEAL_SHRINK | F_SEAL_GROW})
    EXPECT_EQ(AttachWith(kCache, CopyOf(SegmentAt(kCache), nullptr, 0, seals)), Status::kForeign) << seals;
}

TEST_F(SegmentTest, OursCannotBeShrunkGrownOrUnsealed) {
  for (Which which : {kRoot, kLocks, kAccounting, kUserLocks, kMetrics, kCache}) {
    Segment& segment = SegmentAt(which);
    EXPECT_NE(ftruncate(segment.fd(), 0), 0);
    EXPECT_NE(ftruncate(segment.fd(), static_cast<off_t>(segment.size() + 4096)), 0);
    EXPECT_NE(fcntl(segment.fd(), F_ADD_SEALS, F_SEAL_WRITE), 0);
  }
}

TEST_F(SegmentTest, AnotherInstanceIsForeign) {
  EXPECT_EQ(Attach(fds_, {kInstance.high, kInstance.low + 1}), Status::kForeign);
  for (Which which : {kRoot, kLocks, kAccounting, kUserLocks, kMetrics, kCache})
    EXPECT_EQ(AttachWith(which, CopyOf(SegmentAt(which), [](SegmentHeader* header) { header->instance.low++; })),
              Status::kForeign)
        << which;
}

TEST_F(SegmentTest, SegmentsInTheWrongOrderAreForeign) {
  EXPECT_EQ(Attach({fds_[1], fds_[0], fds_[2], fds_[3], fds_[4], fds_[5]}), Status::kForeign);
  EXPECT_EQ(Attach({fds_[0], fds_[1], fds_[3], fds_[2], fds_[4], fds_[5]}), Status::kForeign);
  EXPECT_EQ(Attach({fds_[0], fds_[1], fds_[2], fds_[4], fds_[3], fds_[5]}), Status::kForeign);
  EXPECT_EQ(Attach({fds_[0], fds_[1], fds_[2], fds_[3], fds_[4], fds_[5], fds_[5]}), Status::kForeign)
      << "the same cache twice";
  EXPECT_EQ(Attach({fds_[0]}), Status::kForeign);
  EXPECT_EQ(Attach({}), Status::kForeign);
}

TEST_F(SegmentTest, DescriptorsOfOtherThingsAreForeign) {
  const int null = open("/dev/null", O_RDWR | O_CLOEXEC);
  EXPECT_EQ(AttachWith(kCache, null), Status::kForeign);
  EXPECT_EQ(Attach({fds_[0], fds_[1], fds_[2], fds_[3], fds_[4], 9999}), Status::kForeign);
  EXPECT_EQ(Attach({-1, -1, -1, -1, -1, -1}), Status::kForeign);
}

TEST_F(SegmentTest, GeometryThatDoesNotFitIsForeign) {
  for (int field = 0; field < 6; field++)
    for (uint64_t value :
         {uint64_t{0}, uint64_t{1000}, uint64_t{1} << 30, uint64_t{UINT32_MAX}, uint64_t{1} << 32, UINT64_MAX}) {
      if (field == 5 && value == 0) continue;  // a first lock further down is inside the table: no harm to memory
      const int fd = CopyOf(SegmentAt(kCache));
      Need(pwrite(fd, &value, 8, static_cast<off_t>(offsetof(SegmentHeader, geometry)) + 8 * field) == 8, "no damage");
      EXPECT_EQ(AttachWith(kCache, fd), Status::kForeign) << "field " << field << " = " << value;
    }
  for (int field = 0; field < 2; field++) {
    const int fd = CopyOf(SegmentAt(kRoot));
    const uint64_t value = 1000000;
    Need(pwrite(fd, &value, 8, static_cast<off_t>(offsetof(SegmentHeader, geometry)) + 8 * field) == 8, "no damage");
    EXPECT_EQ(AttachWith(kRoot, fd), Status::kForeign) << "root field " << field;
  }
  EXPECT_EQ(AttachWith(kLocks, CopyOf(SegmentAt(kLocks), [](SegmentHeader* header) { header->geometry[0]++; })),
            Status::kForeign);
  EXPECT_EQ(AttachWith(kLocks, CopyOf(SegmentAt(kLocks), [](SegmentHeader* header) { header->geometry[1] = 99; })),
            Status::kForeign)
      << "no such lock engine";
}

TEST_F(SegmentTest, AnotherPidNamespaceIsRefusedByName) {
  EXPECT_EQ(Attach(fds_, kInstance, PidNamespace() + 1), Status::kPidNamespace);
}

TEST_F(SegmentTest, OnlyCachesFollowTheMetrics) {
  EXPECT_EQ(Attach({fds_[0], fds_[1], fds_[2], fds_[3], fds_[4]}), Status::kOk) << "an instance without caches";
}

}  // namespace
}  // namespace uwshm::test
