// The native benchmarks, one executable: millrace_bench NAME [arguments]. bench/*.mjs run those they need.
#include <cstdio>
#include <string_view>

int rawDisk(int argc, char** argv);
int ringBench(int argc, char** argv);
int ledgerBench(int argc, char** argv);
int logBench(int argc, char** argv);

int main(int argc, char** argv) {
  constexpr struct {
    std::string_view name;
    int (*run)(int, char**);
  } kBenches[] = {{"raw", rawDisk}, {"ring", ringBench}, {"ledger", ledgerBench}, {"log", logBench}};
  for (const auto& bench : kBenches) {
    if (argc > 1 && bench.name == argv[1]) return bench.run(argc - 1, argv + 1);
  }
  std::fprintf(stderr, "usage: millrace_bench raw|ring|ledger|log [arguments]\n");
  return 2;
}
