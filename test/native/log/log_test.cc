// The log's everyday behaviour, on the simulated disk and on the real one.
#include <thread>

#include "harness/test.h"
#include "log/model_store.h"

namespace millrace::test {
namespace {

using log::StageOutcome;

void roundTrip(const std::function<std::unique_ptr<os::Directory>()>& directory, bool sync) {
  auto history = std::make_shared<History>(1);
  for (int session = 0; session < 3; ++session) {
    ModelStore store(directory(), smallOptions(sync));
    store.history = history;
    CHECK_OK(store.openAndStart());
    CHECK_EQ(store.report().created, session == 0);
    expectEverything(store);
    for (size_t i = 1; i < 40; ++i) CHECK(store.send({i, i * 100}) == StageOutcome::kStaged);
    CHECK(store.settleOldest(10) == StageOutcome::kStaged);
    CHECK(store.commit());
    expectEverything(store);
    if (session == 1) CHECK_OK(store.close());  // the others end like a kill
  }
}

}  // namespace

TEST(LogRoundTripOnTheSimulatedDisk) {
  for (const bool sync : {true, false}) {
    SimulatedDisk disk;
    roundTrip([&] { return disk.directory(); }, sync);
  }
}

TEST(LogRoundTripOnTheRealDisk) {
  for (const bool sync : {true, false}) {
    const std::string path = temporaryDirectory();
    roundTrip([&] { return os::openDirectory(path, true).take(); }, sync);
  }
}

}  // namespace millrace::test
