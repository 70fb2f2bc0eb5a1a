// The hot calls of a cache, in the plain C Node-API (node-addon-api costs twice
// as much here). Each function carries its BoundCache, so a call looks nothing up.
//
// On the way out bytes are copied first and interpreted afterwards, with no lock
// held; only ASCII text is made from the mapping itself, one byte a character,
// and thrown away if the bytes changed meanwhile.
#include <limits>

#include "cache_arguments.hpp"

namespace uwshm {
namespace {

// An answer for the caller, rather than an error?
bool IsAnswer(Status status) { return status < Status::kBusy; }

// Remembers why a write was refused, and counts it.
bool Done(const Call& call, Status status) {
  call.bound->last = status;
  if (status == Status::kOk) return true;
  call.cache().CountRefusal(call.caller(), status);
  return false;
}

napi_value GetString(napi_env env, napi_callback_info info) {
  Call call(env, info);
  Key key;
  Status status = KeyArgument(call, &key);
  if (status != Status::kOk) return status == Status::kForeign ? nullptr : Null(env);
  Room& room = call.home().value_room;
  napi_value text = nullptr;
  bool has_room = true;
  Found found{};
  status = call.cache().Read(call.caller(), key, Cache::kCounted, [&](const uint8_t* bytes, const Found& now) {
    found = now;
    text = nullptr;
    has_room = true;  // whatever an earlier round had
    if ((now.flags & kAscii) != 0) {
      napi_create_string_latin1(env, reinterpret_cast<const char*>(bytes), now.size, &text);
    } else {
      uint8_t* copy = room.AtLeast(now.size + 1);
      has_room = copy != nullptr;
      if (has_room) CopyOut(copy, bytes, now.size);
    }
  });
  if (!has_room) return call.home().Throw(Status::kNoMemory, call.cache());
  if (status == Status::kNotFound) return Null(env);
  if (status != Status::kOk) return call.home().Throw(status, call.cache());
  if (text == nullptr && (found.flags & kAscii) == 0)
    napi_create_string_utf8(env, reinterpret_cast<const char*>(room.bytes), found.size, &text);
  if (text == nullptr)
    napi_throw_error(env, "ERR_STRING_TOO_LONG", "the value is longer than a string can be; get() gives its bytes");
  return text;
}

constexpr size_t kSmallValue = 512;  // SMALL in src/cache/slabs.ts

Slab& SlabFor(const Call& call, size_t size) { return call.home().slabs[size > kSmallValue]; }

// What `read` and `pop` answer: the size, and the slab moves on by it.
napi_value Moved(const Call& call, Status status, uint32_t found_size, Slab& slab) {
  if (status == Status::kNotFound) return Int32(call.env, -1);
  if (status != Status::kOk && status != Status::kValueTooLarge) return call.home().Throw(status, call.cache());
  const int32_t size = static_cast<int32_t>(found_size);
  if (found_size > slab.room) return Int32(call.env, -2 - size);
  // The caller moves on in the same steps: see src/cache/slabs.ts.
  const size_t step = (found_size + 7) & ~size_t{7};
  slab.at += step;
  slab.room -= step < slab.room ? step : slab.room;
  return Int32(call.env, size);
}

napi_value ReadToSlab(napi_env env, napi_callback_info info) {
  Call call(env, info);
  Key key;
  Status status = KeyArgument(call, &key);
  if (status != Status::kOk) return status == Status::kForeign ? nullptr : Int32(env, -1);
  Found found{};
  status = call.cache().Read(call.caller(), key, Cache::kCounted, [&](const uint8_t* bytes, const Found& now) {
    found = now;
    const Slab& slab = SlabFor(call, now.size);
    if (now.size <= slab.room) CopyOut(slab.at, bytes, now.size);
  });
  Slab& slab = SlabFor(call, found.size);
  if (status == Status::kOk && found.size > slab.room) call.cache().TakeBackHit(call.caller());
  return Moved(call, status, found.size, slab);
}

// Copies the value to the beginning of an array of the caller's, if it fits.
napi_value ReadInto(napi_env env, napi_callback_info info) {
  Call call(env, info, 2);
  Key key;
  Status status = KeyArgument(call, &key);
  if (status == Status::kForeign) return nullptr;
  uint8_t* target;
  size_t room;
  if (!Bytes(env, call.arguments[1], &target, &room)) {
    napi_throw_type_error(env, nullptr, "the target of getInto is a Uint8Array");
    return nullptr;
  }
  if (status != Status::kOk) return Null(env);
  Found found{};
  status = call.cache().Read(call.caller(), key, Cache::kCounted, [&](const uint8_t* bytes, const Found& now) {
    found = now;
    if (now.size <= room) CopyOut(target, bytes, now.size);
  });
  if (status == Status::kNotFound) return Null(env);
  if (status != Status::kOk) return call.home().Throw(status, call.cache());
  return Int32(env, static_cast<int32_t>(found.size));
}

// What it takes is not looked at before: it goes where everything fits.
napi_value Pop(napi_env env, napi_callback_info info) {
  Call call(env, info);
  Key key;
  Status status = KeyArgument(call, &key);
  if (status != Status::kOk) return status == Status::kForeign ? nullptr : Int32(env, -1);
  Slab& slab = call.home().slabs[1];
  Found found{};
  status = call.cache().Pop(call.caller(), key, slab.at, slab.room, &found);
  return Moved(call, status, found.size, slab);
}

napi_value Put(napi_env env, napi_callback_info info, How how) {
  Call call(env, info, 3);
  Key key;
  Status status = KeyArgument(call, &key);
  const uint8_t* bytes;
  size_t size;
  uint32_t flags;
  uint64_t expires_at;
  if (status == Status::kOk) {
    call.cache().Expect(key);
    status = ValueArgument(call, 1, call.home().value_room, &bytes, &size, &flags);
  }
  if (status == Status::kOk) {
    if (!ExpiryArgument(call, 2, &expires_at)) return nullptr;
    status = call.cache().Store(call.caller(), key, how, bytes, size, flags, expires_at);
  }
  if (status == Status::kForeign) return nullptr;
  if (!IsAnswer(status)) return call.home().Throw(status, call.cache());
  return Boolean(env, Done(call, status));
}

napi_value Set(napi_env env, napi_callback_info info) { return Put(env, info, How::kAdd); }
napi_value Update(napi_env env, napi_callback_info info) { return Put(env, info, How::kReplace); }

napi_value Cas(napi_env env, napi_callback_info info) {
  Call call(env, info, 4);
  Key key;
  Status status = KeyArgument(call, &key);
  if (status == Status::kForeign) return nullptr;
  // Nothing expected is what `set` asks for.
  napi_valuetype type;
  napi_typeof(env, call.arguments[1], &type);
  const How how = type == napi_null ? How::kAdd : How::kSwap;
  const uint8_t *bytes, *expected_bytes = nullptr;
  size_t size, expected_size = 0;
  uint32_t flags;
  uint64_t expires_at;
  // What is larger than a value can be is simply another value.
  if (how == How::kSwap &&
      ValueArgument(call, 1, call.home().expected_room, &expected_bytes, &expected_size, &flags) == Status::kForeign)
    return nullptr;
  if (status == Status::kOk) status = ValueArgument(call, 2, call.home().value_room, &bytes, &size, &flags);
  if (status == Status::kOk) {
    if (!ExpiryArgument(call, 3, &expires_at)) return nullptr;
    const Expected expected{expected_bytes, expected_size};
    status = call.cache().Store(call.caller(), key, how, bytes, size, flags, expires_at, &expected);
  }
  if (status == Status::kForeign) return nullptr;
  if (!IsAnswer(status)) return call.home().Throw(status, call.cache());
  return Boolean(env, Done(call, status));
}

napi_value Touch(napi_env env, napi_callback_info info) {
  Call call(env, info, 2);
  Key key;
  Status status = KeyArgument(call, &key);
  uint64_t expires_at;
  if (status == Status::kForeign || !ExpiryArgument(call, 1, &expires_at)) return nullptr;
  if (status == Status::kOk) status = call.cache().Touch(call.caller(), key, expires_at);
  if (!IsAnswer(status)) return call.home().Throw(status, call.cache());
  call.bound->last = status;
  return Boolean(env, status == Status::kOk);
}

napi_value Del(napi_env env, napi_callback_info info) {
  Call call(env, info);
  Key key;
  Status status = KeyArgument(call, &key);
  if (status == Status::kForeign) return nullptr;
  if (status == Status::kOk) status = call.cache().Remove(call.caller(), key);
  if (!IsAnswer(status)) return call.home().Throw(status, call.cache());
  call.bound->last = status;
  return Boolean(env, status == Status::kOk);
}

// What is known of an item without its value. False: an error is pending.
bool Look(const Call& call, Status* status, Found* found) {
  Key key;
  *status = KeyArgument(call, &key);
  if (*status == Status::kForeign) return false;
  if (*status == Status::kOk)
    *status = call.cache().Read(call.caller(), key, Cache::kUncounted,
                                [&](const uint8_t*, const Found& now) { *found = now; });
  if (IsAnswer(*status)) return true;
  call.home().Throw(*status, call.cache());
  return false;
}

napi_value Exists(napi_env env, napi_callback_info info) {
  Call call(env, info);
  Status status;
  Found found;
  if (!Look(call, &status, &found)) return nullptr;
  return Boolean(env, status == Status::kOk);
}

napi_value Ttl(napi_env env, napi_callback_info info) {
  Call call(env, info);
  Status status;
  Found found{};
  if (!Look(call, &status, &found)) return nullptr;
  if (status != Status::kOk) return Null(env);
  if (found.expires_at == 0) return Number(env, std::numeric_limits<double>::infinity());
  const uint64_t now = call.caller().now();
  return Number(env, found.expires_at > now ? static_cast<double>(found.expires_at - now) / 1000 : 0);
}

napi_value Counted(napi_env env, napi_callback_info info, Math math, int64_t n, bool down = false) {
  Call call(env, info, 3);
  // The counter's kind is the operand's: a bigint gives a bigint.
  bool big = false;
  if (call.count > 1) {
    double number;
    napi_valuetype type;
    if (napi_get_value_double(env, call.arguments[1], &number) == napi_ok) {
      constexpr double kSafe = 9007199254740991;
      if (!(std::fabs(number) <= kSafe) || number != std::trunc(number)) {
        napi_throw_range_error(env, nullptr, "a counter changes by a safe integer, or by a bigint");
        return nullptr;
      }
      n = static_cast<int64_t>(number);
    } else if (napi_get_value_bigint_int64(env, call.arguments[1], &n, &big) == napi_ok) {
      if (!big) {
        napi_throw_range_error(env, nullptr, "a counter changes by at most 64 bits, signed");
        return nullptr;
      }
    } else if (napi_typeof(env, call.arguments[1], &type) != napi_ok || type != napi_undefined) {
      napi_throw_type_error(env, nullptr, "a counter changes by a number or a bigint");
      return nullptr;
    }
  }
  Key key;
  Status status = KeyArgument(call, &key);
  uint64_t expires_at, result = 0;
  if (status == Status::kForeign || !ExpiryArgument(call, 2, &expires_at)) return nullptr;
  const uint64_t step = static_cast<uint64_t>(n);
  if (status == Status::kOk)
    status = call.cache().Calculate(call.caller(), key, math, down ? 0 - step : step, expires_at, &result);
  if (!IsAnswer(status)) return call.home().Throw(status, call.cache());
  if (!Done(call, status)) return Null(env);
  napi_value value;
  if (big) napi_create_bigint_int64(env, static_cast<int64_t>(result), &value);
  else napi_create_int64(env, static_cast<int64_t>(result), &value);
  return value;
}

napi_value Inc(napi_env env, napi_callback_info info) { return Counted(env, info, Math::kAdd, 1); }
napi_value Dec(napi_env env, napi_callback_info info) { return Counted(env, info, Math::kAdd, 1, true); }
napi_value Mul(napi_env env, napi_callback_info info) { return Counted(env, info, Math::kMultiply, 2); }
napi_value Div(napi_env env, napi_callback_info info) { return Counted(env, info, Math::kDivide, 2); }

napi_value Counter(napi_env env, napi_callback_info info, bool big) {
  Call call(env, info);
  Key key;
  Status status = KeyArgument(call, &key);
  if (status != Status::kOk) return status == Status::kForeign ? nullptr : Null(env);
  uint64_t word = 0;
  bool is_counter = false;
  status = call.cache().Read(call.caller(), key, Cache::kCounted, [&](const uint8_t* bytes, const Found& now) {
    is_counter = now.size == sizeof word && (now.flags & kText) == 0;
    if (is_counter) word = LoadWord(bytes);
  });
  if (!IsAnswer(status)) return call.home().Throw(status, call.cache());
  if (status != Status::kOk || !is_counter) return Null(env);
  napi_value value;
  if (big) napi_create_bigint_int64(env, static_cast<int64_t>(word), &value);
  else napi_create_int64(env, static_cast<int64_t>(word), &value);
  return value;
}

napi_value Num(napi_env env, napi_callback_info info) { return Counter(env, info, false); }
napi_value BigNum(napi_env env, napi_callback_info info) { return Counter(env, info, true); }

napi_value Clear(napi_env env, napi_callback_info info) {
  Call call(env, info);
  uint64_t removed;
  Status status = call.cache().Clear(call.caller(), &removed);
  if (status != Status::kOk) return call.home().Throw(status, call.cache());
  return Number(env, static_cast<double>(removed));
}

// An argument as the beginning of keys. False: it is none, and an error is pending.
bool PrefixArgument(const Call& call, size_t at, std::string* prefix) {
  Text text;
  uint8_t* bytes;
  Room& room = call.home().key_room;
  const Status is_text = StringArgument(call, call.arguments[at], call.cache().geometry().keysize, room, &text);
  if (is_text == Status::kForeign) return false;
  if (is_text == Status::kOk) bytes = room.bytes;
  else if (!Bytes(call.env, call.arguments[at], &bytes, &text.size))
    return napi_throw_type_error(call.env, nullptr, "a prefix of keys is a string or a Uint8Array"), false;
  // Too long to begin any key: one byte more than fits says that as well as all of them.
  const size_t most = size_t{call.cache().geometry().keysize} + 1;
  if (text.size < most) prefix->assign(reinterpret_cast<const char*>(bytes), text.size);
  else prefix->assign(most, '\0');
  return true;
}

napi_value DelPrefix(napi_env env, napi_callback_info info) {
  Call call(env, info);
  std::string prefix;
  uint64_t removed;
  if (!PrefixArgument(call, 0, &prefix)) return nullptr;
  Status status = call.cache().RemovePrefix(call.caller(), prefix, &removed);
  if (status != Status::kOk) return call.home().Throw(status, call.cache());
  return Number(env, static_cast<double>(removed));
}

// One step of a walk over all keys: (prefix, bucket, as bytes) gives [next bucket or -1, key ...].
napi_value Scan(napi_env env, napi_callback_info info) {
  constexpr size_t kAtATime = 256;
  Call call(env, info, 3);
  std::string prefix;
  uint32_t bucket = 0;
  bool as_bytes = false;
  if (!PrefixArgument(call, 0, &prefix)) return nullptr;
  napi_get_value_uint32(env, call.arguments[1], &bucket);
  napi_get_value_bool(env, call.arguments[2], &as_bytes);
  std::vector<std::string> keys;
  Status status = call.cache().Scan(call.caller(), prefix, kAtATime, &bucket, &keys);
  if (status != Status::kOk) return call.home().Throw(status, call.cache());
  napi_value list;
  napi_create_array_with_length(env, keys.size() + 1, &list);
  napi_set_element(env, list, 0, Number(env, bucket < call.cache().geometry().hashsize ? bucket : -1.0));
  for (uint32_t i = 0; i < keys.size(); i++) {
    napi_handle_scope scope;
    napi_open_handle_scope(env, &scope);
    napi_value key;
    const bool made = (as_bytes ? napi_create_buffer_copy(env, keys[i].size(), keys[i].data(), nullptr, &key)
                                : napi_create_string_utf8(env, keys[i].data(), keys[i].size(), &key)) == napi_ok &&
                      napi_set_element(env, list, i + 1, key) == napi_ok;
    napi_close_handle_scope(env, scope);
    if (!made) return call.home().Throw(Status::kNoMemory, call.cache());
  }
  return list;
}

napi_value Size(napi_env env, napi_callback_info info) {
  Call call(env, info);
  return Number(env, static_cast<double>(call.cache().Figures(0).items));
}

napi_value Refusal(napi_env env, napi_callback_info info) {
  Call call(env, info);
  const char* name = RefusalName(call.bound->last);
  if (name == nullptr) return Null(env);
  napi_value value;
  napi_create_string_utf8(env, name, NAPI_AUTO_LENGTH, &value);
  return value;
}

napi_value BindCache(napi_env env, napi_callback_info info) {
  Environment* home = Environment::Of(env);
  if (!home->Enter()) return nullptr;
  size_t count = 1;
  napi_value argument;
  uint32_t index = UINT32_MAX;
  napi_get_cb_info(env, info, &count, &argument, nullptr, nullptr);
  napi_get_value_uint32(env, argument, &index);
  auto& caches = ProcessInstance()->caches();
  if (index >= caches.size()) {
    napi_throw_range_error(env, nullptr, "no such cache");
    return nullptr;
  }
  home->bound.push_back(std::make_unique<BoundCache>(BoundCache{home, caches[index].get()}));
  BoundCache* bound = home->bound.back().get();
  const struct {
    const char* name;
    napi_callback call;
  } functions[] = {{"getString", GetString},
                   {"read", ReadToSlab},
                   {"readInto", ReadInto},
                   {"set", Set},
                   {"update", Update},
                   {"cas", Cas},
                   {"touch", Touch},
                   {"pop", Pop},
                   {"del", Del},
                   {"delPrefix", DelPrefix},
                   {"exists", Exists},
                   {"inc", Inc},
                   {"dec", Dec},
                   {"mul", Mul},
                   {"div", Div},
                   {"num", Num},
                   {"bigNum", BigNum},
                   {"ttl", Ttl},
                   {"clear", Clear},
                   {"scan", Scan},
                   {"size", Size},
                   {"refusal", Refusal}};
  napi_value object;
  napi_create_object(env, &object);
  for (const auto& function : functions) {
    napi_value value;
    napi_create_function(env, function.name, NAPI_AUTO_LENGTH, function.call, bound, &value);
    napi_set_named_property(env, object, function.name, value);
  }
  return object;
}

napi_value GiveSlab(napi_env env, napi_callback_info info) {
  size_t count = 3, size = 0;
  napi_value arguments[3];
  void* memory = nullptr;
  uint32_t which = 0, offset = 0;
  napi_get_cb_info(env, info, &count, arguments, nullptr, nullptr);
  if (napi_get_value_uint32(env, arguments[0], &which) != napi_ok || which > 1 ||
      napi_get_arraybuffer_info(env, arguments[1], &memory, &size) != napi_ok ||
      napi_get_value_uint32(env, arguments[2], &offset) != napi_ok || offset > size) {
    napi_throw_type_error(env, nullptr, "slab takes 0 or 1, an ArrayBuffer and an offset inside it");
    return nullptr;
  }
  Environment::Of(env)->slabs[which] = {static_cast<uint8_t*>(memory) + offset, size - offset};
  return nullptr;
}

}  // namespace

const char* RefusalName(Status status) {
  switch (status) {
    case Status::kNotFound: return "ABSENT";
    case Status::kExists: return "EXISTS";
    case Status::kChanged: return "CHANGED";
    case Status::kFull: return "FULL";
    case Status::kCrowded: return "CROWDED";
    case Status::kKeyEmpty: return "KEY_EMPTY";
    case Status::kKeyTooLong: return "KEY_TOO_LONG";
    case Status::kValueTooLarge: return "VALUE_TOO_LARGE";
    case Status::kNotANumber: return "NOT_A_NUMBER";
    case Status::kDivision: return "DIVISION";
    default: return nullptr;
  }
}

void InitCache(napi_env env, napi_value exports) {
  const struct {
    const char* name;
    napi_callback call;
  } functions[] = {{"bindCache", BindCache}, {"slab", GiveSlab}};
  for (const auto& function : functions) {
    napi_value value;
    napi_create_function(env, function.name, NAPI_AUTO_LENGTH, function.call, nullptr, &value);
    napi_set_named_property(env, exports, function.name, value);
  }
}

}  // namespace uwshm
