// Dead letters: a message that used up its deliveries, or was rejected, moves to its dead-letter queue with
// the story of its death as one unit of the log: the new message and the settlement of the old one, or
// neither. What finds no place is tried again, later and later.
//
// Threads: any. No lock is held while a record is read, and never two queues' at once.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "base/status.h"
#include "engine/catalogue.h"
#include "engine/context.h"
#include "engine/sessions.h"
#include "engine/settlements.h"
#include "engine/waker.h"

namespace millrace::engine {

// Instead of a unit: not staged yet.
constexpr uint64_t kDeferred = UINT64_MAX;

class Mover {
 public:
  Mover(Context& context, Catalogue& catalogue, Sessions& sessions, Settlements& settlements, Waker& waker)
      : context_(context),
        catalogue_(catalogue),
        sessions_(sessions),
        settlements_(settlements),
        waker_(waker) {}

  // Moves what died in this queue, or keeps it there to be tried again. `unit` rises to the last one that has
  // any of it.
  void bury(Queue& queue, std::span<Doomed> doomed, uint64_t& unit);
  // The same for all that died of one reason.
  void bury(Queue& queue, const std::vector<ledger::Dead>& dead, const char* reason);
  // The unit to wait for until the dead letter of this message is durable, or kDeferred. Its consumer may be
  // gone. kClosed, kStoreFailed: it did not move and will not.
  Status burial(Session& session, uint32_t queue, ledger::Seq seq, uint64_t& unit);

 private:
  [[nodiscard]] bool burySlice(Queue& queue, std::span<Doomed> doomed, uint64_t& unit);
  [[nodiscard]] bool move(Queue& queue, const Doomed& doomed, uint64_t& unit);
  [[nodiscard]] bool drop(Queue& queue, const Doomed& doomed, uint64_t& unit);
  [[nodiscard]] bool placeInMemory(Queue& graveyard, Bytes letter);
  [[nodiscard]] bool stage(const Queue& queue, const Doomed& doomed, Queue& graveyard, MutableBytes letter,
                           uint64_t& unit);
  void keep(Queue& queue, std::vector<Doomed>& kept);

  Context& context_;
  Catalogue& catalogue_;
  Sessions& sessions_;
  Settlements& settlements_;
  Waker& waker_;
};

}  // namespace millrace::engine
