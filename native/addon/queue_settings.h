// A queue's settings and patches of them as JavaScript objects, by the table in engine/settings.h.
#pragma once

#include <optional>

#include "addon/napi_include.h"
#include "engine/settings.h"

namespace millrace::addon {

// `object` has the named options as properties, and `memory`. Nothing if one of them has another type.
std::optional<engine::SettingsPatch> readPatch(const Napi::Value& object);
// { id, memory } and every option by its name.
Napi::Object settingsObject(Napi::Env env, uint32_t id, const engine::QueueSettings& settings);
// The table as data: { name: { field, default } }, and for numbers { min, max }.
Napi::Object optionTable(Napi::Env env);

}  // namespace millrace::addon
