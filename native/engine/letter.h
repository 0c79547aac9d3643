// The bytes of a dead letter: the message as it was, in another queue, with the story of its death.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string_view>
#include <vector>

#include "base/bytes.h"
#include "engine/queue.h"
#include "log/record.h"

namespace millrace::engine {

// A message record for queue `to`; seq and checksum are filled in when the place is known. `origin` is the
// name of the queue in which it died.
std::vector<std::byte> letterOf(const log::MessageView& message, const Doomed& doomed,
                                std::string_view origin, uint32_t to);

}  // namespace millrace::engine
