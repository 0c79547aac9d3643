// A sender and consumer for the engine's tests, as one environment would be: it writes outbox records and
// reads inbox records, and waits on states with a deadline.
#pragma once

#include <condition_variable>
#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include "engine/broker.h"
#include "harness/test.h"

namespace millrace::test {

class TestPort final : public engine::Port {
 public:
  void wake() override {
    const std::lock_guard lock(mutex_);
    wakes_++;
    changed_.notify_all();
  }
  // Waits until woken since the last call, or 10 ms: callers look at the state again either way.
  void rest();

 private:
  std::mutex mutex_;
  std::condition_variable changed_;
  uint64_t wakes_ = 0;
};

struct Got {
  uint64_t seq;
  uint32_t count;
  std::string body;
};

class Client {
 public:
  explicit Client(std::shared_ptr<engine::Broker> broker);
  ~Client() { leave(); }
  // Detaches, as at the end of an environment.
  void leave();

  uint32_t declare(const std::string& name, bool memory = false);
  // With every option named.
  uint32_t declare(const engine::QueueSettings& settings);
  uint32_t declare(const std::string& name, const engine::SettingsPatch& patch);
  // Returns the unit. Without `seqs` all of them must be taken: it waits while the stage has no room, and a
  // refusal fails the test. With `seqs` it is one call, whose results (negative: refused; fewer: no room) the
  // caller looks at.
  uint64_t send(uint32_t queue, const std::vector<std::string>& bodies, std::vector<double>* seqs = nullptr,
                bool whole = false);
  // The same, refused as a whole too; results[i] < 0 is the refusal of one.
  Result<engine::SendReport> trySend(uint32_t queue, const std::vector<std::string>& bodies,
                                     std::vector<double>& results, bool whole);
  // False if the store failed before the unit was committed.
  [[nodiscard]] bool awaitCommitted(uint64_t unit);
  engine::Consumer& consume(uint32_t queue);
  // One receive() call.
  std::vector<Got> take(engine::Consumer& consumer, uint32_t max = 64);
  // What would be handed out, without a lease.
  std::vector<Got> peek(uint32_t queue, uint32_t max);
  // Until `wanted` messages came, or CHECK fails after the deadline.
  std::vector<Got> takeAll(engine::Consumer& consumer, size_t wanted);
  // Every one must be taken. Returns the unit.
  uint64_t ack(engine::Consumer& consumer, const std::vector<Got>& messages, bool awaited = true);
  [[nodiscard]] bool answer(engine::Consumer& consumer, engine::Verb verb, const Got& message,
                            uint64_t ms = 0, const std::string& reason = "");
  void until(const std::function<bool()>& condition);

  engine::Broker& broker() { return *broker_; }
  engine::Session& session() { return *session_; }

 private:
  std::shared_ptr<engine::Broker> broker_;
  std::shared_ptr<TestPort> port_;
  std::unique_ptr<engine::Session> session_;
  std::vector<Got> read(const engine::Receipt& receipt);

  std::vector<std::byte> inbox_;
};

}  // namespace millrace::test
