// Random calls of a concurrent_map and what came of them, in memory that may be shared. Include after
// map_in_heap.hpp and linearizability.hpp.
#pragma once

using small_map = ipcpp::concurrent_map<std::uint64_t, std::uint64_t>;
using text_map = ipcpp::concurrent_map<ipcpp::string, ipcpp::string>;

enum class verb : std::uint8_t { insert, assign, assign_any, update, erase, find };

struct map_call {
  verb what = verb::find;
  std::uint8_t key = 0;
  std::uint16_t value = 0;   // to be stored; of update: to be added
  std::uint16_t result = 0;  // what it returned: true or false
  std::uint16_t seen = 0;    // the value found; of update: what its last run saw
};

// A key's value; nullopt: absent.
using key_state = std::optional<std::uint16_t>;

// Does the call fit a key in that state? Changes the state.
inline bool fits(key_state& state, const test::timed<map_call>& t) {
  const map_call& c = t.call;
  const bool known = t.ended != test::never_ended;
  const bool present = state.has_value();
  const auto returns = [&](bool result) { return !known || (c.result != 0) == result; };
  switch (c.what) {
    case verb::insert:
      if (!present) state = c.value;
      return returns(!present);
    case verb::assign:
      if (present) state = c.value;
      return returns(present);
    case verb::assign_any:
      state = c.value;
      return returns(!present);
    case verb::update: {
      const std::uint16_t before = state.value_or(0);
      state = static_cast<std::uint16_t>(before + c.value);
      return returns(!present) && (!known || c.seen == before);
    }
    case verb::erase:
      state.reset();
      return returns(present);
    case verb::find:
      return returns(present) && (!known || !present || c.seen == *state);
  }
  return false;
}

struct history_log {
  static constexpr unsigned players = 3;
  static constexpr unsigned calls = 10;
  static constexpr unsigned keys = 2;

  struct entry {
    map_call call;
    std::uint64_t began;  // 0: not yet
    std::uint64_t ended;  // 0: not yet
  };
  std::uint64_t clock = 0;
  std::array<std::array<entry, calls>, players> by{};

  std::uint64_t tick() { return std::atomic_ref(clock).fetch_add(1) + 1; }
};

// A value as a text too long for a small buffer, and back; 0xffff: a torn one.
inline std::string as_text(std::uint16_t value) {
  return std::string(50 + value % 7, static_cast<char>('a' + value % 26)) + std::to_string(value);
}
inline std::uint16_t from_text(std::string_view text) {
  const std::size_t digits = text.find_first_of("0123456789");
  if (digits == std::string_view::npos) return 0;
  const auto value = static_cast<std::uint16_t>(std::stoul(std::string(text.substr(digits))));
  return as_text(value) == text ? value : 0xffff;
}

// One player's calls, on numbers or on texts.
inline void play(bool on_numbers, small_map& numbers, text_map& texts, history_log& log,
                 unsigned player, unsigned seed) {
  std::mt19937 dice(seed);
  for (unsigned i = 0; i < history_log::calls; ++i) {
    history_log::entry& e = log.by[player][i];
    map_call c;
    c.what = static_cast<verb>(dice() % 6);
    c.key = static_cast<std::uint8_t>(dice() % history_log::keys);
    c.value = static_cast<std::uint16_t>(1 + (player * 100 + i) * (c.what == verb::update ? 1 : 7));
    e.call = c;
    std::atomic_ref(e.began).store(log.tick());
    if (on_numbers) {
      const std::uint64_t key = c.key;
      switch (c.what) {
        case verb::insert:
          c.result = numbers.insert(key, std::uint64_t{c.value});
          break;
        case verb::assign:
          c.result = numbers.assign(key, std::uint64_t{c.value});
          break;
        case verb::assign_any:
          c.result = numbers.insert_or_assign(key, std::uint64_t{c.value});
          break;
        case verb::update:
          c.result = numbers.update(key, [&](std::uint64_t& v) {
            c.seen = static_cast<std::uint16_t>(v);
            v = static_cast<std::uint16_t>(v + c.value);
          });
          break;
        case verb::erase:
          c.result = numbers.erase(key);
          break;
        case verb::find:
          if (const auto found = numbers.find(key)) {
            c.result = 1;
            c.seen = static_cast<std::uint16_t>(*found);
          }
      }
    } else {
      const std::string key =
          "a key of more than the bytes of a small buffer, number " + std::to_string(c.key);
      const std::string value = as_text(c.value);
      switch (c.what) {
        case verb::insert:
          c.result = texts.insert(key, value);
          break;
        case verb::assign:
          c.result = texts.assign(key, value);
          break;
        case verb::assign_any:
          c.result = texts.insert_or_assign(key, value);
          break;
        case verb::update:
          c.result = texts.update(key, [&](ipcpp::string& s) {
            c.seen = from_text(s);
            s = as_text(static_cast<std::uint16_t>(c.seen + c.value));
          });
          break;
        case verb::erase:
          c.result = texts.erase(key);
          break;
        case verb::find:
          if (const auto found = texts.find(key)) {
            c.result = 1;
            c.seen = from_text(*found);
          }
      }
    }
    e.call = c;
    std::atomic_ref(e.ended).store(log.tick());
  }
}

inline bool is_linearizable(const history_log& log) {
  for (unsigned key = 0; key < history_log::keys; ++key) {
    test::history<map_call> of_key;
    for (const auto& player : log.by)
      for (const auto& e : player)
        if (e.began != 0 && e.call.key == key)
          of_key.push_back({e.call, e.began, e.ended == 0 ? test::never_ended : e.ended});
    if (!test::linearizable(of_key, key_state{}, fits)) return false;
  }
  return true;
}

inline std::string describe(const history_log& log) {
  static constexpr const char* names[] = {"insert", "assign", "insert_or_assign",
                                          "update", "erase",  "find"};
  std::string text;
  for (unsigned p = 0; p < history_log::players; ++p)
    for (const auto& e : log.by[p])
      if (e.began != 0)
        text += "player " + std::to_string(p) + " [" + std::to_string(e.began) + ", " +
                std::to_string(e.ended) + "] " + names[static_cast<int>(e.call.what)] + " key " +
                std::to_string(e.call.key) + " value " + std::to_string(e.call.value) + " -> " +
                std::to_string(e.call.result) + " saw " + std::to_string(e.call.seen) + "\n";
  return text;
}
