// A place for locks under test: an unnamed shared object with a participant table, known to the
// address map as a heap would be. Children that fork share it. Include it last: it imports.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <new>
#include <span>
#include <string>
#include <utility>

import ipcpp.platform;
import ipcpp.sync;

class lock_place : public ipcpp::mapped_place {
 public:
  static constexpr std::size_t capacity = 64 * 1024;
  static constexpr std::size_t table_at = 1024;
  static constexpr std::size_t objects_at = 16 * 1024;

  explicit lock_place(ipcpp::participant_limits limits = {.processes = 16, .handles = 64})
      : lock_place(ipcpp::platform::mapping::map(
                       ipcpp::platform::shared_object::create({.capacity_bytes = capacity})),
                   limits) {}
  // Made by somebody else, who published it by that name.
  explicit lock_place(const std::string& name)
      : map_(ipcpp::platform::mapping::map(ipcpp::platform::shared_object::open(name))),
        table_(ipcpp::participants::attach(map_, table_at)) {
    enter();
  }
  lock_place(const lock_place&) = delete;
  lock_place& operator=(const lock_place&) = delete;
  ~lock_place() { ipcpp::address_map::of_this_process().remove(map_.base()); }

  void publish(const std::string& name) {
    auto again = map_.object().again();
    again.publish(name);
  }

  template <class T, class... Args>
  T& make(std::size_t number, Args&&... args) {
    return *::new (static_cast<void*>(at(number))) T(std::forward<Args>(args)...);
  }
  template <class T>
  T& get(std::size_t number) {
    return *reinterpret_cast<T*>(at(number));
  }
  ipcpp::participants& table() { return table_; }
  // The table and the first sixteen objects.
  std::span<const std::byte> bytes() const { return {map_.base(), 24 * 1024}; }

 private:
  lock_place(ipcpp::platform::mapping map, ipcpp::participant_limits limits)
      : map_(committed(std::move(map))),
        table_(ipcpp::participants::create(map_, table_at, limits)) {
    enter();
  }
  static ipcpp::platform::mapping committed(ipcpp::platform::mapping map) {
    if (!map.commit(0, capacity)) throw std::bad_alloc();
    return map;
  }
  void enter() {
    who = &table_;
    if (!ipcpp::address_map::of_this_process().enter(map_.base(), capacity, this))
      throw std::bad_alloc();
  }
  std::byte* at(std::size_t number) { return map_.base() + objects_at + number * 512; }

  ipcpp::platform::mapping map_;
  ipcpp::participants table_;
};
