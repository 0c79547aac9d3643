// Session's methods for queues and numbers.
#include "addon/convert.h"
#include "addon/queue_settings.h"
#include "addon/session_object.h"
#include "base/number.h"

namespace millrace::addon {

// limits() => what this broker was opened with
Napi::Value SessionObject::limits(const Napi::CallbackInfo& info) {
  if (!usable()) return {};
  const engine::BrokerOptions& options = broker_->options();
  const bool durable = broker_->durable();
  Napi::Object result = Napi::Object::New(info.Env());
  put(result, "messageBytes", options.message_bytes_max);
  put(result, "batchBytes", static_cast<double>(log::unitBytesMax(options.segment_bytes)));
  put(result, "memoryBatchBytes", engine::kMemoryBatchBytesMax);
  put(result, "durability", !durable ? "memory" : options.sync ? "sync" : "process");
  return result;
}

// declare(name, patch, report) => the merged settings; report[0] = unit
Napi::Value SessionObject::declare(const Napi::CallbackInfo& info) {
  if (!usable()) return {};
  const std::optional<engine::SettingsPatch> patch = readPatch(info[1]);
  const std::span<double> report = doubles(info[2]);
  if (!patch.has_value()) return invalid("patch");
  if (report.empty()) return invalid("report");
  uint64_t unit = 0;
  const auto declared = broker_->declare(text(info[0]), *patch, *session_, unit);
  if (!declared.ok()) return fail(declared.status());
  report[0] = static_cast<double>(unit);
  return settingsObject(info.Env(), declared.value().first, declared.value().second);
}

void SessionObject::pause(const Napi::CallbackInfo& info) {
  if (!usable()) return;
  const Status status = broker_->pause(unsigned32(info[0]), boolean(info[1]));
  if (!status.ok()) fail(status);
}

// purge(queue, report) => messages; report[0] = unit. One part of it: report[1] and report[2] are what is
// left (PurgeRange), 1 and 0 at the beginning; report[1] is 0 at the end.
Napi::Value SessionObject::purge(const Napi::CallbackInfo& info) {
  if (!usable()) return {};
  const std::span<double> report = doubles(info[1]);
  if (report.size() < 3) return invalid("report");
  uint64_t unit = 0;
  const engine::PurgeRange range{wholeNumber(report[1]), wholeNumber(report[2])};
  Result<engine::Purged> purged = broker_->purge(unsigned32(info[0]), *session_, range, unit);
  if (!purged.ok()) return fail(purged.status());
  report[0] = static_cast<double>(unit);
  report[1] = static_cast<double>(purged.value().rest.from);
  report[2] = static_cast<double>(purged.value().rest.through);
  return number(static_cast<double>(purged.value().messages));
}

Napi::Value SessionObject::queueStats(const Napi::CallbackInfo& info) {
  if (!usable()) return {};
  Result<engine::QueueStats> stats = broker_->queueStats(unsigned32(info[0]));
  if (!stats.ok()) return fail(stats.status());
  const engine::QueueStats& all = stats.value();
  Napi::Object result = Napi::Object::New(info.Env());
  const std::pair<const char*, uint64_t> values[] = {
      {"ready", all.counts.ready + all.counts.suspects},
      {"delayed", all.counts.delayed},
      {"inFlight", all.counts.in_flight},
      {"settling", all.counts.settling + all.counts.dying},
      {"deadWaiting", all.dead_waiting},
      {"bytes", all.counts.bytes},
      {"sent", all.counters.sent},
      {"acked", all.counters.acked},
      {"returned", all.counters.returned},
      {"redelivered", all.counts.redelivered},
      {"deadLettered", all.counters.dead_lettered},
      {"dropped", all.counters.dropped},
      {"purged", all.counters.purged},
      {"leaseLost", all.counters.lease_lost},
      {"corrupt", all.counters.corrupt},
  };
  for (const auto& [name, value] : values) put(result, name, static_cast<double>(value));
  put(result, "paused", all.paused);
  return result;
}

Napi::Value SessionObject::stats(const Napi::CallbackInfo& info) {
  if (!usable()) return {};
  const engine::BrokerStats all = broker_->stats();
  const log::RecoveryReport& recovery = broker_->recovery();
  Napi::Object result = Napi::Object::New(info.Env());
  const std::pair<const char*, uint64_t> values[] = {
      {"queues", all.queues},
      {"sessions", all.sessions},
      {"commits", all.log.commits},
      {"committedUnits", all.log.committed_units},
      {"committedBytes", all.log.committed_bytes},
      {"syncs", all.log.syncs},
      {"segments", all.log.segments},
      {"segmentsFree", all.log.segments_free},
      {"checkpoints", all.log.checkpoints},
      {"movedMessages", all.log.moved_messages},
      {"diskBytes", all.log.disk_bytes},
      {"recoveredBlocks", recovery.blocks},
      {"tornBytes", recovery.torn_bytes},
  };
  for (const auto& [name, value] : values) put(result, name, static_cast<double>(value));
  put(result, "syncMsTotal", static_cast<double>(all.log.sync_ns_total) / 1e6);
  put(result, "tornAt", recovery.torn_at);
  put(result, "diskFull", all.log.disk_full);
  put(result, "failed", all.log.failed);
  return result;
}

}  // namespace millrace::addon
