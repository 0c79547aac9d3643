#include "log/recovery.h"

#include <algorithm>
#include <atomic>
#include <map>

#include "log/block_reader.h"
#include "log/open_files.h"
#include "log/segment.h"
#include "log/witness.h"

namespace millrace::log {
namespace {

class Recovery {
 public:
  Recovery(os::Directory& directory, const Identity& identity, RecoverySink& sink, RecoveryReport& report)
      : directory_(directory),
        files_(directory),
        sink_(sink),
        report_(report),
        reader_(identity.id, identity.segment_bytes),
        segment_bytes_(identity.segment_bytes) {
    out_.identity = identity;
  }

  Result<Recovered> run() {
    auto checkpoint = findCheckpoint(directory_, out_.identity.id, segment_bytes_);
    if (!checkpoint.ok()) return checkpoint.status();
    auto word = readWord(directory_, id());
    if (!word.ok()) return word.status();
    word_ = word.value();
    MILLRACE_RETURN_IF_ERROR(openSegments());
    MILLRACE_RETURN_IF_ERROR(checkTable(checkpoint.value()));
    MILLRACE_RETURN_IF_ERROR(replaySnapshot(checkpoint.value(), segment_bytes_, sink_));
    MILLRACE_RETURN_IF_ERROR(followChain());
    MILLRACE_RETURN_IF_ERROR(checkLengths());
    MILLRACE_RETURN_IF_ERROR(checkOpened());
    MILLRACE_RETURN_IF_ERROR(lookBehindCut());
    MILLRACE_RETURN_IF_ERROR(checkCounters());
    MILLRACE_RETURN_IF_ERROR(harden(checkpoint.value()));
    out_.epoch = epoch_seen_ + 1;
    for (FoundSegment& segment : out_.segments) segment.file.reset();
    return std::move(out_);
  }

 private:
  const StoreId& id() const { return out_.identity.id; }

  Status openSegments() {
    const auto names = directory_.list();
    if (!names.ok()) return names.status();
    for (const std::string& name : names.value()) {
      const auto index = parseSegmentName(name);
      if (!index) continue;
      FoundSegment segment;
      segment.index = *index;
      MILLRACE_RETURN_IF_ERROR(openSegment(name, segment));
      out_.segments.push_back(std::move(segment));
    }
    for (FoundSegment& segment : out_.segments) {
      if (!segment.prepared) continue;
      if (!by_sequence_.emplace(segment.sequence, &segment).second) {
        return corruptAt(segmentName(segment.index), 0, "another segment has the same sequence");
      }
    }
    return Status();
  }

  Status openSegment(const std::string& name, FoundSegment& segment) {
    segment.file = files_.lend(name);
    const auto size = segment.file->size();
    if (!size.ok()) return size.status();
    segment.bytes = std::min(size.value(), segment_bytes_);  // what somebody appended is not ours, nor read
    if (segment.bytes < SegmentHeader::kBytes) return Status();
    std::array<std::byte, SegmentHeader::kBytes> bytes;
    MILLRACE_RETURN_IF_ERROR(segment.file->read(0, bytes));
    uint32_t version = 0;
    const auto header = SegmentHeader::decode(bytes, version);
    if (!header) return Status();  // blank, half prepared or damaged: lookBehindCut() tells
    if (version != kFormatVersion) {
      return Status(Code::kIncompatible, name + ": format version " + std::to_string(version));
    }
    if (header->id != id()) return corruptAt(name, 0, "the segment belongs to another store");
    if (header->index != segment.index) return corruptAt(name, 0, "the segment was renamed");
    if (header->segment_bytes != segment_bytes_ || header->sequence == 0 || header->sequence > kCounterMax) {
      return corruptAt(name, 0, "the segment header contradicts the store");
    }
    segment.prepared = true;
    segment.sequence = header->sequence;
    return Status();
  }

  FoundSegment* find(uint64_t sequence) const {
    const auto found = by_sequence_.find(sequence);
    return found == by_sequence_.end() ? nullptr : found->second;
  }

