#include "addon/queue_settings.h"

#include "addon/convert.h"
#include "base/number.h"

namespace millrace::addon {
namespace {

using engine::kQueueOptions;
using engine::QueueOption;
using engine::QueueSettings;
using engine::SettingsPatch;

// Stands for the queue's name where a default is made of it.
constexpr std::string_view kAnyName = "<name>";

void setValue(napi_env env, napi_value object, const char* name, const QueueSettings& settings,
              const QueueOption& option) {
  if (option.number != nullptr) {
    setNumber(env, object, name, static_cast<double>(settings.*option.number));
  } else {
    napi_set_named_property(env, object, name, text(env, settings.*option.queue_name));
  }
}

// False: of another type. What is undefined is not named.
bool readOption(napi_env env, napi_value object, const QueueOption& option, SettingsPatch& patch) {
  napi_value value = nullptr;
  napi_valuetype type{};
  if (napi_get_named_property(env, object, option.name, &value) != napi_ok ||
      napi_typeof(env, value, &type) != napi_ok) {
    return false;
  }
  if (type == napi_undefined) return true;
  double number = 0;
  std::string name;
  if (option.number != nullptr) {
    if (napi_get_value_double(env, value, &number) != napi_ok) return false;
    patch.set(option.number, wholeNumber(number));
  } else {
    if (!readText(env, value, name)) return false;
    patch.set(option.queue_name, std::move(name));
  }
  return true;
}

}  // namespace

std::optional<SettingsPatch> readPatch(napi_env env, napi_value object) {
  SettingsPatch patch;
  napi_value memory = nullptr;
  napi_valuetype type{};
  if (napi_get_named_property(env, object, "memory", &memory) != napi_ok ||
      napi_typeof(env, memory, &type) != napi_ok) {
    return std::nullopt;
  }
  if (type != napi_undefined) {
    bool value = false;
    if (napi_get_value_bool(env, memory, &value) != napi_ok) return std::nullopt;
    patch.memory = value;
  }
  for (const QueueOption& option : kQueueOptions) {
    if (!readOption(env, object, option, patch)) return std::nullopt;
  }
  return patch;
}

napi_value settingsObject(napi_env env, uint32_t id, const QueueSettings& settings) {
  napi_value result = nullptr;
  napi_create_object(env, &result);
  setNumber(env, result, "id", id);
  setBoolean(env, result, "memory", settings.memory);
  for (const QueueOption& option : kQueueOptions) {
    setValue(env, result, option.name, settings, option);
  }
  return result;
}

napi_value optionTable(napi_env env) {
  const QueueSettings defaults = engine::defaultSettings(kAnyName, false);
  napi_value table = nullptr;
  napi_create_object(env, &table);
  for (const QueueOption& option : kQueueOptions) {
    napi_value row = nullptr;
    napi_create_object(env, &row);
    setNumber(env, row, "field", option.field);
    setValue(env, row, "default", defaults, option);
    if (option.number != nullptr) {
      setNumber(env, row, "min", static_cast<double>(option.min));
      setNumber(env, row, "max", static_cast<double>(option.max));
    }
    napi_set_named_property(env, table, option.name, row);
  }
  return table;
}

}  // namespace millrace::addon
