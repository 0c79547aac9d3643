// Settings of queues: merging of patches, their bytes, and two threads that name different options.
#include "engine/settings.h"

#include <thread>

#include "engine/client.h"
#include "support/random.h"
#include "support/simulated_disk.h"

using namespace millrace;
using engine::kQueueOptions;
using engine::QueueOption;
using engine::QueueSettings;
using engine::SettingsPatch;

namespace {

constexpr uint64_t kChanges = test::kSanitized ? 300 : 3000;

std::shared_ptr<engine::Broker> openOn(test::SimulatedDisk& disk) {
  engine::BrokerOptions options;
  options.segment_bytes = 256 << 10;
  options.checkpoint_bytes = 256 << 10;
  options.message_bytes_max = 8 << 10;
  Result<std::shared_ptr<engine::Broker>> broker = engine::Broker::open(options, disk.directory());
  CHECK_OK(broker.status());
  return broker.take();
}

// Within the bounds, whatever they are.
void nameOption(SettingsPatch& patch, const QueueOption& option, test::Random& random) {
  if (option.number != nullptr) {
    patch.set(option.number, random.between(option.min, option.max));
  } else {
    patch.set(option.queue_name, random.chance(10) ? "" : "graves " + std::to_string(random.below(5)));
  }
}

void copyOption(const QueueOption& option, const QueueSettings& from, QueueSettings& to) {
  if (option.number != nullptr) to.*option.number = from.*option.number;
  if (option.queue_name != nullptr) to.*option.queue_name = from.*option.queue_name;
}

QueueSettings settingsOf(engine::Broker& broker, const std::string& name) {
  auto found = broker.lookup(name);
  CHECK_OK(found.status());
  return found.take().second;
}

Code refusal(engine::Broker& broker, test::Client& client, const std::string& name,
             const SettingsPatch& patch) {
  uint64_t unit = 0;
  const auto declared = broker.declare(name, patch, client.session(), unit);
  CHECK_EQ(unit, 0u);
  return declared.status().code();
}

}  // namespace

TEST(SettingsOfAnEmptyPatchAreThoseOfBefore) {
  const QueueSettings before = engine::defaultSettings("q", true);
  CHECK(SettingsPatch().mergedInto(before).value() == before);
}

TEST(SettingsHaveTheDefaultsOfTheTable) {
  const QueueSettings settings = engine::defaultSettings("q", false);
  for (const QueueOption& option : kQueueOptions) {
    if (option.number != nullptr) CHECK_EQ(settings.*option.number, option.initial);
  }
  CHECK_EQ(settings.dead_letter, "q.dead");
  CHECK_EQ(engine::defaultSettings("q.dead", false).dead_letter, "");
  CHECK_EQ(engine::defaultSettings("q.dead", false).max_deliveries, 0u);
  CHECK_EQ(engine::defaultSettings(std::string(251, 'n'), false).dead_letter, "");
}

TEST(SettingsTakeFromAPatchWhatItNamesAndNothingElse) {
  test::Random random(test::seed());
  QueueSettings expected = engine::defaultSettings("q", false);
  QueueSettings settings = expected;
  for (int round = 0; round < 1000; ++round) {
    SettingsPatch patch;
    for (const QueueOption& option : kQueueOptions) {
      if (!random.chance(40)) continue;
      nameOption(patch, option, random);
      copyOption(option, patch.values, expected);
    }
    settings = patch.mergedInto(settings).value();
    CHECK(settings == expected);
  }
}

TEST(SettingsGoBackToADefaultThatIsNamed) {
  test::Random random(test::seed());
  const QueueSettings defaults = engine::defaultSettings("q", false);
  QueueSettings settings = defaults;
  SettingsPatch all;
  for (const QueueOption& option : kQueueOptions) nameOption(all, option, random);
  settings = all.mergedInto(settings).value();
  for (const QueueOption& option : kQueueOptions) {
    SettingsPatch reset;
    if (option.number != nullptr) reset.set(option.number, defaults.*option.number);
    if (option.queue_name != nullptr) reset.set(option.queue_name, defaults.*option.queue_name);
    settings = reset.mergedInto(settings).value();
  }
  CHECK(settings == defaults);
}

TEST(SettingsOutOfBoundsAreRefused) {
  const QueueSettings before = engine::defaultSettings("q", false);
  for (const QueueOption& option : kQueueOptions) {
    if (option.number == nullptr) continue;
    for (const uint64_t value : {option.min - 1, option.min, option.max, option.max + 1}) {
      SettingsPatch patch;
      patch.set(option.number, value);
      const bool fits = value == option.min || value == option.max;
      CHECK(patch.mergedInto(before).status().code() == (fits ? Code::kOk : Code::kOutOfRange));
    }
  }
  for (const std::string& name : {std::string(256, 'n'), std::string("a\nb"), std::string("q")}) {
    SettingsPatch patch;
    patch.set(&QueueSettings::dead_letter, name);
    CHECK(patch.mergedInto(before).status().code() == Code::kOutOfRange);
  }
}