  // A segment that is missing, replaced or cut short below the checkpoint's position is damage: all of it was
  // synced. From the position on the chain decides.
  Status checkTable(const FoundCheckpoint& checkpoint) {
    const Position& from = checkpoint.header.position;
    for (const SegmentEntry& entry : checkpoint.table) {
      const FoundSegment* segment = find(entry.sequence);
      if (segment == nullptr || segment->index != entry.index) {
        return corruptAt(segmentName(entry.index), 0, "a segment that the checkpoint needs is gone");
      }
      const uint64_t needed = entry.sequence < from.segment_sequence ? segment_bytes_ : kPageBytes;
      if (segment->bytes < needed) {
        return corruptAt(segmentName(entry.index), segment->bytes, "the segment is too short");
      }
    }
    const FoundSegment* segment = find(from.segment_sequence);
    if (segment == nullptr || segment->index != from.segment_index) {
      return corruptAt(segmentName(from.segment_index), 0,
                       "the segment of the checkpoint's position is gone");
    }
    if (segment->bytes < std::min(from.offset, segment_bytes_)) {
      return corruptAt(segmentName(segment->index), segment->bytes, "the segment is too short");
    }
    out_.checkpoint = checkpoint.header;
    out_.checkpoint_slot = checkpoint.slot;
    out_.checkpoint_table = checkpoint.table;
    out_.tail = from;
    epoch_seen_ = from.epoch;
    proven_ = from.commit_sequence - 1;
    unproven_from_ = from;
    return Status();
  }

  // The block that continues the chain: behind the last one, or first in the next segment.
  Result<std::optional<Block>> nextBlock(FoundSegment*& segment) {
    segment = find(out_.tail.segment_sequence);
    auto block = reader_.read(*segment->file, segment->bytes, segment->sequence, out_.tail.offset);
    if (!block.ok() || (block.value() && continues(out_.tail, block.value()->header))) return block;
    segment = find(out_.tail.segment_sequence + 1);
    if (segment == nullptr) return std::optional<Block>();
    block = reader_.read(*segment->file, segment->bytes, segment->sequence, kPageBytes);
    if (block.ok() && block.value() && !continues(out_.tail, block.value()->header)) {
      return std::optional<Block>();
    }
    return block;
  }

  void step(Position& at, const FoundSegment& segment, const Block& block) const {
    at.segment_sequence = segment.sequence;
    at.segment_index = segment.index;
    at.offset = block.offset + block.header.blockBytes();
    at.commit_sequence = block.header.commit_sequence + 1;
    at.chain_crc = block.header.crc;
    at.epoch = block.header.epoch;
  }

  Status followChain() {
    for (;;) {
      FoundSegment* segment = nullptr;
      const auto block = nextBlock(segment);
      if (!block.ok()) return block.status();
      if (!block.value()) return Status();
      MILLRACE_RETURN_IF_ERROR(replay(*segment, *block.value()));
      // At level sync every block proves the one before: only the last one is read twice.
      if (block.value()->header.synced_through + 1 >= out_.tail.commit_sequence) unproven_from_ = out_.tail;
      step(out_.tail, *segment, *block.value());
      proven_ = std::max(proven_, block.value()->header.synced_through);
      epoch_seen_ = std::max(epoch_seen_, block.value()->header.epoch);
      out_.replayed_bytes += block.value()->header.blockBytes();
      ++report_.blocks;
    }
  }

  Status replay(const FoundSegment& segment, const Block& block) {
    RecordReader records(block.body);
    const uint64_t base = block.offset + BlockHeader::kBytes;
    while (records.next()) {
      const Status taken = sink_.onRecord(records, makeRef(segment.index, base + records.offset()));
      if (taken.code() == Code::kCorrupt) {
        return corruptAt(segmentName(segment.index), base + records.offset(), taken.detail());
      }
      MILLRACE_RETURN_IF_ERROR(taken);
    }
    if (!records.corrupt()) return Status();
    return corruptAt(segmentName(segment.index), base + records.offset(), "a record is malformed");
  }

  // A prepared segment keeps its length: one that is shorter was cut by somebody, and with it whatever lay
  // there, synced or not. No harm if it can be seen that nothing did: no block of this use begins at the cut,
  // nor where the next one would be if it did not fit there.
  Status checkLengths() const {
    const Position& cut = out_.tail;
    const std::pair<FoundSegment*, uint64_t> places[] = {{find(cut.segment_sequence), cut.offset},
                                                         {find(cut.segment_sequence + 1), kPageBytes}};
    for (const auto& [segment, offset] : places) {
      if (segment == nullptr || segment->bytes == segment_bytes_) continue;
      bool ends = false;
      if (segment->bytes >= offset + BlockHeader::kBytes) {
        std::array<std::byte, BlockHeader::kBytes> bytes;
        MILLRACE_RETURN_IF_ERROR(segment->file->read(offset, bytes));
        ends = !isOf(*segment, bytes);
      }
      if (!ends) return corruptAt(segmentName(segment->index), segment->bytes, "the segment is too short");
    }
    return Status();
  }

