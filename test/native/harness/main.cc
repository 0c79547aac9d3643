// Runs every registered test in a child process of its own, so that a crash, a sanitizer report or a hang
// fails that test alone. Usage: millrace_test [--filter TEXT] [--seed N] [--scale N] [--list] [--one NAME]
#include <sys/wait.h>
#include <unistd.h>

#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <string>
#include <vector>

#include "harness/test.h"

namespace millrace::test {
namespace {

struct Registered {
  const char* name;
  void (*body)();
};

std::vector<Registered>& tests() {
  static std::vector<Registered> all;
  return all;
}

uint64_t g_seed = 0;
uint64_t g_scale = 1;
constexpr unsigned kSecondsMax = 600;

int runOne(const std::string& name) {
  for (const Registered& test : tests()) {
    if (name != test.name) continue;
    test.body();
    return 0;
  }
  std::fprintf(stderr, "no test named %s\n", name.c_str());
  return 2;
}

bool runInChild(const Registered& test) {
  std::fflush(nullptr);
  const pid_t child = fork();
  if (child == 0) {
    alarm(static_cast<unsigned>(kSecondsMax * g_scale));
    const int code = runOne(test.name);
    std::fflush(nullptr);
    std::exit(code);
  }
  int status = 0;
  waitpid(child, &status, 0);
  std::error_code ignored;
  std::filesystem::remove_all("/tmp/millrace-test-" + std::to_string(child), ignored);
  if (WIFSIGNALED(status)) std::fprintf(stderr, "  %s: ended by signal %d\n", test.name, WTERMSIG(status));
  return WIFEXITED(status) && WEXITSTATUS(status) == 0;
}

}  // namespace

void registerTest(const char* name, void (*body)()) { tests().push_back({name, body}); }

void fail(const char* file, int line, const std::string& what) {
  std::fprintf(stderr, "  %s:%d: %s (replay with --seed %llu)\n", file, line, what.c_str(),
               static_cast<unsigned long long>(g_seed));
  std::fflush(nullptr);
  std::_Exit(1);
}

uint64_t seed() { return g_seed; }
uint64_t scale() { return g_scale; }

std::string temporaryDirectory() {
  static int next = 0;
  const std::string path = "/tmp/millrace-test-" + std::to_string(getpid()) + "/" + std::to_string(next++);
  std::filesystem::create_directories(path);
  return path;
}

}  // namespace millrace::test

int main(int argc, char** argv) {
  using namespace millrace::test;
  g_seed =
      static_cast<uint64_t>(std::chrono::system_clock::now().time_since_epoch().count()) % 1'000'000'007ull;
  std::string filter;
  std::string one;
  for (int i = 1; i < argc; ++i) {
    const std::string flag = argv[i];
    const bool has_value = i + 1 < argc;
    if (flag == "--list") {
      for (const Registered& test : tests()) std::printf("%s\n", test.name);
      return 0;
    }
    if (flag == "--filter" && has_value)
      filter = argv[++i];
    else if (flag == "--one" && has_value)
      one = argv[++i];
    else if (flag == "--seed" && has_value)
      g_seed = std::strtoull(argv[++i], nullptr, 10);
    else if (flag == "--scale" && has_value)
      g_scale = std::strtoull(argv[++i], nullptr, 10);
    else {
      std::fprintf(stderr, "unknown argument: %s\n", flag.c_str());
      return 2;
    }
  }
  if (!one.empty()) return runOne(one);
  int passed = 0;
  int failed = 0;
  std::printf("seed %llu\n", static_cast<unsigned long long>(g_seed));
  for (const Registered& test : tests()) {
    if (!filter.empty() && std::strstr(test.name, filter.c_str()) == nullptr) continue;
    const auto start = std::chrono::steady_clock::now();
    const bool ok = runInChild(test);
    const double seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
    std::printf("%s %s (%.2f s)\n", ok ? "ok  " : "FAIL", test.name, seconds);
    (ok ? passed : failed)++;
  }
  std::printf("%d passed, %d failed\n", passed, failed);
  return failed == 0 && passed > 0 ? 0 : 1;
}
