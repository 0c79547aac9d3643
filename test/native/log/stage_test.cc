// The stage and the pool by themselves: what the janitor and the committer do between each other's steps.
#include "log/stage.h"

#include "harness/test.h"
#include "log/identity.h"
#include "log/model_store.h"
#include "log/recovery.h"
#include "log/segment_pool.h"

namespace millrace::test {
namespace {

using log::Claim;
using log::StageOutcome;

constexpr uint64_t kUsable = kSmallSegment - kPageBytes;

void stage(log::Stage& stage) {
  std::byte* at = nullptr;
  uint64_t unit = 0;
  stage.lock();
  CHECK(stage.reserve(800, Claim::kSend, at, unit) == StageOutcome::kStaged);
  (void)stage.unlock();
}

}  // namespace

// A segment that was opened and holds no block is never passed over: the chain goes on in the next one only.
TEST(StageSealsNoSegmentWithoutABlock) {
  const log::Failure failure;
  log::Stage stage(kSmallSegment, kUsable - kPageBytes, false, failure);
  (void)stage.addPrepared(3);
  log::Stage::Batch batch;
  CHECK(stage.seal());
  CHECK(stage.take(batch) && batch.opens_segment && batch.body_bytes == 0);
  CHECK(!stage.seal());
  CHECK(!stage.take(batch));
  test::stage(stage);
  CHECK(stage.take(batch) && !batch.opens_segment && batch.units == 1);
  CHECK(stage.seal());
  test::stage(stage);
  CHECK(stage.take(batch) && batch.opens_segment && batch.units == 1);
  CHECK_EQ(stage.prepared(), 1u);
}

// The committer takes a segment of the stage first and opens it a moment later: whatever the janitor takes
// back in between is another one.
TEST(PoolGivesUpThePreparedSegmentThatTheCommitterDidNotTake) {
  SimulatedDisk disk(seed());
  {
    ModelStore store(disk.directory());
    CHECK_OK(store.openAndStart());
    CHECK(store.send({100}) == StageOutcome::kStaged);
    CHECK(store.commit());
    const auto deadline = std::chrono::steady_clock::now() + std::chrono::seconds(30);
    while (store.log().stats().segments_free < 3) {
      CHECK(std::chrono::steady_clock::now() < deadline);
      std::this_thread::sleep_for(std::chrono::milliseconds(1));
    }
    store.crash();
  }
  auto directory = disk.directory();
  ModelStore sink(disk.directory());
  const auto identity = log::readIdentity(*directory);
  CHECK_OK(identity.status());
  log::RecoveryReport report;
  auto recovered = log::recover(*directory, identity.value(), sink, report);
  CHECK_OK(recovered.status());
  log::SegmentPool pool(*directory, identity.value().id, kSmallSegment);
  const auto prepared = pool.adopt(recovered.value());
  CHECK_OK(prepared.status());
  CHECK_EQ(prepared.value(), 3u);
  const log::Failure failure;
  log::Stage stage(kSmallSegment, kUsable, false, failure);
  (void)stage.addPrepared(prepared.value());
  log::Stage::Batch batch;
  const auto takeNext = [&] {
    test::stage(stage);
    CHECK(stage.take(batch));
    CHECK(stage.seal());
    CHECK(stage.take(batch) && batch.opens_segment);
  };
  takeNext();
  const log::Segment* first = pool.openNext();
  CHECK(stage.takePrepared());
  takeNext();
  const log::Segment* second = pool.openNext();
  log::Segment* given_up = pool.takeNewestPrepared();
  CHECK_EQ(second->sequence, first->sequence + 1);
  CHECK_EQ(given_up->sequence, second->sequence + 1);
  CHECK_OK(pool.remove(given_up));
}

}  // namespace millrace::test
