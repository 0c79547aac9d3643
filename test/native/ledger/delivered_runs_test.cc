// Runs of deliveries against what is live: the same as one by one, in steps that grow with both and not with
// their product.
#include "ledger/delivered_runs.h"

#include <map>
#include <set>

#include "harness/test.h"
#include "support/random.h"

namespace millrace::test {
namespace {

using ledger::DeliveredRun;
using ledger::DeliveredRuns;
using ledger::Seq;

struct Swept {
  std::map<Seq, DeliveredRun> decided;
  uint64_t steps = 0;
};

Swept sweep(const std::set<Seq>& live, const std::vector<DeliveredRun>& runs) {
  DeliveredRuns collected;
  for (const DeliveredRun& run : runs) collected.add(run);
  Swept swept;
  collected.sweep(
      [&](Seq from) {
        ++swept.steps;
        const auto found = live.lower_bound(from);
        return found == live.end() ? 0 : *found;
      },
      [&](Seq seq, const DeliveredRun& run) { CHECK(swept.decided.emplace(seq, run).second); });
  return swept;
}

}  // namespace

TEST(DeliveredRunsDecideAsOneByOne) {
  Random random(seed());
  for (int round = 0; round < 300; ++round) {
    std::set<Seq> live;
    for (uint64_t i = random.below(40); i > 0; --i) live.insert(random.between(1, 100));
    std::vector<DeliveredRun> runs;
    for (uint64_t i = random.below(30); i > 0; --i) {
      const Seq first = random.between(1, 110);
      runs.push_back({first, first + random.below(30), static_cast<uint32_t>(random.below(6)),
                      static_cast<uint32_t>(random.below(4))});
    }
    const Swept swept = sweep(live, runs);
    for (const Seq seq : live) {
      const DeliveredRun* most = nullptr;
      for (const DeliveredRun& run : runs) {
        if (run.first > seq || run.last < seq) continue;
        if (most == nullptr || run.deliveries > most->deliveries ||
            (run.deliveries == most->deliveries && run.tag < most->tag)) {
          most = &run;
        }
      }
      const auto found = swept.decided.find(seq);
      CHECK_EQ(found != swept.decided.end(), most != nullptr);
      if (most == nullptr) continue;
      CHECK_EQ(found->second.deliveries, most->deliveries);
      CHECK_EQ(found->second.tag, most->tag);
    }
    CHECK(swept.steps <= runs.size() + live.size() + 2);
  }
}

TEST(DeliveredRunsTakeStepsForTheirNumberAndNotForWhatTheyName) {
  for (const uint64_t size : {1'000u, 4'000u, 16'000u}) {
    std::set<Seq> live;
    for (Seq seq = 1; seq <= size; ++seq) live.insert(seq * 3);
    std::vector<DeliveredRun> all;      // each names the whole backlog
    std::vector<DeliveredRun> nothing;  // each lies between two messages
    std::vector<DeliveredRun> mixed;    // high points that stick out of low plains
    for (uint32_t i = 0; i < size; ++i) {
      all.push_back({1, size * 3, i % 7, 0});
      nothing.push_back({i * 3 + 1, i * 3 + 2, 1, 0});
      mixed.push_back(i % 2 == 0 ? DeliveredRun{i * 3, i * 3, 1000, 0} : DeliveredRun{1, size * 3, i, 0});
    }
    for (const auto& runs : {all, nothing, mixed}) {
      const Swept swept = sweep(live, runs);
      CHECK(swept.steps <= runs.size() + live.size() + 2);
    }
  }
}

}  // namespace millrace::test
