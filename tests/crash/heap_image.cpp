#include "heap_image.hpp"

#include <algorithm>
#include <bit>

namespace crash {

std::uint64_t heap_image::free_bits(std::uint64_t page, std::uint64_t word, std::uint64_t i) const {
  const std::size_t bits = field(bits_at) + page * 64;
  const std::uint64_t n = blocks(word);
  const std::uint64_t valid = i * 64 + 64 <= n ? ~std::uint64_t{0}
                              : i * 64 >= n    ? 0
                                               : ~std::uint64_t{0} >> (64 - (n - i * 64));
  return (field(bits + i * 8) | field(bits + pages(word) * 32 + i * 8)) & valid;
}

heap_image::place heap_image::at(std::uint64_t offset) const {
  const std::uint64_t first = field(pages_at);
  place found;
  if (offset < first || (offset - first) / 4096 >= field(end_page)) return found;
  found.page = (offset - first) / 4096;
  found.word = word(found.page);
  if (kind(found.word) == slab_part) {
    found.page -= std::min(found.page, found.word >> 16 & 255);
    found.word = word(found.page);
  }
  const std::uint64_t within = offset - first - found.page * 4096;
  if (kind(found.word) == large) {
    found.in_use = within == 0;
    found.bytes = pages(found.word) * 4096;
  } else if (kind(found.word) == slab && class_of(found.word) < 72) {
    found.bytes = class_bytes(class_of(found.word));
    const std::uint64_t index = within / found.bytes;
    found.in_use = index * found.bytes == within && index < blocks(found.word) &&
                   (free_bits(found.page, found.word, index / 64) >> index % 64 & 1) == 0;
    if (tracked(found.word)) found.bytes -= 8;
  }
  return found;
}

heap_image::summary heap_image::look(const std::function<bool(std::uint64_t)>& may_own) const {
  summary s;
  const std::uint64_t end = field(end_page);
  if (end > field(most_pages)) s.fault = "more pages than fit";
  for (std::uint64_t page = 0; page < end && s.fault.empty();) {
    const std::uint64_t here = word(page);
    const std::uint64_t n = pages(here);
    switch (kind(here)) {
      case large:
        ++s.in_use;
        break;
      case free_run:
        s.free_pages += n;
        break;
      case slab: {
        if (class_of(here) >= 72) s.fault = "a slab of no class";
        if (owner(here) != 0 && !may_own(owner(here)))
          s.fault = "a slab of a handle that is nobody's, " + std::to_string(owner(here));
        if (!s.fault.empty()) break;
        std::uint64_t free = 0;
        for (std::uint64_t i = 0; i * 64 < blocks(here); ++i)
          free += static_cast<std::uint64_t>(std::popcount(free_bits(page, here, i)));
        s.in_use += blocks(here) - free;
        if (free == blocks(here))
          s.empty_pages += n;
        else
          s.free_blocks[class_of(here) + (tracked(here) ? 72 : 0)] +=
              static_cast<std::uint32_t>(free);
        break;
      }
      default:
        s.fault = "a run that is neither in use nor free, kind " + std::to_string(kind(here));
    }
    if (n == 0 || n > end - page) s.fault = "a run of no length, or beyond the end";
    if (!s.fault.empty()) s.fault = "page " + std::to_string(page) + ": " + s.fault;
    page += n;
  }
  return s;
}

void heap_image::each_run(const std::function<void(std::uint64_t, std::uint64_t)>& f) const {
  for (std::uint64_t page = 0; page < field(end_page);) {
    const std::uint64_t here = word(page);
    f(page, here);
    page += std::max<std::uint64_t>(pages(here), 1);
  }
}

void heap_image::each(const std::function<void(std::uint64_t, std::size_t)>& f) const {
  const std::uint64_t first = field(pages_at);
  each_run([&](std::uint64_t page, std::uint64_t here) {
    if (kind(here) == large) f(first + page * 4096, pages(here) * 4096);
    if (kind(here) != slab) return;
    const std::size_t size = class_bytes(class_of(here));
    for (std::uint64_t i = 0; i < blocks(here); ++i)
      if ((free_bits(page, here, i / 64) >> i % 64 & 1) == 0)
        f(first + page * 4096 + i * size, size - (tracked(here) ? 8 : 0));
  });
}

}  // namespace crash
