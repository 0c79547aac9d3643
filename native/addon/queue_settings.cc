#include "addon/queue_settings.h"

#include "addon/convert.h"

namespace millrace::addon {
namespace {

using engine::kQueueOptions;
using engine::QueueOption;
using engine::QueueSettings;
using engine::SettingsPatch;

// Stands for the queue's name where a default is made of it.
constexpr std::string_view kAnyName = "<name>";

void setValue(Napi::Object object, const char* name, const QueueSettings& settings,
              const QueueOption& option) {
  if (option.number != nullptr) {
    put(object, name, static_cast<double>(settings.*option.number));
  } else {
    put(object, name, settings.*option.queue_name);
  }
}

// False: of another type. What is undefined is not named.
bool readOption(const Napi::Value& object, const QueueOption& option, SettingsPatch& patch) {
  const Napi::Value value = property(object, option.name);
  if (value.IsEmpty()) return false;
  if (value.IsUndefined()) return true;
  if (option.number != nullptr ? !value.IsNumber() : !value.IsString()) return false;
  if (option.number != nullptr) {
    patch.set(option.number, unsigned64(value));
  } else {
    patch.set(option.queue_name, text(value));
  }
  return true;
}

}  // namespace

std::optional<SettingsPatch> readPatch(const Napi::Value& object) {
  SettingsPatch patch;
  const Napi::Value memory = property(object, "memory");
  if (memory.IsEmpty() || !(memory.IsUndefined() || memory.IsBoolean())) return std::nullopt;
  if (memory.IsBoolean()) patch.memory = boolean(memory);
  for (const QueueOption& option : kQueueOptions) {
    if (!readOption(object, option, patch)) return std::nullopt;
  }
  return patch;
}

Napi::Object settingsObject(Napi::Env env, uint32_t id, const QueueSettings& settings) {
  Napi::Object result = Napi::Object::New(env);
  put(result, "id", id);
  put(result, "memory", settings.memory);
  for (const QueueOption& option : kQueueOptions) setValue(result, option.name, settings, option);
  return result;
}

Napi::Object optionTable(Napi::Env env) {
  const QueueSettings defaults = engine::defaultSettings(kAnyName, false);
  Napi::Object table = Napi::Object::New(env);
  for (const QueueOption& option : kQueueOptions) {
    Napi::Object row = Napi::Object::New(env);
    put(row, "field", option.field);
    setValue(row, "default", defaults, option);
    if (option.number != nullptr) {
      put(row, "min", static_cast<double>(option.min));
      put(row, "max", static_cast<double>(option.max));
    }
    put(table, option.name, row);
  }
  return table;
}

}  // namespace millrace::addon
