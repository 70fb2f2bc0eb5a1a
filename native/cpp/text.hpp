// A sentence of the engine: what is wrong with a segment or a store.
#pragma once

#include <cstdarg>
#include <cstdio>
#include <string>

namespace uwshm {

inline std::string Text(const char* format, ...) __attribute__((format(printf, 1, 2)));

inline std::string Text(const char* format, ...) {
  char line[256];
  va_list arguments;
  va_start(arguments, format);
  vsnprintf(line, sizeof line, format, arguments);
  va_end(arguments);
  return line;
}

}  // namespace uwshm
