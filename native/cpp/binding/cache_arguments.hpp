// What the hot calls of a cache are given, and what they give: keys, values and times to live as the plain C
// Node-API has them.
//
// Keys are copied before they are hashed: another thread may be writing to the
// array they come from.
#pragma once

#include <emmintrin.h>

#include <cmath>

#include "environment.hpp"

namespace uwshm {

// V8 encodes without measuring first when there is room for the worst case,
// three bytes a character.
constexpr size_t Utf8Room(size_t characters) { return 3 * characters + 1; }

struct Call {
  napi_env env;
  BoundCache* bound;
  napi_value arguments[4];
  size_t count;

  // Each argument asked for costs a little, given or not.
  Call(napi_env env, napi_callback_info info, size_t most = 1) : env(env), count(most) {
    void* data;
    napi_get_cb_info(env, info, &count, arguments, nullptr, &data);
    bound = static_cast<BoundCache*>(data);
  }
  Environment& home() const { return *bound->home; }
  Cache& cache() const { return *bound->cache; }
  const Caller& caller() const { return bound->home->caller; }
};

inline napi_value Boolean(napi_env env, bool truth) {
  napi_value value;
  napi_get_boolean(env, truth, &value);
  return value;
}

inline napi_value Null(napi_env env) {
  napi_value value;
  napi_get_null(env, &value);
  return value;
}

inline napi_value Int32(napi_env env, int32_t number) {
  napi_value value;
  napi_create_int32(env, number, &value);
  return value;
}

inline napi_value Number(napi_env env, double number) {
  napi_value value;
  napi_create_double(env, number, &value);
  return value;
}

// True for a Uint8Array or a Buffer.
inline bool Bytes(napi_env env, napi_value value, uint8_t** bytes, size_t* size) {
  napi_typedarray_type type;
  void* data;
  if (napi_get_typedarray_info(env, value, &type, size, &data, nullptr, nullptr) != napi_ok ||
      (type != napi_uint8_array && type != napi_uint8_clamped_array))
    return false;
  *bytes = static_cast<uint8_t*>(data);
  return true;
}

// Packs UTF-16 that is all ASCII into bytes. False: some of it is not.
inline bool Narrow(const uint16_t* from, size_t size, uint8_t* to) {
  const __m128i high = _mm_set1_epi16(static_cast<short>(0xff80));
  size_t i = 0;
  for (; i + 16 <= size; i += 16) {
    const __m128i a = _mm_loadu_si128(reinterpret_cast<const __m128i*>(from + i));
    const __m128i b = _mm_loadu_si128(reinterpret_cast<const __m128i*>(from + i + 8));
    const __m128i strange = _mm_and_si128(_mm_or_si128(a, b), high);
    if (_mm_movemask_epi8(_mm_cmpeq_epi16(strange, _mm_setzero_si128())) != 0xffff) return false;
    _mm_storeu_si128(reinterpret_cast<__m128i*>(to + i), _mm_packus_epi16(a, b));
  }
  uint16_t all = 0;
  for (; i < size; i++) {
    all |= from[i];
    to[i] = static_cast<uint8_t>(from[i]);
  }
  return all < 128;
}

struct Text {
  const uint8_t* bytes;
  size_t size;
  bool ascii;
};

// A string argument as UTF-8 in `room`; more than `most` bytes come back as
// some number above it. V8 hands out UTF-16 in half the time that it takes to
// encode, and nearly all text is ASCII. kNotFound: it is no string. kForeign: there is
// no memory for it, and an error is pending.
inline Status StringArgument(const Call& call, napi_value value, size_t most, Room& room, Text* text) {
  const napi_env env = call.env;
  // While that is little, there is room for the longest. Five times a gigabyte's
  // block would be more than some machines promise: there a string is measured.
  constexpr size_t kUnmeasured = size_t{1} << 20;
  size_t characters, longest = most;
  if (most > kUnmeasured) {
    if (napi_get_value_string_utf16(env, value, nullptr, 0, &characters) != napi_ok) return Status::kNotFound;
    longest = characters < most ? characters : most;
  }
  uint8_t* bytes = room.AtLeast(Utf8Room(longest + 1) + 2 * (longest + 2));
  if (bytes == nullptr) return call.home().Throw(Status::kNoMemory, call.cache()), Status::kForeign;
  char16_t* wide = reinterpret_cast<char16_t*>(bytes + ((Utf8Room(longest + 1) + 1) & ~size_t{1}));
  if (napi_get_value_string_utf16(env, value, wide, longest + 2, &characters) != napi_ok) return Status::kNotFound;
  *text = {bytes, characters, true};
  if (characters > most || Narrow(reinterpret_cast<uint16_t*>(wide), characters, bytes)) return Status::kOk;
  text->ascii = false;
  napi_get_value_string_utf8(env, value, reinterpret_cast<char*>(bytes), Utf8Room(longest + 1), &text->size);
  return Status::kOk;
}

// The first argument as a key. kForeign: it is none, and an error is pending.
inline Status KeyArgument(const Call& call, Key* key) {
  const size_t most = call.cache().geometry().keysize;
  Room& room = call.home().key_room;
  Text text;
  const Status is_text = StringArgument(call, call.arguments[0], most, room, &text);
  if (is_text == Status::kForeign) return is_text;
  if (is_text != Status::kOk) {
    uint8_t* bytes;
    if (!Bytes(call.env, call.arguments[0], &bytes, &text.size)) {
      napi_throw_type_error(call.env, nullptr, "a cache key is a string or a Uint8Array");
      return Status::kForeign;
    }
    if (text.size <= most) memcpy(room.bytes, bytes, text.size);
  }
  return call.cache().KeyOf(room.bytes, text.size, key);
}

// Looks at 32 bytes at a time, in four words that stay in registers; the first
// that are not ASCII end it.
inline bool IsAscii(const uint8_t* bytes, size_t size) {
  constexpr uint64_t kHigh = 0x8080808080808080ull;
  auto word = [](const uint8_t* at) {
    uint64_t w;
    memcpy(&w, at, sizeof w);
    return w;
  };
  for (; size >= 32; bytes += 32, size -= 32)
    if (((word(bytes) | word(bytes + 8) | word(bytes + 16) | word(bytes + 24)) & kHigh) != 0) return false;
  uint64_t all = 0;
  for (; size >= 8; bytes += 8, size -= 8) all |= word(bytes);
  for (; size > 0; bytes++, size--) all |= *bytes;
  return (all & kHigh) == 0;
}

// An argument as private bytes, in `room`, or as the array they stand in.
// kForeign: it is no value, and an error is pending. Inlined: as a call of its
// own it makes every update 3 % slower.
[[gnu::always_inline]] inline Status ValueArgument(const Call& call, size_t at, Room& room, const uint8_t** bytes,
                                                   size_t* size, uint32_t* flags) {
  const size_t most = call.cache().largest_value();
  Text text;
  uint8_t* array;
  // To learn that a value is no string takes as long as to read one: what came
  // last is asked for first.
  const bool is_array = call.bound->bytes_last && Bytes(call.env, call.arguments[at], &array, size);
  const Status is_text = is_array ? Status::kNotFound : StringArgument(call, call.arguments[at], most, room, &text);
  if (is_text == Status::kForeign) return is_text;
  if (is_text == Status::kOk) {
    call.bound->bytes_last = false;
    *flags = text.ascii ? kText | kAscii : uint32_t{kText};
    *bytes = text.bytes;
    *size = text.size;
    return *size > most ? Status::kValueTooLarge : Status::kOk;
  }
  if (!is_array && !Bytes(call.env, call.arguments[at], &array, size)) {
    napi_throw_type_error(call.env, nullptr, "a cache value is a string or a Uint8Array");
    return Status::kForeign;
  }
  call.bound->bytes_last = true;
  if (*size > most) return Status::kValueTooLarge;
  *bytes = array;
  // Eight bytes may become a counter, which changes in place while its flags stay.
  *flags = *size != sizeof(uint64_t) && IsAscii(array, *size) ? uint32_t{kAscii} : 0;
  return Status::kOk;
}

// Seconds to live; absent, 0 and Infinity are for ever.
[[gnu::always_inline]] inline bool ExpiryArgument(const Call& call, size_t at, uint64_t* expires_at) {
  *expires_at = 0;
  if (call.count <= at) return true;
  double seconds;
  if (napi_get_value_double(call.env, call.arguments[at], &seconds) != napi_ok) {
    napi_valuetype type;
    napi_typeof(call.env, call.arguments[at], &type);
    if (type == napi_undefined) return true;
    napi_throw_type_error(call.env, nullptr, "the time to live is a number of seconds");
    return false;
  }
  if (!(seconds >= 0)) {
    napi_throw_range_error(call.env, nullptr, "the time to live is a number of seconds, 0 (for ever) or more");
    return false;
  }
  constexpr double kCenturies = 1e10;  // seconds; more than that is for ever
  if (seconds > 0 && seconds < kCenturies)
    *expires_at = call.caller().now() + static_cast<uint64_t>(std::ceil(seconds * 1000));
  return true;
}

}  // namespace uwshm
