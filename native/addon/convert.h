// Arguments of native methods, and what their objects have. A value of another type than the one that is
// asked for counts as 0, false or empty, which the method or the engine then refuses or takes.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <span>
#include <string>
#include <type_traits>

#include "addon/napi_include.h"
#include "base/bytes.h"
#include "base/number.h"

namespace millrace::addon {

// Numbers, booleans and typed arrays are read by one C call, which looks at the type itself: every send and
// every delivery has several. Napi::Number and Napi::Boolean, with the look at the type that they leave to their
// user, make two of it: a send takes 171 ns that way and 154 ns this way, a receive 223 and 210 (both without a
// message).
inline double number(const Napi::Value& value) {
  double given = 0;
  if (napi_get_value_double(value.Env(), value, &given) != napi_ok) return 0;
  return std::isnan(given) ? 0 : given;
}

// Clamped to what a uint32_t or uint64_t can hold exactly.
inline uint64_t unsigned64(const Napi::Value& value) { return wholeNumber(number(value)); }
inline uint32_t unsigned32(const Napi::Value& value) {
  return static_cast<uint32_t>(std::min<uint64_t>(unsigned64(value), UINT32_MAX));
}

inline bool boolean(const Napi::Value& value) {
  bool given = false;
  return napi_get_value_bool(value.Env(), value, &given) == napi_ok && given;
}

inline std::string text(const Napi::Value& value) {
  return value.IsString() ? value.As<Napi::String>().Utf8Value() : std::string();
}

template <typename Element>
constexpr napi_typedarray_type arrayOf() {
  if constexpr (std::is_same_v<Element, uint8_t>) return napi_uint8_array;
  if constexpr (std::is_same_v<Element, uint32_t>) return napi_uint32_array;
  static_assert(std::is_same_v<Element, uint8_t> || std::is_same_v<Element, uint32_t> ||
                std::is_same_v<Element, double>);
  return napi_float64_array;
}

// The memory of a typed array of this type; empty for anything else. Napi::TypedArrayOf makes five calls of it:
// a method with one array takes 162 ns that way and 98 ns this way.
template <typename Element>
std::span<Element> elements(napi_env env, napi_value value) {
  napi_typedarray_type type{};
  size_t length = 0;
  void* data = nullptr;
  if (napi_get_typedarray_info(env, value, &type, &length, &data, nullptr, nullptr) != napi_ok) return {};
  if (type != arrayOf<Element>() || data == nullptr) return {};
  return {static_cast<Element*>(data), length};
}

inline std::span<double> doubles(const Napi::Value& value) { return elements<double>(value.Env(), value); }
inline std::span<uint32_t> words(const Napi::Value& value) { return elements<uint32_t>(value.Env(), value); }
inline MutableBytes bytes(const Napi::Value& value) {
  return std::as_writable_bytes(elements<uint8_t>(value.Env(), value));
}

// A property. Empty, perhaps with an exception pending, where there is none to be had. In C: a getter may be
// terminated, and Napi::Object::Get ends the process then.
inline Napi::Value property(const Napi::Value& object, const char* name) {
  napi_value value = nullptr;
  if (napi_get_named_property(object.Env(), object, name, &value) != napi_ok) return {};
  return {object.Env(), value};
}

// A property as of a literal: no setter of a prototype is asked, so no code of others runs, and nothing throws but the
// end of the thread. `on` is empty where that came before it was made.
template <typename Value>
void put(const Napi::Object& on, const char* name, const Value& value) {
  if (on.IsEmpty()) return;
  const napi_property_descriptor property{
      name,   nullptr, nullptr, nullptr, nullptr, Napi::Value::From(on.Env(), value), napi_default_jsproperty,
      nullptr};
  (void)napi_define_properties(on.Env(), on, 1, &property);
}

// Whoever has `on` has `value` too: nothing in JavaScript can change that. `on` is empty where the thread
// ends before it is made; a call on an empty object ends the process.
inline void keep(Napi::Object on, const char* name, const Napi::Value& value) {
  if (!on.IsEmpty()) on.DefineProperty(Napi::PropertyDescriptor::Value(name, value, napi_default));
}

}  // namespace millrace::addon
