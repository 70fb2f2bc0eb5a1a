// What the machine tells about a process: when it started, and whether it has
// ended. It knows nothing of Node, so the tests that kill ask the same way.
#pragma once

#include <poll.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <string>

namespace uwshm {

// Field 22 of /proc/PID/stat, in clock ticks since boot; 0 when there is no such process.
inline uint64_t StartTime(uint32_t pid) {
  char line[1024] = "";
  FILE* file = fopen(("/proc/" + std::to_string(pid) + "/stat").c_str(), "re");
  if (file == nullptr) return 0;
  // The second field, the program's name, may hold blanks.
  const char* field = fgets(line, sizeof line, file) ? strrchr(line, ')') : nullptr;
  fclose(file);
  for (int i = 2; field != nullptr && i < 22; i++) field = strchr(field + 1, ' ');
  return field ? strtoull(field, nullptr, 10) : 0;
}

// A pidfd can be read from when the last thread is gone, reaped or not. A pid
// that belongs to somebody else by now belongs to nobody of ours.
inline bool HasEnded(uint32_t pid, uint64_t start_time) {
  const int fd = static_cast<int>(syscall(SYS_pidfd_open, pid, 0));
  if (fd < 0) return true;
  pollfd end{fd, POLLIN, 0};
  const bool gone = poll(&end, 1, 0) > 0;
  close(fd);
  return gone || StartTime(pid) != start_time;
}

}  // namespace uwshm
