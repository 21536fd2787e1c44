// Elements for containers under test, all parametrised by the allocator so that this header needs no
// import: a text that knows allocators, and things that go wrong when told to.
#pragma once

#include <cstddef>
#include <memory>
#include <stdexcept>
#include <string_view>
#include <utility>
#include <vector>

namespace test {

// A string with nothing but what the allocator protocol asks for; never in a small buffer.
template <class Allocator>
class text {
 public:
  using allocator_type = Allocator;

  text() = default;
  explicit text(const allocator_type& allocator) : characters_(allocator) {}
  text(const char* from, const allocator_type& allocator = {}) : characters_(allocator) {
    const std::string_view view(from);
    characters_.assign(view.begin(), view.end());
  }
  text(const text&) = default;
  text(text&&) = default;
  text(const text& other, const allocator_type& allocator)
      : characters_(other.characters_, allocator) {}
  text(text&& other, const allocator_type& allocator)
      : characters_(std::move(other.characters_), allocator) {}
  text& operator=(const text&) = default;
  text& operator=(text&&) = default;

  allocator_type get_allocator() const { return characters_.get_allocator(); }
  const char* data() const { return std::to_address(characters_.begin()); }
  std::string_view view() const { return {data(), characters_.size()}; }

  friend bool operator==(const text& a, const text& b) { return a.view() == b.view(); }
  friend bool operator<(const text& a, const text& b) { return a.view() < b.view(); }

 private:
  std::vector<char, Allocator> characters_;
};

// Takes an allocator, counts its living ones, and fails when `until_failure` constructions are over.
template <class Allocator>
class fragile {
 public:
  using allocator_type = Allocator;
  static inline int living = 0;
  static inline int until_failure = -1;  // -1: never

  fragile() { born(); }
  explicit fragile(const allocator_type& allocator) : text_(allocator) { born(); }
  fragile(const fragile& other) : text_(other.text_) { born(); }
  fragile(fragile&& other) : text_(std::move(other.text_)) { born(); }
  fragile(const fragile& other, const allocator_type& allocator) : text_(other.text_, allocator) {
    born();
  }
  fragile(fragile&& other, const allocator_type& allocator)
      : text_(std::move(other.text_), allocator) {
    born();
  }
  fragile& operator=(const fragile&) = default;
  fragile& operator=(fragile&&) = default;
  ~fragile() { --living; }

  allocator_type get_allocator() const { return text_.get_allocator(); }
  std::string_view view() const { return text_.view(); }

 private:
  static void born() {
    if (until_failure == 0) throw std::runtime_error("fragile");
    if (until_failure > 0) --until_failure;
    ++living;
  }
  text<Allocator> text_{"a fragile text that is longer than any small buffer"};
};

}  // namespace test
