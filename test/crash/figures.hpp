// How the storms measure and tell: times, their percentiles, and what a process
// is doing.
#pragma once

#include <sys/types.h>
#include <time.h>

#include <algorithm>
#include <cstdint>
#include <cstdio>
#include <cstring>
#include <string>
#include <vector>

namespace uwshm::test {

inline uint64_t NowUs() {
  timespec now;
  clock_gettime(CLOCK_MONOTONIC, &now);
  return static_cast<uint64_t>(now.tv_sec) * 1000000 + static_cast<uint64_t>(now.tv_nsec) / 1000;
}

inline double Percentile(std::vector<uint64_t> times_us, double part) {
  if (times_us.empty()) return 0;
  std::sort(times_us.begin(), times_us.end());
  return static_cast<double>(times_us[static_cast<size_t>(part * static_cast<double>(times_us.size() - 1))]) / 1000;
}

inline const char* Bool(bool truth) { return truth ? "true" : "false"; }

inline void PrintTimes(const char* what, const std::vector<uint64_t>& times_us) {
  printf("%-28s p50 %.2f ms, p99 %.2f ms, max %.2f ms\n", what, Percentile(times_us, 0.5), Percentile(times_us, 0.99),
         Percentile(times_us, 1));
}

inline std::string JsonTimes(const std::vector<uint64_t>& times_us) {
  char text[96];
  snprintf(text, sizeof text, "{\"p50\":%.2f,\"p99\":%.2f,\"max\":%.2f}", Percentile(times_us, 0.5),
           Percentile(times_us, 0.99), Percentile(times_us, 1));
  return text;
}

// As /proc/PID/stat tells it.
inline char StateOf(pid_t pid) {
  char path[64], text[256] = "";
  snprintf(path, sizeof path, "/proc/%d/stat", pid);
  if (FILE* file = fopen(path, "r")) {
    const size_t size = fread(text, 1, sizeof text - 1, file);
    text[size] = 0;
    fclose(file);
  }
  const char* end = strrchr(text, ')');
  return end && end[1] ? end[2] : '?';
}

}  // namespace uwshm::test
