// What is remembered of a message that went back to the queue at least once, beside its table entry: most
// messages are delivered once and never need it. An entry with a line here says so (Entry::remembered).
#pragma once

#include <cstdint>
#include <unordered_map>

#include "ledger/ledger.h"
#include "ledger/suspicion.h"

namespace millrace::ledger {

struct Past {
  uint64_t first_delivery_ms = 0;  // wall; 0: not known, the process that delivered it crashed
  uint32_t uncounted = 0;          // deliveries that were no failures
  uint32_t ran_ms = 0;             // suspect: as its mark says
  uint16_t deliveries_high = 0;    // the upper half of the delivery count
  Suspicion suspicion = Suspicion::kNone;
};

class History {
 public:
  Past& of(Seq seq) { return past_[seq]; }
  Past read(Seq seq) const {
    const auto found = past_.find(seq);
    return found == past_.end() ? Past{} : found->second;
  }
  void remove(Seq seq) { past_.erase(seq); }

 private:
  std::unordered_map<Seq, Past> past_;
};

}  // namespace millrace::ledger
