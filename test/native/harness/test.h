// A small harness for the native tests: no dependency, because the tests must build wherever the addon
// builds.
//
//   TEST(TornTailIsCut) { CHECK_EQ(recovered, 3u); }
//
// A failed CHECK prints its values, fails the test and ends it. Random tests take their seed from seed()
// (printed when a check fails, replayed with --seed N) and their size from scale() (1 in `npm test`, more in
// campaigns).
#pragma once

#include <cstdint>
#include <functional>
#include <random>
#include <sstream>
#include <string>

namespace millrace::test {

struct Failure {};  // never thrown: see fail()

void registerTest(const char* name, void (*body)());
[[noreturn]] void fail(const char* file, int line, const std::string& what);
uint64_t seed();
uint64_t scale();
// Under a sanitizer everything takes ten to thirty times as long: what a campaign has to show in number it
// shows in the plain build, what a sanitizer can find it finds in a part of it.
#if defined(__SANITIZE_THREAD__) || defined(__SANITIZE_ADDRESS__)
constexpr bool kSanitized = true;
#else
constexpr bool kSanitized = false;
#endif
// A fresh empty directory that is removed when the process ends.
std::string temporaryDirectory();

template <typename T>
std::string show(const T& value) {
  if constexpr (requires(std::ostringstream & s) { s << value; }) {
    std::ostringstream stream;
    stream << value;
    return stream.str();
  } else {
    return "?";
  }
}

#define TEST(name)                                                                           \
  static void test_##name();                                                                 \
  namespace {                                                                                \
  const bool registered_##name = (::millrace::test::registerTest(#name, test_##name), true); \
  }                                                                                          \
  static void test_##name()

#define CHECK(condition)                                                      \
  do {                                                                        \
    if (!(condition)) ::millrace::test::fail(__FILE__, __LINE__, #condition); \
  } while (false)

#define CHECK_EQ(actual, expected)                                                   \
  do {                                                                               \
    const auto actual_value = (actual);                                              \
    const auto expected_value = (expected);                                          \
    if (!(actual_value == expected_value))                                           \
      ::millrace::test::fail(__FILE__, __LINE__,                                     \
                             std::string(#actual " == " #expected ": ") +            \
                                 ::millrace::test::show(actual_value) + " is not " + \
                                 ::millrace::test::show(expected_value));            \
  } while (false)

#define CHECK_OK(expression)                                                                      \
  do {                                                                                            \
    const auto& status_value = (expression);                                                      \
    if (!status_value.ok())                                                                       \
      ::millrace::test::fail(__FILE__, __LINE__, #expression + (": " + status_value.toString())); \
  } while (false)

}  // namespace millrace::test
