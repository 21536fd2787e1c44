// A map where a map has to be, in a heap. Include it last: it imports ipcpp.
#pragma once

#include <memory>

#include "heaps.hpp"

template <class Map>
class map_in {
 public:
  explicit map_in(ipcpp::heap& heap) : heap_(&heap) {
    void* const block = heap.allocate(sizeof(Map), alignof(Map));
    map_ = std::construct_at(static_cast<Map*>(block), ipcpp::allocator<std::byte>(heap));
  }
  map_in(const map_in&) = delete;
  map_in& operator=(const map_in&) = delete;
  ~map_in() {
    std::destroy_at(map_);
    heap_->deallocate(map_);
  }
  Map& operator*() const { return *map_; }
  Map* operator->() const { return map_; }

 private:
  ipcpp::heap* heap_;
  Map* map_;
};
