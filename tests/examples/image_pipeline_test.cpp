// examples/image_pipeline: real files in and out, looked at pixel by pixel.
#include <gtest/gtest.h>

#include <algorithm>
#include <csignal>
#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <fstream>
#include <functional>
#include <iterator>
#include <sstream>
#include <string>
#include <vector>

#include "left_over.hpp"

namespace fs = std::filesystem;

namespace {

struct picture {
  std::size_t width = 0;
  std::size_t height = 0;
  std::string pixels;

  std::uint8_t at(std::size_t x, std::size_t y, std::size_t c) const {
    return static_cast<std::uint8_t>(pixels.at(3 * (y * width + x) + c));
  }
};

picture read(const fs::path& path) {
  std::ifstream file(path, std::ios::binary);
  picture p;
  std::string magic;
  int most = 0;
  file >> magic >> p.width >> p.height >> most;
  EXPECT_EQ(magic, "P6") << path;
  EXPECT_EQ(most, 255) << path;
  file.get();
  p.pixels.assign(std::istreambuf_iterator<char>(file), {});
  EXPECT_EQ(p.pixels.size(), 3 * p.width * p.height) << path;
  return p;
}

// A red and a dark half, side by side.
void write(const fs::path& path, std::size_t width, std::size_t height) {
  std::ofstream file(path, std::ios::binary);
  file << "P6\n# a comment\n" << width << ' ' << height << "\n255\n";
  for (std::size_t y = 0; y < height; ++y)
    for (std::size_t x = 0; x < width; ++x)
      file << (x < width / 2 ? '\xc8' : '\x0a') << '\0' << '\0';
}

struct ImagePipeline : testing::Test {
  std::string name = test::unique_name();
  fs::path folder = fs::temp_directory_path() / ("ipcpp-pictures-" + name);
  void SetUp() override { fs::create_directories(folder); }
  void TearDown() override { fs::remove_all(folder); }
};

}  // namespace

TEST_F(ImagePipeline, FiltersFilesAsTheyShould) {
  write(folder / "halves.ppm", 64, 40);
  write(folder / "small.ppm", 3, 2);
  const test::outcome done =
      test::run({IMAGE_PIPELINE, "--out", (folder / "out").string(), "--name", name,
                 (folder / "halves.ppm").string(), (folder / "small.ppm").string()});
  ASSERT_EQ(done.status, 0) << done.output;
  EXPECT_NE(done.output.find("2 pictures, 4 files"), std::string::npos) << done.output;
  const picture edges = read(folder / "out/halves.edges.ppm");
  const picture soft = read(folder / "out/halves.soft.ppm");
  ASSERT_EQ(edges.width, 64u);
  ASSERT_EQ(soft.height, 40u);
  for (std::size_t y = 0; y < 40; ++y)
    for (std::size_t x = 0; x < 64; ++x) {
      // Brightness falls from 59 to 2 between the columns 31 and 32; Sobel weighs that by 4.
      EXPECT_EQ(edges.at(x, y, 1), x == 31 || x == 32 ? 228 : 0) << x << "," << y;
      // The mean of five columns.
      const int red = x < 30 ? 200 : x > 33 ? 10 : 200 - 38 * static_cast<int>(x - 29);
      EXPECT_EQ(soft.at(x, y, 0), red) << x << "," << y;
      EXPECT_EQ(soft.at(x, y, 2), 0);
    }
  EXPECT_EQ(read(folder / "out/small.soft.ppm").width, 3u);
  EXPECT_EQ(test::names_with(name), 0u);
}

TEST_F(ImagePipeline, DrawsItsOwnPictures) {
  const test::outcome done =
      test::run({IMAGE_PIPELINE, "--out", folder.string(), "--pictures", "12"});
  ASSERT_EQ(done.status, 0) << done.output;
  EXPECT_EQ(read(folder / "picture11.edges.ppm").pixels.size(), 640u * 480 * 3);
  EXPECT_NE(read(folder / "picture0.soft.ppm").pixels, read(folder / "picture11.soft.ppm").pixels);
}

TEST_F(ImagePipeline, AStageThatDiesIsNamedAndTheOthersEnd) {
  test::running example(
      {IMAGE_PIPELINE, "--out", folder.string(), "--pictures", "10000", "--name", name});
  ASSERT_TRUE(test::within(std::chrono::seconds(30),
                           [&] { return fs::exists(folder / "picture1.soft.ppm"); }));
  // Others have stages of that name too: only this pipeline's is meant.
  const std::vector<pid_t> stages = test::processes_with("edges");
  for (const pid_t pid : test::processes_with(name))
    if (pid != example.pid() && std::ranges::find(stages, pid) != stages.end())
      ::kill(pid, SIGKILL);
  EXPECT_TRUE(
      test::within(std::chrono::seconds(30), [&] { return test::processes_with(name).empty(); }));
  const int status = example.end(0);
  EXPECT_TRUE(WIFEXITED(status) && WEXITSTATUS(status) == 1) << status;
  EXPECT_EQ(test::names_with(name), 0u);
}

TEST_F(ImagePipeline, WhoeverEndsItNothingIsLeft) {
  for (const int signal : {SIGKILL, SIGTERM})
    (void)test::leaves_nothing(
        {IMAGE_PIPELINE, "--out", folder.string(), "--pictures", "10000", "--name", name}, name, 5,
        signal);
}

TEST_F(ImagePipeline, WrongFilesAreAnError) {
  EXPECT_EQ(test::run({IMAGE_PIPELINE, "--help"}).status, 0);
  EXPECT_EQ(test::run({IMAGE_PIPELINE, "--pictures", "0"}).status, 2);
  std::ofstream(folder / "no.ppm") << "P3\n1 1\n255\n1 2 3\n";
  test::outcome done = test::run({IMAGE_PIPELINE, (folder / "no.ppm").string()});
  EXPECT_EQ(done.status, 1);
  EXPECT_NE(done.output.find("no.ppm is not a binary PPM"), std::string::npos) << done.output;
  std::ofstream(folder / "short.ppm") << "P6\n9 9\n255\nnot enough";
  done = test::run({IMAGE_PIPELINE, "--out", folder.string(), (folder / "short.ppm").string()});
  EXPECT_EQ(done.status, 1);
  EXPECT_NE(done.output.find("short.ppm ends before its last pixel"), std::string::npos)
      << done.output;
  EXPECT_NE(done.output.find("the stage `reader` ended with status 1"), std::string::npos)
      << done.output;
}
