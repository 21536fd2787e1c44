// libFuzzer: damages the image of a segment and looks at it with everything that opens, finds,
// checks and iterates. Input: edits, each | offset (3 bytes) | count (1 byte) | bytes |.
//
//   cmake --preset linux-clang-debug -B build/fuzz -DIPCPP_FUZZERS=ON
//     -DIPCPP_SANITIZE=address,undefined,fuzzer-no-link
//   cmake --build build/fuzz --target segment_fuzz && build/fuzz/segment_fuzz -max_total_time=300
#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <string>

// clang-format off
#include "../segment/image.hpp"
// clang-format on

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  static const std::string path = "/dev/shm/ipcpp-fuzz-" + std::to_string(::getpid());
  static const std::string good = image::make(path);
  std::string bytes = good;
  while (size > 4) {
    const std::size_t at =
        (std::size_t{data[0]} | std::size_t{data[1]} << 8 | std::size_t{data[2]} << 16) %
        bytes.size();
    const std::size_t n = std::min<std::size_t>({data[3] % 33u, size - 4, bytes.size() - at});
    std::memcpy(bytes.data() + at, data + 4, n);
    data += 4 + n;
    size -= 4 + n;
  }
  image::write(path, bytes);
  image::outcome ignored;
  image::look_at(path, ignored);
  ::unlink(path.c_str());
  return 0;
}
