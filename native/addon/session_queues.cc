// Session's methods for queues and numbers.
#include "addon/queue_settings.h"
#include "addon/session_methods.h"

namespace millrace::addon {

// limits() => what this broker was opened with
napi_value SessionMethods::limits(napi_env env, napi_callback_info info) {
  Call call(env, info);
  SessionObject* self = enter(call);
  if (self == nullptr) return nullptr;
  const engine::BrokerOptions& options = self->broker_->options();
  const bool durable = self->broker_->durable();
  napi_value result = nullptr;
  napi_create_object(env, &result);
  setNumber(env, result, "messageBytes", options.message_bytes_max);
  setNumber(env, result, "batchBytes", static_cast<double>(log::unitBytesMax(options.segment_bytes)));
  setNumber(env, result, "memoryBatchBytes", engine::kMemoryBatchBytesMax);
  napi_set_named_property(env, result, "durability",
                          text(env, !durable       ? "memory"
                                    : options.sync ? "sync"
                                                   : "process"));
  return result;
}

// declare(name, patch, report) => the merged settings; report[0] = unit
napi_value SessionMethods::declare(napi_env env, napi_callback_info info) {
  Call call(env, info);
  SessionObject* self = enter(call);
  if (self == nullptr) return nullptr;
  const std::optional<engine::SettingsPatch> patch = readPatch(env, call.arguments[1]);
  const std::span<double> report = call.doubles(2);
  if (!patch.has_value()) return invalid(self, "patch");
  if (report.empty()) return invalid(self, "report");
  uint64_t unit = 0;
  const auto declared = self->broker_->declare(call.text(0), *patch, *self->session_, unit);
  if (!declared.ok()) return fail(self, declared.status());
  report[0] = static_cast<double>(unit);
  return settingsObject(env, declared.value().first, declared.value().second);
}

napi_value SessionMethods::pause(napi_env env, napi_callback_info info) {
  Call call(env, info);
  SessionObject* self = enter(call);
  if (self == nullptr) return nullptr;
  const Status status = self->broker_->pause(call.unsigned32(0), call.boolean(1));
  return status.ok() ? nullptr : fail(self, status);
}

// purge(queue, report) => messages; report[0] = unit. One part of it: report[1] and report[2] are what is
// left (PurgeRange), 1 and 0 at the beginning; report[1] is 0 at the end.
napi_value SessionMethods::purge(napi_env env, napi_callback_info info) {
  Call call(env, info);
  SessionObject* self = enter(call);
  if (self == nullptr) return nullptr;
  const std::span<double> report = call.doubles(1);
  if (report.size() < 3) return invalid(self, "report");
  uint64_t unit = 0;
  const engine::PurgeRange range{wholeNumber(report[1]), wholeNumber(report[2])};
  Result<engine::Purged> purged = self->broker_->purge(call.unsigned32(0), *self->session_, range, unit);
  if (!purged.ok()) return fail(self, purged.status());
  report[0] = static_cast<double>(unit);
  report[1] = static_cast<double>(purged.value().rest.from);
  report[2] = static_cast<double>(purged.value().rest.through);
  return number(env, static_cast<double>(purged.value().messages));
}

napi_value SessionMethods::queueStats(napi_env env, napi_callback_info info) {
  Call call(env, info);
  SessionObject* self = enter(call);
  if (self == nullptr) return nullptr;
  Result<engine::QueueStats> stats = self->broker_->queueStats(call.unsigned32(0));
  if (!stats.ok()) return fail(self, stats.status());
  const engine::QueueStats& all = stats.value();
  napi_value result = nullptr;
  napi_create_object(env, &result);
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
  for (const auto& [name, value] : values) setNumber(env, result, name, static_cast<double>(value));
  setBoolean(env, result, "paused", all.paused);
  return result;
}

napi_value SessionMethods::stats(napi_env env, napi_callback_info info) {
  Call call(env, info);
  SessionObject* self = enter(call);
  if (self == nullptr) return nullptr;
  const engine::BrokerStats all = self->broker_->stats();
  const log::RecoveryReport& recovery = self->broker_->recovery();
  napi_value result = nullptr;
  napi_create_object(env, &result);
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
  for (const auto& [name, value] : values) setNumber(env, result, name, static_cast<double>(value));
  setNumber(env, result, "syncMsTotal", static_cast<double>(all.log.sync_ns_total) / 1e6);
  napi_value torn_at = nullptr;
  napi_create_string_utf8(env, recovery.torn_at.data(), recovery.torn_at.size(), &torn_at);
  napi_set_named_property(env, result, "tornAt", torn_at);
  setBoolean(env, result, "diskFull", all.log.disk_full);
  setBoolean(env, result, "failed", all.log.failed);
  return result;
}

}  // namespace millrace::addon