  // A segment is filled, headed and synced before it is opened, and goes only when a checkpoint is past it.
  // So one that was opened is there, whole, whatever happened to its blocks; else somebody took it away, and
  // with it blocks that nothing else may tell of.
  Status checkOpened() const {
    const uint64_t newest = by_sequence_.rbegin()->first;
    uint64_t opened = newest > kPreparedAheadMax ? newest - kPreparedAheadMax : 0;
    if (word_) opened = std::max(opened, word_->segment_sequence);
    for (uint64_t sequence = out_.tail.segment_sequence + 1; sequence <= opened; ++sequence) {
      const FoundSegment* segment = find(sequence);
      if (segment != nullptr && segment->bytes == segment_bytes_) continue;
      if (segment != nullptr) {
        return corruptAt(segmentName(segment->index), segment->bytes, "the segment is too short");
      }
      const std::string what = "the segment that was opened next (sequence " + std::to_string(sequence);
      if (word_ && word_->segment_sequence == sequence) {
        return corruptAt(segmentName(word_->segment_index), 0, what + ") is gone or replaced");
      }
      return corruptAt(segmentName(out_.tail.segment_index), out_.tail.offset, what + ") is missing");
    }
    return Status();
  }

  // What the witness knows of and the chain does not have. Synced, it is damage; only written, a power cut
  // may have taken it, and it is reported (not again if the log has gone on since).
  Status checkWord() {
    const Position& cut = out_.tail;
    if (!word_ || word_->written_through < cut.commit_sequence) return Status();
    if (word_->synced_through >= cut.commit_sequence) {
      return corruptAt(
          segmentName(cut.segment_index), cut.offset,
          "the blocks from here on are missing, and the file `witness` knows that commits through " +
              std::to_string(word_->synced_through) + " were synced");
    }
    if (word_->epoch < cut.epoch || word_->segment_sequence < cut.segment_sequence) return Status();
    const uint64_t segments = word_->segment_sequence - cut.segment_sequence;
    const uint64_t bytes = segments * (segment_bytes_ - kPageBytes) + word_->offset - cut.offset;
    report_.torn_bytes = std::max(report_.torn_bytes, bytes);
    return Status();
  }

  // Could have been a block's header in this use of the segment, damaged perhaps.
  static bool isOf(const FoundSegment& segment, Bytes header) {
    return BlockHeader::looksLike(header) && load<uint64_t>(header.data() + 8) == segment.sequence;
  }

  // P7: a header behind the cut that knows of a sync at or past it proves damage. Those that do not are what
  // a power cut left of blocks never confirmed, or of an even earlier cut (a lower epoch: not reported
  // again).
  Status lookBehindCut() {
    const Position& cut = out_.tail;
    const std::string name = segmentName(cut.segment_index);
    uint64_t gap = cut.segment_sequence + 1;
    while (find(gap) != nullptr) ++gap;
    std::string proof;
    for (const FoundSegment& segment : out_.segments) {
      if (segment.prepared && segment.sequence < cut.segment_sequence) continue;
      const bool at_cut = segment.sequence == cut.segment_sequence;
      const auto each = [&](uint64_t offset, const BlockHeader& header) {
        // Without a header of its own the file must not hold anything that was written after the cut's
        // segment: headers are durable before blocks are.
        const bool current = segment.prepared ? header.segment_sequence == segment.sequence
                                              : header.segment_sequence > cut.segment_sequence;
        if (!current) return;
        const bool synced = header.synced_through >= cut.commit_sequence;
        const bool headless = !segment.prepared && header.commit_sequence >= cut.commit_sequence;
        // Segments are used in turn: blocks behind a missing one say that it was used and has been recycled
        // since, on account of a checkpoint that is not there any more.
        const bool beyond_gap = segment.prepared && segment.sequence > gap;
        if (synced || headless || beyond_gap) proof = placeOf(segmentName(segment.index), offset);
        epoch_seen_ = std::max(epoch_seen_, header.epoch);
        if (header.epoch >= cut.epoch && header.commit_sequence >= cut.commit_sequence) {
          report_.torn_bytes += header.blockBytes();
        }
      };
      const uint64_t end = std::min(segment.bytes, segment_bytes_);
      MILLRACE_RETURN_IF_ERROR(scanHeaders(*segment.file, end, at_cut ? cut.offset : kPageBytes, id(), each));
    }
    if (!proof.empty()) {
      return corruptAt(
          name, cut.offset,
          "a synced block is damaged or missing (block at " + proof + " proves that it was there)");
    }
    MILLRACE_RETURN_IF_ERROR(checkWord());
    MILLRACE_RETURN_IF_ERROR(noteDamagedHeader());
    if (report_.torn_bytes > 0) report_.torn_at = placeOf(name, cut.offset);
    return Status();
  }

