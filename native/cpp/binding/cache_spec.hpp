// A cache as TypeScript describes it (CacheGeometry in src/native.ts), and the clock of its store.
#pragma once

#include <napi.h>

#include "../instance.hpp"

namespace uwshm {

// False: a size is out of range, and is `*refused`. What concerns the store is left to the caller.
bool ReadSpec(const Napi::Array& row, CacheSpec* spec, uint64_t* refused);

StoreClock ThisBoot();

}  // namespace uwshm
