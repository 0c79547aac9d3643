// Arguments of native methods. Everything that arrives is checked here or by the engine; a wrong argument
// throws and the method returns at once.
#pragma once

#include <algorithm>
#include <array>
#include <cmath>
#include <cstdint>
#include <optional>
#include <string>

#include "addon/napi_include.h"
#include "base/bytes.h"
#include "base/number.h"

namespace millrace::addon {

constexpr size_t kArgumentsMax = 8;

// False, and `text` as it was, unless it is a string.
inline bool readText(napi_env env, napi_value value, std::string& text) {
  size_t length = 0;
  if (napi_get_value_string_utf8(env, value, nullptr, 0, &length) != napi_ok) return false;
  text.resize(length);
  napi_get_value_string_utf8(env, value, text.data(), length + 1, &length);
  return true;
}

struct Call {
  Call(napi_env napi, napi_callback_info info) : env(napi) {
    size_t count = kArgumentsMax;
    ok = napi_get_cb_info(env, info, &count, arguments.data(), &receiver, nullptr) == napi_ok;
  }

  double number(size_t index, double missing = 0) {
    double value = missing;
    if (napi_get_value_double(env, arguments[index], &value) != napi_ok) return missing;
    return std::isnan(value) ? missing : value;
  }
  // Clamped to what a uint32_t or uint64_t can hold exactly.
  uint32_t unsigned32(size_t index) {
    return static_cast<uint32_t>(std::min<uint64_t>(wholeNumber(number(index)), UINT32_MAX));
  }
  uint64_t unsigned64(size_t index) { return wholeNumber(number(index)); }
  bool boolean(size_t index) {
    bool value = false;
    return napi_get_value_bool(env, arguments[index], &value) == napi_ok && value;
  }
  std::string text(size_t index) {
    std::string value;
    (void)readText(env, arguments[index], value);
    return value;
  }
  // The memory of a typed array of this type; empty for anything else.
  std::span<std::byte> typed(size_t index, napi_typedarray_type wanted, size_t element_bytes) {
    napi_typedarray_type type{};
    size_t length = 0;
    void* data = nullptr;
    if (napi_get_typedarray_info(env, arguments[index], &type, &length, &data, nullptr, nullptr) != napi_ok)
      return {};
    if (type != wanted || data == nullptr) return {};
    return {static_cast<std::byte*>(data), length * element_bytes};
  }
  MutableBytes bytes(size_t index) { return typed(index, napi_uint8_array, 1); }
  std::span<double> doubles(size_t index) {
    const auto raw = typed(index, napi_float64_array, sizeof(double));
    return {reinterpret_cast<double*>(raw.data()), raw.size() / sizeof(double)};
  }
  std::span<uint32_t> words(size_t index) {
    const auto raw = typed(index, napi_uint32_array, sizeof(uint32_t));
    return {reinterpret_cast<uint32_t*>(raw.data()), raw.size() / sizeof(uint32_t)};
  }

  napi_env env;
  napi_value receiver = nullptr;
  std::array<napi_value, kArgumentsMax> arguments{};
  bool ok = false;
};

inline napi_value number(napi_env env, double value) {
  napi_value result = nullptr;
  napi_create_double(env, value, &result);
  return result;
}

inline napi_value text(napi_env env, std::string_view value) {
  napi_value result = nullptr;
  napi_create_string_utf8(env, value.data(), value.size(), &result);
  return result;
}

inline void setNumber(napi_env env, napi_value object, const char* name, double value) {
  napi_set_named_property(env, object, name, number(env, value));
}

inline void setBoolean(napi_env env, napi_value object, const char* name, bool value) {
  napi_value boolean = nullptr;
  napi_get_boolean(env, value, &boolean);
  napi_set_named_property(env, object, name, boolean);
}

}  // namespace millrace::addon
