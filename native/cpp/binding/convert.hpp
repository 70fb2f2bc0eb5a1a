// JavaScript values in and out of plain Node-API calls, for what is neither hot
// nor worth a wrapper.
#pragma once

#include <node_api.h>

#include <cerrno>
#include <cstdint>
#include <cstring>
#include <string>

namespace uwshm {

struct FunctionRow {
  const char* name;
  napi_callback call;
};

inline void AddFunctions(napi_env env, napi_value exports, const FunctionRow* rows, size_t count) {
  for (size_t i = 0; i < count; i++) {
    napi_value value = nullptr;
    napi_create_function(env, rows[i].name, NAPI_AUTO_LENGTH, rows[i].call, nullptr, &value);
    napi_set_named_property(env, exports, rows[i].name, value);
  }
}

// Throws an Error whose `code` is the name of `error` (EADDRINUSE ...).
inline napi_value ThrowErrno(napi_env env, int error) {
  const char* name = strerrorname_np(error);
  napi_throw_error(env, name != nullptr ? name : "EUNKNOWN", strerror(error));
  return nullptr;
}

// The arguments of one call, in order; a wrong type leaves `ok` false.
class Arguments {
 public:
  Arguments(napi_env env, napi_callback_info info) : env_(env) {
    size_t count = kMost;
    ok = napi_get_cb_info(env, info, &count, values_, nullptr, nullptr) == napi_ok;
  }

  int32_t Int(size_t index) {
    int32_t value = 0;
    if (napi_get_value_int32(env_, values_[index], &value) != napi_ok) ok = false;
    return value;
  }

  double Real(size_t index) {
    double value = 0;
    if (napi_get_value_double(env_, values_[index], &value) != napi_ok) ok = false;
    return value;
  }

  // NUL bytes inside are kept: an abstract name begins with one.
  std::string Text(size_t index) {
    size_t size = 0;
    if (napi_get_value_string_utf8(env_, values_[index], nullptr, 0, &size) != napi_ok) {
      ok = false;
      return {};
    }
    std::string text(size + 1, '\0');
    napi_get_value_string_utf8(env_, values_[index], text.data(), text.size(), &size);
    text.resize(size);
    return text;
  }

  napi_value Raw(size_t index) const { return values_[index]; }

  napi_value Wrong() const {
    napi_throw_type_error(env_, nullptr, "wrong type of argument");
    return nullptr;
  }

  bool ok;

 private:
  static constexpr size_t kMost = 5;
  napi_env env_;
  napi_value values_[kMost] = {};
};

inline napi_value Number(napi_env env, int64_t number) {
  napi_value value = nullptr;
  napi_create_int64(env, number, &value);
  return value;
}

inline napi_value String(napi_env env, const char* bytes, size_t size) {
  napi_value value = nullptr;
  napi_create_string_utf8(env, bytes, size, &value);
  return value;
}

}  // namespace uwshm