  // A counter this close to its end was written by no run of a store, and the blocks to come would not be
  // read.
  Status checkCounters() const {
    constexpr uint64_t kMost = kCounterMax - (1ull << 32);
    const Position& tail = out_.tail;
    if (epoch_seen_ <= kMost && tail.commit_sequence <= kMost && tail.segment_sequence <= kMost &&
        (by_sequence_.empty() || by_sequence_.rbegin()->first <= kMost)) {
      return Status();
    }
    return corruptAt(segmentName(tail.segment_index), tail.offset, "a counter is at its end");
  }

  // A header at the cut whose CRC does not hold tells of one block more; how long it was is not known.
  Status noteDamagedHeader() {
    const FoundSegment& segment = *find(out_.tail.segment_sequence);
    if (report_.torn_bytes > 0 || segment.bytes < out_.tail.offset + BlockHeader::kBytes) return Status();
    std::array<std::byte, BlockHeader::kBytes> bytes;
    MILLRACE_RETURN_IF_ERROR(segment.file->read(out_.tail.offset, bytes));
    if (isOf(segment, bytes) && !BlockHeader::decode(id(), bytes)) {
      report_.torn_bytes = kPageBytes;
    }
    return Status();
  }

  Status harden(const FoundCheckpoint& checkpoint) {
    MILLRACE_RETURN_IF_ERROR(directory_.sync());
    MILLRACE_RETURN_IF_ERROR(hardenCheckpoint(checkpoint));
    MILLRACE_RETURN_IF_ERROR(rewriteUnproven());
    for (FoundSegment& segment : out_.segments) {
      if (!segment.prepared || segment.sequence < checkpoint.header.position.segment_sequence) continue;
      if (segment.bytes != segment_bytes_) {
        MILLRACE_RETURN_IF_ERROR(segment.file->truncate(std::min(segment.bytes, segment_bytes_)));
        const std::atomic<bool> never{false};
        MILLRACE_RETURN_IF_ERROR(
            fillWithZeros(*segment.file, std::min(segment.bytes, segment_bytes_), segment_bytes_, never));
        segment.bytes = segment_bytes_;
      }
      MILLRACE_RETURN_IF_ERROR(
          writeSegmentHeader(*segment.file, {segment.index, id(), segment.sequence, segment_bytes_}));
    }
    return Status();
  }

  // Writes the blocks above proven_ again; the sync is that of the segment's header. A crash here leaves each
  // sector as it was: the bytes are the same.
  Status rewriteUnproven() {
    const Position end = out_.tail;
    out_.tail = unproven_from_;
    while (out_.tail.commit_sequence < end.commit_sequence) {
      FoundSegment* segment = nullptr;
      const auto block = nextBlock(segment);
      if (!block.ok()) return block.status();
      if (!block.value()) return Status(Code::kIo, "a block changed while it was being recovered");
      const BlockHeader& header = block.value()->header;
      step(out_.tail, *segment, *block.value());
      if (header.commit_sequence <= proven_) continue;
      const std::byte* start = block.value()->body.data() - BlockHeader::kBytes;
      MILLRACE_RETURN_IF_ERROR(
          segment->file->write(block.value()->offset, {start, static_cast<size_t>(header.blockBytes())}));
    }
    return Status();
  }

  os::Directory& directory_;
  OpenFiles files_;
  RecoverySink& sink_;
  RecoveryReport& report_;
  BlockReader reader_;
  const uint64_t segment_bytes_;
  Recovered out_;
  std::map<uint64_t, FoundSegment*> by_sequence_;
  std::optional<Word> word_;
  uint64_t epoch_seen_ = 0;
  uint64_t proven_ = 0;     // highest commit sequence known to be synced
  Position unproven_from_;  // no block before this is above proven_
};

}  // namespace

Result<Recovered> recover(os::Directory& directory, const Identity& identity, RecoverySink& sink,
                          RecoveryReport& report) {
  return Recovery(directory, identity, sink, report).run();
}

}  // namespace millrace::log