TEST(SettingsAreReadAsTheyWereWritten) {
  test::Random random(test::seed());
  for (int round = 0; round < 100; ++round) {
    SettingsPatch all;
    for (const QueueOption& option : kQueueOptions) nameOption(all, option, random);
    const QueueSettings settings = all.mergedInto(engine::defaultSettings("q", false)).value();
    ByteWriter encoded;
    settings.encode(encoded);
    CHECK(QueueSettings::decode(encoded.view()).value() == settings);
  }
}

// Version 1 of the format, byte by byte; options that are added to it come behind these.
TEST(SettingsHaveTheBytesOfTheFormat) {
  SettingsPatch patch;
  patch.set(&QueueSettings::capacity, 300);
  patch.set(&QueueSettings::max_deliveries, 3);
  patch.set(&QueueSettings::visibility_timeout_ms, 50);
  patch.set(&QueueSettings::dead_letter, "d");
  ByteWriter encoded;
  patch.mergedInto(engine::defaultSettings("q", false)).value().encode(encoded);
  CHECK(textOf(encoded.view()).starts_with("\1\1q\2\2\xac\2\3\1\3\4\1\x32\5\1d"));
}

TEST(SettingsOfALaterVersionAreReadWithoutWhatIsNew) {
  ByteWriter encoded;
  const QueueSettings settings = engine::defaultSettings("q", false);
  settings.encode(encoded);
  encoded.fixed<uint8_t>(200);
  encoded.sizedText("new");
  CHECK(QueueSettings::decode(encoded.view()).value() == settings);
}

TEST(SettingsOutOfBoundsInALogAreCorrupt) {
  for (const QueueOption& option : kQueueOptions) {
    if (option.number == nullptr) continue;
    QueueSettings settings = engine::defaultSettings("q", false);
    settings.*option.number = option.max + 1;
    ByteWriter encoded;
    settings.encode(encoded);
    const Status status = QueueSettings::decode(encoded.view()).status();
    CHECK(status.code() == Code::kCorrupt);
    CHECK(status.detail().find(option.name) != std::string::npos);
  }
}

TEST(SettingsThatTwoThreadsNameAreBothKept) {
  test::SimulatedDisk disk(test::seed());
  uint64_t last[] = {0, 0};
  {
    const std::shared_ptr<engine::Broker> broker = openOn(disk);
    const auto change = [&](size_t which, uint64_t QueueSettings::*option) {
      test::Client client(broker);
      test::Random random(test::seed() + which);
      for (uint64_t i = 0; i < kChanges; ++i) {
        SettingsPatch patch;
        patch.set(option, last[which] = random.between(1, 50'000));
        uint64_t unit = 0;
        const auto declared = broker->declare("q", patch, client.session(), unit);
        CHECK_OK(declared.status());
        CHECK_EQ(declared.value().second.*option, last[which]);
        CHECK_EQ(settingsOf(*broker, "q").*option, last[which]);
        if (i % 64 == 0) CHECK(client.awaitCommitted(unit));
      }
    };
    std::thread other(change, 0, &QueueSettings::capacity);
    change(1, &QueueSettings::max_deliveries);
    other.join();
    CHECK_OK(broker->close());
  }
  const QueueSettings kept = settingsOf(*openOn(disk), "q");
  CHECK_EQ(kept.capacity, last[0]);
  CHECK_EQ(kept.max_deliveries, last[1]);
}

TEST(SettingsThatAreRefusedChangeNothing) {
  test::SimulatedDisk disk(test::seed());
  const std::shared_ptr<engine::Broker> broker = openOn(disk);
  test::Client client(broker);
  client.declare("memory", true);
  client.declare("durable");
  const QueueSettings before = settingsOf(*broker, "durable");
  // Each names a capacity as well, which fits.
  SettingsPatch out_of_bounds;
  out_of_bounds.set(&QueueSettings::max_deliveries, 60'001);
  SettingsPatch own_graveyard;
  own_graveyard.set(&QueueSettings::dead_letter, "durable");
  SettingsPatch graveyard_in_memory;
  graveyard_in_memory.set(&QueueSettings::dead_letter, "memory");
  SettingsPatch another_durability;
  another_durability.memory = true;
  const std::pair<SettingsPatch*, Code> refused[] = {
      {&out_of_bounds, Code::kOutOfRange},
      {&own_graveyard, Code::kOutOfRange},
      {&graveyard_in_memory, Code::kInvalidArgument},
      {&another_durability, Code::kInvalidArgument},
  };
  for (const auto& [patch, code] : refused) {
    patch->set(&QueueSettings::capacity, 7);
    CHECK(refusal(*broker, client, "durable", *patch) == code);
    CHECK(settingsOf(*broker, "durable") == before);
  }
  CHECK(refusal(*broker, client, "new", out_of_bounds) == Code::kOutOfRange);
  CHECK(broker->lookup("new").status().code() == Code::kQueueNotFound);
  CHECK_EQ(broker->stats().queues, 2u);
}

TEST(SettingsThatChangeNothingWriteNothing) {
  test::SimulatedDisk disk(test::seed());
  const std::shared_ptr<engine::Broker> broker = openOn(disk);
  test::Client client(broker);
  client.declare("q");
  SettingsPatch same;
  same.set(&QueueSettings::capacity, settingsOf(*broker, "q").capacity);
  uint64_t unit = 0;
  CHECK_OK(broker->declare("q", same, client.session(), unit).status());
  CHECK_EQ(unit, 0u);
}
