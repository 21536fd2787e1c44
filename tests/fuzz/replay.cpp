// A fuzzer without libFuzzer: gives it the inputs of files, and so many of its own making. So what was
// found once is tried in every build, with every compiler.
//
//   queue_fuzz_replay FOLDER|FILE...       each file is one input
//   queue_fuzz_replay --random COUNT SEED  inputs of up to 400 bytes
//
// Prints each input's name before it is tried, so that the last line says which one it was.
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <exception>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <random>
#include <string>
#include <vector>

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size);

namespace {

void attempt(const std::string& name, const std::vector<std::uint8_t>& input) {
  std::printf("%s, %zu bytes\n", name.c_str(), input.size());
  std::fflush(stdout);
  (void)LLVMFuzzerTestOneInput(input.data(), input.size());
}

std::size_t attempt_file(const std::filesystem::path& path) {
  if (std::filesystem::is_directory(path)) {
    std::size_t tried = 0;
    for (const auto& inside : std::filesystem::directory_iterator(path))
      tried += attempt_file(inside.path());
    return tried;
  }
  std::ifstream file(path, std::ios::binary);
  if (!file) throw std::filesystem::filesystem_error("cannot be read", path, {});
  attempt(path.filename().string(), {std::istreambuf_iterator<char>(file), {}});
  return 1;
}

}  // namespace

int main(int argc, char** argv) try {
  const std::vector<std::string> arguments(argv + 1, argv + argc);
  std::size_t tried = 0;
  if (arguments.size() == 3 && arguments[0] == "--random") {
    std::mt19937_64 random(std::stoull(arguments[2]));
    for (std::size_t count = std::stoull(arguments[1]); tried < count; ++tried) {
      std::vector<std::uint8_t> input(random() % 400 + 1);
      for (std::uint8_t& byte : input) byte = static_cast<std::uint8_t>(random());
      attempt("random " + std::to_string(tried), input);
    }
  } else {
    for (const std::string& path : arguments) tried += attempt_file(path);
  }
  std::printf("%zu inputs, each of them answered\n", tried);
  return tried != 0 ? 0 : 2;
} catch (const std::exception& e) {
  std::fprintf(stderr, "%s\n", e.what());
  return 2;
}
