#include "log/block.h"

namespace millrace::log {
namespace {

constexpr uint32_t kMagic = 0x4B42524D;  // "MRBK"
constexpr size_t kCrcAt = 60;

}  // namespace

void BlockHeader::encode(const StoreId& id, std::byte* to) {
  store(to, kMagic);
  store(to + 4, kFormatVersion);
  store(to + 8, segment_sequence);
  store(to + 16, commit_sequence);
  store(to + 24, epoch);
  store(to + 32, synced_through);
  store(to + 40, body_bytes);
  store(to + 44, units);
  store(to + 48, previous_crc);
  store(to + 52, body_crc);
  store(to + 56, uint32_t{0});
  crc = saltedCrc(id, {to, kCrcAt});
  store(to + kCrcAt, crc);
}

std::optional<BlockHeader> BlockHeader::decode(const StoreId& id, Bytes from) {
  if (from.size() < kBytes || !looksLike(from)) return std::nullopt;
  const std::byte* at = from.data();
  if (load<uint32_t>(at + 4) != kFormatVersion) return std::nullopt;
  BlockHeader header;
  header.crc = load<uint32_t>(at + kCrcAt);
  if (header.crc != saltedCrc(id, from.first(kCrcAt))) return std::nullopt;
  header.segment_sequence = load<uint64_t>(at + 8);
  header.commit_sequence = load<uint64_t>(at + 16);
  header.epoch = load<uint64_t>(at + 24);
  header.synced_through = load<uint64_t>(at + 32);
  header.body_bytes = load<uint32_t>(at + 40);
  header.units = load<uint32_t>(at + 44);
  header.previous_crc = load<uint32_t>(at + 48);
  header.body_crc = load<uint32_t>(at + 52);
  if (header.segment_sequence > kCounterMax || header.commit_sequence > kCounterMax ||
      header.epoch > kCounterMax || header.synced_through >= header.commit_sequence) {
    return std::nullopt;
  }
  return header;
}

bool BlockHeader::looksLike(Bytes from) {
  return from.size() >= sizeof kMagic && load<uint32_t>(from.data()) == kMagic;
}

bool continues(const Position& at, const BlockHeader& next) {
  return next.commit_sequence == at.commit_sequence && next.previous_crc == at.chain_crc &&
         next.epoch >= at.epoch;
}

}  // namespace millrace::log
