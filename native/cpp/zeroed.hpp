// Memory of our own that grows with a cache: whether there is any is an answer, not the end of the process.
#pragma once

#include <cstdint>
#include <cstdlib>
#include <type_traits>

namespace uwshm {

template <class T>
class Zeroed {
 public:
  explicit Zeroed(uint64_t count) : at_(static_cast<T*>(calloc(count, sizeof(T)))) {}
  ~Zeroed() { free(at_); }
  Zeroed(const Zeroed&) = delete;
  Zeroed& operator=(const Zeroed&) = delete;

  explicit operator bool() const { return at_ != nullptr; }
  T& operator[](uint64_t index) { return at_[index]; }
  const T& operator[](uint64_t index) const { return at_[index]; }

 private:
  static_assert(std::is_trivially_copyable_v<T>);
  T* at_;
};

}  // namespace uwshm
