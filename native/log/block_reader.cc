#include "log/block_reader.h"

#include <algorithm>

#include "log/log.h"

namespace millrace::log {
namespace {

constexpr uint64_t kScanBytes = 1 << 20;
static_assert(kScanBytes % kPageBytes == 0);

}  // namespace

Result<std::optional<Block>> BlockReader::read(os::File& file, uint64_t file_bytes, uint64_t segment_sequence,
                                               uint64_t offset) {
  using Found = std::optional<Block>;
  const uint64_t end = std::min(file_bytes, segment_bytes_);
  if (offset > end || end - offset < kPageBytes) return Found();
  // Most blocks are one page: one call reads the header and them.
  if (buffer_.size() < kPageBytes) buffer_.resize(kPageBytes);
  MILLRACE_RETURN_IF_ERROR(file.read(offset, MutableBytes(buffer_).first(kPageBytes)));
  const auto header = BlockHeader::decode(id_, buffer_);
  if (!header || header->segment_sequence != segment_sequence) return Found();
  const uint64_t bytes = header->blockBytes();
  if (header->body_bytes > unitBytesMax(segment_bytes_) || bytes > end - offset) return Found();
  if (buffer_.size() < bytes) buffer_.resize(static_cast<size_t>(bytes));
  const MutableBytes rest = MutableBytes(buffer_).first(static_cast<size_t>(bytes)).subspan(kPageBytes);
  if (!rest.empty()) MILLRACE_RETURN_IF_ERROR(file.read(offset + kPageBytes, rest));
  const Bytes body = Bytes(buffer_).subspan(BlockHeader::kBytes, header->body_bytes);
  if (saltedCrc(id_, body) != header->body_crc) return Found();
  return Found(Block{*header, offset, body});
}

Status scanHeaders(os::File& file, uint64_t file_bytes, uint64_t from, const StoreId& id,
                   const std::function<void(uint64_t offset, const BlockHeader& header)>& each) {
  std::vector<std::byte> buffer;
  while (from < file_bytes && file_bytes - from >= BlockHeader::kBytes) {
    buffer.resize(static_cast<size_t>(std::min(kScanBytes, file_bytes - from)));
    MILLRACE_RETURN_IF_ERROR(file.read(from, buffer));
    for (size_t at = 0; at < buffer.size(); at += kPageBytes) {
      if (const auto header = BlockHeader::decode(id, Bytes(buffer).subspan(at))) each(from + at, *header);
    }
    from += buffer.size();
  }
  return Status();
}

}  // namespace millrace::log
